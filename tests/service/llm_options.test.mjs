// What a request can ask of the sampler, how many answers it can ask for, and what it is told about chances. Needs the default model.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MODEL, ask, assertRefused, withModel } from '../support/llm.mjs';

let stack;
let llm;
withModel((studio) => ({ stack, llm } = studio));

/** Text of a greedy completion with more options. Short: further on two tokens are sooner or later as good as alike, and how many threads compute
 *  decides the last bit. */
async function text(prompt, options) {
  const got = await llm.complete({ prompt, max_tokens: 6, temperature: 0, ...options });
  assert.equal(got.status, 200, got.text);
  return got.json.choices[0].text;
}
const REPEATING = 'one two three one two three one two three one two three one two';

describe('samplers', () => {
  const base = { prompt: 'Once upon a time', max_tokens: 20, temperature: 1, seed: 5 };

  test('top_k_1_and_the_other_narrow_samplers_give_the_likeliest_text', async () => {
    const likeliest = await text('The capital of France is', {});
    const narrow = [{ top_k: 1 }, { top_p: 0 }, { min_p: 1 }, { top_n_sigma: 0.0001 }];
    for (const options of narrow)
      assert.equal(await text('The capital of France is', { temperature: 1, seed: 3, ...options }), likeliest, JSON.stringify(options));
  });

  test('each_sampler_changes_the_text_of_the_same_seed', async () => {
    const wide = { ...base, temperature: 1.9, top_k: 0, top_p: 1, min_p: 0, max_tokens: 24 };
    const plain = (await llm.complete(wide)).json.choices[0].text;
    assert.equal((await llm.complete(wide)).json.choices[0].text, plain);
    for (const options of [{ typical_p: 0.2 }, { top_n_sigma: 0.5 }, { xtc_probability: 1, xtc_threshold: 0.01 }, { dynatemp_range: 1.5, dynatemp_exponent: 2 },
      { mirostat: 1, mirostat_tau: 2, mirostat_eta: 0.2 }, { mirostat: 2, mirostat_tau: 2 }, { samplers: ['top_k', 'temperature'], top_k: 2 }, { seed: 6 }]) {
      const got = await llm.complete({ ...wide, ...options });
      assert.equal(got.status, 200, got.text);
      assert.notEqual(got.json.choices[0].text, plain, JSON.stringify(options));
    }
  });

  test('penalties_and_dry_keep_a_text_from_repeating_itself', async () => {
    const plain = await text(REPEATING, {}), far = { max_tokens: 24 }, long = await text(REPEATING, far);
    assert.match(plain, /three one two/);
    for (const options of [{ repeat_penalty: 2, repeat_last_n: -1 }, { frequency_penalty: 2 }, { presence_penalty: 2 }, { dry_multiplier: 5, dry_allowed_length: 1 }])
      assert.notEqual(await text(REPEATING, { ...far, ...options }), long, JSON.stringify(options));
    assert.equal(await text(REPEATING, { frequency_penalty: 2, repeat_last_n: 0 }), plain, 'nothing is looked at');
    const breakers = { dry_multiplier: 5, dry_allowed_length: 1, dry_sequence_breakers: [' one', ' two', ' three', 'one'] };
    assert.equal(await text(REPEATING, breakers), plain, 'a breaker in each place');
    assert.equal(await text(REPEATING, { frequency_penalty: 2, samplers: ['temperature'] }), plain, 'a sampler that is not in the list is off');
  });

  test('bias_rules_a_token_out_or_in', async () => {
    const plain = await llm.complete({ prompt: 'The capital of France is', max_tokens: 1, temperature: 0, logprobs: 2 });
    assert.equal(plain.json.choices[0].text, ' Paris');
    const greedy = { prompt: 'The capital of France is', max_tokens: 1, temperature: 0 };
    /* The id of " Paris" is found by ruling out ranges. */
    let paris = -1;
    for (let low = 0, high = 49152; ;) {
      const middle = Math.floor((low + high) / 2);
      const found = await banned(greedy, low, middle);
      if (found) high = middle;
      else low = middle;
      if (high - low <= 1024) {
        paris = await within(greedy, low, high);
        break;
      }
    }
    for (const never of [false, 'never', -100, '-100%'])
      assert.notEqual((await llm.complete({ ...greedy, logit_bias: [[paris, never]] })).json.choices[0].text, ' Paris', String(never));
    assert.notEqual((await llm.complete({ ...greedy, logit_bias: { [paris]: -100 } })).json.choices[0].text, ' Paris');
    const other = { prompt: 'My favourite colour is', max_tokens: 3, temperature: 0 };
    assert.equal((await llm.complete({ ...other, logit_bias: { [paris]: 100 } })).json.choices[0].text, ' Paris Paris Paris');
    assert.equal((await llm.complete({ ...other, logit_bias: [[paris, '+1000000%']] })).status, 200);
    const stopped = await llm.complete({ ...greedy, max_tokens: 8, stop_token_ids: [paris] });
    assert.equal(stopped.json.choices[0].text, '');
    assert.equal(stopped.json.choices[0].finish_reason, 'stop');
    assert.equal(stopped.json.usage.completion_tokens, 1);
    assertRefused(await llm.complete({ ...greedy, logit_bias: { 999999: 1 } }), 'logit_bias', /49152/);
  });
  /** Does another text come when 1024 tokens at a time of this range are ruled out? */
  async function banned(request, low, high) {
    for (let at = low; at < high; at += 1024) if (await changes(request, at, Math.min(at + 1024, high))) return true;
    return false;
  }
  const changes = async (request, low, high) =>
    (await llm.complete({ ...request, logit_bias: Array.from({ length: high - low }, (_, i) => [low + i, -100]) })).json.choices[0].text !== ' Paris';
  async function within(request, low, high) {
    if (high - low === 1) return low;
    const middle = Math.floor((low + high) / 2);
    return (await changes(request, low, middle)) ? within(request, low, middle) : within(request, middle, high);
  }

  test('ignore_eos_goes_on_to_the_limit', async () => {
    const body = { messages: ask('Hi'), max_tokens: 150, temperature: 0 };
    const ended = await llm.chat(body);
    assert.equal(ended.json.choices[0].finish_reason, 'stop');
    const went_on = await llm.chat({ ...body, ignore_eos: true });
    assert.equal(went_on.json.choices[0].finish_reason, 'length');
    assert.equal(went_on.json.usage.completion_tokens, 150);
  });

  test('time_limit_ends_the_answer_as_length', async () => {
    const got = await llm.chat({ messages: ask('Write a very long story.'), max_tokens: 2000, ignore_eos: true, t_max_predict_ms: 300 });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.choices[0].finish_reason, 'length');
    assert.equal(got.json.cds.ended, 'deadline');
    assert.ok(got.json.usage.completion_tokens > 0 && got.json.usage.completion_tokens < 1500);
  });

  test('fingerprint_is_the_same_for_the_same_model', async () => {
    const [a, b] = [await llm.complete(base), await llm.complete(base)];
    assert.match(a.json.system_fingerprint, /^fp_/);
    assert.equal(a.json.system_fingerprint, b.json.system_fingerprint);
  });

  test('wrong_options_are_400_naming_the_member', async () => {
    const wrong = {
      typical_p: 2, xtc_probability: '1', dry_base: 0, mirostat: 3, dynatemp_range: -1, repeat_last_n: -2, min_keep: 1.5, ignore_eos: 1,
      samplers: 'top_k', dry_sequence_breakers: [''], logit_bias: { a: 1 }, stop_token_ids: ['x'], n: 0, t_max_predict_ms: 'x', seed: 'x',
    };
    for (const [name, value] of Object.entries(wrong)) assertRefused(await llm.chat({ messages: ask('Hi'), [name]: value }), name);
    assertRefused(await llm.chat({ messages: ask('Hi'), samplers: ['top_k', 'magic'] }), 'samplers/1', /magic/);
    assertRefused(await llm.chat({ messages: ask('Hi'), logprobs: 1 }), 'logprobs');
    assertRefused(await llm.chat({ messages: ask('Hi'), top_logprobs: 3 }), 'top_logprobs');
    assertRefused(await llm.complete({ prompt: 'x', suffix: 'y' }), 'model');
  });
});

