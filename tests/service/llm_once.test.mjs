// Requests with an Idempotency-Key: carried out once, whoever asks again, leaves, or dies.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { callAs, person } from '../security/support.mjs';
import { ask, EMBEDDER, llmClient } from '../support/llm.mjs';
import { startStack, waitFor } from '../support/stack.mjs';

let stack;
let llm;
before(async () => {
  stack = await startStack({ fresh: true });
  await stack.waitModel();
  llm = llmClient(stack);
});
after(() => stack?.stop());

const short = { messages: ask('Say hello.'), max_tokens: 8 };
const rule = (got) => (got.json.error ?? got.json).rule;

async function post(path, body, { key, token = stack.tokens.developer, base = stack.llmUrl, signal, headers = {} } = {}) {
  const reply = await fetch(base + path, {
    method: 'POST', signal, body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...(key === undefined ? {} : { 'idempotency-key': key }), ...headers },
  });
  const text = await reply.text();
  let json = null;
  try {
    json = JSON.parse(text);
  } catch {
    /* a stream */
  }
  return { status: reply.status, headers: reply.headers, text, json };
}
/** Lines of the ledger of one user: how many, with tokens, and their sum. */
async function booked(id) {
  const [lines, paid, tokens] = (await stack.sql(`SELECT count(*), count(*) FILTER (WHERE n_in + n_out > 0), coalesce(sum(n_in + n_out), 0) FROM token_ledger WHERE user_id = '${id}'`)).split('|').map(Number);
  return { lines, paid, tokens };
}
const isOpen = async (id) => (await stack.sql(`SELECT count(*) FROM llm_requests WHERE user_id = '${id}' AND state = 1`)) !== '0';
const rowOf = (key) => stack.sql(`SELECT coalesce(status::text, 'open') FROM idempotency_keys WHERE key = '${key}'`);
/** A request that runs until goOn, since the process of its model stands still; one that had ended before that is made again. */
function heldRequest(body, base) {
  return waitFor('a request runs', async () => {
    const [who, key, { pid }] = [await person(stack), randomUUID(), await llm.modelStatus()];
    let over = false;
    const first = post('/v1/chat/completions', body, { key, token: who.token, base }).catch((error) => error).finally(() => (over = true));
    while (!over && !(await isOpen(who.id)));
    if (over) return null;
    process.kill(pid, 'SIGSTOP');
    const goOn = () => process.kill(pid, 'SIGCONT');
    // Open it is also while its end is being booked; of such a one the model has nothing any more.
    if ((await isOpen(who.id)) && (await llm.modelStatus())?.active === 1) return { who, key, first, goOn };
    goOn();
    await first;
    return null;
  });
}
/** Repeats until it is not being carried out any more. */
async function repeat(path, body, how) {
  let got;
  await waitFor('the answer is kept', async () => rule((got = await post(path, body, how))?.json ? got : { json: {} }) !== 'idempotency.running', 60_000, 50);
  return got;
}
/** Sends and leaves once its key is known, or once some bytes came. */
function leave(path, body, { key, token, base = stack.llmUrl, bytes = 0 }) {
  return new Promise((resolve, reject) => {
    const req = request(new URL(base + path), { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, 'idempotency-key': key } }, (reply) => {
      let got = 0;
      reply.on('data', (piece) => (got += piece.length) > bytes && bytes && req.destroy());
      reply.on('error', () => {});
    });
    req.on('error', () => {}).on('close', resolve);
    req.end(JSON.stringify(body));
    if (!bytes) waitFor('its key is known', async () => (await rowOf(key)) !== '').then(() => req.destroy(), reject);
  });
}

