// Settings of a model: values with their origin, defaults of requests, ranges, a restart, and how a model is loaded.
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, statSync, writeFileSync, openSync, writeSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { llmClient } from '../support/llm.mjs';
import { waitFor } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const MIB = 2 ** 20;
const PATH = `/admin/models/${TINY}/settings`;
let stack, llm;
before(async () => {
  stack = await startTiny({
    options: { 'llm.slots': '2', 'llm.request_tokens': '1024', 'llm.context_tokens': '4096', 'llm.max_tokens': '12', 'llm.memory_bytes': String(160 * MIB) },
    prepare: (models, file) => copyFileSync(file, join(models, 'nan.gguf')),
  });
  llm = llmClient(stack);
});
after(() => stack?.stop());

const admin = (method, path, body) => llm.call(method, path, body, 'admin');
const get = async () => (await admin('GET', PATH)).json;
const row = async (name) => (await get()).settings.find((s) => s.name === name);
async function set(changes) {
  const got = await admin('PUT', PATH, changes);
  assert.equal(got.status, 200, got.text);
  return got.json;
}
/** Takes every setting of the model back. */
const clear = async () => set(Object.fromEntries((await get()).settings.filter((s) => s.origin === 'model').map((s) => [s.name, null])));
const status = async (id = TINY) => (await admin('GET', '/admin/status')).json.models.find((m) => m.id === id);
async function reload() {
  assert.equal((await admin('POST', '/admin/unload', { model: TINY })).status, 200);
  const got = await admin('POST', '/admin/load', { model: TINY });
  assert.equal(got.status, 200, got.text);
  return status();
}
const loadedWith = async (changes) => {
  await clear();
  await set(changes);
  return reload();
};
const words = 'The river and the stone and the bridge and the market '.repeat(12);
/** An answer as long as it may be: now and then a model of random weights ends one by itself. */
const text = async (more = {}) => {
  const got = await llm.complete({ prompt: words, ignore_eos: true, ...more });
  assert.equal(got.status, 200, got.text);
  return got.json;
};
/** Chances of the first tokens: they change with how the cache is kept and computed. */
const chances = async () => (await text({ max_tokens: 4, temperature: 0, logprobs: 3 })).choices[0].logprobs.token_logprobs;

