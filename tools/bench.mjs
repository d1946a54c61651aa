#!/usr/bin/env node
// tools/bench: the figures of docs/performance.md, each beside its yardstick of the same run. Not a gate: machines are shared.
//
// gateway    requests/s and CPU per request of cds-api against a bare event-loop handler (build/bench/gateway), wrk on loopback
// chat       CPU per token over HTTP against a bare libllama loop (build/bench/llm_bare) on the same model, one compute thread each
// run.exec   latency of python3 -c 'print(1)' in the sandbox against the same command started directly, interleaved
// memory     proportional set size (PSS) of every process of an idle studio
// rights     from the call that ends a session to the end of all that is open under it (tools/bench_rights.mjs)
// start      `up` on a warm machine until the login page answers; first token; 64 tokens
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { build, freePorts, root, startStack } from '../tests/support/stack.mjs';
import { benchRights } from './bench_rights.mjs';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const TICKS_PER_S = Number(spawnSync('getconf', ['CLK_TCK']).stdout.toString());
const rows = [];

function row(what, ours, yardstick, ratio) {
  rows.push([what, ours, yardstick, ratio]);
  console.log(`${what.padEnd(46)} ${String(ours).padEnd(26)} ${String(yardstick).padEnd(30)} ${ratio}`);
}
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const p95 = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length * 0.95)];
const fixed = (value, digits = 2) => value.toFixed(digits);

/** CPU seconds of a process so far. */
function cpu(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}
function pss(pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Pss:\s+(\d+)/m.exec(text)[1]) / 1024;
}

/** One wrk window: requests/s and the server's CPU per request in microseconds. */
function load(url, pid, script) {
  const before = cpu(pid);
  const args = ['-t1', '-c16', '-d2s', ...(script ? ['-s', script] : []), url];
  const out = spawnSync('wrk', args).stdout.toString();
  const requests = Number(/(\d+) requests in/.exec(out)?.[1] ?? 0);
  const bad = Number(/Non-2xx or 3xx responses: (\d+)/.exec(out)?.[1] ?? 0);
  if (!requests || bad) throw new Error(`wrk on ${url}: ${requests} requests, ${bad} refused\n${out}`);
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)[1]), us: ((cpu(pid) - before) / requests) * 1e6 };
}

async function benchGateway(stack, work) {
  const [port] = await freePorts(1);
  const bare = spawn(join(build, 'bench/gateway'), ['loop', String(port)], { stdio: 'ignore' });
  try {
    const script = join(work, 'rpc.lua');
    const call = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'user.self', params: {} });
    writeFileSync(script, `wrk.method="POST"\nwrk.body=[[${call}]]\nwrk.headers["Content-Type"]="application/json"\n` +
      `wrk.headers["Authorization"]="Bearer ${stack.tokens.developer}"\n`);
    await new Promise((done) => setTimeout(done, 300));
    const { api } = await stack.pids();
    const got = { bare: [], health: [], rpc: [] };
    for (let i = 0; i < ROUNDS; i++) {
      got.bare.push(load(`http://127.0.0.1:${port}/healthz`, bare.pid));
      got.health.push(load(`${stack.apiUrl}/healthz`, api));
      got.rpc.push(load(`${stack.apiUrl}/rpc`, api, script));
    }
    const m = (key, field) => median(got[key].map((g) => g[field]));
    row('bare event-loop handler, GET', '', `${fixed(m('bare', 'rate'), 0)} req/s, ${fixed(m('bare', 'us'), 1)} us CPU`, '1');
    row('gateway, GET /healthz', `${fixed(m('health', 'rate'), 0)} req/s, ${fixed(m('health', 'us'), 1)} us CPU`, '', fixed(m('health', 'us') / m('bare', 'us')));
    row('gateway, POST /rpc user.self (signature checked)', `${fixed(m('rpc', 'rate'), 0)} req/s, ${fixed(m('rpc', 'us'), 1)} us CPU`, '', fixed(m('rpc', 'us') / m('bare', 'us')));
  } finally {
    bare.kill('SIGKILL');
  }
}

