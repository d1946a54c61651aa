// Downloads of models (cds-fetch) against a hub of the test's own that drops, truncates, corrupts, redirects, changes and lies.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync, openSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { build, waitFor } from '../support/stack.mjs';
import { gguf, sha256, splitKeys, splitModel, startHub } from '../support/modelhub.mjs';

const PROGRAM = join(build, 'bin/cds-fetch');
const FILE = 'tiny-Q8_0.gguf';
const SOURCE = 'hf:owner/repo:q8_0';
const MODEL = gguf({ tensors: [['token_embd.weight', [1024, 6000]]] }); // 24 MB: three whole pieces of 8 MiB
const OTHER = gguf({ tensors: [['token_embd.weight', [1024, 6000]]], seed: 99 });
const NEVER_MS = 600_000; // a hub that is slow because its machine is does not stall
const opened = [];
const folder = () => (opened.push(mkdtempSync(join(tmpdir(), 'cds-fetch-'))), opened.at(-1));
let dir;

after(() => opened.forEach((d) => rmSync(d, { recursive: true, force: true })));
beforeEach(() => (dir = folder()));

/** Runs cds-fetch pull: { code, lines, end }. */
function start(hub, source = SOURCE, options = {}) {
  const all = { source, dir, hub: hub.url, reserve: 0, 'stall-ms': NEVER_MS, 'backoff-ms': 20, ...options };
  const child = spawn(PROGRAM, ['pull', ...Object.entries(all).map(([k, v]) => `--${k}=${v}`)], { stdio: ['ignore', 'pipe', 'pipe'] });
  const got = { child, text: '', errors: '' };
  child.stdout.setEncoding('utf8').on('data', (t) => (got.text += t));
  child.stderr.setEncoding('utf8').on('data', (t) => (got.errors += t));
  got.ended = once(child, 'close').then(([code, signal]) => {
    const lines = got.text.split('\n').filter(Boolean).map((l) => JSON.parse(l));
    return { code, signal, lines, end: lines.at(-1), text: got.text, errors: got.errors };
  });
  return got;
}
const pull = (hub, source, options) => start(hub, source, options).ended;
const whole = (bytes = MODEL, name = FILE) => assert.equal(sha256(readFileSync(join(dir, name))), sha256(bytes), 'the file is the one of the hub');
const nothingLeft = () => assert.deepEqual(readdirSync(dir), []);
const asked = (hub) => hub.requests.filter((r) => r.path.includes('/resolve/'));
async function withHub(files, fn, options) {
  const hub = await startHub({ 'owner/repo': files }, options);
  try {
    return await fn(hub);
  } finally {
    await hub.stop();
  }
}
function failed(got, code, pattern) {
  assert.equal(got.code, 1, got.text + got.errors);
  assert.equal(got.end.end, 'failed');
  assert.equal(got.end.code, code, got.text);
  if (pattern) assert.match(got.end.message, pattern);
}

