#!/usr/bin/env node
// tools/bench_llm: the scheduler's figures of docs/performance.md. Not a gate: machines are shared.
//
// work    what workloads compute (build/bench/llm_sched), each beside its own switch off: exact counters, and CPU time at one thread; on a model of
//         random weights (8 layers of 256, 19 M parameters, Q8_0), as the counters are the same for every model
// lookup  CPU time per token of an answer that copies, or does not, with guesses by lookup and without
// cpu     CPU time per token at one thread over HTTP against the bare libllama loop (build/bench/llm_bare) and node-llama-cpp, interleaved
// schema  CPU time per token under a JSON schema against plain text of the same length
// load    load to the first token against a bare load; unload: how long and what stays
// flat    resident memory over 10,000 requests
//
//   tools/bench_llm.mjs [work|lookup|cpu|schema|load|flat|all] [MODEL.gguf]
//
// node-llama-cpp is what bench/node/package.json pins; without it (`make bench-llm` installs it) its columns stay empty.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { live } from '../bench/llm_live.mjs';
import { ROUNDS, figure, heads, json, median, row } from '../bench/table.mjs';
import { build, root } from '../tests/support/stack.mjs';

const [part = 'all', model = join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf')] = process.argv.slice(2);
const lib = join(root, 'deps/llama/lib');
const folder = mkdtempSync(join(tmpdir(), 'cds-bench-'));
const small = join(folder, 'random.gguf');
const sched = (scenario, chunk = 64, fifo = 0, share = 1) => json(join(build, 'bench/llm_sched'), [small, lib, scenario, chunk, fifo, share]);

function work() {
  spawnSync(join(build, 'bench/llm_mkmodel'), [model, small, '256', '8', '4', '768']);
  heads('workload', 'ours', 'switch off', 'ratio');
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
  row('3,800 prompt tokens in steps of 64, CPU ms per prompt token', figure(ours, 3), figure(theirs, 3),
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
  heads('answer', 'lookup, CPU ms per token', 'plain', 'times as fast', 'steps', 'came true / not');
  for (const [name, file] of [['135 M, Q8_0, random weights', twin], ['the given model', model]])
    for (const scenario of ['copy', 'random']) {
      const run = (on) => json(join(build, 'bench/llm_sched'), [file, lib, scenario, 64, 0, 1, 1, on]);
      const [with_, without] = [[], []];
      for (let i = 0; i < ROUNDS; i++) {
        without.push(run(0));
        with_.push(run(1));
      }
      const [ours, plain] = [with_, without].map((list) => list.map((r) => r.cpu_ms_per_token));
      row(`${scenario}, ${name}`, figure(ours), figure(plain), (median(plain) / median(ours)).toFixed(2),
        `${with_[0].steps} of ${without[0].steps}`, `${with_[0].validated} / ${with_[0].refuted}`);
    }
}

try {
  if (part === 'work' || part === 'all') work();
  if (part === 'lookup' || part === 'all') lookup();
  for (const [name, run] of Object.entries(live({ model, lib })))
    if (part === name || part === 'all') await run();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
