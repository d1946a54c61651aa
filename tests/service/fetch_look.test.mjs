// The header of a model that is still at its server (cds-fetch look), against a hub of the test's own that knows no ranges, lies, changes and cuts.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { build } from '../support/stack.mjs';
import { gguf, keys, sha256, splitModel, startHub } from '../support/modelhub.mjs';

const PROGRAM = join(build, 'bin/cds-fetch');
const FILE = 'tiny-Q8_0.gguf';
const SOURCE = 'hf:owner/repo:q8_0';
const KIB = 1024, MIB = KIB * KIB;
const MODEL = gguf({ tensors: [['token_embd.weight', [1024, 6000]]] });
const LONG = gguf({ tensors: [['token_embd.weight', [1024, 600]]], extra: [keys.string('general.license', 'x'.repeat(3 * MIB))] });
const folder = mkdtempSync(join(tmpdir(), 'cds-look-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function look(hub, source = SOURCE, options = {}) {
  const all = { source, hub: hub.url, 'stall-ms': 600_000, 'backoff-ms': 20, ...options };
  const child = spawn(PROGRAM, ['look', ...Object.entries(all).map(([k, v]) => `--${k}=${v}`)], { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder });
  let text = '', errors = '';
  child.stdout.setEncoding('utf8').on('data', (t) => (text += t));
  child.stderr.setEncoding('utf8').on('data', (t) => (errors += t));
  const [code] = await once(child, 'close');
  return { code, text, errors, json: text ? JSON.parse(text) : null };
}
const asked = (hub) => hub.requests.filter((r) => !r.path.startsWith('/api/'));
async function withHub(files, fn, options) {
  const hub = await startHub({ 'owner/repo': files }, options);
  try {
    return await fn(hub);
  } finally {
    await hub.stop();
  }
}
function refused(got, code, rule, pattern) {
  assert.equal(got.code, 1, got.text + got.errors);
  assert.equal(got.json.error.code, code, got.text);
  assert.equal(got.json.error.rule, rule, got.text);
  assert.match(got.json.error.message, pattern);
  assert.ok(got.text.trim().split('\n').length === 1, 'one line');
}

describe('a remote model', () => {
  test('its_header_is_read_with_a_few_bytes_and_nothing_is_written', () => withHub({ [FILE]: MODEL }, async (hub) => {
    const got = await look(hub);
    assert.equal(got.code, 0, got.text + got.errors);
    assert.equal(got.json.facts.parameters, 1024 * 6000);
    assert.equal(got.json.facts.architecture, 'llama');
    assert.equal(got.json.facts.file_bytes, MODEL.length);
    assert.deepEqual(got.json.files, [{ name: FILE, size_bytes: MODEL.length, sha256: sha256(MODEL) }]);
    assert.equal(got.json.read_bytes, 256 * KIB);
    assert.equal(got.json.refused, null);
    assert.deepEqual(asked(hub).map((r) => r.range), [`bytes=0-${256 * KIB - 1}`]);
    assert.deepEqual(readdirSync(folder), []);
  }));
  test('more_is_asked_for_until_a_long_header_is_whole', () => withHub({ [FILE]: LONG }, async (hub) => {
    const got = await look(hub);
    assert.equal(got.code, 0, got.text);
    assert.equal(got.json.facts.parameters, 1024 * 600);
    assert.deepEqual(asked(hub).map((r) => r.range), [`bytes=0-${256 * KIB - 1}`, `bytes=${256 * KIB}-${MIB - 1}`, `bytes=${MIB}-${4 * MIB - 1}`]);
    assert.ok(asked(hub).slice(1).every((r) => r.ifRange?.startsWith('"')), 'each continuation names the state it belongs to');
    assert.equal(got.json.read_bytes, 4 * MIB);
  }));
  test('all_parts_of_a_split_model_are_looked_at_and_summed', async () => {
    const parts = splitModel('q/big-Q8_0', 3, [1024, 100]);
    await withHub(parts, async (hub) => {
      const got = await look(hub);
      assert.equal(got.code, 0, got.text);
      assert.equal(got.json.facts.parameters, 3 * 102400);
      assert.equal(got.json.facts.tensors, 3);
      assert.equal(got.json.facts.file_bytes, Object.values(parts).reduce((a, b) => a + b.length, 0));
      assert.equal(got.json.files.length, 3);
      parts['q/big-Q8_0-00002-of-00003.gguf'] = parts['q/big-Q8_0-00003-of-00003.gguf'];
      refused(await look(hub), 'invalid_request', '', /says that it is part 3 of 3/);
    });
  });
  test('an_address_and_a_branch_are_found_and_what_stands_behind_the_question_mark_is_not_shown', () => withHub({ [FILE]: MODEL }, async (hub) => {
    assert.equal((await look(hub, `hf:owner/repo/${FILE}#dev`)).json.facts.layers, 1);
    assert.ok(asked(hub).every((r) => r.path.includes('/resolve/dev/')));
    const got = await look(hub, `${hub.url}/${FILE}?sig=geheim`, { hosts: hub.url });
    assert.equal(got.code, 0, got.text);
    assert.equal(got.json.source, `${hub.url}/${FILE}`);
    assert.equal(got.json.files[0].sha256, null);
    assert.ok(!got.text.includes('geheim'));
  }));
  test('the_gate_is_told_and_refuses_nothing', () => withHub({ [FILE]: MODEL }, async (hub) => {
    const got = await look(hub, SOURCE, { 'parameters-max': 6_000_000 });
    assert.equal(got.code, 0, got.text);
    assert.equal(got.json.refused.rule, 'llm.parameters_max');
    assert.match(got.json.refused.message, /6144000 parameters/);
  }));
});

describe('its server', () => {
  test('that_knows_no_ranges_is_refused_unless_the_file_is_short', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { noRange: true };
    const got = await look(hub);
    refused(got, 'invalid_request', 'llm.inspect_ranges', /sends the whole file instead of the bytes/);
    assert.match(got.json.error.hint, /Download it/);
    assert.equal(asked(hub).length, 1, 'it is not asked again');
    hub.behave[FILE] = { noRange: true, noLength: true };
    refused(await look(hub), 'invalid_request', 'llm.inspect_ranges', /whole file/);
    hub.repos['owner/repo'][FILE] = gguf();
    hub.behave[FILE] = { noRange: true };
    assert.equal((await look(hub)).json.facts.parameters, 4096);
  }));
  test('that_lies_about_the_range_is_not_believed', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { wrongRange: 7 };
    refused(await look(hub), 'invalid_request', 'llm.inspect_ranges', /another part of it/);
    hub.behave[FILE] = { more: 5000 };
    refused(await look(hub), 'invalid_request', 'llm.inspect_ranges', /more bytes than were asked for/);
    hub.behave[FILE] = { more: 5000, noLength: true };
    refused(await look(hub), 'invalid_request', 'llm.inspect_ranges', /more bytes than were asked for/);
    hub.behave[FILE] = { endless: true };
    refused(await look(hub), 'invalid_request', 'llm.inspect_ranges', /more bytes than were asked for/);
  }));
  test('that_lies_about_the_length_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { claim: 5000 };
    refused(await look(hub), 'invalid_request', '', /its record says/);
  }));
  test('whose_file_is_cut_is_refused_before_it_would_be_downloaded', () => withHub({ [FILE]: MODEL.subarray(0, 20_000_000) }, async (hub) => {
    refused(await look(hub), 'invalid_request', 'llm.inspect_cut', /cut off, its tensors need more: it has 20000000 bytes/);
    hub.repos['owner/repo'][FILE] = MODEL.subarray(0, 100);
    refused(await look(hub), 'invalid_request', 'llm.inspect_cut', /ends inside its header/);
  }));
  test('whose_header_has_no_end_is_left_at_64_mib', { timeout: 300_000 }, async () => {
    const head = gguf({ extra: [keys.string('general.license', 'x'.repeat(70 * MIB))], header: true });
    await withHub({ [FILE]: head }, async (hub) => {
      refused(await look(hub), 'request_too_large', 'llm.inspect_header', /longer than 64 MiB/);
      const last = asked(hub).at(-1).range;
      assert.equal(last, `bytes=${16 * MIB}-${64 * MIB - 1}`);
    });
  });
  test('whose_file_changes_meanwhile_is_refused', () => withHub({ [FILE]: LONG }, async (hub) => {
    hub.noSha = true;
    hub.behave[FILE] = { etags: ['one', 'two', 'three'] };
    refused(await look(hub), 'conflict', 'llm.inspect_changed', /has changed at its server/);
  }));
  test('that_sends_a_page_or_nonsense_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { html: true };
    refused(await look(hub, `${hub.url}/${FILE}`, { hosts: hub.url }), 'invalid_request', '', /letters GGUF/);
    hub.behave = {};
    hub.repos['owner/repo'][FILE] = Buffer.concat([MODEL.subarray(0, 16), Buffer.alloc(8, 0xff), MODEL.subarray(24)]);
    refused(await look(hub), 'request_too_large', 'llm.inspect_header', /header/);
  }));
  test('that_drops_or_is_busy_is_asked_again_and_given_up', { timeout: 300_000 }, () => withHub({ [FILE]: LONG }, async (hub) => {
    hub.behave[FILE] = { dropAfter: 100_000, times: 3 };
    assert.equal((await look(hub)).json.facts.parameters, 1024 * 600);
    hub.behave[FILE] = { status: 503, times: 2 };
    assert.equal((await look(hub)).code, 0);
    hub.behave[FILE] = { status: 500 };
    refused(await look(hub), 'unavailable', '', /HTTP 500/);
    hub.behave[FILE] = { stall: true };
    refused(await look(hub, SOURCE, { 'deadline-ms': 2500 }), 'timeout', '', /within the time/);
  }));
});

