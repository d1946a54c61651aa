import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Failure } from "@/lib/failure";
import { examples } from "@/testing/examples";
import { ScriptedSocket } from "@/testing/scriptedSocket";
import { RpcClient, type RpcOptions } from "./client";
import { errorCodes } from "./methods.gen";

function makeClient(options: Partial<RpcOptions> = {}): RpcClient {
  return new RpcClient({ url: "ws://studio.test/ws", token: async () => "token-1", openSocket: ScriptedSocket.open, random: () => 1, ...options });
}

/** A client with an open socket. */
async function connected(options: Partial<RpcOptions> = {}): Promise<{ client: RpcClient; socket: ScriptedSocket }> {
  const client = makeClient(options);
  client.start();
  await vi.advanceTimersByTimeAsync(0);
  const socket = ScriptedSocket.last();
  socket.accepts();
  return { client, socket };
}

const failureOf = (promise: Promise<unknown>): Promise<Failure> => promise.then(() => Promise.reject(new Error("it succeeded")), (error: Failure) => error);

beforeEach(() => {
  vi.useFakeTimers();
  ScriptedSocket.made = [];
});
afterEach(() => {
  vi.useRealTimers();
});

describe("calls", () => {
  it("sends the token as a subprotocol and never in the address", async () => {
    const { socket } = await connected();
    expect(socket.protocols).toEqual(["cds.rpc.v1", "cds.bearer.token-1"]);
    expect(socket.url).toBe("ws://studio.test/ws");
  });

  it("gives each call an id of its own and the answer to the right caller", async () => {
    const { client, socket } = await connected();
    const list = client.call("project.list", {});
    const self = client.call("user.self", {});
    const [first, second] = socket.sent;
    expect(first).toMatchObject({ jsonrpc: "2.0", method: "project.list", params: {} });
    expect(first?.["id"]).not.toBe(second?.["id"]);
    socket.answers(second?.["id"], { user_id: "u" });
    socket.answers(first?.["id"], { projects: [] });
    await expect(list).resolves.toEqual({ projects: [] });
    await expect(self).resolves.toEqual({ user_id: "u" });
  });

  it("hands notifications to the call they name, in order", async () => {
    const { client, socket } = await connected();
    const pieces: string[] = [];
    const answer = client.call("llm.chat", { messages: [{ role: "user", content: "hi" }] }, { onNotification: (_method, note) => pieces.push(note.content) });
    const id = socket.sent[0]?.["id"];
    socket.says({ jsonrpc: "2.0", method: "llm.delta", params: { id, seq: 0, content: "He" } });
    socket.says({ jsonrpc: "2.0", method: "llm.delta", params: { id: 999, seq: 0, content: "stranger" } });
    socket.says({ jsonrpc: "2.0", method: "llm.delta", params: { id, seq: 1, content: "llo" } });
    socket.answers(id, { content: "Hello" });
    await answer;
    socket.says({ jsonrpc: "2.0", method: "llm.delta", params: { id, seq: 2, content: "late" } });
    expect(pieces).toEqual(["He", "llo"]);
  });

  it("ignores messages that are not JSON or no object", async () => {
    const { client, socket } = await connected();
    const list = client.call("project.list", {});
    for (const noise of ["{", "17", "null", '"text"', "[]", "{}"]) socket.says(noise);
    socket.answers(socket.sent[0]?.["id"], { projects: [] });
    await expect(list).resolves.toEqual({ projects: [] });
  });

  it.each(examples().map((example) => [example.file, example] as const))("understands the answer of examples/rpc/%s", async (_file, { method, request, response }) => {
    const { client, socket } = await connected();
    const call = client.call(method, request.params as never);
    const settled = call.then(
      (result) => ({ result }),
      (failure: Failure) => ({ failure }),
    );
    socket.says({ ...response, id: socket.sent[0]?.["id"] });
    const outcome = await settled;
    if (response.error) {
      const name = Object.entries(errorCodes).find(([, code]) => code === response.error?.code)?.[0];
      expect(outcome).toMatchObject({ failure: { name } });
    } else {
      expect(outcome).toEqual({ result: response.result });
    }
  });

  it("keeps the server's sentence, hint, rule and request id of a refusal", async () => {
    const { client, socket } = await connected();
    const failure = failureOf(client.call("fs.read", { project: "p", path: "../x" }));
    socket.refuses(socket.sent[0]?.["id"], errorCodes.DENIED, "short", { detail: "Outside the project.", hint: "Stay inside.", rule: "fs.root", request_id: "r-1" });
    expect(await failure).toMatchObject({ name: "DENIED", facts: { detail: "Outside the project.", hint: "Stay inside.", rule: "fs.root", requestId: "r-1" } });
  });

  it("gives an error without id to the call that was sent last", async () => {
    const { client, socket } = await connected();
    const first = client.call("project.list", {});
    const second = failureOf(client.call("user.self", {}));
    socket.refuses(null, errorCodes.BUSY, "too many open");
    expect(await second).toMatchObject({ name: "BUSY" });
    socket.answers(socket.sent[0]?.["id"], { projects: [] });
    await expect(first).resolves.toEqual({ projects: [] });
  });

  it("refuses a message that is too long before it is sent", async () => {
    const { client, socket } = await connected();
    expect(await failureOf(client.call("fs.write", { project: "p", path: "a", content: "x".repeat(2_000_000) }))).toMatchObject({ name: "TOO_LARGE" });
    expect(socket.sent).toEqual([]);
  });

  it("refuses the call after the 64th open one", async () => {
    const { client } = await connected();
    for (let n = 0; n < 64; n++) client.call("project.list", {}).catch(() => undefined);
    expect(await failureOf(client.call("project.list", {}))).toMatchObject({ name: "BUSY" });
  });
});

