// Models on a live studio: files looked at before they are listed, the gate, downloads as server state, events, the command line.
import assert from 'node:assert/strict';
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startStack, waitFor } from '../support/stack.mjs';
import { gguf, sha256, startHub } from '../support/modelhub.mjs';

const MODEL = 'smollm2-135m-instruct';
const TINY = gguf({ tensors: [['token_embd.weight', [1024, 3000]]] });
const BIG = gguf({ tensors: [['token_embd.weight', [1024, 6000]]] });
let stack, hub;

async function call(method, path, body, as = 'admin', base = stack.llmUrl) {
  const headers = { 'content-type': 'application/json', ...(as ? { authorization: `Bearer ${stack.tokens[as]}` } : {}) };
  const reply = await fetch(`${base}${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await reply.text();
  return { status: reply.status, text, json: text.startsWith('{') ? JSON.parse(text) : null, headers: reply.headers };
}
const admin = async () => (await call('GET', '/admin/models')).json;
const download = async (id) => (await admin()).downloads.find((d) => d.id === id);
const ended = (id) => waitFor('the download has ended', async () => {
  const d = await download(id);
  return d && !d.running ? d : null;
});
const modelsDir = () => join(stack.home, 'models');
/** Puts a file into the folder of the models as the studio's own user. */
function put(name, bytes) {
  mkdirSync(modelsDir(), { recursive: true });
  const owner = statSync(modelsDir());
  const coming = join(modelsDir(), `${name}.coming`); // it is there whole, or not at all
  writeFileSync(coming, bytes);
  chownSync(coming, owner.uid, owner.gid);
  renameSync(coming, join(modelsDir(), name));
}
/** The events of /admin/events until the test passes. */
async function follow(wanted, act = async () => {}) {
  const controller = new AbortController();
  const reply = await fetch(`${stack.llmUrl}/admin/events`, { headers: { authorization: `Bearer ${stack.tokens.admin}` }, signal: controller.signal });
  assert.match(reply.headers.get('content-type'), /^text\/event-stream/);
  const seen = [];
  let text = '', acted = false;
  for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let cut; (cut = text.indexOf('\n\n')) >= 0; text = text.slice(cut + 2)) {
      const match = /^event: (\w+)\ndata: (.*)$/.exec(text.slice(0, cut));
      if (match) seen.push([match[1], JSON.parse(match[2])]);
    }
    if (!acted) (acted = true), await act();
    if (seen.some(([name, value]) => wanted(name, value))) break;
  }
  controller.abort();
  return seen;
}

before(async () => {
  hub = await startHub({ 'owner/repo': { 'tiny-Q8_0.gguf': TINY, 'big-F16.gguf': BIG } });
  stack = await startStack({ options: { 'llm.hub_url': hub.url, 'llm.download_reserve_bytes': 0, 'llm.download_stall_ms': 600_000, 'llm.parameters_max': 200_000_000, 'llm.downloads': 1 } });
  await stack.waitModel();
});
after(async () => {
  await stack?.stop();
  await hub?.stop();
});

describe('files', () => {
  test('the_header_of_a_file_is_known_before_it_is_loaded', async () => {
    put('second.Q8_0.gguf', TINY);
    const { data } = (await call('GET', '/v1/models', undefined, 'viewer')).json;
    const one = data.find((m) => m.id === 'second');
    assert.equal(one.cds.parameters, 1024 * 3000);
    assert.equal(one.cds.state, 'unloaded');
    const facts = (await admin()).models.find((m) => m.id === MODEL).facts;
    assert.equal(facts.architecture, 'llama');
    assert.equal(facts.quantization, 'Q8_0');
    assert.equal(facts.parameters, 134515008);
    assert.equal(facts.context, 8192);
    assert.equal(facts.vocabulary, 49152);
    assert.equal(facts.chat_template, true);
  });
  test('a_corrupt_file_is_shown_to_admins_not_listed_and_not_loaded', async () => {
    put('broken.gguf', TINY.subarray(0, 5000));
    const { data } = (await call('GET', '/v1/models', undefined, 'viewer')).json;
    assert.ok(!data.some((m) => m.id === 'broken'));
    assert.equal((await call('GET', '/v1/models/broken', undefined, 'viewer')).status, 404);
    const one = (await admin()).models.find((m) => m.id === 'broken');
    assert.equal(one.file_state, 'corrupt');
    assert.match(one.corrupt, /cut off/);
    const got = await call('POST', '/admin/load', { model: 'broken' });
    assert.equal(got.status, 400);
    assert.match(got.json.error.message, /corrupt/);
    assert.equal((await call('GET', '/readyz', undefined, null)).status, 200, 'a refused load does not make the server unready');
    put('broken.gguf', TINY);
    await waitFor('the repaired file is listed', async () => (await call('GET', '/v1/models', undefined, 'viewer')).json.data.some((m) => m.id === 'broken'));
  });
  test('a_model_over_the_gate_is_listed_marked_and_refused_with_the_number', async () => {
    put('giant.gguf', gguf({ tensors: [['a', [20000, 10001]]], header: true }).bytes);
    // The weights need not be there for the gate: a file with a hole is long enough.
    const { size } = gguf({ tensors: [['a', [20000, 10001]]], header: true });
    truncateSync(join(modelsDir(), 'giant.gguf'), size);
    const one = await waitFor('it was read', async () => (await admin()).models.find((m) => m.id === 'giant' && m.file_state === 'fine'));
    assert.equal(one.refused.rule, 'llm.parameters_max');
    const got = await call('POST', '/admin/load', { model: 'giant' });
    assert.equal(got.status, 403);
    assert.match(got.json.error.message, /200020000 parameters.*at most 200000000/);
    assert.equal(got.json.error.rule, 'llm.parameters_max');
    rmSync(join(modelsDir(), 'giant.gguf'));
  });
  test('many_files_at_once_are_read_two_at_a_time_and_all_are_listed', async () => {
    for (let i = 0; i < 12; i++) put(`many-${i}.gguf`, gguf({ tensors: [['a', [32, 32 + i]]] }));
    const { data } = (await call('GET', '/v1/models', undefined, 'viewer')).json;
    for (let i = 0; i < 12; i++) assert.equal(data.find((m) => m.id === `many-${i}`).cds.parameters, 32 * (32 + i));
    for (let i = 0; i < 12; i++) rmSync(join(modelsDir(), `many-${i}.gguf`));
  });
});

describe('downloads', () => {
  test('only_admins_download_and_follow_events', async () => {
    for (const as of ['developer', 'viewer']) {
      assert.equal((await call('POST', '/admin/download', { source: 'hf:owner/repo:q8_0' }, as)).status, 403);
      assert.equal((await call('GET', '/admin/events', undefined, as)).status, 403);
    }
    assert.equal((await call('POST', '/admin/download', { source: 'hf:owner/repo:q8_0' }, null)).status, 401);
    assert.equal(hub.requests.length, 0, 'nothing is fetched but by an admin');
  });
  test('a_download_is_server_state_with_progress_and_the_model_can_be_seen_afterwards', async () => {
    let id;
    hub.behave['tiny-Q8_0.gguf'] = { slow: 1_500_000 };
    const seen = await follow((name, value) => name === 'download' && value.state === 'done', async () => {
      const got = await call('POST', '/admin/download', { source: 'hf:owner/repo:q8_0', sha256: sha256(TINY) });
      assert.equal(got.status, 202, got.text);
      id = got.json.id;
      const again = await call('POST', '/admin/download', { source: 'hf:owner/repo:q8_0' });
      assert.equal(again.json.id, id, 'asking twice is one download');
      assert.equal((await call('POST', '/admin/download', { source: 'hf:owner/repo:f16' })).status, 503, 'as many as llm.downloads');
    });
    const states = seen.filter(([n, v]) => n === 'download' && v.id === id).map(([, v]) => v.state);
    for (const state of ['resolving', 'inspecting', 'downloading', 'verifying', 'done']) assert.ok(states.includes(state), `${state} in ${states}`);
    assert.ok(seen.some(([n]) => n === 'model'), 'the present state comes first');
    assert.equal(sha256(readFileSync(join(modelsDir(), 'tiny-Q8_0.gguf'))), sha256(TINY));
    const { models } = await stack.rpc('llm.models', {}, 'viewer');
    assert.equal(models.find((m) => m.id === 'tiny').parameters, 1024 * 3000);
    hub.behave = {};
  });
  test('a_download_is_cancelled_and_goes_on_later', async () => {
    hub.behave['big-F16.gguf'] = { hold: 20_000_000 };
    const { id } = (await call('POST', '/admin/download', { source: 'hf:owner/repo:f16' })).json;
    await waitFor('a piece is there', async () => (await download(id))?.received_bytes > 9_000_000);
    const got = await call('DELETE', `/admin/download?id=${id}`);
    assert.equal(got.status, 200, got.text);
    assert.equal((await ended(id)).state, 'cancelled');
    assert.equal((await call('DELETE', '/admin/download', { id })).status, 409);
    assert.equal((await call('DELETE', '/admin/download', { id: 'nothing' })).status, 404);
    hub.behave = {};
    hub.requests.length = 0;
    const again = (await call('POST', '/admin/download', { source: 'hf:owner/repo:f16' })).json;
    assert.equal((await ended(again.id)).state, 'done');
    const from = Number(/^bytes=(\d+)-/.exec(hub.requests.find((r) => r.path.includes('/resolve/')).range)?.[1]);
    assert.ok(from >= 8 << 20 && from % (8 << 20) === 0, `it goes on behind the pieces that were there: ${from}`);
  });
  test('a_failed_download_says_why', async () => {
    const { id } = (await call('POST', '/admin/download', { source: 'hf:owner/repo:q2_k' })).json;
    const one = await ended(id);
    assert.equal(one.state, 'failed');
    assert.equal(one.failure.code, 'not_found');
    assert.match(one.failure.message, /q2_k/);
    for (const body of [{}, { source: 7 }, { source: '' }, { source: 'x'.repeat(2000) }, { source: 'hf:a/b:c', sha256: 'xyz' }, { model: 'no-such' }])
      assert.ok([400, 404].includes((await call('POST', '/admin/download', body)).status), JSON.stringify(body));
  });
  test('the_catalogue_marks_what_is_over_the_gate_and_refuses_it', async () => {
    const { catalogue } = await admin();
    const mistral = catalogue.find((m) => m.id === 'mistral-7b-instruct-v0.2');
    assert.equal(mistral.over_gate, true);
    assert.equal(catalogue.find((m) => m.id === MODEL).model, MODEL);
    assert.equal(catalogue.find((m) => m.id === 'bge-small-en-v1.5').over_gate, false);
    const before = hub.requests.length;
    const got = await call('POST', '/admin/download', { model: mistral.id });
    assert.equal(got.status, 403);
    assert.match(got.json.error.message, /7241732096 parameters/);
    assert.equal(hub.requests.length, before);
  });
});

describe('a model that is still at its server', () => {
  const inspect = (source, as = 'admin', base = stack.llmUrl) => call('POST', '/admin/inspect', { source }, as, base);
  test('is_looked_at_without_downloading_it_by_admins_only', async () => {
    for (const as of ['viewer', 'developer']) assert.equal((await inspect('hf:owner/repo:f16', as)).status, 403);
    assert.equal((await inspect('hf:owner/repo:f16', null)).status, 401);
    hub.requests.length = 0;
    for (const base of [stack.llmUrl, stack.apiUrl]) {
      const got = await inspect('hf:owner/repo:f16', 'admin', base);
      assert.equal(got.status, 200, got.text);
      assert.equal(got.json.facts.parameters, 1024 * 6000);
      assert.equal(got.json.files[0].size_bytes, BIG.length);
      assert.ok(got.json.need_bytes > BIG.length, 'the estimate stands before the download');
      assert.equal(got.json.refused, null);
    }
    assert.ok(hub.requests.filter((r) => r.path.includes('/resolve/')).every((r) => r.range === 'bytes=0-262143'));
  });
  test('and_cannot_be_looked_at_says_why', async () => {
    hub.behave['big-F16.gguf'] = { noRange: true };
    const got = await inspect('hf:owner/repo:f16');
    hub.behave = {};
    assert.equal(got.status, 400);
    assert.equal(got.json.error.rule, 'llm.inspect_ranges');
    assert.match(got.json.error.message, /cannot be read without downloading it/);
    for (const body of [{}, { source: 7 }, { source: '' }, { source: 'x'.repeat(2000) }]) {
      const wrong = await call('POST', '/admin/inspect', body);
      assert.equal(wrong.status, 400, JSON.stringify(body));
      assert.match(wrong.json.error.message, /"source" must be/);
    }
    assert.equal((await inspect('hf:owner/repo:q2_k')).status, 404);
  });
  test('is_looked_at_four_times_at_once_and_no_more_when_its_readers_leave', async () => {
    hub.behave['big-F16.gguf'] = { stall: true };
    hub.requests.length = 0;
    const readers = Array.from({ length: 4 }, () => new AbortController());
    const asked = readers.map((c) => fetch(`${stack.llmUrl}/admin/inspect`, { method: 'POST', body: JSON.stringify({ source: 'hf:owner/repo:f16' }), headers: { authorization: `Bearer ${stack.tokens.admin}` }, signal: c.signal }).catch(() => null));
    await waitFor('four are on their way', async () => hub.requests.filter((r) => r.path.includes('/resolve/')).length >= 4);
    const fifth = await inspect('hf:owner/repo:q8_0');
    assert.equal(fifth.status, 503, fifth.text);
    assert.ok(Number(fifth.headers.get('retry-after')) > 0);
    readers.forEach((c) => c.abort());
    await Promise.all(asked);
    const after = await waitFor('places are free again', async () => { const got = await inspect('hf:owner/repo:q8_0'); return got.status === 200 && got; });
    hub.behave = {};
    assert.equal(after.json.facts.parameters, 1024 * 3000);
  });
});

describe('the audit log', () => {
  const acts = async (action) => (await stack.rpc('audit.list', { action, limit: 100 }, 'admin')).lines.filter((l) => l.source === 'llmserver' && l.action === action);
  /** The end of the act that began last. */
  const end = (action) => waitFor(`the end of ${action}`, async () => {
    const all = await acts(action);
    const begin = all.find((l) => l.phase === 'begin');
    const last = all.find((l) => l.phase === 'end' && l.request_id === begin?.request_id);
    return last ? { ...JSON.parse(last.detail), of: JSON.parse(begin.detail) } : null;
  }, 60_000);
  test('has_the_end_of_a_load_also_when_its_client_left_and_that_of_an_unload', async () => {
    assert.equal((await call('POST', '/admin/unload', { model: MODEL })).status, 200);
    assert.deepEqual(await end('POST /admin/unload'), { end: 'OK', status: 200, of: { path: '/admin/unload', model: MODEL } });
    const leaves = new AbortController();
    const left = fetch(`${stack.llmUrl}/admin/load`, { method: 'POST', body: JSON.stringify({ model: MODEL }), headers: { authorization: `Bearer ${stack.tokens.admin}` }, signal: leaves.signal }).catch(() => null);
    await waitFor('it is being loaded', async () => (await admin()).models.find((m) => m.id === MODEL).state !== 'unloaded');
    leaves.abort();
    await left;
    const { status: _, ...seen } = await end('POST /admin/load'); // a status where the load was faster than the client
    assert.deepEqual(seen, { end: 'OK', of: { path: '/admin/load', model: MODEL } });
    assert.equal((await admin()).models.find((m) => m.id === MODEL).state, 'loaded');
    put('broken-too.gguf', TINY.subarray(0, 5000));
    const broken = await call('POST', '/admin/load', { model: 'broken-too' });
    assert.ok(broken.status >= 400, broken.text);
    const refused = await end('POST /admin/load');
    assert.equal(refused.status, broken.status);
    assert.notEqual(refused.end, 'OK');
  });
  test('has_the_end_of_a_download_when_it_has_ended_and_not_when_it_was_answered', async () => {
    const fine = await call('POST', '/admin/download', { source: 'hf:owner/repo:f16' });
    assert.equal(fine.status, 202, fine.text);
    await ended(fine.json.id);
    const { status: _, ...done } = await end('POST /admin/download');
    assert.deepEqual(done, { end: (await download(fine.json.id)).state === 'done' ? 'OK' : 'DENIED', of: { path: '/admin/download' } });
    hub.repos['owner/repo']['slow-Q5_0.gguf'] = gguf({ tensors: [['token_embd.weight', [1024, 700]]], seed: 9 });
    hub.behave['slow-Q5_0.gguf'] = { stall: true };
    const slow = await call('POST', '/admin/download', { source: 'hf:owner/repo:q5_0' });
    assert.equal(slow.status, 202, slow.text);
    assert.equal((await acts('POST /admin/download'))[0].phase, 'begin', 'no end while it runs');
    assert.equal((await call('DELETE', `/admin/download?id=${slow.json.id}`)).status, 200);
    await ended(slow.json.id);
    assert.equal((await end('POST /admin/download')).end, 'CANCELLED');
    assert.equal((await end('DELETE /admin/download')).end, 'OK');
    hub.behave = {};
  });
});

describe('the command line', () => {
  test('model_inspect_reads_the_header_of_a_model_at_its_server', async () => {
    const got = await stack.command(['model', 'inspect', 'hf:owner/repo:f16']);
    assert.equal(got.code, 0, got.stderr);
    assert.equal(JSON.parse(got.stdout).facts.parameters, 1024 * 6000);
    const none = await stack.command(['model', 'inspect', 'hf:owner/nothing:q4']);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /no repository owner\/nothing/);
    const elsewhere = await stack.command(['model', 'inspect', 'https://127.0.0.1/x.gguf']);
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.stderr, /may not be fetched|inside this machine/);
  });
  test('model_pull_list_inspect_verify_and_remove_work_on_the_folder', async () => {
    const other = gguf({ tensors: [['token_embd.weight', [1024, 500]]], seed: 4 });
    hub.repos['owner/repo']['cli-Q4_0.gguf'] = other;
    const pulled = await stack.command(['model', 'pull', 'hf:owner/repo:q4_0']);
    assert.equal(pulled.code, 0, pulled.stderr + pulled.stdout);
    assert.match(pulled.stdout, /cli-Q4_0\.gguf {2}is there now/);
    assert.equal(statSync(join(modelsDir(), 'cli-Q4_0.gguf')).uid, statSync(modelsDir()).uid, 'it belongs to the services');
    assert.match((await stack.command(['model', 'pull', 'hf:owner/repo:q4_0'])).stdout, /there already/);
    const list = JSON.parse((await stack.command(['model', 'list', '--json'])).stdout);
    assert.equal(list.find((m) => m.file === 'cli-Q4_0.gguf').facts.parameters, 512000);
    assert.match((await stack.command(['model', 'list'])).stdout, /SmolLM2.*134\.5 M parameters/);
    assert.equal(JSON.parse((await stack.command(['model', 'inspect', 'cli-Q4_0.gguf'])).stdout).layers, 1);
    assert.match((await stack.command(['model', 'verify', 'cli-Q4_0.gguf'])).stdout, /as downloaded/);
    writeFileSync(join(modelsDir(), 'cli-Q4_0.gguf'), Buffer.concat([other.subarray(0, -4), Buffer.from('oops')]));
    const broken = await stack.command(['model', 'verify', 'cli-Q4_0.gguf']);
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /has changed since it was downloaded/);
    assert.equal((await stack.command(['model', 'remove', 'cli-Q4_0.gguf'])).code, 0);
    assert.ok(!existsSync(join(modelsDir(), 'cli-Q4_0.gguf')) && !existsSync(join(modelsDir(), 'cli-Q4_0.gguf.origin')));
  });
  test('model_commands_refuse_with_a_sentence', async () => {
    assert.equal((await stack.command(['model', 'pull'])).code, 2);
    const missing = await stack.command(['model', 'pull', 'hf:owner/nothing:q4']);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /no repository owner\/nothing/);
    for (const name of ['../../etc/passwd', 'studio.ini', '/etc/passwd.gguf']) assert.equal((await stack.command(['model', 'remove', name])).code, 2);
    assert.equal((await stack.command(['model', 'remove', 'no-such.gguf'])).code, 1);
    assert.equal((await stack.command(['model', 'inspect', 'no-such.gguf'])).code, 1);
  });
});
