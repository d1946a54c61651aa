// Replays every file of examples/rpc against a running studio; each result must also fit schemas/rpc.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test, { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { validate } from "../support/schema.mjs";
import { differs, fill, loadExamples, loadSchemas } from "./examples.mjs";
import { Client, openStack } from "./rpc.mjs";

const schemas = loadSchemas();
let stack, client, values;

before(async () => {
  stack = await openStack();
  client = new Client(stack);
  values = await client.values();
});
after(() => stack?.stop());

/** One entry of "before" or "after". With "until" the call is repeated until its result looks like that. */
async function step({ method, params, as = "developer", until }, own) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const result = await client.call(method, fill(params, own), as);
    const wrong = until ? differs(fill(until, own), result) : null;
    if (!wrong) return;
    assert.ok(Date.now() < deadline, `${method}: ${wrong}`);
    await sleep(200);
  }
}

async function replay(example, own) {
  const body = example.raw_body === undefined ? JSON.stringify(fill(example.request, own)) : fill(example.raw_body, own);
  const answer = await client.post(body, { as: example.as });
  const wrong = differs(fill(example.response, own), answer.json);
  assert.equal(wrong, null, wrong);
  assert.equal(answer.status, example.http_status);
  if (answer.json.result !== undefined) {
    const misfit = validate(schemas.get(example.request.method).result, answer.json.result);
    assert.equal(misfit, null, `schemas/rpc/${example.request.method}.json#/result: ${misfit}`);
  } else {
    assert.equal(answer.json.error.data.status, answer.status);
    assert.match(answer.headers.get("content-type"), /^application\/json/);
  }
}

for (const example of loadExamples()) {
  test(`${example.name}: ${example.about}`, async () => {
    const own = { ...values, UNIQUE: randomBytes(6).toString("hex") };
    let failure;
    try {
      if (JSON.stringify(example).includes("$TERM")) own.TERM = (await client.call("term.open", { project: own.PROJECT, rows: 24, cols: 80 })).term_id;
      for (const s of example.before ?? []) await step({ as: example.as, ...s }, own);
      await replay(example, own);
    } catch (e) {
      failure = e;
    }
    for (const s of example.after ?? []) await step({ as: example.as, ...s }, own).catch((e) => (failure ??= e));
    // It may have been what the example ended.
    if (own.TERM) await client.call("term.kill", { project: own.PROJECT, term_id: own.TERM }).catch(() => {});
    if (failure) throw failure;
  });
}
