// Rules that hold for every method: batches, notifications, addresses, ceilings, and who may call what (made from schemas/rpc).
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import test, { after, before } from "node:test";
import { validate } from "../support/schema.mjs";
import { differs, loadSchemas } from "./examples.mjs";
import { Client, openStack } from "./rpc.mjs";

const schemas = loadSchemas();
const self = (id) => ({ jsonrpc: "2.0", ...(id === undefined ? {} : { id }), method: "user.self" });
const roles = ["none", "viewer", "developer", "admin"];
let stack, client;

before(async () => {
  stack = await openStack();
  client = new Client(stack);
});
after(() => stack?.stop());

function assertError(answer, code, status) {
  assert.equal(answer.json?.error?.code, code, answer.text.slice(0, 300));
  assert.equal(answer.status, status);
  assert.equal(answer.json.error.data.status, status);
}

test("an empty batch is one error, not a list", async () => {
  const answer = await client.send([]);
  assertError(answer, -32600, 400);
  assert.equal(answer.json.id, null);
});

test("a batch of notifications gets no answer", async () => {
  const answer = await client.send([self(), self()]);
  assert.equal(answer.status, 204);
  assert.equal(answer.text, "");
});

test("a single notification gets no answer", async () => {
  assert.equal((await client.send(self())).status, 204);
});

test("a mixed batch answers each call and each element that is no request", async () => {
  const answer = await client.send([self(1), self(), { ...self("two"), method: "no.such" }, 5, { ...self(3), params: { x: 1 } }, { foo: "boo" }]);
  assert.equal(answer.status, 200);
  assert.equal(answer.json.length, 5);
  const by = (id) => answer.json.filter((a) => a.id === id);
  assert.ok(by(1)[0].result.user_id);
  assert.equal(by("two")[0].error.code, -32601);
  assert.equal(by(3)[0].error.code, -32602);
  assert.deepEqual(by(null).map((a) => a.error.code), [-32600, -32600]);
});

test("a batch of 100 is answered and one of 101 is refused", async () => {
  const many = (n) => Array.from({ length: n }, (_, i) => self(i));
  const full = await client.send(many(100));
  assert.equal(full.json.length, 100);
  assert.deepEqual(full.json.map((a) => a.id).sort((a, b) => a - b), [...Array(100).keys()]);
  assertError(await client.send(many(101)), -32600, 400);
});

test("ids come back as they were sent", async () => {
  for (const id of ["", "a", 0, -5, 9007199254740991, null]) assert.equal((await client.send(self(id))).json.id, id);
  for (const id of [1.5, true, {}, [], "x".repeat(129)]) assertError(await client.send(self(id)), -32600, 400);
});

test("POST /rpc/<method> takes a call or bare parameters, and refuses another method", async () => {
  assert.ok((await client.send(self(7), { path: "/rpc/user.self" })).json.result.user_id);
  assert.ok((await client.send({}, { path: "/rpc/user.self" })).json.result.user_id);
  assertError(await client.send({ verbose: 1 }, { path: "/rpc/user.self" }), -32602, 400);
  assertError(await client.send(self(7), { path: "/rpc/project.list" }), -32600, 400);
  assertError(await client.send({}, { path: "/rpc/no.such" }), -32601, 404);
});

test("no credential on /rpc/llm.* is 401 and says how to sign in", async () => {
  for (const method of [...schemas.keys()].filter((m) => m.startsWith("llm."))) {
    const answer = await client.send({}, { as: "none", path: `/rpc/${method}` });
    assertError(answer, -32001, 401);
    assert.match(answer.headers.get("www-authenticate"), /^Bearer/);
  }
});

test("a body over 2 MiB is 413, one of 2 MiB is read", async () => {
  const body = (n) => `{"jsonrpc":"2.0","id":1,"method":"user.self","more":"${"a".repeat(n - 55)}"}`;
  assert.equal(body(2097152).length, 2097152);
  assert.equal((await client.post(body(2097152))).status, 200);
  // The refusal comes before the body: fetch would only see a broken upload.
  const headers = { "Content-Type": "application/json", "Content-Length": 2097153, Authorization: `Bearer ${stack.tokens.developer}` };
  const call = request(`${stack.url}/rpc`, { method: "POST", headers, timeout: 20_000 });
  call.on("error", () => {});
  call.flushHeaders();
  const [answer] = await once(call, "response");
  assert.equal(answer.statusCode, 413);
  assert.match(answer.headers["content-type"], /^application\/problem\+json/);
  call.destroy();
});

test("a body that is not declared as JSON is refused", async () => {
  const answer = await client.send(self(1), { type: "text/plain" });
  assert.equal(answer.status, 400);
  assert.match(answer.headers.get("content-type"), /^application\/problem\+json/);
});

test("a forged or cut token is 401", async () => {
  const good = stack.tokens.developer;
  const [head, body, signature] = good.split(".");
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
  for (const token of [`${head}.${body}.${signature.slice(0, -4)}AAAA`, `${none}.${body}.`, "x", good.slice(0, -1)]) {
    const forged = new Client({ ...stack, tokens: { developer: token } });
    assertError(await forged.send(self(1)), -32001, 401);
  }
});

test("rpc.discover lists exactly the methods of schemas/rpc with their parameters", async () => {
  const document = await client.call("rpc.discover", {}, "viewer");
  assert.deepEqual(document.methods.map((m) => m.name).sort(), [...schemas.keys()].sort());
  for (const m of document.methods) {
    const { properties = {}, required = [] } = schemas.get(m.name).params;
    assert.deepEqual(m.params.map((p) => [p.name, p.required, p.schema]), Object.entries(properties).map(([k, s]) => [k, required.includes(k), s]));
    assert.deepEqual(m.result.schema, schemas.get(m.name).result);
    assert.equal(m["x-role"], schemas.get(m.name).role);
  }
});

// A new method is in this matrix by its schema file alone.
for (const [method, schema] of schemas) {
  for (const role of roles) {
    const may = roles.indexOf(role) >= roles.indexOf(schema.role);
    const expected = may ? "is let in" : role === "none" ? "is 401" : "is 403";
    test(`${method} as ${role} ${expected}`, async () => {
      // A member that no schema knows: those who may call are refused by the schema, so that nothing is changed.
      const params = { no_such_member: true };
      assert.notEqual(validate(schema.params, params), null);
      const answer = await client.send({ jsonrpc: "2.0", id: 1, method, params }, { as: role });
      if (!may) return assertError(answer, role === "none" ? -32001 : -32003, role === "none" ? 401 : 403);
      assertError(answer, -32602, 400);
      assert.equal(differs({ errors: [{ pointer: { $match: "^/params" }, detail: { $type: "string" } }] }, answer.json.error.data), null);
    });
  }
}