describe('a download', () => {
  test('a_source_of_the_hub_becomes_a_whole_verified_file', () => withHub({ [FILE]: MODEL, 'tiny-F16.gguf': OTHER }, async (hub) => {
    const got = await pull(hub);
    assert.equal(got.code, 0, got.text + got.errors);
    assert.equal(got.end.end, 'done');
    assert.equal(got.end.facts.parameters, 1024 * 6000);
    assert.equal(got.end.facts.architecture, 'llama');
    whole();
    const origin = JSON.parse(readFileSync(join(dir, `${FILE}.origin`)));
    assert.equal(origin.sha256, sha256(MODEL));
    assert.equal(origin.source, SOURCE);
    assert.deepEqual(readdirSync(dir).sort(), [FILE, `${FILE}.origin`].sort());
    const states = got.lines.map((l) => l.state).filter(Boolean);
    for (const state of ['resolving', 'inspecting', 'downloading', 'verifying']) assert.ok(states.includes(state), state);
    assert.ok(got.lines.every((l) => !l.total || l.received <= l.total));
  }));
  test('a_file_by_path_and_branch_and_one_by_address_are_found', () => withHub({ [FILE]: MODEL }, async (hub) => {
    assert.equal((await pull(hub, `hf:owner/repo/${FILE}#dev`)).code, 0);
    whole();
    assert.ok(hub.requests.some((r) => r.path.includes('/tree/dev')) && asked(hub).every((r) => r.path.includes('/resolve/dev/')));
    dir = folder();
    const got = await pull(hub, `${hub.url}/${FILE}?sig=geheim`, { hosts: hub.url });
    assert.equal(got.code, 0, got.text);
    whole();
    assert.ok(!readFileSync(join(dir, `${FILE}.origin`), 'utf8').includes('geheim'), 'what stands behind ? is not written down');
  }));
  test('a_model_that_is_there_is_not_fetched_again_and_found_without_network', async () => {
    const hub = await startHub({ 'owner/repo': { [FILE]: MODEL } });
    assert.equal((await pull(hub)).code, 0);
    await hub.stop();
    const got = await pull(hub);
    assert.equal(got.code, 0, got.text);
    assert.equal(got.end.end, 'present');
  });
  test('another_file_of_that_name_is_not_overwritten', () => withHub({ [FILE]: MODEL }, async (hub) => {
    writeFileSync(join(dir, FILE), 'mine');
    failed(await pull(hub), 'conflict', /another file/);
    assert.equal(readFileSync(join(dir, FILE), 'utf8'), 'mine');
  }));
  test('all_parts_of_a_split_model_come_and_their_parameters_are_summed', async () => {
    const parts = splitModel('q/big-Q8_0', 3, [1024, 100]);
    await withHub(parts, async (hub) => {
      const got = await pull(hub);
      assert.equal(got.code, 0, got.text);
      assert.equal(got.end.facts.parameters, 3 * 102400);
      for (const [path, bytes] of Object.entries(parts)) whole(bytes, path.slice(2));
      const { stdout } = await inspect(join(dir, 'big-Q8_0-00001-of-00003.gguf'));
      assert.equal(JSON.parse(stdout).parameters, 3 * 102400);
      rmSync(join(dir, 'big-Q8_0-00002-of-00003.gguf'));
      assert.match(JSON.parse((await inspect(join(dir, 'big-Q8_0-00001-of-00003.gguf'))).stdout).error.message, /Part 2 of 3/);
    });
  });
});

async function inspect(path) {
  const child = spawn(PROGRAM, ['inspect', path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (t) => (stdout += t));
  const [code] = await once(child, 'close');
  return { code, stdout };
}

describe('a server that fails', () => {
  /** Two pieces are verified. */
  const twoPieces = () => waitFor('two pieces', () => existsSync(join(dir, `${FILE}.journal`)) && readFileSync(join(dir, `${FILE}.journal`), 'utf8').split('\n').length >= 4);
  test('that_drops_connections_loses_no_byte_and_sends_none_twice', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { dropAfter: 5_000_000 };
    const got = await pull(hub);
    assert.equal(got.code, 0, got.text);
    whole();
    const firsts = asked(hub).map((r) => Number(/bytes=(\d+)/.exec(r.range)[1]));
    assert.ok(firsts.length >= 5 && firsts.every((n, i) => i === 0 || n > firsts[i - 1]), `${firsts}`);
    assert.ok(asked(hub).slice(1).every((r) => r.ifRange?.startsWith('"')), 'each continuation names the state it belongs to');
  }));
  test('a_killed_download_goes_on_with_its_verified_pieces', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { hold: 20_000_000 };
    const first = start(hub);
    await twoPieces();
    first.child.kill('SIGKILL');
    await first.ended;
    assert.ok(!existsSync(join(dir, FILE)), 'no half file has the name');
    hub.behave = {};
    hub.requests.length = 0;
    const got = await pull(hub);
    assert.equal(got.code, 0, got.text);
    whole();
    assert.ok(Number(/bytes=(\d+)/.exec(asked(hub)[0].range)[1]) >= 16 << 20, asked(hub)[0].range);
  }));
  test('pieces_that_the_disk_lost_are_fetched_again', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { hold: 20_000_000 };
    const first = start(hub);
    await twoPieces();
    first.child.kill('SIGKILL');
    await first.ended;
    const fd = openSync(join(dir, `${FILE}.part`), 'r+');
    writeSync(fd, Buffer.from('rotten'), 0, 6, (8 << 20) + 77);
    closeSync(fd);
    hub.behave = {};
    hub.requests.length = 0;
    assert.equal((await pull(hub)).code, 0);
    whole();
    assert.match(asked(hub)[0].range, new RegExp(`^bytes=${8 << 20}-`));
  }));
  test('one_file_is_downloaded_once_at_a_time', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { hold: 20_000_000 };
    const first = start(hub);
    await waitFor('it has begun', () => existsSync(join(dir, `${FILE}.journal`)));
    failed(await pull(hub), 'conflict', /downloaded already/);
    first.child.kill('SIGKILL');
    await first.ended;
  }));
  test('that_does_not_know_ranges_is_served_by_skipping', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { noRange: true, dropAfter: 20_000_000, times: 1 };
    const got = await pull(hub);
    assert.equal(got.code, 0, got.text);
    whole();
  }));
  test('that_is_busy_is_asked_again_and_gives_up_after_some_tries', { timeout: 300_000 }, () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { status: 503, times: 2 };
    assert.equal((await pull(hub)).code, 0);
    whole();
    dir = folder();
    hub.requests.length = 0;
    hub.behave[FILE] = { status: 500 };
    failed(await pull(hub), 'unavailable', /HTTP 500/);
    assert.equal(asked(hub).length, 6);
  }));
  test('that_stalls_is_left_and_asked_again', { timeout: 300_000 }, () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { stall: true };
    const got = start(hub, SOURCE, { 'stall-ms': 1000 });
    await waitFor('it hangs', () => asked(hub).length > 0);
    hub.behave = {};
    assert.equal((await got.ended).code, 0);
    whole();
  }));
  test('that_stands_still_is_told_to_its_last_byte', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { hold: 9_000_000 }; // all of it comes within one moment
    const got = start(hub);
    await waitFor('the last byte is told', () => got.text.includes('"received":9000000,'));
    got.child.kill('SIGKILL');
    await got.ended;
  }));
  test('a_deadline_ends_it', { timeout: 300_000 }, () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { slow: 2_000 };
    failed(await pull(hub, SOURCE, { 'deadline-ms': 1500 }), 'timeout');
  }));
});

