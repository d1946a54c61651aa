// What only a WebSocket shows: notifications before the answer, each fitting its schema, and rpc.cancel.
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import WebSocket from "ws";
import { waitFor } from "../support/patience.mjs";
import { validate } from "../support/schema.mjs";
import { loadSchemas } from "./examples.mjs";
import { openStack } from "./rpc.mjs";

const schemas = loadSchemas();
let stack;

before(async () => {
  stack = await openStack();
  await stack.waitModel?.();
});
after(() => stack?.stop());

/** An open socket: send(message), and next(test) for the first message that passes. */
async function connect(role = "developer") {
  const url = `${stack.url.replace(/^http/, "ws")}/ws`;
  const socket = new WebSocket(url, ["cds.rpc.v1", `cds.bearer.${stack.tokens[role]}`], { origin: stack.origin ?? stack.url });
  const messages = [];
  const waiting = new Set();
  const wake = () => waiting.forEach((w) => w());
  let closed = null;
  socket.on("message", (data) => (messages.push(JSON.parse(data.toString())), wake()));
  socket.on("close", (code) => ((closed = `closed with ${code}`), wake()));
  socket.on("error", (e) => ((closed = e.message), wake()));
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const next = (wanted) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => done(reject, new Error("nothing came within 60 s")), 60_000);
      const done = (how, value) => (clearTimeout(timer), waiting.delete(look), how(value));
      const look = () => {
        const found = messages.find(wanted);
        if (found) done(resolve, found);
        else if (closed) done(reject, new Error(closed));
      };
      waiting.add(look);
      look();
    });
  return { socket, messages, next, send: (m) => socket.send(JSON.stringify(m)), call: (id, method, params) => socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params })) };
}

/** first: the number of the first one; those of a run begin behind run.started. */
function notesOf(messages, method, id, first = 0) {
  const notes = messages.filter((m) => m.method === method && m.params.id === id).map((m) => m.params);
  const schema = Object.values(Object.fromEntries(schemas)).find((s) => method in s.notifications).notifications[method];
  notes.forEach((n, i) => {
    assert.equal(validate(schema, n), null);
    assert.equal(n.seq, first + i);
  });
  return notes;
}

test("run.exec streams its output in order and then answers without it", async () => {
  const c = await connect();
  try {
    c.call("r1", "run.exec", { project: stack.project, language: "sh", code: "echo one; echo two >&2; sleep 0.2; echo three" });
    const answer = await c.next((m) => m.id === "r1" && !m.method);
    assert.equal(validate(schemas.get("run.exec").result, answer.result), null, JSON.stringify(answer));
    assert.equal(answer.result.end, "ok");
    const notes = notesOf(c.messages, "run.output", "r1", 1);
    assert.equal(notesOf(c.messages, "run.started", "r1")[0].run_id, answer.result.run_id);
    const text = (stream) => notes.filter((n) => n.stream === stream).map((n) => n.data).join("");
    assert.equal(text("stdout"), "one\nthree\n");
    assert.equal(text("stderr"), "two\n");
    assert.ok(c.messages.indexOf(answer) > c.messages.findLastIndex((m) => m.method === "run.output"), "output came after the answer");
  } finally {
    c.socket.close();
  }
});

test("llm.chat streams pieces that make up the answer", async () => {
  const c = await connect();
  try {
    c.call(1, "llm.chat", { messages: [{ role: "user", content: "Count to five." }], max_tokens: 16, temperature: 0 });
    const { result, error } = await c.next((m) => m.id === 1 && !m.method);
    assert.equal(validate(schemas.get("llm.chat").result, result), null, JSON.stringify(error));
    const notes = notesOf(c.messages, "llm.delta", 1);
    assert.ok(notes.length > 1, "it came in one piece");
    assert.equal(notes.map((n) => n.content).join(""), result.content);
    assert.equal(result.usage.total_tokens, result.usage.prompt_tokens + result.usage.completion_tokens);
  } finally {
    c.socket.close();
  }
});

