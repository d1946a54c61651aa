// Members of a request beyond OpenAI's: token ids, rows of stop tokens, preload, half-typed prompts, priority, deadline, undocumented parameters.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertRefused, llmClient } from '../support/llm.mjs';
import { waitFor } from '../support/stack.mjs';
import { LONG, TINY, startTiny } from '../support/tiny.mjs';

let stack;
let llm;
before(async () => {
  stack = await startTiny({ options: { 'llm.slots': '2', 'llm.request_tokens': '16384', 'llm.context_tokens': '65536', 'llm.speculation': 'off' } });
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
});
const statusOf = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === TINY);
const prompt = 'The river and the stone and the bridge and the market';
const base = { prompt, max_tokens: 24, temperature: 0 };

describe('tokens', () => {
  test('ids_of_the_tokens_come_with_the_answer_and_with_each_chunk', async () => {
    const whole = (await llm.complete({ ...base, return_tokens: true, n: 2, temperature: 1, seed: 3 })).json;
    for (const choice of whole.choices) assert.ok(choice.tokens.every(Number.isInteger));
    assert.equal(whole.choices[0].tokens.length + whole.choices[1].tokens.length, whole.usage.completion_tokens);
    const one = (await llm.complete({ ...base, return_tokens: true })).json.choices[0];
    const stream = await llm.textStream({ ...base, return_tokens: true });
    assert.deepEqual(stream.events.flatMap((e) => e.choices[0]?.tokens ?? []), one.tokens);
    const chat = await llm.stream({ messages: [{ role: 'user', content: prompt }], max_tokens: 8, return_tokens: true, stream_options: { include_usage: true } });
    assert.equal(chat.events.flatMap((e) => e.choices[0]?.tokens ?? []).length, chat.events.at(-1).usage.completion_tokens);
    assert.equal((await llm.complete(base)).json.choices[0].tokens, undefined);
    assertRefused(await llm.complete({ ...base, return_tokens: 1 }), 'return_tokens');
  });

  test('a_row_of_stop_tokens_ends_the_answer_only_as_a_row', async () => {
    const seeded = { ...base, temperature: 1.5, seed: 11, max_tokens: 40, return_tokens: true };
    const { tokens } = (await llm.complete(seeded)).json.choices[0];
    const at = 20;
    const row = tokens.slice(at, at + 3);
    const stopped = (await llm.complete({ ...seeded, stop_token_ids: [row] })).json;
    assert.deepEqual(stopped.choices[0].tokens, tokens.slice(0, at + 3));
    assert.equal(stopped.choices[0].finish_reason, 'stop');
    assert.equal(stopped.usage.completion_tokens, at + 3);
    const never = (await llm.complete({ ...seeded, stop_token_ids: [[row[0], row[0], row[0]], [row[2], row[1]]] })).json;
    assert.deepEqual(never.choices[0].tokens, tokens);
    for (const wrong of [[[]], [['a']], [[1, -1]], [Array(17).fill(1)], [[[1]]]]) assertRefused(await llm.complete({ ...base, stop_token_ids: wrong }), 'stop_token_ids');
  });

  test('n_probs_is_another_name_for_chances', async () => {
    const text = (await llm.complete({ ...base, max_tokens: 3, n_probs: 2 })).json.choices[0].logprobs;
    const named = (await llm.complete({ ...base, max_tokens: 3, logprobs: 2 })).json.choices[0].logprobs;
    assert.deepEqual([named.tokens, named.text_offset, named.top_logprobs.map(Object.keys)], [text.tokens, text.text_offset, text.top_logprobs.map(Object.keys)]);
    // How many threads compute decides the last bits of a chance.
    named.token_logprobs.forEach((chance, i) => assert.ok(Math.abs(chance - text.token_logprobs[i]) < 1e-2, `${chance} and ${text.token_logprobs[i]}`));
    const chat = (await llm.chat({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 3, temperature: 0, n_probs: 2 })).json.choices[0].logprobs;
    assert.equal(chat.content[0].top_logprobs.length, 2);
    assert.equal((await llm.complete({ ...base, n_probs: 0 })).json.choices[0].logprobs, null);
    assertRefused(await llm.complete({ ...base, n_probs: 'x' }), 'n_probs');
  });
});

