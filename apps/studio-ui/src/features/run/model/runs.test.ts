import { describe, expect, it } from "vitest";
import { Failure } from "@/lib/failure";
import type { CallOptions } from "@/lib/rpc/client";
import type { RunExecParams, RunExecResult } from "@/lib/rpc/methods.gen";
import { Runs } from "./runs";

const params: RunExecParams = { project: "p", language: "python", path: "a.py" };
const result = { end: "ok", exit_code: 0 } as RunExecResult;

/** Runs whose server and whose frames are the test's. */
function scripted() {
  const calls: { params: RunExecParams; options: CallOptions<"run.exec">; resolve: (result: RunExecResult) => void; reject: (failure: Failure) => void }[] = [];
  const frames: (() => void)[] = [];
  const runs = new Runs(
    (given, options) => new Promise((resolve, reject) => calls.push({ params: given, options, resolve, reject })),
    (paint) => frames.push(paint),
  );
  const output = (seq: number, data: string) => calls[calls.length - 1]?.options.onNotification?.("run.output", { id: 1, seq, stream: "stdout", data });
  const latest = () => runs.state.get().list[0];
  return { runs, calls, frames, output, latest };
}

describe("runs", () => {
  it("paints output once per frame, however often it comes", () => {
    const { runs, frames, output, latest } = scripted();
    void runs.start(params);
    for (let seq = 0; seq < 50; seq++) output(seq, "x");
    expect(frames).toHaveLength(1);
    expect(latest()?.output.segments).toEqual([]);
    frames[0]?.();
    expect(latest()?.output.segments[0]?.text).toBe("x".repeat(50));
    output(50, "y");
    expect(frames).toHaveLength(2);
  });

  it("shows output that no frame painted when the result comes", async () => {
    const { runs, calls, output, latest } = scripted();
    const done = runs.start(params);
    output(0, "all of it");
    calls[0]?.resolve(result);
    await done;
    expect(latest()).toMatchObject({ state: "ended", result });
    expect(latest()?.output.segments[0]?.text).toBe("all of it");
  });

  it("keeps what was written when the call fails", async () => {
    const { runs, calls, output, latest } = scripted();
    const done = runs.start(params);
    output(0, "so far");
    calls[0]?.reject(new Failure("CONNECTION_LOST"));
    await done;
    expect(latest()).toMatchObject({ state: "ended", failure: { name: "CONNECTION_LOST" } });
    expect(latest()?.output.segments[0]?.text).toBe("so far");
  });

  it("starts nothing while one runs", () => {
    const { runs, calls } = scripted();
    void runs.start(params);
    void runs.start(params);
    expect(calls).toHaveLength(1);
  });

  it("stops once, and waits for the server's verdict", async () => {
    const { runs, calls, latest } = scripted();
    const done = runs.start(params);
    runs.stop();
    runs.stop();
    expect(calls[0]?.options.signal?.aborted).toBe(true);
    expect(latest()?.state).toBe("stopping");
    calls[0]?.resolve({ ...result, end: "cancelled", exit_code: null });
    await done;
    expect(latest()).toMatchObject({ state: "ended", result: { end: "cancelled" } });
  });

  it("runs again with exactly the same inputs", async () => {
    const { runs, calls } = scripted();
    const done = runs.start({ ...params, argv: ["a b"], stdin: "in" });
    calls[0]?.resolve(result);
    await done;
    const first = runs.state.get().list[0];
    if (first) runs.again(first);
    expect(calls[1]?.params).toEqual({ ...params, argv: ["a b"], stdin: "in" });
  });

  it("keeps the last twenty", async () => {
    const { runs, calls } = scripted();
    for (let n = 0; n < 25; n++) {
      const done = runs.start(params);
      calls[n]?.resolve(result);
      await done;
    }
    expect(runs.state.get().list.map((run) => run.id)).toEqual(Array.from({ length: 20 }, (_, n) => 25 - n));
  });
});
