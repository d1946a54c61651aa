#!/usr/bin/env node
// tools/bench_llm: the scheduler's figures of docs/performance.md. Not a gate: machines are shared.
//
// work    what workloads compute (build/bench/llm_sched), each beside its own switch off: exact counters, and CPU time at one thread; on a model of
//         random weights (8 layers of 256, 19 M parameters, Q8_0), as the counters are the same for every model
// lookup  CPU time per token of an answer that copies, or does not, with guesses by lookup and without
// cpu     CPU time per token at one thread over HTTP against the bare libllama loop (build/bench/llm_bare) and node-llama-cpp, interleaved
//
//   tools/bench_llm.mjs [work|lookup|cpu|all] [MODEL.gguf]
//
// node-llama-cpp is what bench/node/package.json pins; without it (npm ci in bench/node) its columns stay empty.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, root, startStack } from '../tests/support/stack.mjs';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const TICKS_PER_S = Number(spawnSync('getconf', ['CLK_TCK']).stdout.toString());
const [part = 'all', model = join(root, 'deps/models/SmolLM2-135M-Instruct.Q4_1.gguf')] = process.argv.slice(2);
const lib = join(root, 'deps/llama/lib');
const modules = process.env.CDS_BENCH_NODE ?? join(root, 'bench/node');
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) => `${Math.min(...list).toFixed(2)}-${Math.max(...list).toFixed(2)}`;
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);

function json(program, args) {
  const out = spawnSync(program, args.map(String), { encoding: 'utf8', maxBuffer: 1 << 24 });
  if (out.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${out.stderr}`);
  return JSON.parse(out.stdout.trim().split('\n').at(-1));
}
const folder = mkdtempSync(join(tmpdir(), 'cds-bench-'));
const small = join(folder, 'random.gguf');
const sched = (scenario, chunk = 64, fifo = 0, share = 1) => json(join(build, 'bench/llm_sched'), [small, lib, scenario, chunk, fifo, share]);

function work() {
  spawnSync(join(build, 'bench/llm_mkmodel'), [model, small, '256', '8', '4', '768']);
  row('workload', 'ours', 'switch off', 'ratio');
  row('---', '---', '---', '---');
  const chunked = [];
  const whole = [];
  for (let i = 0; i < ROUNDS; i++) {
    chunked.push(sched('alone'));
    whole.push(sched('alone', 2048));
  }
  const cpu = (list) => list.map((r) => r.cpu_ms_per_prompt_token);
  const [ours, theirs] = [cpu(chunked), cpu(whole)];
  const [gap, wide] = [sched('enter'), sched('enter', 2048)].map((r) => r.most_between);
  row('prompt tokens between two tokens of an answer while 3,800 enter', gap, `${wide} (steps of 2,048)`, (gap / wide).toFixed(3));
  row('3,800 prompt tokens in steps of 64, CPU ms per prompt token', `${median(ours).toFixed(3)} (${spread(ours)})`, `${median(theirs).toFixed(3)} (${spread(theirs)})`,
    `${(median(theirs) / median(ours)).toFixed(2)} of the rate`);
  const [srf, fifo] = [sched('behind'), sched('behind', 2048, 1)];
  row('foreign prompt tokens before a 16-token prompt behind 3,800', srf.foreign, `${fifo.foreign} (in order of arrival)`, (srf.foreign / fifo.foreign).toFixed(3));
  const [shared, alone] = [sched('together'), sched('together', 64, 0, 0)];
  row('8 prompts at once, 1,500 common tokens: tokens computed', shared.computed, `${alone.computed} (no sharing)`, (shared.computed / alone.computed).toFixed(3));
  row('  CPU ms', shared.cpu_ms.toFixed(0), alone.cpu_ms.toFixed(0), (shared.cpu_ms / alone.cpu_ms).toFixed(2));
  const [busy, cold] = [sched('busy'), sched('busy', 64, 0, 0)];
  row('2,000 tokens held by a busy request: tokens computed', busy.computed, `${cold.computed} (no sharing)`, (busy.computed / cold.computed).toFixed(3));
  row('steps to the first token of one request beside a hundred of another key', sched('keys').steps_to_first, '', '');
}

function lookup() {
  const twin = join(folder, 'twin.gguf');
  spawnSync(join(build, 'bench/llm_mkmodel'), [model, twin, '576', '30', '9', '1536']);
  row('answer', 'lookup, CPU ms per token', 'plain', 'times as fast', 'steps', 'came true / not');
  row('---', '---', '---', '---', '---', '---');
  for (const [name, file] of [['135 M, Q8_0, random weights', twin], ['the given model', model]])
    for (const scenario of ['copy', 'random']) {
      const run = (on) => json(join(build, 'bench/llm_sched'), [file, lib, scenario, 64, 0, 1, 1, on]);
      const [with_, without] = [[], []];
      for (let i = 0; i < ROUNDS; i++) {
        without.push(run(0));
        with_.push(run(1));
      }
      const [ours, plain] = [with_, without].map((list) => list.map((r) => r.cpu_ms_per_token));
      row(`${scenario}, ${name}`, `${median(ours).toFixed(2)} (${spread(ours)})`, `${median(plain).toFixed(2)} (${spread(plain)})`, (median(plain) / median(ours)).toFixed(2),
        `${with_[0].steps} of ${without[0].steps}`, `${with_[0].validated} / ${with_[0].refuted}`);
    }
}

/** CPU seconds of a process so far. */
function cpuOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

/** So many streams at once over HTTP: CPU ms per token of worker and server together, and their first tokens. */
async function streams(stack, count, answer, round) {
  const { llmworker, llmserver } = await stack.pids();
  const before = cpuOf(llmworker) + cpuOf(llmserver);
  const began = performance.now();
  const got = await Promise.all(Array.from({ length: count }, async (_, i) => {
    const words = Array.from({ length: 60 }, (_, n) => ['river', 'stone', 'bridge', 'market', 'winter', 'garden'][(round * 131 + i * 17 + n * n * 7) % 6]);
    const reply = await fetch(`${stack.llmUrl}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
      body: JSON.stringify({ prompt: `${round} ${i} ${words.join(' ')}`, max_tokens: answer, temperature: 0, stream: true, stream_options: { include_usage: true } }),
    });
    let text = '';
    let first = 0;
    for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (!first && text.includes('data: ')) first = performance.now() - began;
    }
    return { first, tokens: Number(/"completion_tokens":(\d+)/.exec(text)?.[1] ?? 0) };
  }));
  const tokens = got.reduce((sum, one) => sum + one.tokens, 0);
  const firsts = got.map((one) => one.first);
  return { ms: ((cpuOf(llmworker) + cpuOf(llmserver) - before) * 1000) / tokens, equal: Math.max(...firsts) / median(firsts), tokens };
}