describe('values', () => {
  test('every_setting_tells_its_value_and_where_it_comes_from', async () => {
    const all = await get();
    assert.equal(all.model, TINY);
    assert.equal(all.state, 'loaded');
    assert.equal(all.reload_needed, false);
    const shown = Object.fromEntries(all.settings.map((s) => [s.name, s]));
    assert.deepEqual([shown.max_tokens.value, shown.max_tokens.origin], [12, 'server']);
    assert.deepEqual([shown.context_tokens.value, shown.context_tokens.origin, shown.context_tokens.reload], [4096, 'server', true]);
    assert.deepEqual([shown.threads.value, shown.threads.origin], [0, 'default']);
    assert.deepEqual([shown.temperature.value, shown.temperature.origin, shown.temperature.max], [0.8, 'default', 2]);
    await set({ temperature: 0.5 });
    assert.deepEqual([(await row('temperature')).value, (await row('temperature')).origin], [0.5, 'model']);
    await set({ temperature: null });
    assert.deepEqual([(await row('temperature')).value, (await row('temperature')).origin], [0.8, 'default']);
  });
  test('a_setting_holds_for_requests_that_leave_it_open_and_for_no_other', async () => {
    assert.equal((await text()).usage.completion_tokens, 12);
    await set({ max_tokens: 7, temperature: 0 });
    const [one, two] = [await text(), await text()];
    assert.equal(one.usage.completion_tokens, 7);
    assert.equal(one.choices[0].text, two.choices[0].text, 'always the likeliest token');
    const hot = await text({ temperature: 2, top_k: 0, top_p: 1, min_p: 0, seed: 5, max_tokens: 9 });
    assert.equal(hot.usage.completion_tokens, 9);
    assert.ok(!hot.choices[0].text.startsWith(one.choices[0].text));
    await set({ temperature: null, top_k: 1 });
    assert.equal((await text()).choices[0].text, one.choices[0].text, 'one token to choose from is the likeliest');
    await set({ answer_tokens_max: 5 });
    assert.equal((await text({ max_tokens: 9 })).usage.completion_tokens, 5, 'the limit of the administrator');
    await clear();
    assert.equal((await text()).usage.completion_tokens, 12);
  });
  test('what_is_not_allowed_is_400_and_changes_nothing', async () => {
    const wrong = [
      ['temperature', 2.5], ['temperature', '1'], ['top_k', 1.5], ['top_k', -1], ['max_tokens', 0], ['context_tokens', 100], ['threads', 257], ['cache_type_k', 'q9'],
      ['cache_type_k', 'q8'], ['cache_type_k', ''], ['flash_attention', true], ['check_tensors', 'yes'], ['metadata', 'a=int:1'], ['metadata', ['a=int:x']], ['metadata', ['=int:1']],
      ['metadata', ['a b=int:1']], ['metadata', ['a=bool:1']], ['metadata', ['a=word:1']], ['metadata', Array(9).fill('a=int:1')], ['no_such', 1],
    ];
    for (const [name, value] of wrong) {
      const got = await admin('PUT', PATH, { top_p: 0.5, [name]: value });
      assert.equal(got.status, 400, `${name} ${JSON.stringify(value)}: ${got.text}`);
      assert.equal(got.json.error.param, name);
    }
    for (const [changes, param] of [[{ context_tokens: 1024, context_tokens_min: 2048 }, 'context_tokens_min'], [{ flash_attention: 'off', cache_type_v: 'q8_0' }, 'cache_type_v']]) {
      const got = await admin('PUT', PATH, changes);
      assert.deepEqual([got.status, got.json.error.param], [400, param]);
    }
    assert.equal((await admin('PUT', PATH, [])).status, 400);
    assert.ok((await get()).settings.every((s) => s.origin !== 'model'));
  });
  test('only_admins_see_and_change_them', async () => {
    for (const method of ['GET', 'PUT']) assert.equal((await llm.call(method, PATH, method === 'PUT' ? { top_k: 1 } : undefined, 'developer')).status, 403);
    assert.equal((await admin('GET', '/admin/models/no-such/settings')).status, 404);
  });
  test('they_survive_a_restart_and_a_stored_value_that_is_not_allowed_is_left_out', async () => {
    await set({ top_k: 3, max_tokens: 6 });
    const file = join(stack.home, 'models', `${TINY}.settings.json`);
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { top_k: 3, max_tokens: 6 });
    assert.equal(statSync(file).mode & 0o777, 0o600);
    writeFileSync(file, JSON.stringify({ top_k: 3, max_tokens: 6, temperature: 99, no_such: 1 }));
    const { pid } = await status();
    const server = Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[1]);
    process.kill(server, 'SIGKILL');
    await waitFor('the server is back with its model', async () => {
      const now = await status().catch(() => null);
      return now?.state === 'loaded' && now.pid !== pid ? now : null;
    }, 60_000);
    const own = (await get()).settings.filter((s) => s.origin === 'model').map((s) => [s.name, s.value]);
    assert.deepEqual(Object.fromEntries(own), { top_k: 3, max_tokens: 6 });
    assert.equal((await text()).usage.completion_tokens, 6);
    await clear();
  });
});