test("rpc.cancel ends an open run, which still gets its own answer", async () => {
  const c = await connect();
  try {
    c.call("long", "run.exec", { project: stack.project, language: "sh", code: "echo started; sleep 60" });
    await c.next((m) => m.method === "run.output" && m.params.id === "long");
    c.call("c1", "rpc.cancel", { id: "long" });
    assert.deepEqual((await c.next((m) => m.id === "c1")).result, { cancelled: true });
    const answer = await c.next((m) => m.id === "long" && !m.method);
    assert.ok(answer.error?.code === -32800 || answer.result?.end === "cancelled", JSON.stringify(answer));
    c.call("c2", "rpc.cancel", { id: "long" });
    assert.deepEqual((await c.next((m) => m.id === "c2")).result, { cancelled: false });
  } finally {
    c.socket.close();
  }
});

test("run.cancel ends a run by its id from another connection, and the history says so", async () => {
  const [a, b] = [await connect(), await connect()];
  try {
    a.call("mine", "run.exec", { project: stack.project, language: "sh", code: "sleep 60" });
    const runId = (await a.next((m) => m.method === "run.started")).params.run_id;
    b.call(1, "run.history", { project: stack.project, limit: 1 });
    assert.equal((await b.next((m) => m.id === 1)).result.runs[0].state, "running");
    b.call(2, "run.cancel", { project: stack.project, run_id: runId });
    assert.deepEqual((await b.next((m) => m.id === 2)).result, { cancelled: true });
    assert.equal((await a.next((m) => m.id === "mine" && !m.method)).result.end, "cancelled");
    b.call(3, "run.history", { project: stack.project, limit: 1 });
    const [row] = (await b.next((m) => m.id === 3)).result.runs;
    assert.deepEqual([row.run_id, row.state, row.end], [runId, "ended", "cancelled"]);
    b.call(4, "run.history", { project: stack.project, before: runId });
    assert.ok((await b.next((m) => m.id === 4)).result.runs.every((r) => r.run_id < runId));
  } finally {
    a.socket.close();
    b.socket.close();
  }
});

test("a client that leaves ends its run, and the history says so", async () => {
  const [a, b] = [await connect(), await connect()];
  try {
    a.call("mine", "run.exec", { project: stack.project, language: "sh", code: "sleep 60" });
    const runId = (await a.next((m) => m.method === "run.started")).params.run_id;
    a.socket.terminate();
    let asked = 0;
    const row = await waitFor("the run ended", async () => {
      const id = `h${asked++}`;
      b.call(id, "run.history", { project: stack.project, limit: 1 });
      const [newest] = (await b.next((m) => m.id === id)).result.runs;
      assert.equal(newest.run_id, runId);
      return newest.state === "ended" && newest;
    });
    assert.equal(row.end, "cancelled");
  } finally {
    b.socket.close();
  }
});

test("rpc.cancel does not reach the calls of another socket", async () => {
  const [a, b] = [await connect(), await connect()];
  try {
    a.call("mine", "run.exec", { project: stack.project, language: "sh", code: "echo started; sleep 0.5; echo done" });
    await a.next((m) => m.method === "run.output");
    b.call(1, "rpc.cancel", { id: "mine" });
    assert.deepEqual((await b.next((m) => m.id === 1)).result, { cancelled: false });
    assert.equal((await a.next((m) => m.id === "mine" && !m.method)).result.end, "ok");
  } finally {
    a.socket.close();
    b.socket.close();
  }
});

test("malformed text and empty batches get an answer and the socket stays open", async () => {
  const c = await connect();
  try {
    c.socket.send("{");
    assert.equal((await c.next((m) => m.error?.code === -32700)).id, null);
    c.send([]);
    await c.next((m) => m.error?.code === -32600);
    c.call(5, "user.self", {});
    assert.ok((await c.next((m) => m.id === 5)).result);
  } finally {
    c.socket.close();
  }
});

test("a socket without a credential is refused", async () => {
  const url = `${stack.url.replace(/^http/, "ws")}/ws`;
  for (const list of [["cds.rpc.v1"], ["cds.rpc.v1", "cds.bearer.x"]]) {
    const socket = new WebSocket(url, list, { origin: stack.origin ?? stack.url });
    const status = await new Promise((resolve) => {
      socket.once("unexpected-response", (_, answer) => resolve(answer.statusCode)).once("open", () => resolve("open")).once("error", () => resolve("error"));
    });
    socket.terminate();
    assert.equal(status, 401);
  }
});