async function cpu() {
  const stack = await startStack({ options: { 'llm.model': model, 'llm.threads': '1', 'llm.slots': '32', 'llm.context_tokens': '8192' } });
  try {
    await stack.waitModel();
    await streams(stack, 1, 8, 0);
    const other = existsSync(join(modules, 'node_modules/node-llama-cpp'));
    row('streams', 'ours over HTTP, CPU ms per token', 'bare loop', 'ratio', 'node-llama-cpp', 'ratio', 'worst / median first token');
    row('---', '---', '---', '---', '---', '---', '---');
    for (const [count, answer] of [[1, 128], [8, 48], [32, 32]].slice(0, Number(process.env.BENCH_STREAMS ?? 3))) {
      const ours = [];
      const bare = [];
      const node = [];
      for (let i = 1; i <= ROUNDS; i++) {
        ours.push(await streams(stack, count, answer, i * 100 + count));
        bare.push(json(join(build, 'bench/llm_bare'), [model, lib, 1, count, 64, answer]).cpu_ms_per_token);
        if (other) node.push(json(process.execPath, [join(root, 'bench/llm_node.mjs'), modules, model, 1, count, 64, answer]).cpu_ms_per_token);
      }
      const ms = ours.map((o) => o.ms);
      row(count, `${median(ms).toFixed(2)} (${spread(ms)})`, `${median(bare).toFixed(2)} (${spread(bare)})`, (median(ms) / median(bare)).toFixed(3),
        other ? `${median(node).toFixed(2)} (${spread(node)})` : '', other ? (median(ms) / median(node)).toFixed(3) : '', median(ours.map((o) => o.equal)).toFixed(2));
    }
  } finally {
    await stack.stop();
  }
}

try {
  if (part === 'work' || part === 'all') work();
  if (part === 'lookup' || part === 'all') lookup();
  if (part === 'cpu' || part === 'all') await cpu();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