describe('addresses', () => {
  test('a_redirect_is_judged_like_that_of_a_download', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { redirect: 'https://evil.example/x.gguf' };
    refused(await look(hub, SOURCE, { hosts: 'huggingface.co' }), 'permission_denied', 'llm.download_hosts', /may not be fetched from https:\/\/evil/);
    hub.behave[FILE] = { redirect: 'https://127.0.0.1/x.gguf' };
    refused(await look(hub, SOURCE, { hosts: '127.0.0.1' }), 'permission_denied', 'llm.download_hosts', /inside this machine/);
    hub.behave[FILE] = { redirect: (req) => `${hub.url}${req.url}` };
    refused(await look(hub), 'invalid_request', '', /redirects more than/);
  }));
  test('the_key_goes_to_the_hub_alone', async () => {
    const cdn = await startHub({ 'owner/repo': { [FILE]: MODEL } });
    const key = join(folder, 'key');
    writeFileSync(key, 'hf_geheim\n', { mode: 0o600 });
    await withHub({ [FILE]: MODEL }, async (hub) => {
      hub.behave[FILE] = { redirect: `${cdn.url}/${FILE}` };
      const got = await look(hub, SOURCE, { hosts: cdn.url, 'key-file': key });
      assert.equal(got.code, 0, got.text);
      assert.ok(hub.requests.every((r) => r.authorization === 'Bearer hf_geheim') && cdn.requests.every((r) => r.authorization === null));
      assert.ok(!got.text.includes('geheim'));
      const without = await look(hub);
      refused(without, 'permission_denied', '', /HTTP 401/);
      assert.match(without.json.error.hint, /hub_token_file/);
    }, { key: 'hf_geheim' });
    await cdn.stop();
    rmSync(key);
  });
  test('sources_that_are_none_are_refused_before_anything_is_asked', () => withHub({ [FILE]: MODEL }, async (hub) => {
    for (const source of ['hf:', 'hf:owner', 'ftp://a/b.gguf', 'https://a/b.bin', 'https://u:p@a/b.gguf'])
      assert.equal((await look(hub, source)).json.error.code, 'invalid_request', source);
    assert.equal(hub.requests.length, 0);
    assert.ok(!existsSync(join(folder, FILE)));
  }));
});