describe("deadlines and cancelling", () => {
  it("gives up a little after the server's deadline and cancels the call there", async () => {
    const { client, socket } = await connected();
    const failure = failureOf(client.call("fs.read", { project: "p", path: "a" }, { deadlineMs: 1000 }));
    await vi.advanceTimersByTimeAsync(3999);
    expect(socket.sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await failure).toMatchObject({ name: "TIMED_OUT" });
    expect(socket.sent[1]).toMatchObject({ method: "rpc.cancel", params: { id: socket.sent[0]?.["id"] } });
  });

  it("sends rpc.cancel on abort and still takes the call's own answer", async () => {
    const { client, socket } = await connected();
    const stopper = new AbortController();
    const answer = client.call("llm.chat", { messages: [] }, { signal: stopper.signal });
    stopper.abort();
    expect(socket.sent[1]).toMatchObject({ method: "rpc.cancel", params: { id: socket.sent[0]?.["id"] } });
    socket.answers(socket.sent[1]?.["id"], { cancelled: true });
    socket.answers(socket.sent[0]?.["id"], { content: "part" });
    await expect(answer).resolves.toEqual({ content: "part" });
  });

  it("ends a cancelled call by itself when the server does not confirm", async () => {
    const { client } = await connected();
    const stopper = new AbortController();
    const failure = failureOf(client.call("run.exec", { project: "p", language: "sh", code: "true" }, { signal: stopper.signal }));
    stopper.abort();
    await vi.advanceTimersByTimeAsync(3000);
    expect(await failure).toMatchObject({ name: "CANCELLED" });
  });

  it("sends nothing for a call that was cancelled before the socket was open", async () => {
    const client = makeClient();
    client.start();
    const stopper = new AbortController();
    const failure = failureOf(client.call("project.list", {}, { signal: stopper.signal }));
    stopper.abort();
    expect(await failure).toMatchObject({ name: "CANCELLED" });
    await vi.advanceTimersByTimeAsync(0);
    ScriptedSocket.last().accepts();
    expect(ScriptedSocket.last().sent).toEqual([]);
  });
});

