// The figures of the model server that need the whole server: over HTTP, on a studio of their own. Called by tools/bench_llm.mjs.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { llmClient } from '../tests/support/llm.mjs';
import { build, root, startStack, waitFor } from '../tests/support/stack.mjs';
import { ROUNDS, figure, heads, json, median, row } from './table.mjs';

const TICKS_PER_S = Number(spawnSync('getconf', ['CLK_TCK']).stdout.toString());
const CONTEXT = '8192'; // of both: the library clears what it takes
const MANY = Number(process.env.BENCH_REQUESTS ?? 10_000);
const modules = process.env.CDS_BENCH_NODE ?? join(root, 'bench/node');

/** CPU seconds of a process so far. */
function cpuOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

/** Memory of a process that is in memory and its own, MiB: what is mapped from files that others map too counts by its share. */
const pssOf = (pid) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]) / 1024;
const residentOf = (pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

/** CPU milliseconds that worker and server take for something. */
async function cpuMs(stack, what) {
  const { llmworker, llmserver } = await stack.pids();
  const before = cpuOf(llmworker) + cpuOf(llmserver);
  const got = await what();
  return { got, ms: (cpuOf(llmworker) + cpuOf(llmserver) - before) * 1000 };
}

/** A studio with one thread for the model. */
async function withStudio(model, options, use) {
  const stack = await startStack({ options: { 'llm.model': model, 'llm.threads': '1', 'llm.context_tokens': CONTEXT, ...options } });
  try {
    const found = await stack.waitModel();
    await use(stack, llmClient(stack), found.id);
  } finally {
    await stack.stop();
  }
}

const PROMPT = 64; // tokens, of all three

let prompts = 0;

/** Tokens as the yardsticks draw them: any; the first is that of no other prompt, so that none was read before. */
function newPrompt() {
  let state = ++prompts;
  return Array.from({ length: PROMPT }, (_, at) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return 300 + (at ? Math.floor((state / 0x80000000) * 40000) : prompts);
  });
}