describe('a server that lies', () => {
  test('about_the_bytes_is_found_out_by_the_hash_and_nothing_stays', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { corrupt: 20_000_000 };
    const got = await pull(hub);
    failed(got, 'invalid_request', /SHA-256/);
    assert.equal(got.end.rule, 'llm.sha256');
    nothingLeft();
  }));
  test('about_the_length_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { claim: 5000 };
    failed(await pull(hub), 'invalid_request', /its record says/);
    nothingLeft();
    hub.liesSize = -1000;
    hub.behave = {};
    failed(await pull(hub), 'invalid_request', /its record says/);
  }));
  test('whose_file_is_shorter_than_its_header_says_is_refused_before_the_rest_comes', () => withHub({ [FILE]: MODEL.subarray(0, 20_000_000) }, async (hub) => {
    failed(await pull(hub), 'invalid_request', /cut off at its server/);
    assert.equal(asked(hub).length, 1);
    nothingLeft();
  }));
  test('that_sends_without_end_is_cut_off', { timeout: 300_000 }, () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { endless: true };
    failed(await pull(hub), 'request_too_large', /more than the \d+ bytes/);
    hub.behave[FILE] = { endless: true, noRange: true };
    failed(await pull(hub, `${hub.url}/${FILE}`, { hosts: hub.url }), 'invalid_request', /does not say how long/);
    nothingLeft();
  }));
  test('that_changes_the_file_in_mid_way_gives_the_new_file_whole', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.noSha = true;
    hub.behave[FILE] = { dropAfter: 6_000_000, times: 2, after: () => (hub.behave[FILE].changed = OTHER) };
    const got = await pull(hub);
    assert.equal(got.code, 0, got.text);
    whole(OTHER);
  }));
  test('that_changes_it_every_time_is_given_up', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.noSha = true;
    hub.behave[FILE] = { dropAfter: 3_000_000, etags: Array.from({ length: 50 }, (_, i) => `e${i}`) };
    failed(await pull(hub), 'unavailable', /keeps changing/);
  }));
  test('about_the_range_is_not_believed', { timeout: 300_000 }, () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { wrongRange: 7 };
    failed(await pull(hub), 'unavailable', /another part/);
  }));
  test('and_sends_a_page_instead_of_a_model_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { html: true };
    failed(await pull(hub, `${hub.url}/${FILE}`, { hosts: hub.url }), 'invalid_request', /letters GGUF/);
    nothingLeft();
  }));
  test('and_lists_nonsense_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    for (const bad of ['{', '[1,2,{"path":7}]', '{"error":"x"}', '[{"type":"file","path":"../../x-q8_0.gguf","size":-4}]']) {
      hub.badTree = bad;
      assert.equal((await pull(hub)).code, 1);
    }
    nothingLeft();
  }));
});

