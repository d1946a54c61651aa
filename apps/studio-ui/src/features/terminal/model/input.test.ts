import { describe, expect, it } from "vitest";
import { Failure } from "@/lib/failure";
import { InputQueue } from "./input";

/** A queue whose server and whose clock are the test's. */
function scripted() {
  const sent: { data: string; resolve: () => void; reject: (failure: Failure) => void }[] = [];
  const failures: string[] = [];
  const waits: (() => void)[] = [];
  const queue = new InputQueue(
    (data) => new Promise<void>((resolve, reject) => sent.push({ data, resolve, reject })),
    (failure) => failures.push(failure.name),
    (work) => waits.push(work),
  );
  const settle = () => new Promise((done) => setTimeout(done));
  return { queue, sent, failures, waits, settle };
}

describe("what is typed", () => {
  it("goes one call at a time, and what comes meanwhile goes along with the next", async () => {
    const { queue, sent, settle } = scripted();
    for (const key of "abc") queue.type(key);
    expect(sent.map((one) => one.data)).toEqual(["a"]);
    sent[0]?.resolve();
    await settle();
    expect(sent.map((one) => one.data)).toEqual(["a", "bc"]);
  });

  it("is sent again when the terminal took nothing, in the same order", async () => {
    const { queue, sent, waits, failures, settle } = scripted();
    queue.type("one");
    queue.type("two");
    sent[0]?.reject(new Failure("BUSY", { retryAfterMs: 5 }));
    await settle();
    expect(sent).toHaveLength(1);
    waits[0]?.();
    await settle();
    expect(sent[1]?.data).toBe("onetwo");
    expect(failures).toEqual([]);
  });

  it("is dropped, not sent twice, when nobody knows whether it was taken", async () => {
    const { queue, sent, failures, settle } = scripted();
    queue.type("rm x\r");
    queue.type("more");
    sent[0]?.reject(new Failure("CONNECTION_LOST"));
    await settle();
    expect(sent).toHaveLength(1);
    expect(failures).toEqual(["CONNECTION_LOST"]);
    queue.type("new");
    expect(sent[1]?.data).toBe("new");
  });

  it("is cut into pieces that one call may carry, never through a character", async () => {
    const { queue, sent, settle } = scripted();
    const text = `x${"\u{1f600}".repeat(10_000)}`;
    queue.type(text);
    for (let n = 0; n < 2; n++) {
      sent[n]?.resolve();
      await settle();
    }
    expect(sent.map((one) => one.data).join("")).toBe(text);
    for (const { data } of sent) {
      expect(new TextEncoder().encode(data).length).toBeLessThanOrEqual(65_536);
      expect(new TextDecoder().decode(new TextEncoder().encode(data))).toBe(data); // half a character would have become U+FFFD
    }
  });

  it("has a ceiling, and ends when the terminal does", () => {
    const { queue, sent } = scripted();
    expect(queue.type("a".repeat(900_000))).toBe(true);
    expect(queue.type("a".repeat(200_000))).toBe(false);
    queue.stop();
    expect(queue.type("x")).toBe(false);
    expect(sent).toHaveLength(1);
  });
});
