import type { BudgetSetParams } from "@/lib/rpc/methods.gen";

export type Scope = BudgetSetParams["scope"];
export type Unit = BudgetSetParams["unit"];
export type Window = BudgetSetParams["window"];
export const scopes: readonly Scope[] = ["user", "key", "model", "user_model", "key_model", "global"];
export const units: readonly Unit[] = ["tokens", "microcredits", "requests"];
export const windows: readonly Window[] = ["hour", "day", "week", "month", "lifetime"];

/** Which names a scope needs beside it. */
export const needs = (scope: Scope) => ({ user: scope.startsWith("user"), key: scope.startsWith("key"), model: scope.endsWith("model") });

/** Highest number that a limit or a grant may have. */
export const most = 1_000_000_000_000_000;

/**
 * What somebody typed as a whole number of the unit: credits may have six decimals, since one is 1,000,000 micro-credits; "," and "." are both the
 * decimal point. null: it is none, or more than there may be.
 */
export function typed(text: string, unit: Unit): number | null {
  const match = /^(-?)(\d{1,16})(?:[.,](\d{1,6}))?$/.exec(text.trim());
  if (!match) return null;
  const [, sign, whole = "", fraction = ""] = match;
  if (unit !== "microcredits" && fraction) return null;
  const value = unit === "microcredits" ? BigInt(whole) * 1_000_000n + BigInt(fraction.padEnd(6, "0")) : BigInt(whole);
  return value > BigInt(most) ? null : Number(sign ? -value : value) || 0;
}

/** A number of the unit as it is typed: what typed() reads back. */
export function plain(value: number, unit: Unit): string {
  if (unit !== "microcredits") return String(value);
  const text = String(value).padStart(7, "0");
  return `${text.slice(0, -6)}.${text.slice(-6)}`.replace(/\.?0+$/, "") || "0";
}

/** Percentages at which somebody is warned, as they were typed, in order; null: they are wrong. */
export function percents(text: string): number[] | null {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  const values = words.map((word) => (/^\d{1,3}%?$/.test(word) ? Number.parseInt(word, 10) : 0));
  const fine = values.length <= 5 && new Set(values).size === values.length && values.every((value) => value >= 1 && value <= 100);
  return fine ? values.sort((a, b) => a - b) : null;
}
