import { describe, expect, it } from "vitest";
import { OutputBuffer } from "./output";

const out = (seq: number, data: string, stream: "stdout" | "stderr" = "stdout") => ({ seq, stream, data });
const shown = (buffer: OutputBuffer) => buffer.view().segments.map(({ stream, text }) => [stream, text]);

describe("the output buffer", () => {
  it("joins neighbouring text of one stream and keeps the order of both", () => {
    const buffer = new OutputBuffer();
    buffer.add(out(0, "a"));
    buffer.add(out(1, "b"));
    buffer.add(out(2, "oops\n", "stderr"));
    buffer.add(out(3, "c"));
    expect(shown(buffer)).toEqual([
      ["stdout", "ab"],
      ["stderr", "oops\n"],
      ["stdout", "c"],
    ]);
    expect(buffer.text()).toBe("aboops\nc");
  });

  it("ignores a piece that came before", () => {
    const buffer = new OutputBuffer();
    buffer.add(out(0, "a"));
    buffer.add(out(0, "a"));
    buffer.add(out(1, "b"));
    buffer.add(out(0, "a"));
    expect(buffer.text()).toBe("ab");
  });

  it("keeps finished segments as they are, so that only the last is painted again", () => {
    const buffer = new OutputBuffer();
    buffer.add(out(0, "x".repeat(20_000)));
    const before = buffer.view().segments;
    buffer.add(out(1, "y"));
    const after = buffer.view().segments;
    expect(after.slice(0, 2)).toEqual(before.slice(0, 2));
    expect(after[0]).toBe(before[0]);
    expect(after[after.length - 1]).not.toBe(before[before.length - 1]);
    expect(after.map((segment) => segment.key)).toEqual([0, 1, 2]);
  });

  it("drops the oldest text over the ceiling and counts it", () => {
    const buffer = new OutputBuffer(32 * 1024);
    for (let seq = 0; seq < 100; seq++) buffer.add(out(seq, String(seq % 10).repeat(1024)));
    const { segments, cutChars } = buffer.view();
    const held = segments.reduce((sum, segment) => sum + segment.text.length, 0);
    expect(held).toBeLessThanOrEqual(32 * 1024);
    expect(held + cutChars).toBe(100 * 1024);
    expect(buffer.text().endsWith("9".repeat(1024))).toBe(true);
  });

  it("stays below the ceiling when one piece is larger than it", () => {
    const buffer = new OutputBuffer(16 * 1024);
    buffer.add(out(0, "z".repeat(100_000)));
    expect(buffer.text().length).toBeLessThanOrEqual(16 * 1024);
    expect(buffer.view().cutChars + buffer.text().length).toBe(100_000);
  });

  it("puts a character together that was cut between two pieces of bytes", () => {
    const buffer = new OutputBuffer();
    const bytes = new TextEncoder().encode("ä");
    const base64 = (part: Uint8Array) => btoa(String.fromCharCode(...part));
    buffer.add({ seq: 0, stream: "stdout", data: base64(bytes.slice(0, 1)), encoding: "base64" });
    buffer.add({ seq: 1, stream: "stdout", data: base64(bytes.slice(1)), encoding: "base64" });
    expect(buffer.text()).toBe("ä");
  });

  it("shows bytes that are no UTF-8 as replacement characters", () => {
    const buffer = new OutputBuffer();
    buffer.add({ seq: 0, stream: "stdout", data: btoa("a\xffb"), encoding: "base64" });
    expect(buffer.text()).toBe("a\ufffdb");
  });
});