describe('the same key and body', { concurrency: false }, () => {
  for (const [name, path, body] of [
    ['a chat', '/v1/chat/completions', short],
    ['a stream', '/v1/chat/completions', { ...short, stream: true, stream_options: { include_usage: true } }],
    ['a completion', '/v1/completions', { prompt: 'Once upon', max_tokens: 6 }],
    ['a response', '/v1/responses', { input: 'Say hello.', max_output_tokens: 8 }],
    ['a streamed response', '/v1/responses', { input: 'Say hello.', max_output_tokens: 8, stream: true }],
    ['a message', '/v1/messages', { messages: ask('Say hello.'), max_tokens: 8, model: 'smollm2-135m-instruct' }],
    ['vectors', '/v1/embeddings', { input: ['one', 'two'], model: EMBEDDER }],
  ])
    test(`${name}: the stored answer to the byte, billed once, at the model server and through the gateway`, async () => {
      const who = await person(stack);
      const key = randomUUID();
      const first = await post(path, body, { key, token: who.token });
      assert.equal(first.status, 200, first.text);
      assert.equal(first.headers.get('idempotency-replayed'), null);
      const bill = await booked(who.id);
      assert.equal(bill.paid, 1);
      for (const base of [stack.llmUrl, stack.apiUrl, stack.url.replace(/\/$/, '')]) {
        const again = await post(path, body, { key, token: who.token, base });
        assert.deepEqual([again.status, again.headers.get('idempotency-replayed'), again.headers.get('content-type')], [200, 'true', first.headers.get('content-type')], base);
        assert.equal(again.text, first.text);
      }
      assert.deepEqual(await booked(who.id), bill);
      const other = await post(path, body, { key: randomUUID(), token: who.token });
      assert.equal(other.headers.get('idempotency-replayed'), null);
      assert.equal((await booked(who.id)).paid, 2, 'another key is another request');
    });

  test('with another body, or at another address, is 422 and says so; nothing is billed', async () => {
    const who = await person(stack);
    const key = randomUUID();
    assert.equal((await post('/v1/chat/completions', short, { key, token: who.token })).status, 200);
    const bill = await booked(who.id);
    for (const [path, body] of [['/v1/chat/completions', { ...short, max_tokens: 9 }], ['/v1/chat/completions', `${JSON.stringify(short)} `], ['/v1/messages', short]]) {
      const got = await post(path, body, { key, token: who.token });
      assert.deepEqual([got.status, rule(got)], [422, 'idempotency.other_body'], got.text);
      assert.match(got.text, /Idempotency-Key stands for another request/);
    }
    assert.deepEqual(await booked(who.id), bill);
  });

  test('means something else for each user and for each API key', async () => {
    const key = randomUUID();
    const texts = new Set();
    const ann = await person(stack);
    const bob = await person(stack);
    const made = await Promise.all([1, 2].map(async () => (await callAs(stack, ann.token, 'key.create', { name: 'k' })).result.key));
    for (const token of [ann.token, bob.token, ...made]) {
      const got = await post('/v1/chat/completions', { ...short, max_tokens: 3 }, { key, token });
      assert.deepEqual([got.status, got.headers.get('idempotency-replayed')], [200, null]);
      texts.add(got.json.id);
    }
    assert.equal(texts.size, 4);
    assert.deepEqual([(await booked(ann.id)).paid, (await booked(bob.id)).paid], [3, 1]);
  });

  test('an answer that is there is given again also after a restart of the model server', async () => {
    const who = await person(stack);
    const key = randomUUID();
    const first = await post('/v1/chat/completions', short, { key, token: who.token });
    const { llmserver } = await stack.pids();
    process.kill(llmserver, 'SIGKILL');
    await stack.waitPart('llmserver', llmserver);
    const again = await waitFor('it answers', async () => {
      const got = await post('/v1/chat/completions', short, { key, token: who.token }).catch(() => null);
      return got?.status === 200 ? got : null;
    }, 60_000, 100);
    assert.deepEqual([again.text, again.headers.get('idempotency-replayed')], [first.text, 'true']);
    assert.equal((await booked(who.id)).paid, 1);
    await stack.waitModel();
  });
});

