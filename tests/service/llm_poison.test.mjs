// Requests made to break a model server: each is answered or refused, the server never dies, and other streams lose nothing. Needs the default model.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { waitFor } from '../support/stack.mjs';
import { ask, assemble, withModel } from '../support/llm.mjs';

let stack;
let llm;
withModel((studio) => ({ stack, llm } = studio));

const nest = (depth, open, close, inner) => open.repeat(depth) + inner + close.repeat(depth);
const chat = (more) => ({ messages: ask('Hi'), max_tokens: 4, ...more });
const format = (schema) => chat({ response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
const tool = (parameters) => chat({ tools: [{ type: 'function', function: { name: 'f', parameters } }], tool_choice: 'required' });

/** name → [body, statuses that are right] */
const corpus = {
  'a grammar of another kind': [chat({ grammar: '%llguidance {}\nstart: /a+/' }), [400]],
  'a grammar that calls itself on the left': [chat({ grammar: 'root ::= root "a" | "b"' }), [400]],
  'a grammar that calls itself in a ring': [chat({ grammar: 'root ::= a\na ::= b\nb ::= a "x"' }), [400]],
  'a grammar of nothing but nothing': [chat({ grammar: 'root ::= ""' }), [200]],
  'a grammar nested 20000 deep': [chat({ grammar: `root ::= ${nest(20000, '(', ')', '"a"')}` }), [400]],
  'a grammar with huge repeats': [chat({ grammar: 'root ::= (("a"{2000}){2000}){2000}' }), [200, 400]],
  'a grammar of parts that are empty in two ways': [chat({ grammar: `root ::= ${'("a" | "b" | "")? '.repeat(200)}` }), [400]],
  'a grammar of many optional parts': [chat({ grammar: `root ::= ${'[a-z]? '.repeat(50)}` }), [400]],
  'a grammar of parts of parts of parts': [chat({ grammar: `root ::= ${'a? '.repeat(100)}\na ::= ${'b? '.repeat(100)}\nb ::= "x"` }), [400]],
  'a schema of 300 members that may be left out': [format({ type: 'object', properties: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`m${i}`, { type: 'integer' }])) }), [200, 400]],
  'a grammar with 5000 rules': [chat({ grammar: Array.from({ length: 5000 }, (_, i) => `${i ? `r${i}` : 'root'} ::= "a"`).join('\n') }), [400]],
  'a grammar of 1 MB': [chat({ grammar: `root ::= "${'a'.repeat(1 << 20)}"` }), [400]],
  'a grammar with a broken character': [chat({ grammar: 'root ::= "\\u12"' }), [400]],
  'a schema nested 20000 deep': [`{"messages":[{"role":"user","content":"Hi"}],"json_schema":${nest(20000, '{"items":', '}', '{}')}}`, [400]],
  'a schema that refers to itself only': [format({ $ref: '#' }), [200, 400, 500]],
  'a schema that refers to nothing': [format({ $ref: '#/$defs/none' }), [400]],
  'a schema with 5000 alternatives': [format({ anyOf: Array.from({ length: 5000 }, () => ({ type: 'null' })) }), [400]],
  'a schema with huge counts': [format({ type: 'array', minItems: 100000000, items: {} }), [400]],
  'a schema with a hostile pattern': [format({ type: 'string', pattern: `^${'(a|a)*'.repeat(200)}$` }), [200, 400]],
  'a schema with a pattern of brackets': [format({ type: 'string', pattern: `^${nest(5000, '(', ')', 'a')}$` }), [400]],
  'a schema that nothing fits': [format({ allOf: [{ type: 'string' }, { type: 'integer' }] }), [200, 400, 500]],
  'a tool with a broken pattern': [tool({ type: 'object', properties: { x: { type: 'string', pattern: '[' } } }), [400]],
  'a tool with a member that cannot be': [tool({ type: 'object', properties: { x: { enum: [] } }, required: ['x'] }), [400]],
  'messages nested 20000 deep': [`{"messages":${nest(20000, '[', ']', '1')}}`, [400]],
  'calls in the history that are no JSON': [chat({ messages: [...ask('Hi'), { role: 'assistant', tool_calls: [{ id: '1', function: { name: 'f', arguments: '{' } }] }] }), [400]],
  'a message of control tokens': [chat({ messages: ask('<|im_end|><|im_start|>system\n'.repeat(200)) }), [200, 400]],
  'a message of noncharacters': [chat({ messages: ask(Array.from({ length: 32 }, (_, i) => String.fromCodePoint(0xfdd0 + i)).join('')) }), [400]],
  'a bias on every end and a stop that never comes': [chat({ ignore_eos: true, stop: 'never to be seen', max_tokens: 40 }), [200]],
  'a penalty and a temperature at their edges': [chat({ repeat_penalty: 0.01, temperature: 2, top_k: 0, top_p: 1, min_p: 0, xtc_probability: 1, xtc_threshold: 0 }), [200]],
  'a prompt of token ids the model does not have': ['text', { prompt: [2147483647], max_tokens: 1 }, [400]],
  'a template argument as deep as JSON allows': [`{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"chat_template_kwargs":{"a":${nest(60, '[', ']', '')}}}`, [200]],
};

describe('poison', () => {
  test('every_request_of_the_corpus_is_answered_and_a_stream_beside_them_loses_nothing', async () => {
    assert.ok(Object.keys(corpus).length >= 18);
    const pids = await stack.pids();
    const long = { messages: ask('Tell a story.'), max_tokens: 400, temperature: 0, ignore_eos: true, stream_options: { include_usage: true } };
    let beside = llm.stream(long);
    for (const [name, entry] of Object.entries(corpus)) {
      const [body, statuses] = entry[0] === 'text' ? [entry[1], entry[2]] : entry;
      const got = entry[0] === 'text' ? await llm.complete(body) : await llm.chat(body);
      assert.ok(statuses.includes(got.status), `${name}: ${got.status} ${got.text.slice(0, 300)}`);
      if (got.status !== 200) assert.equal(typeof got.json.error.message, 'string', name);
    }
    const s = await beside;
    assert.ok(s.done && !s.error, JSON.stringify(s.error));
    assert.equal(s.events.at(-1).usage.completion_tokens, 400);
    assert.equal(assemble(s.events).finish, 'length');
    const after = await stack.pids();
    assert.equal(after.llmserver, pids.llmserver);
    assert.equal(after.llmworker, pids.llmworker, 'not even the model process died');
  });

  test('a_request_under_which_the_process_died_twice_is_not_tried_again', async () => {
    const body = { messages: ask('Write a long story about poison.'), max_tokens: 1000, ignore_eos: true };
    for (let death = 0; death < 2; death++) {
      const { llmworker } = await stack.pids();
      const answered = async () => { const { rows, prompt_rows } = (await llm.modelStatus()).work; return rows - prompt_rows; };
      const before = await answered();
      const dying = llm.chat(body);
      // Not only that it has its place: one that still waits for its tokens has killed nobody.
      await waitFor('it speaks', async () => (await answered()) > before);
      process.kill(llmworker, 'SIGKILL');
      const got = await dying;
      assert.equal(got.status, 500, got.text);
      assert.equal(got.json.error.code, 'model_crashed');
      await stack.waitModel();
    }
    const refused = await llm.chat(body);
    assert.equal(refused.status, 400, refused.text);
    assert.equal(refused.json.error.rule, 'llm.poison');
    assert.ok(refused.json.error.hint);
    const other = await llm.chat({ ...body, max_tokens: 3 });
    assert.equal(other.status, 200, 'another request is tried');
  });
});
