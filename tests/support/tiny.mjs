// A model of random weights with the vocabulary of the default one (bench/llm_mkmodel.c), in a data folder of its own: fast, seldom ends an answer
// by itself, and soon repeats itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, root, startStack } from './stack.mjs';

export const TINY = 'random-tiny';

/**
 * A studio whose model is such a one. `prepare(models)` may put more files into the folder of its models.
 * @returns the stack; its stop() removes the folder too
 */
export async function startTiny({ options = {}, prepare = () => {} } = {}) {
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
    rmSync(folder, { recursive: true, force: true });
  };
  await stack.waitModel();
  return stack;
}
