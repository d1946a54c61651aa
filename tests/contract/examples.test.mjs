// Replays every file of examples/rpc against a running studio; each result must also fit schemas/rpc.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
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

/** Over a socket: notifications are checked with the schema; "until_told" cancels the call once such a notification came. */
async function replayOverSocket(example, own) {
  const request = fill(example.request, own);
  const schema = schemas.get(request.method);
  const socket = await client.socket(example.as);
  const deadline = setTimeout(() => socket.terminate(), 60_000);
  try {
    const answer = await new Promise((resolve, reject) => {
      let told = !example.until_told;
      const cancel = () => socket.send(JSON.stringify({ jsonrpc: "2.0", id: "cancel", method: "rpc.cancel", params: { id: request.id } }));
      socket.on("close", () => reject(new Error("the socket closed before the answer came")));
      socket.on("message", (data) => {
        const message = JSON.parse(data);
        if (message.method) {
          const misfit = validate(schema.notifications[message.method], message.params);
          if (misfit) reject(new Error(`${message.method}: ${misfit}`));
          if (told || differs(fill(example.until_told, own), message)) return;
          told = true;
          cancel();
        } else if (message.id === request.id) {
          if (told) resolve(message);
          else reject(new Error(`it ended before it told ${JSON.stringify(example.until_told)}: ${JSON.stringify(message)}`));
        }
      });
      socket.send(JSON.stringify(request));
      // Nothing tells when the call is under way, so they are made again until it has told of them.
      const meanwhile = async () => {
        while (!told && socket.readyState === socket.OPEN) {
          for (const s of example.meanwhile ?? []) await step({ as: example.as, ...s }, own);
          await sleep(200);
        }
      };
      meanwhile().catch(reject);
    });
    const wrong = differs(fill(example.response, own), answer);
    assert.equal(wrong, null, wrong);
    if (answer.result !== undefined) assert.equal(validate(schema.result, answer.result), null);
  } finally {
    clearTimeout(deadline);
    socket.terminate();
  }
}

async function replay(example, own) {
  if (example.over === "socket") return replayOverSocket(example, own);
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
  test(`${example.name}: ${example.about}`, async (t) => {
    if (example.needs) {
      const engine = (await client.call("sandbox.probe", {}, "developer")).engines.find((e) => e.name === example.needs || e.backend === example.needs);
      if (!engine?.works) return t.skip(`the engine ${example.needs} does not work here: ${engine?.reason ?? "there is none"}`);
    }
    const own = { ...values, UNIQUE: randomBytes(6).toString("hex") };
    let failure;
    try {
      if (JSON.stringify(example).includes("$TERM")) own.TERM = (await client.call("term.open", { project: own.PROJECT, rows: 24, cols: 80 })).term_id;
      if (JSON.stringify(example).includes("$STREAM"))
        own.STREAM = (await client.call("llm.chat", { messages: [{ role: "user", content: "Say hello." }], max_tokens: 4, resumable: true })).request_id;
      if (/\$(USER|SESSION|PASSWORD|USERMAIL|KEY)\b|"as":"(user|key)"/.test(JSON.stringify(example))) Object.assign(own, await client.person(own.UNIQUE));
      if (JSON.stringify(example).includes("$POLICY"))
        own.POLICY = (await client.call("budget.set", { scope: "model", model: `m-${own.UNIQUE}`, unit: "tokens", window: "day", limit: 5000 }, "admin")).policy_id;
      own.UUID = randomUUID();
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