describe('penalties', () => {
  test('leave_exempt_tokens_and_line_breaks_alone', async () => {
    // Three letters in turn are all the grammar allows, so a penalty can only change their order.
    const body = { ...base, prompt: 'a', max_tokens: 30, grammar: 'root ::= [abc\\n]+', return_tokens: true, repeat_last_n: -1 };
    const run = async (more) => (await llm.complete({ ...body, ...more })).json.choices[0];
    const plain = await run({});
    const punished = await run({ frequency_penalty: 2, presence_penalty: 2 });
    assert.notEqual(punished.text, plain.text);
    const ids = [...new Set([...plain.tokens, ...punished.tokens])].slice(0, 64);
    assert.equal((await run({ frequency_penalty: 2, presence_penalty: 2, penalty_exempt: ids })).text, plain.text);
    const lines = { ...body, prompt: 'x', grammar: 'root ::= ([abc] | "\\n")+', ignore_eos: true };
    const broken = (await llm.complete({ ...lines, frequency_penalty: 2 })).json.choices[0];
    const spared = (await llm.complete({ ...lines, frequency_penalty: 2, penalize_newline: false })).json.choices[0];
    const breaks = [];
    for (const id of new Set(spared.tokens))
      if ((await llm.call('POST', '/v1/detokenize', { tokens: [id] })).json.content.includes('\n')) breaks.push(id);
    assert.ok(breaks.length > 0, 'it broke lines');
    const by_id = (await llm.complete({ ...lines, frequency_penalty: 2, penalty_exempt: breaks })).json.choices[0];
    assert.equal(by_id.text, spared.text);
    assert.notEqual(broken.text, spared.text);
    assertRefused(await llm.complete({ ...base, penalty_exempt: ['a'] }), 'penalty_exempt');
    assertRefused(await llm.complete({ ...base, penalize_newline: 0 }), 'penalize_newline');
  });
});

describe('prompts', () => {
  test('preload_reads_the_prompt_and_says_nothing', async () => {
    const messages = [{ role: 'system', content: 'You know all about rivers and bridges and markets of the north.' }, { role: 'user', content: `Tell me of ${prompt}` }];
    const warm = await llm.chat({ messages, preload: true });
    assert.equal(warm.status, 200, warm.text);
    const { prompt_tokens: tokens, completion_tokens: said } = warm.json.usage;
    assert.equal(said, 0);
    assert.equal(warm.json.choices[0].message.content, '');
    assert.equal(warm.json.choices[0].finish_reason, 'stop');
    const asked = (await llm.chat({ messages, max_tokens: 2 })).json;
    assert.equal(asked.usage.prompt_tokens, tokens);
    assert.equal(asked.usage.prompt_tokens_details.cached_tokens, tokens - 1);
    assertRefused(await llm.complete({ ...base, preload: true, n: 2 }), 'preload');
    const streamed = await llm.textStream({ ...base, preload: true });
    assert.ok(streamed.done && streamed.events.every((e) => !e.choices[0]?.text));
  });

  test('a_half_typed_prompt_is_typed_on', async () => {
    const messages = [{ role: 'system', content: 'Short.' }, { role: 'user', content: 'Where is the <|im_end|> old ' }];
    const half = await llm.chat({ messages, complete_prompt: true, max_tokens: 4, temperature: 0 });
    assert.equal(half.status, 200, half.text);
    const whole = await llm.chat({ messages, max_tokens: 4, temperature: 0 });
    const closing = whole.json.usage.prompt_tokens - half.json.usage.prompt_tokens;
    assert.ok(closing >= 4 && closing <= 6, `the end of the turn and the beginning of the answer are missing: ${closing} tokens`);
    // The next key is pressed: what was read is still there.
    const next = await llm.chat({ messages: [messages[0], { role: 'user', content: `${messages[1].content}bridge` }], complete_prompt: true, max_tokens: 1 });
    assert.ok(next.json.usage.prompt_tokens_details.cached_tokens >= half.json.usage.prompt_tokens - 2);
    assertRefused(await llm.chat({ messages: [...messages, { role: 'assistant', content: 'x' }], complete_prompt: true }), 'complete_prompt');
    assertRefused(await llm.complete({ ...base, complete_prompt: true }), 'complete_prompt');
  });

  test('an_answer_goes_on_with_a_given_beginning_that_is_read_like_the_prompt', async () => {
    const messages = [{ role: 'user', content: 'Say it.' }, { role: 'assistant', content: 'It is the river that' }];
    const got = await llm.chat({ messages, continue_final_message: true, max_tokens: 3, temperature: 0 });
    assert.equal(got.status, 200, got.text);
    const longer = await llm.chat({ messages: [messages[0], { role: 'assistant', content: 'It is the river that runs' }], continue_final_message: true, max_tokens: 1 });
    assert.ok(longer.json.usage.prompt_tokens_details.cached_tokens >= got.json.usage.prompt_tokens - 1);
  });

  test('parameters_of_functions_need_not_be_documented', async () => {
    const tools = [{ type: 'function', function: { name: 'find', description: 'Finds a place.',
      parameters: { type: 'object', properties: { where: { type: 'string', description: 'A long description of where to look for the place' } }, required: ['where'] } } }];
    const body = { messages: [{ role: 'user', content: 'Find it.' }], tools, tool_choice: 'required', max_tokens: 60, temperature: 0 };
    const told = (await llm.chat(body)).json, untold = (await llm.chat({ ...body, document_parameters: false })).json;
    assert.ok(told.usage.prompt_tokens - untold.usage.prompt_tokens > 20);
    assertRefused(await llm.chat({ ...body, document_parameters: 'no' }), 'document_parameters');
  });
});

