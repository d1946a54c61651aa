// A model on a GPU: Mesa's Vulkan in software (lavapipe) stands for one. Needs the prebuilt Vulkan libraries (CDS_BACKENDS=vulkan make setup) and the
// Debian packages libvulkan1 and mesa-vulkan-drivers; without them these tests are skipped, and say so.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { llmClient } from '../support/llm.mjs';
import { build } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const icd = '/usr/share/vulkan/icd.d';
const missing = [
  existsSync(join(build, 'lib/llama-vulkan/libggml-vulkan.so')) ? null : 'the Vulkan build of libllama (CDS_BACKENDS=vulkan make setup)',
  existsSync('/usr/lib/x86_64-linux-gnu/libvulkan.so.1') ? null : 'Debian package libvulkan1',
  existsSync(icd) && readdirSync(icd).some((f) => f.startsWith('lvp_icd')) ? null : 'Debian package mesa-vulkan-drivers',
].filter(Boolean);
const skip = missing.length ? `SKIPPED, no Vulkan here: ${missing.join(', ')} missing` : false;
if (skip) console.log(`# ${skip}`);

let stack, llm;
before(async () => {
  if (skip) return;
  stack = await startTiny({ options: { 'llm.slots': '2', 'llm.request_tokens': '512', 'llm.context_tokens': '1024', 'llm.gpu_devices': '0', 'llm.silent_ms': 300000 } });
  llm = llmClient(stack);
});
after(() => stack?.stop());

const settings = (changes) => llm.call('PUT', `/admin/models/${TINY}/settings`, changes, 'admin');
const setting = async (name) => (await llm.call('GET', `/admin/models/${TINY}/settings`, undefined, 'admin')).json.settings.find((s) => s.name === name);
const model = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === TINY);
async function reload(changes) {
  const set = await settings(changes);
  assert.equal(set.status, 200, set.text);
  await llm.call('POST', '/admin/unload', { model: TINY }, 'admin');
  return llm.call('POST', '/admin/load', { model: TINY }, 'admin');
}
const loaded = async (changes) => {
  const got = await reload(changes);
  assert.equal(got.status, 200, got.text);
  return (await model()).compute;
};

// Counts as one that was skipped where its suite is not even begun.
test('there is a Vulkan build, a loader and a driver', { skip }, () => assert.deepEqual(missing, []));

describe('a model on Vulkan', { skip }, () => {
  test('auto_takes_it_before_the_cpu_and_status_says_backend_devices_and_layers', async () => {
    const { compute } = await model();
    assert.equal(compute.backend, 'vulkan', JSON.stringify(compute));
    assert.deepEqual(compute.skipped, []);
    assert.deepEqual(compute.devices, ['Vulkan0']);
    assert.equal(compute.layers, compute.layers_total);
    assert.ok(compute.free_bytes > 2 ** 20);
    const { system } = (await llm.call('GET', '/admin/status', undefined, 'admin')).json;
    assert.ok(system.devices.some((d) => d.backend === 'Vulkan' && /llvmpipe/.test(d.description)), JSON.stringify(system.devices));
    assert.equal(system.backends.find((b) => b.name === 'vulkan').installed, true);
    const origin = await setting('backend');
    assert.deepEqual([origin.value, origin.origin], ['auto', 'default']);
  });
  // The driver translates each kernel at its first use, which takes it most of a minute.
  test('it_answers_and_its_process_writes_to_no_file', { timeout: 300_000 }, async () => {
    const got = await llm.complete({ prompt: 'The', max_tokens: 2, temperature: 0, ignore_eos: true });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.usage.completion_tokens, 2);
    const { pid } = await model();
    assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /Seccomp:\s+2/);
    const env = readFileSync(`/proc/${pid}/environ`, 'utf8');
    assert.ok(env.includes('GGML_VK_VISIBLE_DEVICES=0') && env.includes('MESA_SHADER_CACHE_DISABLE=true'));
  });
  test('layers_are_as_many_as_the_setting_says', async () => {
    const all = (await model()).compute.layers_total;
    for (const [value, layers] of [[0, 0], [1, 1], ['max', all], [1000, all], [{ min: 0, max: 2 }, 2], [{ fit_context: 4096 }, all], ['auto', all]]) {
      const compute = await loaded({ gpu_layers: value });
      assert.deepEqual([compute.backend, compute.layers], ['vulkan', layers], JSON.stringify(value));
      const row = await setting('gpu_layers');
      assert.deepEqual([row.value, row.origin, row.pending], [value, 'model', false]);
    }
    assert.equal((await setting('gpu_layers')).origin, 'model');
    await settings({ gpu_layers: null });
    assert.deepEqual([(await setting('gpu_layers')).value, (await setting('gpu_layers')).origin], ['auto', 'default']);
  });
  test('its_memory_is_counted_where_its_layers_are', async () => {
    const at = async (gpu_layers) => {
      await loaded({ gpu_layers });
      const { need_bytes, gpu_bytes } = await model();
      return { need_bytes, gpu_bytes };
    };
    const [none, all, auto] = [await at(0), await at('max'), await at('auto')];
    assert.equal(none.gpu_bytes, 0);
    assert.ok(all.gpu_bytes > 0);
    assert.equal(all.need_bytes + all.gpu_bytes, none.need_bytes);
    assert.deepEqual(auto, all, 'once it is up, what went there is known');
    await settings({ gpu_layers: null });
  });
  test('a_backend_that_is_set_is_taken_and_the_cpu_too', async () => {
    const cpu = await loaded({ backend: 'cpu' });
    assert.deepEqual([cpu.backend, cpu.devices, cpu.layers], ['cpu', [], 0]);
    assert.equal((await llm.complete({ prompt: 'The', max_tokens: 2 })).status, 200);
    assert.equal((await loaded({ backend: 'vulkan' })).backend, 'vulkan');
  });
});

describe('a GPU without room', { skip }, () => {
  let other, api;
  before(async () => {
    if (skip) return;
    other = await startTiny({ options: { 'llm.slots': '2', 'llm.context_tokens': '1024', 'llm.gpu_devices': '0', 'llm.gpu_reserve_bytes': String(2 ** 49) } });
    api = llmClient(other);
  });
  after(() => other?.stop());
  test('gets_no_layers_and_a_load_that_must_have_some_is_refused_with_the_numbers', async () => {
    const status = async () => (await api.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === TINY);
    assert.deepEqual([(await status()).compute.backend, (await status()).compute.layers], ['vulkan', 0]);
    assert.equal((await api.call('PUT', `/admin/models/${TINY}/settings`, { gpu_layers: { min: 1 }, backend: 'vulkan' }, 'admin')).status, 200);
    await api.call('POST', '/admin/unload', { model: TINY }, 'admin');
    const got = await api.call('POST', '/admin/load', { model: TINY }, 'admin');
    assert.equal(got.status, 507, got.text);
    assert.equal(got.json.error.rule, 'llm.gpu_layers');
    assert.match(got.json.error.message, /1 layers of the model must go to the GPU \(gpu_layers\) and only 0 fit/);
  });
});