describe('at the same time', { concurrency: false }, () => {
  test('200 parallel calls with one Idempotency-Key bill once', async () => {
    const who = await person(stack);
    const key = randomUUID();
    const got = await Promise.all(Array.from({ length: 200 }, () => post('/v1/chat/completions', short, { key, token: who.token })));
    const fresh = got.filter((one) => one.status === 200 && !one.headers.get('idempotency-replayed'));
    assert.equal(fresh.length, 1);
    for (const one of got.filter((one) => one !== fresh[0]))
      if (one.status === 200) assert.equal(one.text, fresh[0].text);
      else {
        assert.deepEqual([one.status, rule(one)], [409, 'idempotency.running'], one.text);
        assert.ok(Number(one.headers.get('retry-after')) >= 1);
        assert.match(one.json.error.message, /[0-9a-f]{8}-[0-9a-f-]{27}/, 'it names the running one');
      }
    assert.deepEqual([await booked(who.id)].map(({ lines, paid }) => [lines, paid]), [[1, 1]]);
    assert.equal((await post('/v1/chat/completions', short, { key, token: who.token })).text, fresh[0].text);
  });

  test('of 20 servers that know nothing of each other one carries it out: the database decides', async () => {
    const who = await person(stack);
    const claim = async (node) => {
      for (;;) {
        const verdict = await stack.sql(`SELECT verdict FROM once_claim('${who.id}', 'shared', '${who.id}', sha256('x'), gen_random_uuid(), '${node}', interval '1 day', interval '1 hour', 1000)`);
        if (verdict !== 'again') return verdict; // somebody's row came in between: a server asks once more
      }
    };
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => claim(randomUUID())));
    assert.deepEqual([verdicts.filter((one) => one === 'run').length, verdicts.filter((one) => one === 'running').length], [1, 19]);
  });

  test('the state of a running one is told by usage.track under the id of the refusal', async () => {
    const who = await person(stack);
    const key = randomUUID();
    const body = { messages: ask('Tell a very long story.'), max_tokens: 1500, ignore_eos: true, temperature: 0.8 };
    const first = post('/v1/chat/completions', body, { key, token: who.token });
    await waitFor('it runs', () => isOpen(who.id));
    const got = await post('/v1/chat/completions', body, { key, token: who.token });
    assert.deepEqual([got.status, rule(got)], [409, 'idempotency.running']);
    const id = /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(got.json.error.message)[0];
    assert.equal((await callAs(stack, who.token, 'usage.track', { request_id: id })).result.state, 'open');
    const other = await post('/v1/chat/completions', { ...body, max_tokens: 5 }, { key, token: who.token });
    assert.deepEqual([other.status, rule(other)], [422, 'idempotency.other_body']);
    assert.equal((await post(`/v1/requests/${id}/cancel`, {}, { token: who.token })).status, 202);
    const ended = await first;
    assert.equal(ended.json.cds.ended, 'cancelled');
    const again = await post('/v1/chat/completions', body, { key, token: who.token });
    assert.deepEqual([again.text, again.headers.get('idempotency-replayed')], [ended.text, 'true'], 'what was cancelled is what is kept');
    assert.equal((await booked(who.id)).lines, 1);
  });
});

