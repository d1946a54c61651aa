// Which build of libllama a model process takes, with folders of backends that do not work here: each failure has a name, and `auto` goes on.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { llmClient } from '../support/llm.mjs';
import { build, waitFor } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const folder = mkdtempSync(join(tmpdir(), 'cds-backend-'));
const cpu = realpathSync(join(build, 'lib/llama'));
let stack, llm;

/** The folder of a backend: the CPU's libraries under it, and what `change` makes of them. */
function backend(name, change = () => {}) {
  const at = join(folder, `llama-${name}`);
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at);
  for (const file of readdirSync(cpu)) symlinkSync(join(cpu, file), join(at, file));
  change(at);
}
before(async () => {
  chmodSync(folder, 0o755);
  symlinkSync(cpu, join(folder, 'llama'));
  backend('cuda');
  backend('vulkan', (at) => {
    rmSync(join(at, 'libllama-common.so'));
    writeFileSync(join(at, 'libllama-common.so'), 'this is no library');
  });
  stack = await startTiny({ options: { 'llm.slots': '2', 'llm.context_tokens': '1024', 'llm.lib_dir': join(folder, 'llama') } });
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const model = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === TINY);
async function reload(settings) {
  const set = await llm.call('PUT', `/admin/models/${TINY}/settings`, settings, 'admin');
  assert.equal(set.status, 200, set.text);
  await llm.call('POST', '/admin/unload', { model: TINY }, 'admin');
  return llm.call('POST', '/admin/load', { model: TINY }, 'admin');
}

describe('a backend', () => {
  test('that_does_not_load_is_left_for_the_next_with_a_reason_in_status_and_log', async () => {
    const { compute } = await model();
    assert.equal(compute.backend, 'cpu');
    assert.deepEqual([compute.devices, compute.layers], [[], 0]);
    assert.deepEqual(compute.skipped.map((s) => s.backend), ['cuda', 'vulkan']);
    assert.match(compute.skipped[0].reason, /The backend cuda did not load: it is not in the folder of the backend/);
    assert.match(compute.skipped[1].reason, /exit status 127/);
    const logged = () => stack.logTail(400).filter((l) => l.msg === 'a backend is not used');
    const lines = await waitFor('both are in the log', () => logged().length >= 2 && logged());
    assert.deepEqual(lines.map((l) => [l.backend, l.next]), [['cuda', 'vulkan'], ['vulkan', 'cpu']]);
    assert.equal((await llm.complete({ prompt: 'The', max_tokens: 2 })).status, 200);
  });
  test('that_is_set_and_does_not_load_starts_no_model_and_names_what_is_missing', async () => {
    for (const [name, message, hint] of [['cuda', /The backend cuda did not load: it is not in the folder of the backend/, /CUDA runtime/], ['vulkan', /exit status 127/, /./]]) {
      const got = await reload({ backend: name });
      assert.equal(got.status >= 500, true, got.text);
      assert.match(got.json.error.message, message);
      if (name === 'cuda') assert.match(got.json.error.hint, hint);
      assert.equal((await llm.call('GET', '/admin/models', undefined, 'admin')).json.models.find((m) => m.id === TINY).state, 'failed');
    }
    assert.equal((await reload({ backend: 'cpu' })).status, 200);
    assert.deepEqual((await model()).compute.skipped, []);
  });
  test('that_names_a_library_which_is_not_there_says_which', async () => {
    backend('cuda', (at) => writeFileSync(join(at, 'libggml-cuda.so'), 'this is no library'));
    const got = await reload({ backend: 'cuda' });
    assert.equal(got.status, 503, got.text);
    assert.match(got.json.error.message, /libggml-cuda\.so: (file too short|invalid ELF header)/);
  });
  test('that_is_set_and_not_installed_is_refused_with_the_command_that_installs_it', async () => {
    rmSync(join(folder, 'llama-vulkan'), { recursive: true });
    const got = await reload({ backend: 'vulkan' });
    assert.equal(got.status, 503, got.text);
    assert.equal(got.json.error.rule, 'llm.backend');
    assert.match(got.json.error.message, /is not installed here: there is no libllama in .*llama-vulkan/);
    assert.match(got.json.error.hint, /CDS_BACKENDS=vulkan make setup/);
    const { system } = (await llm.call('GET', '/admin/status', undefined, 'admin')).json;
    assert.deepEqual(system.backends.map((b) => [b.name, b.installed]), [['cuda', true], ['vulkan', false], ['cpu', true]]);
    assert.equal((await reload({ backend: null })).status, 200);
    assert.deepEqual((await model()).compute.skipped.map((s) => s.backend), ['cuda']);
  });
  test('that_is_a_gpu_takes_its_layers_off_the_memory_of_this_machine_and_the_cpu_does_not', async () => {
    const show = async () => (await llm.call('GET', `/admin/models/${TINY}/settings`, undefined, 'admin')).json;
    const set = async (changes) => assert.equal((await llm.call('PUT', `/admin/models/${TINY}/settings`, changes, 'admin')).status, 200);
    await llm.call('POST', '/admin/unload', { model: TINY }, 'admin');
    const plain = await show();
    assert.equal(plain.gpu_bytes, 0, 'auto may find no room there: all of it may lie here');
    await set({ gpu_layers: 'max' });
    const all = await show();
    assert.ok(all.gpu_bytes > 0);
    assert.equal(all.need_bytes + all.gpu_bytes, plain.need_bytes);
    await set({ gpu_layers: { min: 1 } });
    const one = await show();
    assert.ok(one.gpu_bytes > 0 && one.gpu_bytes < all.gpu_bytes);
    await set({ gpu_layers: 'max', backend: 'cpu' });
    assert.deepEqual([(await show()).gpu_bytes, (await show()).need_bytes], [0, plain.need_bytes]);
    await set({ gpu_layers: null, backend: null });
  });
  test('that_fails_leaves_the_next_only_the_memory_there_is', async () => {
    const path = `/admin/models/${TINY}/settings`;
    await llm.call('PUT', path, { gpu_layers: 'max' }, 'admin');
    const { need_bytes, gpu_bytes } = (await llm.call('GET', path, undefined, 'admin')).json;
    const lib = join(folder, 'llama'), small = await startTiny({
      options: { 'llm.slots': '2', 'llm.context_tokens': '1024', 'llm.lib_dir': lib, 'llm.memory_bytes': String(Math.floor(need_bytes + gpu_bytes / 2)), 'llm.model': 'none' }, wait: false,
    });
    try {
      const api = llmClient(small);
      const load = () => api.call('POST', '/admin/load', { model: TINY }, 'admin');
      const whole = await load();
      assert.equal(whole.status, 507, 'without a layer that is sure to go there it does not fit');
      assert.equal((await api.call('PUT', path, { gpu_layers: 'max' }, 'admin')).status, 200);
      const got = await load();
      assert.equal(got.status, 507, 'with a GPU it would fit, but that one does not work');
      assert.equal(got.json.error.rule, 'llm.memory');
      await waitFor('that it was tried is in the log', () => small.logTail(400).some((l) => l.msg === 'a backend is not used' && l.backend === 'cuda'));
      const refused = (await api.call('GET', '/admin/models', undefined, 'admin')).json.models.find((m) => m.id === TINY);
      assert.equal(refused.pid ?? null, null);
    } finally {
      await small.stop();
      await llm.call('PUT', path, { gpu_layers: null }, 'admin');
    }
  });
  test('and_layers_that_are_none_are_400_by_name', async () => {
    for (const changes of [{ backend: 'rocm' }, { gpu_layers: 'all' }, { gpu_layers: -1 }, { gpu_layers: 1.5 }, { gpu_layers: {} }, { gpu_layers: { min: 3, max: 2 } },
      { gpu_layers: { fit_context: 7, min: 1 } }, { gpu_layers: { fit: 4096 } }, { gpu_layers: [1] }, { gpu_layers: 1025 }]) {
      const got = await llm.call('PUT', `/admin/models/${TINY}/settings`, changes, 'admin');
      assert.equal(got.status, 400, JSON.stringify(changes));
      assert.match(got.json.error.message, new RegExp(`"${Object.keys(changes)[0]}" must be`));
    }
  });
  test('and_layers_are_set_by_a_call_of_the_page_too', async () => {
    for (const value of [{ min: 0, max: 2 }, { fit_context: 4096 }, 3, 'max', null]) {
      const { settings } = await stack.rpc('llm.settings.set', { model: TINY, changes: [{ name: 'gpu_layers', value }] }, 'admin');
      assert.deepEqual(settings.find((s) => s.name === 'gpu_layers').value, value ?? 'auto');
    }
  });
  test('and_doctor_says_which_are_installed', async () => {
    const got = await stack.command(['doctor', '--json']);
    const one = JSON.parse(got.stdout).findings.find((f) => f.name === 'gpu');
    assert.deepEqual([one.verdict, /backends installed: cuda;/.test(one.text)], ['works', true], got.stdout);
    assert.ok(existsSync(join(folder, 'llama-cuda')));
  });
});