describe('a load', () => {
  test('its_settings_hold_from_the_next_load_on_and_say_so', async () => {
    const before = await get();
    const changed = await set({ context_tokens: 2048, request_tokens: 512, cache_type_k: 'q8_0', cache_type_v: 'q8_0' });
    assert.equal(changed.reload_needed, true);
    assert.equal(changed.settings.find((s) => s.name === 'context_tokens').pending, true);
    assert.equal(changed.settings.find((s) => s.name === 'threads').pending, false);
    assert.ok(changed.need_bytes < before.need_bytes, 'fewer and smaller numbers in the cache');
    assert.equal((await status()).cells, 4096);
    const now = await reload();
    assert.equal(now.cells, 2048);
    assert.equal(now.context_tokens, 512);
    assert.equal((await get()).reload_needed, false);
    assert.equal(now.need_bytes, changed.need_bytes);
  });
  test('types_of_the_cache_and_flash_attention_reach_the_model', async () => {
    await loadedWith({});
    const plain = await chances();
    await loadedWith({ cache_type_k: 'q4_0' });
    assert.notDeepEqual(await chances(), plain);
    await loadedWith({ cache_type_v: 'q4_0' });
    assert.notDeepEqual(await chances(), plain);
    await loadedWith({ flash_attention: 'off' });
    assert.notDeepEqual(await chances(), plain);
    await loadedWith({ flash_attention: 'on' });
    assert.deepEqual(await chances(), plain, 'what auto chooses here');
    for (const type of ['f32', 'bf16', 'q5_1', 'q5_0', 'q4_1', 'iq4_nl']) {
      await loadedWith({ cache_type_k: type, cache_type_v: type });
      assert.equal((await text({ max_tokens: 3 })).usage.completion_tokens, 3, type);
    }
  });
  test('weights_are_mapped_or_read_or_locked', async () => {
    const maps = (pid) => readFileSync(`/proc/${pid}/maps`, 'utf8').includes(`${TINY}.gguf`);
    const locked = (pid) => Number(/^VmLck:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
    assert.equal(maps((await loadedWith({ load_mode: 'mmap' })).pid), true);
    for (const load_mode of ['none', 'direct_io']) {
      const { pid } = await loadedWith({ load_mode });
      assert.equal(maps(pid), false, load_mode);
      assert.equal(locked(pid), 0);
      assert.equal((await text({ max_tokens: 3 })).usage.completion_tokens, 3);
    }
    const { pid } = await loadedWith({ load_mode: 'mmap_mlock', lazy_rows: 'off', numa: 'distribute', swa_full: false });
    assert.ok(locked(pid) > 0, 'locked kilobytes');
    assert.equal((await text({ max_tokens: 3 })).usage.completion_tokens, 3);
  });
  test('a_weight_that_is_no_number_is_found_when_tensors_are_checked', async () => {
    const file = join(stack.home, 'models', 'nan.gguf');
    const fd = openSync(file, 'r+');
    writeSync(fd, Buffer.alloc(256, 0xff), 0, 256, statSync(file).size - 4096);
    closeSync(fd);
    const nan = (method, body) => admin(method, '/admin/models/nan/settings', body);
    await waitFor('it was read', async () => (await admin('GET', '/admin/models')).json.models.find((m) => m.id === 'nan')?.file_state === 'fine');
    assert.equal((await admin('POST', '/admin/load', { model: 'nan' })).status, 200, 'nobody looks');
    await admin('POST', '/admin/unload', { model: 'nan' });
    assert.equal((await nan('PUT', { check_tensors: true })).status, 200);
    const got = await admin('POST', '/admin/load', { model: 'nan' });
    assert.equal(got.status, 400, got.text);
    await admin('POST', '/admin/unload', { model: 'nan' });
  });
  test('keys_of_the_file_can_be_read_as_something_else', async () => {
    assert.equal((await loadedWith({})).context_tokens, 1024);
    assert.equal((await loadedWith({ metadata: ['llama.context_length=int:300'] })).context_tokens, 300);
    const count = async () => (await llm.call('POST', '/v1/tokenize', { content: 'river', add_special: true })).json.tokens.length;
    const without = await count();
    await loadedWith({ metadata: ['tokenizer.ggml.add_bos_token=bool:true'] });
    assert.equal(await count(), without + 1);
  });
  test('each_model_has_a_log_level_of_its_own', async () => {
    const level = (pid) => /--log=(\w+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))[1];
    assert.equal(level((await loadedWith({})).pid), 'info');
    assert.equal(level((await loadedWith({ log_level: 'debug' })).pid), 'debug');
    assert.equal(level((await loadedWith({ log_level: 'error' })).pid), 'error');
    assert.equal((await admin('PUT', PATH, { log_level: 'loud' })).status, 400);
  });
  test('a_context_for_which_there_is_no_memory_shrinks_down_to_its_least', async () => {
    await clear();
    await set({ context_tokens: 131072 });
    await admin('POST', '/admin/unload', { model: TINY });
    const refused = await admin('POST', '/admin/load', { model: TINY });
    assert.equal(refused.json.error.rule, 'llm.memory', refused.text);
    assert.match(refused.json.error.message, /cache of 131072 tokens/);
    await set({ context_tokens_min: 120000 });
    assert.equal((await admin('POST', '/admin/load', { model: TINY })).json.error.rule, 'llm.memory', 'not even so many');
    await set({ context_tokens_min: 2048 });
    const got = await admin('POST', '/admin/load', { model: TINY });
    assert.equal(got.status, 200, got.text);
    const { cells } = await status();
    assert.ok(cells >= 2048 && cells < 131072, String(cells));
    assert.ok((await status()).need_bytes <= 160 * MIB);
  });
  test('tells_how_far_it_is', async () => {
    await loadedWith({});
    await admin('POST', '/admin/unload', { model: TINY });
    const controller = new AbortController();
    const reply = await fetch(`${stack.llmUrl}/admin/events`, { headers: { authorization: `Bearer ${stack.tokens.admin}` }, signal: controller.signal });
    const loading = admin('POST', '/admin/load', { model: TINY });
    const percents = [];
    let rest = '';
    for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
      rest += piece;
      for (let cut; (cut = rest.indexOf('\n\n')) >= 0; rest = rest.slice(cut + 2)) {
        const data = /^event: model\ndata: (.*)$/.exec(rest.slice(0, cut));
        const model = data && JSON.parse(data[1]);
        if (model?.id === TINY) percents.push(model.state === 'loaded' ? 'loaded' : model.percent);
      }
      if (percents.at(-1) === 'loaded') break;
    }
    controller.abort();
    await loading;
    const told = percents.filter(Number.isInteger);
    assert.ok(told.length > 3 && told.includes(100), JSON.stringify(percents));
    assert.deepEqual(told, [...told].sort((a, b) => a - b));
  });
});

