// A model of random weights with the vocabulary of the default one (bench/llm_mkmodel.c), in a data folder of its own: fast, seldom ends an answer
// by itself, and soon repeats itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { llmClient } from './llm.mjs';
import { build, root, startStack } from './stack.mjs';

export const TINY = 'random-tiny';

/**
 * A studio whose model is such a one. `prepare(models)` may put more files into the folder of its models.
 * `wait: false`: it is not waited for.
 * @returns the stack; its stop() removes the folder too
 */
export async function startTiny({ options = {}, prepare = () => {}, wait = true } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'cds-tiny-'));
  const home = join(folder, 'home');
  const models = join(home, 'models');
  chmodSync(folder, 0o755);
  mkdirSync(models, { recursive: true });
  const file = join(models, `${TINY}.gguf`);
  const made = spawnSync(join(build, 'bench/llm_mkmodel'), [join(root, 'deps/models/SmolLM2-135M-Instruct.Q4_1.gguf'), file]);
  assert.equal(made.status, 0, made.stderr?.toString());
  prepare(models, file);
  const stack = await startStack({ home, options: { 'llm.model': file, ...options } });
  const stop = stack.stop;
  stack.stop = async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  };
  if (wait) await stack.waitModel();
  return stack;
}

/** Like withModel of llm.mjs, with such a model: where what is said does not matter, and its speed does. LONG tokens take it some seconds. */
export function withTiny(ready, options = {}) {
  let stack;
  before(async () => {
    stack = await startTiny({ options: { 'llm.request_tokens': '16384', 'llm.context_tokens': '131072', ...options } });
    ready({ stack, llm: llmClient(stack, TINY) });
  });
  after(() => stack?.stop());
}
export const LONG = 12_000;