/** So many streams at once over HTTP: CPU ms per token of worker and server together, and their first tokens. */
async function streams(stack, count, answer) {
  const { got, ms } = await cpuMs(stack, () => {
    const began = performance.now();
    return Promise.all(Array.from({ length: count }, async () => {
      const reply = await fetch(`${stack.llmUrl}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
        body: JSON.stringify({
          prompt: newPrompt(), max_tokens: answer, ignore_eos: true, temperature: 0, speculation: 'off', stream: true, stream_options: { include_usage: true },
        }),
      });
      let text = '';
      let first = 0;
      for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
        text += piece;
        if (!first && text.includes('data: ')) first = performance.now() - began;
      }
      const used = (name) => Number(new RegExp(`"${name}":(\\d+)`).exec(text)?.[1] ?? 0);
      return { first, tokens: used('completion_tokens'), read: used('prompt_tokens') - used('cached_tokens') };
    }));
  });
  const tokens = got.reduce((sum, one) => sum + one.tokens, 0);
  if (tokens !== count * answer) throw new Error(`${count} streams of ${answer} tokens gave ${tokens}`);
  if (got.some((one) => one.read !== PROMPT)) throw new Error(`prompts of ${PROMPT} tokens were read as ${got.map((one) => one.read)}`);
  const firsts = got.map((one) => one.first);
  return { ms: ms / tokens, equal: Math.max(...firsts) / median(firsts) };
}

async function cpu(model, lib) {
  await withStudio(model, { 'llm.slots': '32' }, async (stack, llm, id) => {
    // The yardsticks begin with an empty KV cache, so we do too; what prompts kept from earlier requests cost has a row of its own.
    const empty = async () => {
      await sleep(100); // the yardsticks held this process up: it sees only now which connections the server has closed meanwhile
      for (const path of ['/admin/unload', '/admin/load']) await llm.call('POST', path, { model: id }, 'admin');
      await stack.waitModel();
      await streams(stack, 1, 8);
    };
    const other = existsSync(join(modules, 'node_modules/node-llama-cpp'));
    heads('streams', 'ours over HTTP, CPU ms per token', 'bare loop', 'ratio', 'node-llama-cpp', 'ratio', 'worst / median first token');
    for (const [count, answer] of [[1, 128], [8, 48], [32, 32]].slice(0, Number(process.env.BENCH_STREAMS ?? 3))) {
      const [ours, bare, node] = [[], [], []];
      for (let i = 1; i <= ROUNDS; i++) {
        await empty();
        ours.push(await streams(stack, count, answer));
        bare.push(json(join(build, 'bench/llm_bare'), [model, lib, 1, count, PROMPT, answer]).cpu_ms_per_token);
        if (other) node.push(json(process.execPath, [join(root, 'bench/llm_node.mjs'), modules, model, 1, count, PROMPT, answer]).cpu_ms_per_token);
      }
      const ms = ours.map((o) => o.ms);
      row(count, figure(ms), figure(bare), (median(ms) / median(bare)).toFixed(3), other ? figure(node) : '', other ? (median(ms) / median(node)).toFixed(3) : '',
        median(ours.map((o) => o.equal)).toFixed(2));
      if (count < 32) continue;
      const full = [];
      for (let i = 1; i <= ROUNDS + 2; i++) full.push(await streams(stack, count, answer));
      const kept = full.slice(2).map((o) => o.ms);
      row(`${count}, the cache full of kept prompts`, figure(kept), '', (median(kept) / median(bare)).toFixed(3), '', other ? (median(kept) / median(node)).toFixed(3) : '',
        median(full.slice(2).map((o) => o.equal)).toFixed(2));
    }
  });
}

async function schema(model) {
  const tokens = 160;
  const kinds = {
    'array of integers': { type: 'array', items: { type: 'integer' }, minItems: 400 },
    'array of strings': { type: 'array', items: { type: 'string', minLength: 40 }, minItems: 100 },
    'one string': { type: 'string', minLength: 2000 },
  };
  await withStudio(model, {}, async (stack, llm) => {
    const one = async (more) => {
      const { got, ms } = await cpuMs(stack, () => llm.complete({ prompt: 'The list of the day is: ', max_tokens: tokens, temperature: 0, speculation: 'off', ...more }));
      if (got.json?.usage?.completion_tokens !== tokens) throw new Error(`not ${tokens} tokens: ${got.text}`);
      return ms / tokens;
    };
    heads('answer', 'under the schema, CPU ms per token', 'plain text', 'ratio');
    for (const [name, json_schema] of Object.entries(kinds)) {
      const [bound, plain] = [[], []];
      await one({ json_schema });
      for (let i = 0; i < ROUNDS; i++) {
        bound.push(await one({ json_schema }));
        plain.push(await one({ ignore_eos: true }));
      }
      row(name, figure(bound), figure(plain), (median(bound) / median(plain)).toFixed(3));
    }
  });
}

async function load(model, lib) {
  await withStudio(model, {}, async (stack, llm, id) => {
    const admin = (path) => llm.call('POST', path, { model: id }, 'admin');
    const tree = async () => Object.values(await stack.pids()).filter(Boolean).reduce((sum, pid) => sum + pssOf(pid), 0);
    const [ours, bare, unloads, left] = [[], [], [], []];
    await admin('/admin/unload');
    for (let i = 0; i < ROUNDS; i++) {
      const before = await tree();
      const began = performance.now();
      const loading = admin('/admin/load');
      await waitFor('its first token', async () => (await llm.complete({ prompt: `${i} `, max_tokens: 1 })).status === 200, 60_000, 2);
      ours.push(performance.now() - began);
      await loading;
      const end = performance.now();
      await admin('/admin/unload');
      unloads.push(performance.now() - end);
      left.push(((await tree()) / before - 1) * 100);
      bare.push(json(join(build, 'bench/llm_bare'), [model, lib, 1, 1, 2, 1, CONTEXT]).first_token_ms);
    }
    heads('', 'ours', 'bare loop', 'difference');
    row('load to the first token, ms', figure(ours, 0), figure(bare, 0), (median(ours) - median(bare)).toFixed(0));
    row('unload, ms', figure(unloads, 0), '', '');
    row('memory of all processes after it, % more than before the load', figure(left, 1), '', '');
  });
}

async function flat(model) {
  await withStudio(model, { 'llm.slots': '16' }, async (stack, llm) => {
    heads('requests so far', 'llmserver resident, MiB', 'llmworker resident, MiB');
    const { llmworker, llmserver } = await stack.pids();
    let done = 0;
    let refused = 0;
    for (const until of [0, 0.1, 0.2, 0.4, 0.6, 0.8, 1].map((part) => Math.floor(part * MANY))) {
      await Promise.all(Array.from({ length: 16 }, async () => {
        while (done < until) {
          const n = ++done;
          const got = await llm.complete({ prompt: `Request ${n % 97}`, max_tokens: 1, temperature: 0 });
          if (got.status !== 200) refused++;
        }
      }));
      row(done, residentOf(llmserver).toFixed(1), residentOf(llmworker).toFixed(1));
    }
    if (refused) console.log(`${refused} of them were refused`);
  });
}

/** The parts by name. */
export const live = ({ model, lib }) => ({
  cpu: () => cpu(model, lib),
  schema: () => schema(model),
  load: () => load(model, lib),
  flat: () => flat(model),
});
