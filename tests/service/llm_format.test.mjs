// Text with a form: JSON, schemas, grammars; and tool calls with and without a template that knows them. Needs the default model.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { ask, assemble, assertRefused, withModel } from '../support/llm.mjs';
import { awayFromTheTurn } from '../support/stack.mjs';

const toolTemplate = readFileSync(new URL('../support/tools.jinja', import.meta.url), 'utf8');
let llm;
withModel((studio) => ({ llm } = studio));

/** Enough for every text that the schemas here let pass: each character may be several tokens, and spaces stand between. */
const LONGEST = 600;
/** Length as JSON Schema counts it: characters, of which some are two units of JavaScript. */
const characters = (text) => [...text].length;
const schemaFormat = (schema, strict = true) => ({ type: 'json_schema', json_schema: { name: 'answer', strict, schema } });
const person = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 12 }, age: { type: 'integer', minimum: 0, maximum: 120 }, mood: { enum: ['good', 'bad'] } },
  required: ['name', 'age', 'mood'],
  additionalProperties: false,
};

describe('JSON', () => {
  test('json_object_gives_an_object', async () => {
    const got = await llm.chat({ messages: ask('Describe a cat as JSON with the keys name and age.'), response_format: { type: 'json_object' }, max_tokens: 150, temperature: 0 });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.choices[0].finish_reason, 'stop', got.text);
    assert.equal(typeof JSON.parse(got.json.choices[0].message.content), 'object');
  });

  test('json_schema_is_kept_at_any_temperature_and_all_forms_of_asking', async () => {
    for (const options of [{ response_format: schemaFormat(person) }, { json_schema: person }, { response_format: { type: 'json_object', schema: person } }]) {
      const got = await llm.chat({ messages: ask('Invent a person.'), ...options, max_tokens: LONGEST, temperature: 1.5, n: 2 });
      assert.equal(got.status, 200, got.text);
      for (const choice of got.json.choices) {
        assert.equal(choice.finish_reason, 'stop');
        const value = JSON.parse(choice.message.content);
        assert.deepEqual(Object.keys(value), ['name', 'age', 'mood']);
        assert.ok(characters(value.name) <= 12 && Number.isInteger(value.age) && value.age <= 120 && ['good', 'bad'].includes(value.mood));
      }
    }
  });

  test('keywords_of_a_schema_are_enforced', async () => {
    const cases = [
      [{ type: 'array', items: { type: 'integer' }, minItems: 3, maxItems: 3 }, (v) => v.length === 3 && v.every(Number.isInteger)],
      [{ const: 'forty-two' }, (v) => v === 'forty-two'],
      [{ anyOf: [{ type: 'boolean' }, { type: 'null' }] }, (v) => v === null || typeof v === 'boolean'],
      [{ type: 'string', pattern: '^[A-Z]\\d{3}$' }, (v) => /^[A-Z]\d{3}$/.test(v)],
      [{ type: 'string', format: 'date' }, (v) => /^\d{4}-\d\d-\d\d$/.test(v)],
      [{ prefixItems: [{ type: 'integer' }, { const: 'x' }] }, (v) => v.length === 2 && v[1] === 'x'],
      [{ $ref: '#/$defs/leaf', $defs: { leaf: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] } } }, (v) => typeof v.ok === 'boolean'],
      [{ type: ['string', 'null'], maxLength: 5 }, (v) => v === null || characters(v) <= 5],
    ];
    for (const [schema, good] of cases) {
      const got = await llm.chat({ messages: ask('Answer.'), response_format: schemaFormat(schema), max_tokens: LONGEST, temperature: 1 });
      assert.equal(got.status, 200, JSON.stringify(schema) + got.text);
      assert.ok(good(JSON.parse(got.json.choices[0].message.content)), got.json.choices[0].message.content);
    }
  });

  test('a_schema_works_in_text_completions_and_in_a_stream', async () => {
    const got = await llm.complete({ prompt: 'A number: ', json_schema: { type: 'integer', minimum: 5, maximum: 9 }, max_tokens: 60 });
    assert.ok([5, 6, 7, 8, 9].includes(JSON.parse(got.json.choices[0].text)), got.text); // white space may stand behind it
    const s = await llm.stream({ messages: ask('Invent a person.'), response_format: schemaFormat(person), max_tokens: LONGEST });
    assert.ok(s.done && !s.error);
    assert.deepEqual(Object.keys(JSON.parse(assemble(s.events).content)), ['name', 'age', 'mood']);
  });

  test('a_string_holds_whole_characters_only_however_they_are_written', async () => {
    // Pushed to write an escape of d's, which would be half of a pair.
    const tokenOf = async (content) => {
      const { tokens } = (await llm.call('POST', '/v1/tokenize', { content })).json;
      assert.equal(tokens.length, 1, content);
      return tokens[0];
    };
    const logit_bias = { [await tokenOf('u')]: 100, [await tokenOf('"\\')]: 90, [await tokenOf('d')]: 80 };
    for (const form of [{ response_format: schemaFormat({ type: 'object', properties: { text: { type: 'string', maxLength: 1 } }, required: ['text'] }) }, { response_format: { type: 'json_object' }, max_tokens: 40 }]) {
      const got = await llm.chat({ messages: ask('Answer.'), max_tokens: LONGEST, temperature: 0, logit_bias, ...form });
      assert.equal(got.status, 200, got.text);
      assert.match(got.json.choices[0].message.content, /\\ud[0-7]/);
      assert.doesNotMatch(got.json.choices[0].message.content, /\\ud[8-9a-f]/i);
    }
  });

  test('what_cannot_be_enforced_is_400_naming_the_keyword', async () => {
    const at = 'response_format/json_schema/schema';
    const wrong = [
      [{ not: {} }, `${at}/not`], [{ type: 'object', minProperties: 1 }, `${at}/minProperties`], [{ type: 'array', uniqueItems: true }, `${at}/uniqueItems`],
      [{ type: 'number', minimum: 1 }, `${at}/minimum`], [{ $ref: 'https://example.com/x' }, `${at}/$ref`], [{ type: 'string', format: 'email' }, `${at}/format`],
      [{ type: 'string', pattern: '^a\\!$' }, `${at}/pattern`], [{ type: 'string', pattern: 'a' }, `${at}/pattern`], [{ type: 'string', pattern: '^(?=a)$' }, `${at}/pattern`],
      [{ type: 'object', properties: { a: { type: 'object', patternProperties: {} } } }, `${at}/properties/a/patternProperties`],
      [{ type: 'object', required: ['b'], properties: {} }, `${at}/required`], [{ type: 'array', minItems: 5000 }, `${at}/minItems`],
    ];
    for (const [schema, param] of wrong) assertRefused(await llm.chat({ messages: ask('Hi'), response_format: schemaFormat(schema) }), param);
    assertRefused(await llm.chat({ messages: ask('Hi'), response_format: { type: 'xml' } }), 'response_format');
    assertRefused(await llm.chat({ messages: ask('Hi'), response_format: { type: 'json_schema' } }), `${at}`);
  });

  test('a_text_that_does_not_fit_its_schema_is_an_error_and_free', async () => {
    // A grammar can only say "this or that"; that exactly one of them may fit is found out in the finished text.
    const digit = { type: 'integer', minimum: 0, maximum: 9 };
    const body = { messages: ask('A digit.'), response_format: schemaFormat({ oneOf: [digit, digit] }), max_tokens: 60 };
    await awayFromTheTurn();
    const before = await llm.usage();
    const got = await llm.chat(body);
    assert.equal(got.status, 500, got.text);
    assert.match(got.json.error.message, /does not fit the schema/);
    const s = await llm.stream(body);
    assert.match(s.error?.message ?? '', /does not fit the schema/);
    const later = await llm.usage();
    assert.equal(later.used_tokens, before.used_tokens);
  });

  test('a_text_that_is_cut_by_its_limit_ends_as_length', async () => {
    const got = await llm.chat({ messages: ask('Invent a person.'), response_format: schemaFormat(person), max_tokens: 3 });
    assert.equal(got.json.choices[0].finish_reason, 'length');
  });
});