describe('a client that leaves', { concurrency: false }, () => {
  for (const [name, more, how] of [
    ['before its answer', {}, {}],
    ['in the middle of its stream', { stream: true }, { bytes: 600 }],
  ])
    for (const door of ['llmUrl', 'apiUrl'])
      test(`${name} and repeats gets the whole answer, and pays once (${door})`, async () => {
        const who = await person(stack);
        const key = randomUUID();
        const body = { messages: ask('Count to twenty in words.'), max_tokens: 120, ...more };
        await leave('/v1/chat/completions', body, { key, token: who.token, base: stack[door], ...how });
        const got = await repeat('/v1/chat/completions', body, { key, token: who.token, base: stack[door] });
        assert.deepEqual([got.status, got.headers.get('idempotency-replayed')], [200, 'true'], got.text);
        if (more.stream) assert.match(got.text, /^data: .*\n\ndata: \[DONE\]\n\n$/s);
        else assert.ok(['stop', 'length'].includes(got.json.choices[0].finish_reason));
        assert.doesNotMatch(got.text, /"ended":"cancelled"/);
        const bill = await booked(who.id);
        assert.equal(bill.paid, 1);
        const usage = more.stream ? JSON.parse(got.text.split('\n\n').at(-3).slice(6)).cds.usage : got.json.usage;
        assert.equal(bill.tokens, usage.total_tokens, 'what it was told is what was booked');
      });

  test('without the header is cancelled as ever', async () => {
    const who = await person(stack);
    const controller = new AbortController();
    const call = post('/v1/chat/completions', { messages: ask('Tell a very long story.'), max_tokens: 1500, ignore_eos: true }, { token: who.token, signal: controller.signal });
    await waitFor('it runs', () => isOpen(who.id));
    controller.abort();
    await assert.rejects(call);
    await waitFor('it is over', async () => !(await isOpen(who.id)));
    assert.equal(await stack.sql(`SELECT outcome FROM llm_requests WHERE user_id = '${who.id}'`), 'gone');
  });
});

describe('a process that dies', { concurrency: false }, () => {
  test('the gateway, between the booking and the answer: the answer is there for whoever repeats, billed once', async () => {
    const body = { messages: ask('Count to ten.'), max_tokens: 60, ignore_eos: true };
    const { api } = await stack.pids();
    const { who, key, first, goOn } = await heldRequest(body, stack.apiUrl);
    process.kill(api, 'SIGSTOP'); // its answer stays where it is
    goOn();
    await waitFor('it is booked', async () => (await booked(who.id)).paid === 1);
    process.kill(api, 'SIGKILL');
    assert.ok((await first) instanceof Error, 'the client has no answer');
    await stack.waitPart('api', api);
    const got = await repeat('/v1/chat/completions', body, { key, token: who.token, base: stack.apiUrl });
    assert.deepEqual([got.status, got.headers.get('idempotency-replayed')], [200, 'true'], got.text);
    const bill = await booked(who.id);
    assert.deepEqual([bill.paid, bill.tokens], [1, got.json.usage.total_tokens]);
  });

  test('the model server, before anything was booked: it is carried out again, and billed once', async () => {
    const body = { messages: ask('Count to ten.'), max_tokens: 60, ignore_eos: true, temperature: 0.8 }; // in one slice: nothing is noted of it
    const { llmserver } = await stack.pids();
    const { who, key, first } = await heldRequest(body, stack.llmUrl);
    process.kill(llmserver, 'SIGKILL');
    assert.ok((await first) instanceof Error);
    assert.equal(await rowOf(key), 'open');
    await stack.waitPart('llmserver', llmserver);
    await stack.waitModel();
    const got = await repeat('/v1/chat/completions', body, { key, token: who.token });
    assert.deepEqual([got.status, got.headers.get('idempotency-replayed')], [200, null], got.text);
    assert.deepEqual([(await booked(who.id)).paid, (await booked(who.id)).tokens], [1, got.json.usage.total_tokens]);
  });

  test('the model server, after something was noted: it is billed once and never again under this key', async () => {
    const who = await person(stack);
    const key = randomUUID();
    const body = { messages: ask('Tell a very long story about a river.'), max_tokens: 1500, temperature: 0.8, ignore_eos: true };
    const { llmserver } = await stack.pids();
    const first = post('/v1/chat/completions', body, { key, token: who.token }).catch((error) => error);
    await waitFor('a slice more was reserved', async () => Number(await stack.sql(`SELECT coalesce(max(done_out), 0) FROM llm_requests WHERE user_id = '${who.id}'`)) > 0, 60_000, 20);
    process.kill(llmserver, 'SIGKILL');
    await first;
    await stack.waitPart('llmserver', llmserver);
    await waitFor('it is booked', async () => (await booked(who.id)).paid === 1);
    const bill = await booked(who.id);
    const got = await repeat('/v1/chat/completions', body, { key, token: who.token });
    assert.deepEqual([got.status, rule(got)], [409, 'idempotency.lost'], got.text);
    assert.deepEqual(await booked(who.id), bill);
    await stack.waitModel();
  });

  test('the ledger adds up afterwards', async () => {
    const got = await stack.command(['ledger', 'verify']);
    assert.equal(got.code, 0, got.stdout + got.stderr);
  });
});

