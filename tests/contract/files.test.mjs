// What can be said about schemas/rpc and examples/rpc without a running studio.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import test from "node:test";
import { validate } from "../support/schema.mjs";
import { fill, loadErrors, loadExamples, loadSchemas, root } from "./examples.mjs";

const schemas = loadSchemas();
const examples = loadExamples();
const errors = loadErrors();
const values = { POLICY: "01234567-89ab-7cde-8f01-23456789abd1", UUID: "01234567-89ab-7cde-8f01-23456789abd2", PROJECT: "01234567-89ab-7cde-8f01-23456789abcd", ADMINPROJECT: "01234567-89ab-7cde-8f01-23456789abd0", MODEL: "m", EMAIL: "a@example.invalid", UNIQUE: "abc", ADMIN: "01234567-89ab-7cde-8f01-23456789abc0", USER: "01234567-89ab-7cde-8f01-23456789abc1", SESSION: "01234567-89ab-7cde-8f01-23456789abc2", KEY: "01234567-89ab-7cde-8f01-23456789abc3", USERMAIL: "b@example.invalid", PASSWORD: "p", TERM: "01234567-89ab-7cde-8f01-23456789abce", STREAM: "01234567-89ab-7cde-8f01-23456789abcf" };

test("generated files match schemas/rpc", () => {
  const run = spawnSync(path.join(root, "tools/gen_rpc"), ["--check"], { encoding: "utf8" });
  assert.equal(run.status, 0, run.stderr);
});

test("every method has an example that succeeds and every method with a role one that is refused", () => {
  for (const [method, schema] of schemas) {
    const own = examples.filter((e) => e.method === method);
    assert.ok(own.some((e) => e.case === "ok" && e.response.result), `${method} lacks examples/rpc/${method}.ok.json`);
    if (schema.role === "developer" || schema.role === "admin") assert.ok(own.some((e) => e.response.error), `${method} lacks an example of a refusal`);
  }
  for (const e of examples) assert.ok(schemas.has(e.method), `${e.name} shows a method that does not exist`);
});

test("parameters of examples fit the schema exactly when the answer is no BAD_PARAM", () => {
  for (const e of examples.filter((x) => x.request && schemas.has(x.request.method))) {
    const params = fill(e.request.params ?? {}, values);
    const wrong = validate(schemas.get(e.request.method).params, params);
    assert.equal(wrong !== null, e.response.error?.code === errors.get("BAD_PARAM").rpc, `${e.name}: ${wrong ?? "the parameters are right"}`);
  }
});

test("status and problem of every example agree with the error table", () => {
  for (const e of examples.filter((x) => x.response.error)) {
    const [name, row] = [...errors].find(([, r]) => r.rpc === e.response.error.code) ?? [];
    assert.ok(row, `${e.name}: no error has the number ${e.response.error.code}`);
    assert.equal(e.http_status, row.http, e.name);
    assert.equal(e.response.error.data.type, `urn:cyberdevstudio:problem:${name.toLowerCase().replaceAll("_", "-")}`, e.name);
  }
});

test("every error code has an example or a reason why none can have one", () => {
  const elsewhere = {
    INTERNAL: "a fault of the studio itself",
    TOO_LARGE: "rules.test.mjs: a body over the limit",
    RATE_LIMITED: "needs a flood",
    KEY_REUSED: "tests/service/llm_once.test.mjs: a header of /v1, which RPC does not have",
    MODEL_CRASHED: "tests/service kills the worker",
    BUSY: "needs a full queue",
    UNAVAILABLE: "tests/service stops a part",
    CANCELLED: "stream.test.mjs cancels a run",
    TIMED_OUT: "needs a part that does not answer",
    EXHAUSTED: "needs a full disk",
    SYSTEM: "needs a failing system call",
  };
  const shown = new Set(examples.filter((e) => e.response.error).map((e) => e.response.error.code));
  for (const [name, { rpc }] of errors) assert.notEqual(shown.has(rpc), name in elsewhere, `${name}: ${elsewhere[name] ?? "has no example"}`);
});

test("every error that a schema file names exists", () => {
  for (const [method, schema] of schemas) for (const name of schema.errors) assert.ok(errors.has(name), `${method} names ${name}`);
});