describe('grammars', () => {
  const forms = {
    json: /^\{[\s\S]*/, json_arr: /^\[[\s\S]*/, list: /^- .+/, arithmetic: /^[-+*/()a-z0-9_. =\n]+$/, c: /^(int|float|char|double|void|long) ?\w/, chess: /^[1-9]\d*\. \S+/,
    english: /^[\x20-\x7e\n\u2013-\u2026]+$/, japanese: /^[\u3001-\u30ff\u3400-\u9fff\uff01-\uff5e0-9 \t\n]+$/,
  };
  for (const [name, form] of Object.entries(forms)) {
    test(`the_built_in_grammar_${name}_shapes_the_text`, async () => {
      const got = await llm.chat({ messages: ask('Go on.'), grammar: name, max_tokens: 30, temperature: 0.7, seed: 4 });
      assert.equal(got.status, 200, got.text);
      assert.match(got.json.choices[0].message.content, form);
    });
  }

  test('an_own_grammar_is_kept_and_stops_work_with_it', async () => {
    const grammar = 'root ::= word (" " word)*\nword ::= "ja" | "nein" # two words\n';
    const got = await llm.chat({ messages: ask('Ja?'), grammar, max_tokens: 12, temperature: 1.5 });
    assert.match(got.json.choices[0].message.content, /^(ja|nein)( (ja|nein)?)*(j|n|ne|nei)?$/);
    const stopped = await llm.chat({ messages: ask('Ja?'), grammar: 'root ::= ("ab" | "cd") "ef" "gh"', stop: 'ef', max_tokens: 12 });
    assert.match(stopped.json.choices[0].message.content, /^(ab|cd)$/);
    assert.equal(stopped.json.choices[0].finish_reason, 'stop');
  });

  test('a_wrong_grammar_is_400_with_its_line', async () => {
    assertRefused(await llm.chat({ messages: ask('Hi'), grammar: 'root ::= a\na ::= "x' }), 'grammar', /line 2/);
    assertRefused(await llm.chat({ messages: ask('Hi'), grammar: 'root ::= missing\n' }), 'grammar', /line 1.*missing/);
    assertRefused(await llm.chat({ messages: ask('Hi'), grammar: 'start ::= "x"' }), 'grammar', /root/);
    assertRefused(await llm.chat({ messages: ask('Hi'), grammar: 'root ::= root "x"' }), 'grammar');
    assertRefused(await llm.chat({ messages: ask('Hi'), grammar: 'nothing' }), 'grammar', /chess/);
    assertRefused(await llm.chat({ messages: ask('Hi'), grammar: '%llguidance {}\nstart: /a/' }), 'grammar', /line 1/);
  });

  test('tokens_of_a_grammar_count_like_others', async () => {
    const got = await llm.chat({ messages: ask('Hi'), grammar: 'root ::= "abc"', max_tokens: 20, temperature: 0, logprobs: true });
    assert.equal(got.json.choices[0].message.content, 'abc');
    assert.equal(got.json.usage.completion_tokens, got.json.choices[0].logprobs.content.length + 1, 'the end token counts too');
  });
});

const weather = {
  type: 'function',
  function: {
    name: 'get_weather', description: 'Weather of a city.',
    parameters: { type: 'object', properties: { city: { type: 'string', maxLength: 20 }, unit: { enum: ['C', 'F'] } }, required: ['city', 'unit'], additionalProperties: false },
  },
};
const clock = { type: 'function', function: { name: 'now', description: 'The time.' } };

for (const [kind, own] of [['without_a_tool_template', undefined], ['with_a_tool_template', toolTemplate]]) {
  describe(`tools ${kind}`, () => {
    const as = own ? 'admin' : 'developer';
    const body = { messages: ask('What is the weather in Rome?'), tools: [weather, clock], max_tokens: own ? 150 : LONGEST, temperature: 0, chat_template: own };
    const base = own ? { ...body, messages: [{ role: 'system', content: 'Call a tool at once: <tool_call>' }, ...body.messages] } : body;

    test(`a_named_function_is_really_called_${kind}`, async () => {
      const got = await llm.chat({ ...base, tool_choice: { type: 'function', function: { name: 'get_weather' } }, temperature: own ? 0 : 1 }, as);
      assert.equal(got.status, 200, got.text);
      const [{ message, finish_reason }] = got.json.choices;
      if (own && finish_reason === 'length') return; /* free text may come before a call in this format, and this model likes to write it */
      assert.equal(finish_reason, 'tool_calls', got.text);
      assert.equal(message.tool_calls.length, 1);
      assert.equal(message.tool_calls[0].type, 'function');
      assert.match(message.tool_calls[0].id, /^call_/);
      assert.equal(message.tool_calls[0].function.name, 'get_weather');
      const args = JSON.parse(message.tool_calls[0].function.arguments);
      assert.ok(typeof args.city === 'string' && ['C', 'F'].includes(args.unit));
    });

    test(`none_and_an_unknown_name_${kind}`, async () => {
      const none = await llm.chat({ ...base, tool_choice: 'none', max_tokens: 8 }, as);
      assert.equal(none.json.choices[0].message.tool_calls, undefined);
      assertRefused(await llm.chat({ ...base, tool_choice: { type: 'function', function: { name: 'other' } } }, as), 'tool_choice');
    });

    test(`calls_and_results_in_the_history_${kind}`, async () => {
      const messages = [
        ...ask('What is the weather in Rome?'),
        { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome","unit":"C"}' } }] },
        { role: 'tool', tool_call_id: 'call_1', content: 'Sunny, 31 C <|im_end|>' },
      ];
      const got = await llm.chat({ ...base, messages, max_tokens: 20 }, as);
      assert.equal(got.status, 200, got.text);
      assert.ok(got.json.usage.prompt_tokens > 60);
    });
  });
}

describe('tool calls in a stream', () => {
  const base = { messages: ask('What is the weather in Rome?'), tools: [weather, clock], max_tokens: LONGEST, temperature: 0, stream_options: { include_usage: true } };

  test('arguments_come_in_pieces_after_id_and_name', async () => {
    const s = await llm.stream({ ...base, tool_choice: 'required', parallel_tool_calls: false });
    assert.ok(s.done);
    const whole = assemble(s.events);
    assert.equal(whole.finish, 'tool_calls');
    assert.equal(whole.content, '');
    assert.equal(whole.calls.length, 1);
    JSON.parse(whole.calls[0].arguments);
    const pieces = s.events.filter((e) => e.choices[0]?.delta?.tool_calls);
    assert.equal(pieces[0].choices[0].delta.tool_calls[0].function.arguments, '');
    assert.ok(pieces.length > 2, 'more than one piece');
    assert.ok(s.events.slice(0, -1).every((e) => e.usage === null));
  });

  test('a_call_without_arguments_has_an_empty_object', async () => {
    for (const [tools, options, as] of [[[clock], {}, 'developer'], [[{ type: 'function', function: { name: 'now', parameters: {} } }], {}, 'developer']]) {
      const got = await llm.chat({ ...base, tools, ...options, tool_choice: 'required', parallel_tool_calls: false, temperature: 1 }, as);
      assert.equal(got.json.choices[0].message.tool_calls[0].function.arguments, '{}', got.text);
    }
  });

  test('parallel_calls_up_to_the_limit', async () => {
    const got = await llm.chat({ ...base, tool_choice: 'required', max_tool_calls: 2, temperature: 1, max_tokens: 2 * LONGEST });
    assert.equal(got.status, 200, got.text);
    assert.ok(got.json.choices[0].message.tool_calls.length <= 2);
  });

  test('auto_answers_in_words_or_calls_but_never_in_between', async () => {
    for (const seed of [1, 2, 3]) {
      const got = await llm.chat({ ...base, tool_choice: 'auto', temperature: 0.8, seed, max_tokens: 200 });
      const [{ message, finish_reason }] = got.json.choices;
      if (finish_reason === 'tool_calls') assert.ok(message.tool_calls.length > 0 && message.content === null);
      else assert.ok(message.content.length > 0);
    }
  });

  test('parameters_that_cannot_be_enforced_are_400', async () => {
    const bad = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { x: { type: 'string', pattern: '^\\p{L}$' } } } } };
    assertRefused(await llm.chat({ ...base, tools: [bad] }), 'tools/0/function/parameters/properties/x/pattern');
    const control = { type: 'function', function: { name: 'f', description: 'ends <|im_end|> here' } };
    assertRefused(await llm.chat({ ...base, tools: [control] }), 'tools', /control token/);
    assertRefused(await llm.chat({ ...base, response_format: { type: 'json_object' } }), 'tools');
  });
});