describe('the machine', () => {
  test('status_lists_devices_with_memory_and_what_the_library_can_do', async () => {
    const { system } = (await admin('GET', '/admin/status')).json;
    const cpu = system.devices.find((d) => d.kind === 'cpu');
    assert.ok(cpu && cpu.total_bytes > 0 && cpu.free_bytes > 0 && cpu.free_bytes <= cpu.total_bytes, JSON.stringify(system));
    assert.equal(cpu.backend, 'CPU');
    assert.deepEqual([system.mmap, system.mlock, typeof system.gpu], [true, true, 'boolean']);
    assert.match(system.info, /CPU/);
    const meminfo = readFileSync('/proc/meminfo', 'utf8');
    const bytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)[1]) * 1024;
    assert.equal(system.memory.total_bytes, bytes('MemTotal'));
    assert.equal(system.memory.swap_total_bytes, bytes('SwapTotal'));
    assert.ok(system.memory.available_bytes > 0 && system.memory.room_bytes > 0);
  });
  test('the_variant_for_this_cpu_is_the_one_that_is_loaded', async () => {
    const { system } = (await admin('GET', '/admin/status')).json;
    const { pid } = await status();
    const loaded = [...new Set([...readFileSync(`/proc/${pid}/maps`, 'utf8').matchAll(/libggml-cpu-(\w+)\.so/g)].map((m) => m[1]))];
    assert.deepEqual(loaded, [system.cpu_variant]);
    const flags = readFileSync('/proc/cpuinfo', 'utf8');
    if (/\bavx2\b/.test(flags) && /\bfma\b/.test(flags)) assert.ok(!['x64', 'sse42', 'sandybridge', 'ivybridge'].includes(system.cpu_variant), system.cpu_variant);
  });
  test('resident_memory_stands_beside_the_estimate', async () => {
    const { pid, resident_bytes: resident, need_bytes: need } = await status();
    const now = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
    assert.ok(Math.abs(resident - now) < 16 * MIB, `${resident} ${now}`);
    assert.ok(need > 0 && (await get()).need_bytes === need);
  });
});