describe("the connection", () => {
  it("sends calls that were made before it was open", async () => {
    const client = makeClient();
    client.start();
    const list = client.call("project.list", {});
    await vi.advanceTimersByTimeAsync(0);
    ScriptedSocket.last().accepts();
    ScriptedSocket.last().answers(ScriptedSocket.last().sent[0]?.["id"], { projects: [] });
    await expect(list).resolves.toEqual({ projects: [] });
  });

  it("fails a call with OFFLINE when the socket stays away", async () => {
    const client = makeClient();
    client.start();
    const failure = failureOf(client.call("project.list", {}));
    await vi.advanceTimersByTimeAsync(8000);
    expect(await failure).toMatchObject({ name: "OFFLINE" });
  });

  it("fails calls under way when it breaks, and never sends them again", async () => {
    const { client, socket } = await connected();
    const failure = failureOf(client.call("fs.write", { project: "p", path: "a", content: "x" }));
    socket.breaks();
    expect(await failure).toMatchObject({ name: "CONNECTION_LOST" });
    expect(client.state.get()).toBe("waiting");
    await vi.advanceTimersByTimeAsync(250);
    ScriptedSocket.last().accepts();
    expect(ScriptedSocket.last()).not.toBe(socket);
    expect(ScriptedSocket.last().sent).toEqual([]);
    expect(client.state.get()).toBe("open");
  });

  it("waits longer from try to try, up to ten seconds, and forgets that once it was open", async () => {
    const { socket } = await connected();
    socket.breaks();
    for (const delay of [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]) {
      const before = ScriptedSocket.made.length;
      await vi.advanceTimersByTimeAsync(delay - 1);
      expect(ScriptedSocket.made).toHaveLength(before);
      await vi.advanceTimersByTimeAsync(1);
      expect(ScriptedSocket.made).toHaveLength(before + 1);
      ScriptedSocket.last().breaks();
    }
    await vi.advanceTimersByTimeAsync(10_000);
    ScriptedSocket.last().accepts();
    ScriptedSocket.last().breaks();
    const before = ScriptedSocket.made.length;
    await vi.advanceTimersByTimeAsync(250);
    expect(ScriptedSocket.made).toHaveLength(before + 1);
  });

  it("says that the last token was refused when a socket never opened", async () => {
    const token = vi.fn(async () => "t");
    const client = makeClient({ token });
    client.start();
    await vi.advanceTimersByTimeAsync(0);
    ScriptedSocket.last().breaks();
    await vi.advanceTimersByTimeAsync(250);
    expect(token.mock.calls).toEqual([[false], [true]]);
  });

  it("connects again at once when the token ran out", async () => {
    const { socket } = await connected();
    socket.breaks(4001);
    await vi.advanceTimersByTimeAsync(0);
    expect(ScriptedSocket.made).toHaveLength(2);
  });

  it("asks for another token when the gateway says that this one no longer holds", async () => {
    const told: string[] = [];
    const { socket } = await connected({ onVoid: () => told.push("void") });
    socket.breaks(4003);
    await vi.advanceTimersByTimeAsync(0);
    expect(told).toEqual(["void"]);
    expect(ScriptedSocket.made).toHaveLength(2);
  });

  it("tells of another role and keeps the connection", async () => {
    const roles: string[] = [];
    const { client, socket } = await connected({ onRole: (role) => roles.push(role) });
    socket.says({ jsonrpc: "2.0", method: "session.changed", params: { role: "viewer" } });
    expect(roles).toEqual(["viewer"]);
    expect(client.state.get()).toBe("open");
    expect(ScriptedSocket.made).toHaveLength(1);
  });

  it("changes to a fresh token only when no call is open", async () => {
    let token = "token-1";
    const { client, socket } = await connected({ token: async () => token });
    const answer = client.call("project.list", {});
    token = "token-2";
    client.renew();
    await vi.advanceTimersByTimeAsync(0);
    expect(ScriptedSocket.made).toHaveLength(1);
    socket.answers(socket.sent[0]?.["id"], { projects: [] });
    await answer;
    await vi.advanceTimersByTimeAsync(0);
    expect(socket.closedWith).toBe(1000);
    expect(ScriptedSocket.last().protocols[1]).toBe("cds.bearer.token-2");
  });

  it("changes to the fresh token beside a call that can be resumed, but not before the others have ended", async () => {
    let token = "token-1";
    const { client, socket } = await connected({ token: async () => token });
    const project = "018f3c2a-0000-7000-8000-000000000001";
    const follows = failureOf(client.call("term.attach", { project, term_id: project }, { resumable: true }));
    const answer = client.call("project.list", {});
    token = "token-2";
    client.renew();
    await vi.advanceTimersByTimeAsync(0);
    expect(ScriptedSocket.made).toHaveLength(1);
    socket.answers(socket.sent[1]?.["id"], { projects: [] });
    await answer;
    await vi.advanceTimersByTimeAsync(0);
    expect((await follows).name).toBe("CONNECTION_LOST");
    expect(socket.closedWith).toBe(1000);
    expect(ScriptedSocket.last().protocols[1]).toBe("cds.bearer.token-2");
  });

  it("closes a socket that does not open within ten seconds", async () => {
    const client = makeClient();
    client.start();
    await vi.advanceTimersByTimeAsync(0);
    const socket = ScriptedSocket.last();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(socket.closedWith).toBeDefined();
    expect(client.state.get()).toBe("waiting");
  });

  it("stays away after stop and refuses calls", async () => {
    const { client, socket } = await connected();
    const failure = failureOf(client.call("project.list", {}));
    client.stop();
    expect(await failure).toMatchObject({ name: "CANCELLED" });
    expect(socket.closedWith).toBe(1000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(ScriptedSocket.made).toHaveLength(1);
    expect(await failureOf(client.call("project.list", {}))).toMatchObject({ name: "UNAUTHENTICATED" });
  });

  it("stops when nobody is signed in any more", async () => {
    const client = makeClient({ token: async () => null });
    client.start();
    await vi.advanceTimersByTimeAsync(0);
    expect(ScriptedSocket.made).toHaveLength(0);
    expect(client.state.get()).toBe("idle");
  });

  it("tries at once after a poke", async () => {
    const { client, socket } = await connected();
    socket.breaks();
    client.poke();
    await vi.advanceTimersByTimeAsync(0);
    expect(ScriptedSocket.made).toHaveLength(2);
  });
});