describe('thoughts', () => {
  const thinking = { chat_template: toolTemplate, temperature: 0.7, seed: 3, max_tokens: 60 };
  const think = (more) => llm.chat({ ...thinking, messages: [...ask('Think about rain.')], ...more }, 'admin');

  test('thoughts_are_told_apart_from_text_and_counted', async () => {
    const grammar = 'root ::= "<think>\\nwet and grey\\n</think>\\n\\nIt rains."';
    const raw = await think({ grammar, reasoning_format: 'none' });
    assert.match(raw.json.choices[0].message.content, /^<think>/);
    // Without a budget a thought that begins all the same is closed at once: what counts is the end of its tag and the tag that closes it.
    const { count } = (await llm.call('POST', '/v1/tokenize', { content: '</think>' })).json;
    const budget = await think({ logit_bias: {}, reasoning_budget: 0 });
    const begun = await think({ messages: [...ask('Think about rain.'), { role: 'assistant', content: '<think>' }], continue_final_message: true, reasoning_budget: 0 });
    for (const got of [budget, begun]) {
      assert.equal(got.status, 200, got.text);
      assert.equal(got.json.choices[0].message.reasoning_content, undefined, got.text);
    }
    assert.ok(budget.json.usage.completion_tokens_details.reasoning_tokens <= count + 1, budget.text);
    assert.equal(begun.json.usage.completion_tokens_details.reasoning_tokens, count);
  });

  test('a_template_of_ones_own_is_for_admins_and_its_name_for_all', async () => {
    const got = await llm.chat({ ...thinking, messages: ask('Hi') }, 'developer');
    assert.equal(got.status, 403, got.text);
    assert.equal(got.json.error.param, 'chat_template');
    assert.equal((await llm.chat({ chat_template: 'chatml', messages: ask('Hi'), max_tokens: 2 })).status, 200);
    assertRefused(await llm.chat({ chat_template: '{% if %}', messages: ask('Hi') }, 'admin'), 'chat_template');
  });

  test('a_simple_template_says_where_history_and_answer_stand_and_what_ends_it', async () => {
    const chat_template = { template: '{{system}}\n\n{{history}}model: {{completion}}\nuser: ', history: { user: 'user: {{message}}\n', assistant: 'model: {{message}}\n' } };
    const messages = [{ role: 'system', content: 'Be "brief".' }, ...ask('Hi {{x}}'), { role: 'assistant', content: 'Yo' }, ...ask('Bye')];
    const shown = async (template) => (await llm.call('POST', '/v1/apply-template', { chat_template: template, messages }, 'admin')).json.prompt;
    assert.equal(await shown(chat_template), 'Be "brief".\n\nuser: Hi {{x}}\nmodel: Yo\nuser: Bye\nmodel: ');
    assert.equal(await shown('{{history}}{{completion}}'), 'system: Be "brief".\nuser: Hi {{x}}\nassistant: Yo\nuser: Bye\n');
    const got = await llm.chat({ chat_template, messages, grammar: 'root ::= "one" "\\nuser: " "two"', temperature: 0, max_tokens: 20, stop: ['a1', 'a2', 'a3', 'a4'] }, 'admin');
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.choices[0].message.content, 'one');
    assert.equal(got.json.choices[0].finish_reason, 'stop');
    const other = await llm.chat({ chat_template, messages }, 'developer');
    assert.equal(other.status, 403, other.text);
    for (const bad of ['{{history}}', '{{completion}}{{history}}', '{{history}}{{date}}{{completion}}', {}, { template: 7 }, { template: '{{history}}{{completion}}', history: [] }, { template: '{{history}}{{completion}}', history: { user: 'x' } }])
      assertRefused(await llm.chat({ chat_template: bad, messages }, 'admin'), 'chat_template');
  });

  test('template_arguments_reach_the_template', async () => {
    const template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ flavour }}";
    const [a, b] = [await llm.chat({ chat_template: template, messages: ask('Hi'), max_tokens: 1 }, 'admin'),
      await llm.chat({ chat_template: template, messages: ask('Hi'), max_tokens: 1, chat_template_kwargs: { flavour: 'lemon and orange' } }, 'admin')];
    assert.ok(b.json.usage.prompt_tokens > a.json.usage.prompt_tokens, `${a.text} ${b.text}`);
  });

  test('an_answer_goes_on_with_the_last_message', async () => {
    const messages = [...ask('Count to five.'), { role: 'assistant', content: '1, 2, 3, 4,' }];
    const got = await llm.chat({ messages, continue_final_message: true, max_tokens: 3, temperature: 0 });
    assert.equal(got.status, 200, got.text);
    assert.match(got.json.choices[0].message.content, /^ ?5/);
    assertRefused(await llm.chat({ messages: ask('Hi'), continue_final_message: true }), 'continue_final_message');
  });
});
