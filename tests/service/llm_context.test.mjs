// A full context: refused as ever, or, when a request asks for it, without the oldest turns of a chat or the older half of a text.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertRefused, llmClient } from '../support/llm.mjs';
import { startTiny } from '../support/tiny.mjs';

let stack;
let llm;
before(async () => {
  stack = await startTiny({ options: { 'llm.request_tokens': '256', 'llm.context_tokens': '2048', 'llm.max_tokens': '32' } });
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
});

const filler = 'river stone bridge market winter garden letter window summer forest';
const system = { role: 'system', content: 'You answer in one word.' };
const turn = (n) => [{ role: 'user', content: `Question ${n}: ${filler}` }, { role: 'assistant', content: `Answer ${n}: ${filler}` }];
const last = { role: 'user', content: 'And the last question?' };
const long = [system, ...Array.from({ length: 20 }, (_, n) => turn(n)).flat(), last];

describe('chat', () => {
  test('a_chat_that_is_too_long_is_400_unless_it_may_drop_its_oldest_turns', async () => {
    assert.equal((await llm.chat({ messages: long, max_tokens: 8 })).json.error.code, 'context_length_exceeded');
    const got = await llm.chat({ messages: long, max_tokens: 8, context_shift: true, temperature: 0 });
    assert.equal(got.status, 200, got.text);
    const { dropped_messages: dropped } = got.json.cds.context_shift;
    assert.ok(dropped > 0 && dropped % 2 === 0 && dropped < 40, `${dropped} messages`);
    assert.ok(got.json.usage.prompt_tokens <= 248);
    // The same as asking without them by hand, and one turn more would not have fitted.
    const by_hand = [system, ...long.slice(1 + dropped)];
    const same = await llm.chat({ messages: by_hand, max_tokens: 8, temperature: 0 });
    assert.equal(same.json.choices[0].message.content, got.json.choices[0].message.content);
    assert.equal(same.json.usage.prompt_tokens, got.json.usage.prompt_tokens);
    assert.equal(same.json.cds.context_shift, undefined);
    const more = await llm.chat({ messages: [system, ...long.slice(1 + dropped - 2)], max_tokens: 8, context_shift: true });
    assert.equal(more.json.cds.context_shift.dropped_messages, 2);
  });

  test('a_stream_tells_it_at_its_end', async () => {
    const got = await llm.stream({ messages: long, max_tokens: 4, context_shift: true });
    assert.ok(got.done);
    assert.ok(got.events.at(-1).cds.context_shift.dropped_messages > 0);
  });

  test('what_does_not_fit_even_alone_is_400', async () => {
    const got = await llm.chat({ messages: [system, ...turn(1), { role: 'user', content: Array(40).fill(filler).join(' ') }], context_shift: true });
    assert.equal(got.status, 400);
    assert.equal(got.json.error.code, 'context_length_exceeded');
  });

  test('a_short_chat_is_not_changed', async () => {
    const got = await llm.chat({ messages: [system, ...turn(1), last], max_tokens: 4, context_shift: true });
    assert.equal(got.json.cds.context_shift, undefined);
  });

  test('wrong_members_are_400', async () => {
    assertRefused(await llm.chat({ messages: [last], context_shift: 1 }), 'context_shift');
    assertRefused(await llm.chat({ messages: [last], n_keep: 4 }), 'n_keep');
    assertRefused(await llm.complete({ prompt: 'x', n_keep: -1 }), 'n_keep');
  });
});

describe('text', () => {
  test('a_text_goes_on_beyond_its_context_and_pays_for_nothing_twice', async () => {
    const body = { prompt: filler, max_tokens: 600, ignore_eos: true, temperature: 0 };
    const cut = await llm.complete(body);
    assert.ok(cut.json.usage.total_tokens <= 256);
    assert.equal(cut.json.choices[0].finish_reason, 'length');
    const got = await llm.complete({ ...body, context_shift: true, n_keep: 16 });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.usage.completion_tokens, 600);
    assert.equal(got.json.usage.prompt_tokens, cut.json.usage.prompt_tokens);
    assert.ok(got.json.cds.context_shift.dropped_tokens >= 300);
    assert.ok(got.json.choices[0].text.startsWith(cut.json.choices[0].text.slice(0, 100)));
  });

  test('a_prompt_that_is_too_long_loses_what_is_oldest', async () => {
    const prompt = Array(60).fill(filler).join(' ');
    assert.equal((await llm.complete({ prompt, max_tokens: 4 })).status, 400);
    const got = await llm.complete({ prompt, max_tokens: 4, context_shift: true });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.usage.prompt_tokens, 252);
    assert.ok(got.json.cds.context_shift.dropped_tokens > 300);
  });
});
