// bench/llm_node.mjs: node-llama-cpp on the same work as bench/llm_bare.c, one JSON line. CPU time is that of this process while it generates.
//
//   node bench/llm_node.mjs MODULES MODEL.gguf [threads=1] [streams=1] [prompt=64] [answer=128]
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, modelPath, threads = '1', streams = '1', prompt = '64', answer = '128'] = process.argv.slice(2);
const entry = createRequire(join(modules, 'package.json')).resolve('node-llama-cpp');
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const [T, S, P, A] = [threads, streams, prompt, answer].map(Number);

const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: LlamaLogLevel.error, maxThreads: T });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ sequences: S, contextSize: P + A + 8, batchSize: 512, threads: T });
let seed = 1;
const random = (most) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * most);
};
const before = process.cpuUsage();
const began = performance.now();
const firsts = [];
await Promise.all(
  Array.from({ length: S }, async () => {
    const tokens = Array.from({ length: P }, () => 300 + random(40000));
    let count = 0;
    for await (const token of context.getSequence().evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      if (count === 0) firsts.push(performance.now() - began);
      if (++count >= A || token === undefined) break;
    }
  }),
);
const used = process.cpuUsage(before);
console.log(JSON.stringify({
  bench: 'llm_node', threads: T, streams: S, prompt_tokens: P, answer_tokens: A,
  cpu_ms_per_token: (used.user + used.system) / 1000 / (S * A), worst_over_median_first: Math.max(...firsts) / firsts.sort((a, b) => a - b)[Math.floor(S / 2)],
}));
process.exit(0);