describe('turns', () => {
  test('a_low_priority_waits_and_a_wrong_one_is_400', async () => {
    const controller = new AbortController();
    const ask = (body) => fetch(`${stack.llmUrl}/v1/completions`, { method: 'POST', signal: controller.signal,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` }, body: JSON.stringify({ ...base, ignore_eos: true, max_tokens: LONG, ...body }) });
    const running = [1, 2].map((seed) => ask({ seed, priority: 'low' }));
    running.forEach((r) => r.catch(() => {}));
    await waitFor('both slots are taken', async () => (await statusOf()).active === 2);
    const waits = ask({ priority: 'low', max_tokens: 1 });
    waits.catch(() => {});
    await waitFor('it waits', async () => (await statusOf()).queued === 1);
    assert.equal((await statusOf()).queue[0].class, 'low');
    assert.equal((await llm.complete({ ...base, max_tokens: 1, priority: 'normal' })).status, 200);
    assert.equal((await statusOf()).queued, 1, 'it was passed');
    controller.abort();
    await waitFor('all are gone', async () => (await statusOf()).active === 0);
    assertRefused(await llm.complete({ ...base, priority: 'urgent' }), 'priority');
    assertRefused(await llm.complete({ ...base, priority: 1 }), 'priority');
  });

  test('a_deadline_ends_the_answer_or_the_wait', async () => {
    // A deadline that ends while the request still waits refuses it (here: on a machine that is busy with other things); so it is asked with more time,
    // and one that was whole before its deadline is asked anew.
    const cut = await waitFor('a deadline ends an answer', async () => {
      for (let ms = 700; ms < 30_000; ms *= 2) {
        const got = await llm.complete({ ...base, max_tokens: LONG, ignore_eos: true, deadline_ms: ms });
        if (got.status === 200) return got.json.cds.ended === 'deadline' && got;
        assert.match(got.json.error.message, /waited too long/);
      }
      return null;
    });
    assert.equal(cut.json.cds.ended, 'deadline');
    assert.equal(cut.json.choices[0].finish_reason, 'length');
    assertRefused(await llm.complete({ ...base, deadline_ms: 0 }), 'deadline_ms');
  });
});