describe('addresses', () => {
  test('a_redirect_to_a_host_that_is_not_allowed_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    for (const redirect of ['https://evil.example/x.gguf', 'http://huggingface.co/x.gguf', 'https://huggingface.co:8443/x', 'file:///etc/passwd', 'ftp://huggingface.co/x', 'https://user:pw@huggingface.co/x']) {
      hub.behave[FILE] = { redirect };
      const got = await pull(hub, SOURCE, { hosts: 'huggingface.co, *.hf.co' });
      assert.equal(got.code, 1, redirect);
      assert.ok(['permission_denied', 'invalid_request'].includes(got.end.code), `${redirect}: ${got.text}`);
    }
  }));
  test('a_redirect_into_this_machine_or_its_network_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    for (const [redirect, hosts] of [['https://localhost/x.gguf', 'localhost'], ['https://127.0.0.1/x.gguf', '127.0.0.1'], ['https://10.0.0.1/x.gguf', '10.0.0.1'],
      ['https://169.254.169.254/x.gguf', '169.254.169.254'], ['https://[::1]/x.gguf', '[::1]']]) {
      hub.behave[FILE] = { redirect };
      failed(await pull(hub, SOURCE, { hosts }), 'permission_denied', /inside this machine/);
    }
  }));
  test('a_redirect_to_an_origin_that_was_named_in_full_is_followed_without_the_key', async () => {
    const cdn = await startHub({ 'owner/repo': { [FILE]: MODEL } });
    const key = join(folder(), 'key');
    writeFileSync(key, 'hf_geheim\n', { mode: 0o600 });
    await withHub({ [FILE]: MODEL }, async (hub) => {
      hub.behave[FILE] = { redirect: `${cdn.url}/${FILE}` };
      const got = await pull(hub, SOURCE, { hosts: cdn.url, 'key-file': key });
      assert.equal(got.code, 0, got.text);
      whole();
      assert.ok(hub.requests.every((r) => r.authorization === 'Bearer hf_geheim'));
      assert.ok(cdn.requests.length > 0 && cdn.requests.every((r) => r.authorization === null));
      assert.ok(!got.text.includes('geheim') && !got.errors.includes('geheim'));
    }, { key: 'hf_geheim' }).finally(() => cdn.stop());
  });
  test('redirects_in_a_circle_end', () => withHub({ [FILE]: MODEL }, async (hub) => {
    hub.behave[FILE] = { redirect: (req) => `${hub.url}${req.url}` };
    failed(await pull(hub), 'invalid_request', /redirects more than/);
  }));
  test('a_gated_model_without_the_key_says_what_to_do_and_a_key_others_can_read_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    const got = await pull(hub);
    failed(got, 'permission_denied', /HTTP 401/);
    assert.match(got.end.hint, /hub_token_file/);
    const key = join(folder(), 'key');
    writeFileSync(key, 'hf_geheim\n');
    chmodSync(key, 0o644);
    failed(await pull(hub, SOURCE, { 'key-file': key }), 'permission_denied', /read by others/);
  }, { key: 'hf_geheim' }));
  test('sources_that_are_none_are_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    for (const source of ['', 'hf:', 'hf:owner', 'hf:owner/repo/../../x.gguf', 'hf:owner/repo:q8/..', 'ftp://a/b.gguf', 'https://a/b.bin', 'https://u:p@a/b.gguf', `hf:owner/${'x'.repeat(2000)}:q`, 'hf:owner/repo#', 'hf:o\nx/r:q'])
      assert.equal((await pull(hub, source)).end?.code ?? 'invalid_request', 'invalid_request', source);
    assert.equal(hub.requests.length, 0);
    const got = await pull(hub, 'hf:owner/repo:q2_k');
    failed(got, 'not_found', /q2_k/);
    assert.match(got.end.hint, /tiny-Q8_0/);
  }));
});

