import { describe, expect, it } from "vitest";
import type { UsageExportResult, UsageReportParams, UsageReportResult } from "@/lib/rpc/methods.gen";
import { barsOf, dayIn, daysOf, fileOf, rangeOf, wholeReport, type Row } from "./usage";

const row = (more: Partial<Row>): Row => ({
  day: null, model: null, key_id: null, key_name: null, user_id: null, email: null, requests: 1, prompt_tokens: 10, cached_tokens: 0, completion_tokens: 5, cost_micro: 7, ...more,
});

describe("a range of days", () => {
  it("ends today in the viewer's zone", () => {
    const late = new Date("2026-03-01T00:30:00Z");
    expect(dayIn(late, "UTC")).toBe("2026-03-01");
    expect(dayIn(late, "America/New_York")).toBe("2026-02-28");
    expect(rangeOf(7, late, "America/New_York")).toEqual({ from: "2026-02-22", to: "2026-02-28", time_zone: "America/New_York" });
    expect(rangeOf("month", late, "UTC")).toEqual({ from: "2026-03-01", to: "2026-03-01", time_zone: "UTC" });
  });

  it("has every day once, also over a change of the clock and a leap day", () => {
    expect(daysOf({ from: "2026-03-28", to: "2026-03-30", time_zone: "Europe/Berlin" })).toEqual(["2026-03-28", "2026-03-29", "2026-03-30"]);
    expect(daysOf({ from: "2028-02-28", to: "2028-03-01", time_zone: "UTC" })).toHaveLength(3);
  });
});

describe("the chart", () => {
  it("has a bar for days without use, and marks unusual ones", () => {
    const range = { from: "2026-11-01", to: "2026-11-03", time_zone: "UTC" };
    const unusual = { day: "2026-11-02", user_id: "u", email: null, key_id: null, key_name: null, tokens: 9, typical_tokens: 1, score: 9 };
    expect(barsOf(range, [row({ day: "2026-11-02" })], [unusual, { ...unusual, day: "2026-11-03" }])).toEqual([
      { day: "2026-11-01", tokens: 0, unusual: false },
      { day: "2026-11-02", tokens: 15, unusual: true },
      { day: "2026-11-03", tokens: 0, unusual: false },
    ]);
  });
});

describe("a report", () => {
  it("is read to its last page", async () => {
    const asked: UsageReportParams[] = [];
    const totals = { requests: 3, prompt_tokens: 30, cached_tokens: 0, completion_tokens: 15, cost_micro: 21 };
    const ask = (params: UsageReportParams): Promise<UsageReportResult> => {
      asked.push(params);
      const last = asked.length === 3;
      return Promise.resolve({ by: "model", from: "a", to: "b", time_zone: "UTC", rows: [row({ model: `m${asked.length}` })], totals, next_cursor: last ? null : `c${asked.length}` });
    };
    const got = await wholeReport(ask, { by: "model", from: "a", to: "b" });
    expect(got.rows.map((one) => one.model)).toEqual(["m1", "m2", "m3"]);
    expect(got.totals).toBe(totals);
    expect(asked.map((one) => one.cursor)).toEqual([undefined, "c1", "c2"]);
  });
});

describe("an export", () => {
  const range = { from: "2026-11-01", to: "2026-11-03", time_zone: "UTC" };
  it("is the server's text, page behind page", () => {
    const pages = ["at,model\r\n", "1,'=m\r\n"].map((csv): UsageExportResult => ({ format: "csv", csv, lines: null, next_cursor: null }));
    expect(fileOf("csv", pages, range)).toBe("at,model\r\n1,'=m\r\n");
  });
  it("is one JSON text with all lines", () => {
    const line = { at: "t", request_id: "r", user_id: "u", email: null, key_id: null, key_name: null, model: "m", prompt_tokens: 1, cached_tokens: 0, completion_tokens: 2, cost_micro: 3 };
    const pages = [1, 2].map((): UsageExportResult => ({ format: "json", csv: null, lines: [line], next_cursor: null }));
    expect(JSON.parse(fileOf("json", pages, range))).toEqual({ ...range, lines: [line, line] });
  });
});