describe('what cost nothing frees the key, and what is too much is refused', { concurrency: false }, () => {
  test('a request that was refused may be sent again under its key', async () => {
    const who = await person(stack);
    const key = randomUUID();
    const body = { messages: ask('word '.repeat(3000)) };
    for (let i = 0; i < 2; i++) assert.equal((await post('/v1/chat/completions', body, { key, token: who.token })).status, 400);
    await waitFor('the row is gone', async () => (await rowOf(key)) === '');
    await stack.rpc('budget.set', { scope: 'user', user_id: who.id, unit: 'tokens', window: 'month', limit: 1 }, 'admin');
    const poor = await post('/v1/chat/completions', short, { key, token: who.token });
    assert.equal(poor.status, 429, poor.text);
    await stack.rpc('budget.set', { scope: 'user', user_id: who.id, unit: 'tokens', window: 'month', limit: 100000 }, 'admin');
    const fine = await post('/v1/chat/completions', short, { key, token: who.token });
    assert.deepEqual([fine.status, fine.headers.get('idempotency-replayed')], [200, null], fine.text);
    assert.equal((await booked(who.id)).paid, 1);
  });

  test('an empty key, one of 256 bytes and one that is no text are 400', async () => {
    for (const key of ['', 'x'.repeat(256), 'a\x01b', 'ä']) {
      const got = await post('/v1/chat/completions', short, { key }).catch(() => null);
      if (got) assert.deepEqual([got.status, rule(got)], [400, 'idempotency.key'], JSON.stringify(key));
    }
    assert.equal((await post('/v1/chat/completions', { ...short, max_tokens: 1 }, { key: 'x'.repeat(255) })).status, 200);
  });

  test('the 1,001st valid key is 429; expired ones make room and are carried out anew', async () => {
    const who = await person(stack);
    const key = randomUUID();
    assert.equal((await post('/v1/chat/completions', short, { key, token: who.token })).status, 200);
    const fill = (count, expires) => stack.sql(`INSERT INTO idempotency_keys (principal, key, user_id, digest, request_id, node, lease, status, expires_at) SELECT '${who.id}', 'fill ' || n, '${who.id}', sha256('x'), gen_random_uuid(), gen_random_uuid(), now(), 200, ${expires} FROM generate_series(1, ${count}) n`);
    await fill(999, "now() + interval '1 hour'");
    const full = await post('/v1/chat/completions', short, { key: randomUUID(), token: who.token });
    assert.deepEqual([full.status, rule(full)], [429, 'idempotency.full'], full.text);
    assert.equal((await post('/v1/chat/completions', short, { key, token: who.token })).headers.get('idempotency-replayed'), 'true', 'one that is there is answered');
    await stack.sql(`UPDATE idempotency_keys SET expires_at = now() - interval '1 s' WHERE principal = '${who.id}'`);
    const anew = await post('/v1/chat/completions', short, { key, token: who.token });
    assert.deepEqual([anew.status, anew.headers.get('idempotency-replayed')], [200, null]);
    assert.equal((await booked(who.id)).paid, 2);
  });

  test('an answer of more than 1 MiB is not kept, and not computed twice', async () => {
    const who = await person(stack);
    const key = randomUUID();
    const body = { input: Array.from({ length: 400 }, (_, i) => `text ${i}`), model: EMBEDDER };
    const first = await post('/v1/embeddings', body, { key, token: who.token });
    assert.ok(first.status === 200 && first.text.length > 1 << 20);
    const got = await repeat('/v1/embeddings', body, { key, token: who.token });
    assert.deepEqual([got.status, rule(got)], [409, 'idempotency.lost'], got.text);
    assert.equal((await booked(who.id)).paid, 1);
  });

  test('what costs nothing takes no notice of the header', async () => {
    const key = randomUUID();
    for (let i = 0; i < 2; i++) {
      const got = await post('/v1/tokenize', { content: `word ${i}`, model: 'smollm2-135m-instruct' }, { key });
      assert.equal(got.status, 200, got.text);
    }
  });

  test('a viewer is refused before anything is claimed; a role that was taken away does not get an old answer', async () => {
    assert.equal((await post('/v1/chat/completions', short, { key: randomUUID(), token: stack.tokens.viewer })).status, 403);
    const who = await person(stack);
    const key = randomUUID();
    assert.equal((await post('/v1/chat/completions', short, { key, token: who.token })).status, 200);
    await stack.rpc('user.set_role', { user_id: who.id, role: 'viewer' }, 'admin');
    await waitFor('the role is known', async () => (await post('/v1/chat/completions', short, { key, token: who.token })).status === 403, 2000);
  });

  test('an outage of the database refuses it: nothing is carried out that could not be kept', async () => {
    const who = await person(stack);
    await stack.sql('ALTER TABLE idempotency_keys RENAME TO away');
    try {
      const got = await post('/v1/chat/completions', short, { key: randomUUID(), token: who.token });
      assert.deepEqual([got.status, rule(got)], [503, 'idempotency.unavailable'], got.text);
    } finally {
      await stack.sql('ALTER TABLE away RENAME TO idempotency_keys');
    }
    await sleep(50);
    assert.equal((await booked(who.id)).lines, 0);
  });
});