describe('ceilings', () => {
  test('too_many_parameters_are_refused_after_the_header_with_the_number', () => withHub({ [FILE]: MODEL }, async (hub) => {
    const got = await pull(hub, SOURCE, { 'parameters-max': 6_000_000 });
    failed(got, 'permission_denied', /6144000 parameters, counted from its tensors; at most 6000000/);
    assert.equal(got.end.rule, 'llm.parameters_max');
    assert.deepEqual(asked(hub).map((r) => r.range), [`bytes=0-${(8 << 20) - 1}`]);
    nothingLeft();
  }));
  test('the_gate_counts_all_parts', async () => {
    const parts = {};
    for (let i = 0; i < 2; i++) parts[`two-Q8_0-0000${i + 1}-of-00002.gguf`] = gguf({ tensors: [[`b${i}`, [1000, 1000]]], extra: splitKeys(i, 2) });
    await withHub(parts, async (hub) => {
      failed(await pull(hub, SOURCE, { 'parameters-max': 1_500_000 }), 'permission_denied', /2000000 parameters/);
      assert.equal((await pull(hub, SOURCE, { 'parameters-max': 2_000_000 })).code, 0);
      dir = folder();
      assert.equal((await pull(hub, SOURCE, { 'parameters-max': 0 })).code, 0);
    });
  });
  test('what_does_not_fit_on_the_disk_is_refused_before_a_byte_is_asked_for', () => withHub({ [FILE]: MODEL }, async (hub) => {
    const got = await pull(hub, SOURCE, { reserve: 1e15 });
    failed(got, 'exhausted', /MiB free and this model needs/);
    assert.equal(asked(hub).length, 0);
    nothingLeft();
  }));
  test('what_is_longer_than_allowed_is_refused', () => withHub({ [FILE]: MODEL }, async (hub) => {
    failed(await pull(hub, SOURCE, { 'bytes-max': 1_000_000 }), 'request_too_large', /download_max_bytes/);
    assert.equal(asked(hub).length, 0);
  }));
  test('an_expected_hash_that_is_not_the_hubs_is_refused_before_the_download', () => withHub({ [FILE]: MODEL }, async (hub) => {
    failed(await pull(hub, SOURCE, { sha256: sha256(OTHER) }), 'conflict', /SHA-256/);
    assert.equal(asked(hub).length, 0);
    assert.equal((await pull(hub, SOURCE, { sha256: sha256(MODEL) })).code, 0);
  }));
});

describe('a file on disk', () => {
  test('broken_headers_are_refused_with_a_sentence_and_never_crash_the_reader', async () => {
    const good = gguf();
    const cases = {
      'empty': Buffer.alloc(0), 'letters': Buffer.from('GGUF'), 'version': Buffer.concat([good.subarray(0, 4), Buffer.from([9, 0, 0, 0]), good.subarray(8)]),
      'cut in the header': good.subarray(0, 100), 'cut in the data': good.subarray(0, good.length - 64),
      'many keys': Buffer.concat([good.subarray(0, 16), Buffer.alloc(8, 0xff), good.subarray(24)]),
      'many tensors': Buffer.concat([good.subarray(0, 8), Buffer.alloc(8, 0x7f), good.subarray(16)]),
      'long key': Buffer.concat([good.subarray(0, 24), Buffer.alloc(8, 0xff), good.subarray(32)]),
    };
    for (const [name, bytes] of Object.entries(cases)) {
      const path = join(dir, 'x.gguf');
      writeFileSync(path, bytes);
      const { code, stdout } = await inspect(path);
      assert.equal(code, 1, name);
      assert.match(JSON.parse(stdout).error.message, /^The (file|model file|header)/, name);
    }
  });
  test('what_a_killed_reader_leaves_is_nothing', async () => {
    writeFileSync(join(dir, 'x.gguf'), gguf());
    assert.equal(JSON.parse((await inspect(join(dir, 'x.gguf'))).stdout).parameters, 4096);
    assert.equal(statSync(join(dir, 'x.gguf')).mode & 0o777, 0o644);
    assert.deepEqual(readdirSync(dir), ['x.gguf']);
  });
});