/** One streamed answer: time to first token, whole time, tokens. */
async function chat(stack, maxTokens, content) {
  const began = performance.now();
  let first = 0;
  let usage = null;
  const reply = await fetch(`${stack.apiUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
    body: JSON.stringify({ messages: [{ role: 'user', content }], max_tokens: maxTokens, temperature: 0, stream: true, stream_options: { include_usage: true } }),
  });
  let rest = '';
  for await (const piece of reply.body) {
    rest += Buffer.from(piece).toString();
    const events = rest.split('\n\n');
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith('data: {')) continue;
      const data = JSON.parse(event.slice(6));
      if (data.error) throw new Error(data.error.message);
      if (!first && data.choices?.[0]?.delta?.content) first = performance.now() - began;
      if (data.usage) usage = data.usage;
    }
  }
  return { first, whole: performance.now() - began, tokens: usage.completion_tokens, prompt: usage.prompt_tokens };
}

async function benchChat(stack) {
  const model = join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf');
  // Another beginning in each round: an answer may not find its prompt computed already, as the bare loop never does.
  const names = ['Amber', 'Birch', 'Cedar', 'Dune', 'Ember', 'Flint', 'Grove', 'Heron', 'Iris', 'Jade', 'Kestrel', 'Linden', 'Maple', 'North', 'Opal', 'Pine'];
  let asked = 0;
  const question = () => `${names[asked % names.length]} ${++asked} is the title. Write a long story about a lighthouse keeper and the sea.`;
  await chat(stack, 8, question());
  const { llmworker, llmserver, api } = await stack.pids();
  const ours = [];
  const bare = [];
  const parts = { worker: [], server: [], gateway: [] };
  for (let i = 0; i < ROUNDS; i++) {
    const before = [cpu(llmworker), cpu(llmserver), cpu(api)];
    const got = await chat(stack, 128, question());
    const spent = [cpu(llmworker) - before[0], cpu(llmserver) - before[1], cpu(api) - before[2]];
    ours.push(((spent[0] + spent[1] + spent[2]) * 1000) / got.tokens);
    parts.worker.push((spent[0] * 1000) / got.tokens);
    parts.server.push((spent[1] * 1000) / got.tokens);
    parts.gateway.push((spent[2] * 1000) / got.tokens);
    const out = spawnSync(join(build, 'bench/llm_bare'), [model, join(root, 'deps/llama/lib'), '1', '1', String(got.prompt), String(got.tokens)]);
    bare.push(JSON.parse(out.stdout.toString()).cpu_ms_per_token);
  }
  row('chat over HTTP, CPU ms per token (1 thread)', fixed(median(ours)), `${fixed(median(bare))} bare libllama loop`, fixed(median(ours) / median(bare), 3));
  row('  of it worker / llmserver / gateway', [parts.worker, parts.server, parts.gateway].map((p) => fixed(median(p))).join(' / '), '', '');
  const short = [];
  for (let i = 0; i < ROUNDS; i++) short.push(await chat(stack, 64, `${names[i % names.length]}, say hello.`));
  row('short chat: first token, ms', fixed(median(short.map((s) => s.first)), 0), 'target < 1000', '');
  const long = [];
  for (let i = 0; i < ROUNDS; i++) long.push(await chat(stack, 64, question()));
  row(`answer of ${median(long.map((s) => s.tokens))} tokens, ms (1 thread)`, fixed(median(long.map((s) => s.whole)), 0), 'target < 3000', '');
  row('memory of the model process, model loaded, MB PSS', fixed(pss(llmworker), 1), '', '');
}

async function benchRun(stack) {
  const direct = [];
  const ours = [];
  for (let i = 0; i < 30; i++) {
    let began = performance.now();
    spawnSync('/usr/bin/python3', ['-I', '-c', 'print(1)']);
    direct.push(performance.now() - began);
    began = performance.now();
    const result = await stack.rpc('run.exec', { project: stack.project, language: 'python', code: 'print(1)' });
    ours.push(performance.now() - began);
    if (result.end !== 'ok') throw new Error(`run.exec ended ${result.end}`);
  }
  row("run.exec python print(1) through the gateway, ms", `p50 ${fixed(median(ours), 1)}  p95 ${fixed(p95(ours), 1)}`, `p50 ${fixed(median(direct), 1)} started directly`, fixed(median(ours) / median(direct)));
  row('  over the bare command, ms', fixed(median(ours) - median(direct), 1), 'target < 30', '');
}

async function benchMemory() {
  const stack = await startStack({ llm: false });
  try {
    const pids = await stack.pids();
    const status = await stack.status();
    let sum = 0;
    for (const [name, pid] of Object.entries(pids)) {
      if (!pid) continue;
      let mb = pss(pid);
      if (name === 'postgres') {
        for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)) mb += pss(child);
      }
      sum += mb;
      row(`idle memory, ${name}, MB PSS`, fixed(mb, 1), '', '');
    }
    row(`idle memory, all ${status.parts.length + 1} parts without a model, MB PSS`, fixed(sum, 1), 'target < 150', '');
  } finally {
    await stack.stop();
  }
}

/** From the start of `up` to the login page, on a data folder that is made by it and on one that an earlier start left. */
async function timedStart(home) {
  const began = performance.now();
  const stack = await startStack({ home, setup: false });
  const page = await fetch(`${stack.url}/login`);
  const ms = performance.now() - began;
  await stack.stop();
  if (page.status !== 200) throw new Error(`login page: ${page.status}`);
  return ms;
}

async function benchStart(folder) {
  const fresh = [];
  const warm = [];
  chmodSync(folder, 0o755); // the services and the database have users of their own
  for (let i = 0; i < 3; i++) {
    const home = join(folder, `home-${i}`);
    fresh.push(await timedStart(home));
    warm.push(await timedStart(home));
  }
  row('up to login page, fresh data folder, ms', fixed(median(fresh), 0), 'target < 3000', '');
  row('up to login page, second start, ms', fixed(median(warm), 0), 'target < 3000', '');
}

const work = mkdtempSync(join(tmpdir(), 'cds-bench-'));
try {
  for (const name of ['gateway', 'llm_bare'])
    if (!existsSync(join(build, 'bench', name))) throw new Error(`build/bench/${name} is missing; run make bench`);
  const all = !process.argv.includes('rights');
  const stack = await startStack({ fresh: true, options: { 'llm.threads': '1', 'budget.month_tokens': '100000000' } });
  try {
    await stack.waitModel();
    if (all) {
      await benchGateway(stack, work);
      await benchRun(stack);
      await benchChat(stack);
    }
    await benchRights(stack, row);
  } finally {
    await stack.stop();
  }
  if (all) {
    await benchMemory();
    await benchStart(work);
  }
  writeFileSync(join(build, 'bench.md'), `| what | here | yardstick | ratio |\n|---|---|---|---|\n${rows.map((r) => `| ${r.join(' | ')} |`).join('\n')}\n`);
  console.log(`written to ${join(build, 'bench.md')}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
