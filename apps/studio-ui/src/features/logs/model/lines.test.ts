import { describe, expect, it } from "vitest";
import { filtered, keptLines, Lines, toLine } from "./lines";

const frame = (seq: number, more: Record<string, unknown> = {}) => ({ seq, line: { ts: "2026-11-21T05:00:00.000Z", level: "info", proc: "cds-api", msg: `line ${seq}`, ...more } });

function scripted() {
  const frames: (() => void)[] = [];
  const lines = new Lines((paint) => frames.push(paint));
  const paint = () => frames.splice(0).forEach((one) => one());
  return { lines, frames, paint, seqs: () => lines.state.get().lines.map((line) => line.seq) };
}

describe("log lines", () => {
  it("show time, level, process and message, and the other fields as text", () => {
    expect(toLine(frame(1, { level: "warn", request_id: "r-1", status: 500, user: { a: 1 } }))).toMatchObject({
      level: "warn",
      process: "cds-api",
      message: "line 1",
      requestId: "r-1",
      rest: 'status=500 user={"a":1}',
    });
  });

  it("survive fields of the wrong kind", () => {
    expect(toLine({ seq: 1, line: { ts: "yesterday", level: "loud", msg: 7 } })).toMatchObject({ time: null, level: "info", process: "", message: "7" });
  });

  it("are painted once per frame", () => {
    const { lines, frames, paint, seqs } = scripted();
    for (let seq = 0; seq < 10; seq++) lines.add(frame(seq));
    expect(frames).toHaveLength(1);
    paint();
    expect(seqs()).toHaveLength(10);
  });

  it("are kept up to a ceiling, the newest ones", () => {
    const { lines, paint, seqs } = scripted();
    for (let seq = 0; seq < keptLines + 10; seq++) {
      lines.add(frame(seq));
      paint();
    }
    expect(seqs()).toHaveLength(keptLines);
    expect(seqs()[0]).toBe(10);
    expect(lines.state.get().cut).toBe(true);
  });

  it("wait while paused and follow on resume", () => {
    const { lines, paint, seqs } = scripted();
    lines.add(frame(1));
    paint();
    lines.pause();
    lines.add(frame(2));
    paint();
    expect(seqs()).toEqual([1]);
    expect(lines.state.get().held).toHaveLength(1);
    lines.resume();
    expect(seqs()).toEqual([1, 2]);
  });
});

describe("the filter", () => {
  const lines = [toLine(frame(1)), toLine(frame(2, { level: "error", msg: "database away", request_id: "abc-9" })), toLine(frame(3, { level: "debug" }))];
  const seqs = (level: "debug" | "info" | "warn", text: string) => filtered(lines, level, text).map((line) => line.seq);

  it("takes lines of at least a level", () => {
    expect(seqs("debug", "")).toEqual([1, 2, 3]);
    expect(seqs("info", "")).toEqual([1, 2]);
    expect(seqs("warn", "")).toEqual([2]);
  });

  it("wants every word, in any case and any field", () => {
    expect(seqs("debug", "DATABASE abc-9")).toEqual([2]);
    expect(seqs("debug", "database line")).toEqual([]);
  });
});
