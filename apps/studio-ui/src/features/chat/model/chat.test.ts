import { describe, expect, it, vi } from "vitest";
import { Failure } from "@/lib/failure";
import type { CallOptions } from "@/lib/rpc/client";
import type { LlmChatParams, LlmChatResult } from "@/lib/rpc/methods.gen";
import { Chat } from "./chat";
import type { Answer } from "./thread";

const result = { request_id: "r", model: "m", content: "Hello", finish_reason: "stop", usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }, cost_micro: 1 } as LlmChatResult;
const options = { model: null, maxTokens: 64 };

function scripted() {
  const calls: { params: LlmChatParams; options: CallOptions<"llm.chat">; resolve: (result: LlmChatResult) => void; reject: (failure: Failure) => void }[] = [];
  const frames: (() => void)[] = [];
  const onSettled = vi.fn();
  const chat = new Chat((params, given) => new Promise((resolve, reject) => calls.push({ params, options: given, resolve, reject })), { frame: (paint) => frames.push(paint), onSettled });
  const delta = (seq: number, content: string) => calls[calls.length - 1]?.options.onNotification?.("llm.delta", { id: 1, seq, content });
  const answer = () => [...chat.thread.get()].reverse().find((message) => message.role === "assistant") as Answer | undefined;
  return { chat, calls, frames, delta, answer, onSettled };
}

describe("chat", () => {
  it("paints pieces once per frame", () => {
    const { chat, frames, delta, answer } = scripted();
    void chat.send("hi", options);
    for (let seq = 0; seq < 100; seq++) delta(seq, "x");
    expect(frames).toHaveLength(1);
    expect(answer()?.content).toBe("");
    frames[0]?.();
    expect(answer()?.content).toBe("x".repeat(100));
    delta(100, "y");
    expect(frames).toHaveLength(2);
  });

  it("sends the chosen model and length, and no model when any will do", async () => {
    const { chat, calls } = scripted();
    const done = chat.send("hi", options);
    expect(calls[0]?.params).toEqual({ messages: [{ role: "user", content: "hi" }], max_tokens: 64 });
    calls[0]?.resolve(result);
    await done;
    void chat.send("more", { model: "m2", maxTokens: 128 });
    expect(calls[1]?.params).toMatchObject({ model: "m2", max_tokens: 128, messages: [{ role: "user" }, { role: "assistant", content: "Hello" }, { role: "user", content: "more" }] });
  });

  it("asks one question at a time and none that is empty", () => {
    const { chat, calls } = scripted();
    void chat.send("  \n", options);
    void chat.send("hi", options);
    void chat.send("again", options);
    expect(calls).toHaveLength(1);
  });

  it("shows pieces that no frame painted when the call fails", async () => {
    const { chat, calls, delta, answer, onSettled } = scripted();
    const done = chat.send("hi", options);
    delta(0, "half");
    calls[0]?.reject(new Failure("MODEL_CRASHED"));
    await done;
    expect(answer()).toMatchObject({ state: "failed", content: "half" });
    expect(onSettled).toHaveBeenCalledTimes(1);
  });

  it("aborts the call on stop, once", () => {
    const { chat, calls, answer } = scripted();
    void chat.send("hi", options);
    chat.stop();
    chat.stop();
    expect(calls[0]?.options.signal?.aborted).toBe(true);
    expect(answer()?.state).toBe("stopping");
  });

  it("asks a failed question again in its place", async () => {
    const { chat, calls } = scripted();
    const done = chat.send("hi", options);
    calls[0]?.reject(new Failure("BUSY"));
    await done;
    chat.again(1, options);
    expect(calls[1]?.params.messages).toEqual([{ role: "user", content: "hi" }]);
    expect(chat.thread.get().filter((message) => message.role === "user")).toHaveLength(1);
  });

  it("forgets everything on clear, and pieces that still come", async () => {
    const { chat, calls, delta } = scripted();
    const done = chat.send("hi", options);
    chat.clear();
    delta(0, "late");
    calls[0]?.resolve(result);
    await done;
    expect(chat.thread.get()).toEqual([]);
  });
});