describe('usage', { concurrency: false }, () => {
  test('is in every answer and in the last chunk of every stream, in each API, and is what was booked', async () => {
    const chunks = (got) => got.text.split('\n').filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice(6)));
    const tokens = (usage) => (usage.total_tokens ?? usage.input_tokens + usage.output_tokens);
    for (const [name, path, body, find] of [
      ['chat', '/v1/chat/completions', short, (got) => got.json.usage],
      ['chat stream', '/v1/chat/completions', { ...short, stream: true }, (got) => chunks(got).at(-1).cds.usage],
      ['chat stream with include_usage', '/v1/chat/completions', { ...short, stream: true, stream_options: { include_usage: true } }, (got) => chunks(got).at(-1).usage],
      ['completion', '/v1/completions', { prompt: 'Once', max_tokens: 4 }, (got) => got.json.usage],
      ['completion stream', '/v1/completions', { prompt: 'Once', max_tokens: 4, stream: true }, (got) => chunks(got).at(-1).cds.usage],
      ['response', '/v1/responses', { input: 'Hi', max_output_tokens: 4 }, (got) => got.json.usage],
      ['response stream', '/v1/responses', { input: 'Hi', max_output_tokens: 4, stream: true }, (got) => chunks(got).at(-1).response.usage],
      ['message', '/v1/messages', { messages: ask('Hi'), max_tokens: 4, model: 'smollm2-135m-instruct' }, (got) => got.json.usage],
      ['message stream', '/v1/messages', { messages: ask('Hi'), max_tokens: 4, model: 'smollm2-135m-instruct', stream: true }, (got) => chunks(got).at(-2).usage],
      ['vectors', '/v1/embeddings', { input: 'one', model: EMBEDDER }, (got) => got.json.usage],
    ]) {
      const who = await person(stack);
      const got = await post(path, body, { token: who.token });
      assert.equal(got.status, 200, `${name}: ${got.text}`);
      assert.equal(tokens(find(got)), (await booked(who.id)).tokens, name);
    }
  });
});