describe('chances', () => {
  test('chat_logprobs_tell_token_bytes_and_candidates_that_make_up_the_text', async () => {
    const body = { messages: ask('Write one word with an umlaut: für'), max_tokens: 10, temperature: 0, logprobs: true, top_logprobs: 3 };
    const got = await llm.chat(body);
    assert.equal(got.status, 200, got.text);
    const [choice] = got.json.choices;
    const { content } = choice.logprobs;
    assert.equal(Buffer.from(content.flatMap((t) => t.bytes)).toString(), choice.message.content);
    for (const token of content) {
      assert.equal(token.top_logprobs.length, 3);
      assert.ok(token.logprob <= 0 && token.logprob > -50);
      assert.equal(token.top_logprobs[0].token, token.token, 'the likeliest one was chosen');
      assert.ok(token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob);
      const chance = token.top_logprobs.reduce((sum, t) => sum + Math.exp(t.logprob), 0);
      assert.ok(chance > 0 && chance < 1.0001);
    }
    const s = await llm.stream(body);
    const streamed = s.events.flatMap((e) => e.choices[0]?.logprobs?.content ?? []);
    /* Not of the other answer: what is computed in other company may differ in the last bit, and with it in a token. */
    assert.ok(streamed.length > 0);
    assert.equal(Buffer.from(streamed.flatMap((t) => t.bytes)).toString(), s.events.map((e) => e.choices[0]?.delta?.content ?? '').join(''));
  });

  test('text_logprobs_have_the_four_lists_and_offsets_in_characters', async () => {
    const got = await llm.complete({ prompt: 'Grüße aus', max_tokens: 8, temperature: 0, logprobs: 2 });
    const [{ text: answer, logprobs }] = got.json.choices;
    assert.deepEqual(Object.keys(logprobs), ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset']);
    assert.equal(logprobs.tokens.join(''), answer);
    let offset = 0;
    logprobs.tokens.forEach((token, i) => {
      assert.equal(logprobs.text_offset[i], offset);
      offset += [...token].length;
      assert.ok(logprobs.token_logprobs[i] <= 0);
      assert.ok(Object.keys(logprobs.top_logprobs[i]).length >= 1 && logprobs.top_logprobs[i][token] === logprobs.token_logprobs[i]);
    });
  });

  test('a_stop_string_takes_its_tokens_out_of_the_chances_too', async () => {
    const got = await llm.complete({ prompt: '1, 2, 3, 4, 5,', max_tokens: 20, temperature: 0, logprobs: 0, stop: ' 8' });
    const [{ text: answer, logprobs, finish_reason }] = got.json.choices;
    assert.equal(finish_reason, 'stop');
    assert.equal(logprobs.tokens.join(''), answer);
    assert.ok(got.json.usage.completion_tokens > logprobs.tokens.length, 'the tokens of the stop string were made, and count');
  });
});

describe('several answers', () => {
  test('n_answers_have_indexes_in_order_and_one_usage_over_all', async () => {
    const before = await llm.usage();
    const got = await llm.chat({ messages: ask('Name a colour.'), n: 4, max_tokens: 7, temperature: 1.5, seed: 1, ignore_eos: true });
    assert.equal(got.status, 200, got.text);
    assert.deepEqual(got.json.choices.map((c) => c.index), [0, 1, 2, 3]);
    assert.ok(new Set(got.json.choices.map((c) => c.message.content)).size > 1, 'answers differ');
    assert.equal(got.json.usage.completion_tokens, 28);
    const one = await llm.chat({ messages: ask('Name a colour.'), max_tokens: 7, temperature: 1.5, seed: 1, ignore_eos: true });
    assert.equal(one.json.usage.prompt_tokens, got.json.usage.prompt_tokens, 'the prompt counts once');
    assert.equal((await llm.usage()).used_tokens - before.used_tokens, got.json.usage.total_tokens + one.json.usage.total_tokens);
  });

  test('a_stream_of_n_has_each_role_and_finish_once_and_one_usage_chunk', async () => {
    const s = await llm.stream({ messages: ask('Count to five.'), n: 3, max_tokens: 6, temperature: 1, seed: 2, ignore_eos: true, stream_options: { include_usage: true } });
    assert.ok(s.done);
    for (const index of [0, 1, 2]) {
      const mine = s.events.flatMap((e) => e.choices).filter((c) => c.index === index);
      assert.equal(mine.filter((c) => c.delta.role).length, 1);
      assert.deepEqual(mine.filter((c) => c.finish_reason).map((c) => c.finish_reason), ['length']);
      assert.ok(mine.map((c) => c.delta.content ?? '').join('').length > 0);
    }
    assert.ok(s.events.slice(0, -1).every((e) => e.usage === null && e.choices.length === 1));
    assert.deepEqual(s.events.at(-1).choices, []);
    assert.equal(s.events.at(-1).usage.completion_tokens, 18);
    assert.equal(new Set(s.events.map((e) => e.created)).size, 1);
  });

  test('answers_to_one_prompt_share_its_cells', async () => {
    await llm.idle();
    const before = (await llm.modelStatus()).work;
    const prompt = `${'The river runs to the sea. '.repeat(40)}And then`;
    const got = await llm.complete({ prompt, n: 6, max_tokens: 4, temperature: 1, ignore_eos: true });
    assert.equal(got.status, 200, got.text);
    await llm.idle();
    const after = (await llm.modelStatus()).work;
    const computed = after.prompt_rows - before.prompt_rows;
    assert.ok(computed <= got.json.usage.prompt_tokens + 5, `${computed} computed for ${got.json.usage.prompt_tokens}`);
  });

  test('a_list_of_prompts_is_answered_in_order', async () => {
    const got = await llm.complete({ prompt: ['The capital of France is', 'The capital of Italy is'], n: 2, max_tokens: 3, temperature: 0 });
    assert.deepEqual(got.json.choices.map((c) => c.index), [0, 1, 2, 3]);
    assert.match(got.json.choices[0].text, /Paris/);
    assert.equal(got.json.choices[1].text, got.json.choices[0].text);
    assert.match(got.json.choices[2].text, /Rome/);
    const alone = await Promise.all(['The capital of France is', 'The capital of Italy is'].map((prompt) => llm.complete({ prompt, max_tokens: 1 })));
    assert.equal(got.json.usage.prompt_tokens, alone[0].json.usage.prompt_tokens + alone[1].json.usage.prompt_tokens);
  });

  test('best_of_shows_the_likeliest_and_counts_all', async () => {
    const body = { prompt: 'A short poem about rain:', max_tokens: 8, temperature: 1.8, seed: 9, ignore_eos: true, logprobs: 0 };
    const best = await llm.complete({ ...body, n: 4, best_of: 5 });
    const worth = best.json.choices.map((c) => c.logprobs.token_logprobs.reduce((a, b) => a + b, 0));
    assert.equal(worth.length, 4);
    assert.deepEqual(worth, [...worth].sort((a, b) => b - a), 'the likeliest first');
    assert.equal(best.json.usage.completion_tokens, 40);
    const one = await llm.complete({ ...body, best_of: 5 });
    assert.equal(one.json.choices.length, 1);
    assert.equal(one.json.usage.completion_tokens, 40);
    assertRefused(await llm.complete({ prompt: 'x', n: 3, best_of: 2 }), 'best_of');
    assertRefused(await llm.complete({ prompt: 'x', best_of: 2, stream: true }), 'best_of');
  });

  test('echo_repeats_the_prompt_before_the_text', async () => {
    const body = { prompt: 'The capital of France is', max_tokens: 2, temperature: 0 };
    const plain = await llm.complete(body);
    const echoed = await llm.complete({ ...body, echo: true });
    assert.equal(echoed.json.choices[0].text, body.prompt + plain.json.choices[0].text);
    const s = await llm.textStream({ ...body, echo: true });
    assert.equal(s.events.map((e) => e.choices[0]?.text ?? '').join(''), echoed.json.choices[0].text);
    assertRefused(await llm.complete({ ...body, echo: true, logprobs: 1, n: 2 }), 'echo');
  });

  test('a_cancelled_request_with_several_answers_frees_all_of_them', async () => {
    const controller = new AbortController();
    const reply = await fetch(`${stack.llmUrl}/v1/chat/completions`, {
      method: 'POST', signal: controller.signal, headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
      body: JSON.stringify({ model: MODEL, messages: ask('Write a long story.'), n: 4, max_tokens: 500, ignore_eos: true, stream: true }),
    });
    const reader = reply.body.getReader();
    await reader.read();
    controller.abort();
    await reader.read().catch(() => {});
    await llm.idle();
    const got = await llm.chat({ messages: ask('Hi'), max_tokens: 2 });
    assert.equal(got.status, 200, got.text);
  });
});
