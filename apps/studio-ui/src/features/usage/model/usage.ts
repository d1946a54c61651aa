import type { UsageAnomaliesResult, UsageExportResult, UsageReportParams, UsageReportResult } from "@/lib/rpc/methods.gen";

export type By = UsageReportResult["by"];
export type Row = UsageReportResult["rows"][number];
export type Totals = UsageReportResult["totals"];
export type Unusual = UsageAnomaliesResult["days"][number];
export type Line = NonNullable<UsageExportResult["lines"]>[number];

export interface Range {
  from: string;
  to: string;
  time_zone: string;
}

/** "month": since its first day; a number: so many days, today among them. */
export type Span = "month" | 7 | 30 | 90;
export const spans: readonly Span[] = ["month", 7, 30, 90];

/** The day of a moment in a time zone, "2026-11-26". */
export function dayIn(moment: Date, zone: string): string {
  const parts = new Intl.DateTimeFormat("en-GB", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).formatToParts(moment);
  const part = (type: string) => parts.find((one) => one.type === type)?.value ?? "";
  return `${part("year").padStart(4, "0")}-${part("month")}-${part("day")}`;
}

const shift = (day: string, days: number): string => new Date(Date.parse(`${day}T00:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);

/** The zone of the viewer, if the server can know it by that name. */
export function viewerZone(): string {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return /^[A-Za-z][A-Za-z0-9_+/-]*$/.test(zone) ? zone : "UTC";
}

export function rangeOf(span: Span, now: Date, zone: string): Range {
  const to = dayIn(now, zone);
  return { from: span === "month" ? `${to.slice(0, 8)}01` : shift(to, 1 - span), to, time_zone: zone };
}

/** Every day of a range, also those without use. */
export function daysOf(range: Range): string[] {
  const days: string[] = [];
  for (let day = range.from; day <= range.to && days.length < 400; day = shift(day, 1)) days.push(day);
  return days;
}

export const tokensOf = (row: { prompt_tokens: number; completion_tokens: number }): number => row.prompt_tokens + row.completion_tokens;

export interface Bar {
  day: string;
  tokens: number;
  unusual: boolean;
}

/** The chart: a bar per day. Unusual days are those of UTC, which is where the server looks for them. */
export function barsOf(range: Range, rows: Row[], unusual: Unusual[]): Bar[] {
  const tokens = new Map(rows.map((row) => [row.day, tokensOf(row)]));
  const marked = new Set(unusual.map((one) => one.day));
  return daysOf(range).map((day) => ({ day, tokens: tokens.get(day) ?? 0, unusual: marked.has(day) && (tokens.get(day) ?? 0) > 0 }));
}

type Report = (params: UsageReportParams) => Promise<UsageReportResult>;

/** All pages of a report. */
export async function wholeReport(ask: Report, params: UsageReportParams): Promise<{ rows: Row[]; totals: Totals }> {
  const rows: Row[] = [];
  for (let cursor: string | null = null; ; ) {
    const page: UsageReportResult = await ask({ ...params, limit: 500, ...(cursor && { cursor }) });
    rows.push(...page.rows);
    cursor = page.next_cursor;
    if (!cursor) return { rows, totals: page.totals };
  }
}

/** The file of an export, from its pages. */
export function fileOf(format: "csv" | "json", pages: UsageExportResult[], range: Range): string {
  if (format === "csv") return pages.map((page) => page.csv ?? "").join("");
  return `${JSON.stringify({ ...range, lines: pages.flatMap((page) => page.lines ?? []) }, null, 1)}\n`;
}
