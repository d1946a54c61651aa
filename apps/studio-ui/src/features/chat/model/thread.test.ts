import { describe, expect, it } from "vitest";
import { Failure } from "@/lib/failure";
import type { LlmChatResult } from "@/lib/rpc/methods.gen";
import { messagesFor, reduce, type Answer, type Thread, type ThreadEvent } from "./thread";

const result = (content: string): LlmChatResult => ({
  request_id: "r",
  model: "m",
  content,
  finish_reason: "stop",
  usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
  cost_micro: 35,
});
const after = (...events: ThreadEvent[]): Thread => events.reduce(reduce, [] as Thread);
const ask = (id: number, text = `q${id}`): ThreadEvent => ({ type: "ask", id, text, model: null });
const piece = (id: number, seq: number, content: string): ThreadEvent => ({ type: "pieces", id, pieces: [{ seq, content }] });
const answerOf = (thread: Thread, id: number): Answer => thread.find((message) => message.id === id && message.role === "assistant") as Answer;

describe("a conversation", () => {
  it("waits, streams, and ends with the result's text, tokens and cost", () => {
    let thread = after(ask(1));
    expect(answerOf(thread, 1)).toMatchObject({ state: "waiting", content: "" });
    thread = reduce(thread, piece(1, 0, "He"));
    expect(answerOf(thread, 1)).toMatchObject({ state: "streaming", content: "He" });
    thread = reduce(reduce(thread, piece(1, 1, "llo")), { type: "answered", id: 1, result: result("Hello") });
    expect(answerOf(thread, 1)).toMatchObject({ state: "done", content: "Hello", model: "m", result: { cost_micro: 35 } });
  });

  it("takes several pieces at once and ignores those it has seen", () => {
    const thread = after(ask(1), piece(1, 0, "a"), {
      type: "pieces",
      id: 1,
      pieces: [
        { seq: 0, content: "a" },
        { seq: 1, content: "b" },
        { seq: 2, content: "c" },
      ],
    });
    expect(answerOf(thread, 1).content).toBe("abc");
    expect(reduce(thread, { type: "pieces", id: 1, pieces: [] })[1]).toBe(thread[1]);
  });

  it("lets the result win over pieces that were lost", () => {
    expect(answerOf(after(ask(1), piece(1, 0, "a"), { type: "answered", id: 1, result: result("abc") }), 1).content).toBe("abc");
  });

  it("ignores pieces of an answer that has ended", () => {
    expect(answerOf(after(ask(1), { type: "answered", id: 1, result: result("abc") }, piece(1, 9, "late")), 1).content).toBe("abc");
  });

  it("changes no other message, so that only one is painted", () => {
    const before = after(ask(1), { type: "answered", id: 1, result: result("one") }, ask(2));
    const later = reduce(before, piece(2, 0, "x"));
    expect(later.slice(0, 3).every((message, at) => message === before[at])).toBe(true);
    expect(later[3]).not.toBe(before[3]);
  });

  it("calls a stopped answer stopped, with or without a result", () => {
    const stopping = after(ask(1), piece(1, 0, "half"), { type: "stopping", id: 1 });
    expect(answerOf(reduce(stopping, { type: "answered", id: 1, result: result("half") }), 1)).toMatchObject({ state: "stopped", content: "half" });
    expect(answerOf(reduce(stopping, { type: "failed", id: 1, failure: new Failure("CANCELLED") }), 1)).toMatchObject({ state: "stopped", content: "half", failure: null });
  });

  it("keeps the text that came before a failure", () => {
    const failed = answerOf(after(ask(1), piece(1, 0, "half"), { type: "failed", id: 1, failure: new Failure("MODEL_CRASHED") }), 1);
    expect(failed).toMatchObject({ state: "failed", content: "half", failure: { name: "MODEL_CRASHED" } });
  });

  it("withdraws a question together with its answer", () => {
    expect(after(ask(1), ask(2), { type: "withdraw", id: 1 }).map((message) => message.id)).toEqual([2, 2]);
  });
});

describe("what the model is sent", () => {
  it("is every answered question and the new one", () => {
    const thread = after(ask(1), { type: "answered", id: 1, result: result("a1") }, ask(2), { type: "failed", id: 2, failure: new Failure("BUSY") });
    expect(messagesFor(thread, "q3")).toEqual([
      { role: "user", content: "q1" },
      { role: "assistant", content: "a1" },
      { role: "user", content: "q3" },
    ]);
  });

  it("is refused by name when it is more than the model takes, never cut", () => {
    const events = Array.from({ length: 128 }, (_, n): ThreadEvent[] => [ask(n), { type: "answered", id: n, result: result("a") }]).flat();
    expect(messagesFor(after(...events.slice(0, 254)), "last")).toHaveLength(255);
    expect(() => messagesFor(after(...events), "one more")).toThrowError(expect.objectContaining({ name: "CONTEXT_LENGTH" }));
  });
});
