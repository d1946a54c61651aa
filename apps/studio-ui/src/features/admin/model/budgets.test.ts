import { describe, expect, it } from "vitest";
import { most, needs, percents, plain, typed } from "./budgets";

describe("an amount that somebody typed", () => {
  it("is a whole number of tokens or requests", () => {
    expect(typed(" 1000 ", "tokens")).toBe(1000);
    expect(typed("-5", "requests")).toBe(-5);
    expect(typed("0", "tokens")).toBe(0);
  });

  it("is credits with at most six decimals, exactly", () => {
    expect(typed("1", "microcredits")).toBe(1_000_000);
    expect(typed("0,000001", "microcredits")).toBe(1);
    expect(typed("12.5", "microcredits")).toBe(12_500_000);
    expect(typed("-0.1", "microcredits")).toBe(-100_000);
  });

  it.each(["", "1e3", "1.5", "0x10", "1 000", "--1", "9".repeat(16)])("is none when it is %j", (text) => {
    expect(typed(text, "tokens")).toBeNull();
  });

  it("ends at the highest number there may be", () => {
    expect(typed(String(most), "requests")).toBe(most);
    expect(typed(String(most + 1), "requests")).toBeNull();
    expect(typed("1000000000", "microcredits")).toBe(most);
    expect(typed("1000000000.000001", "microcredits")).toBeNull();
  });
});

describe("a number as it is typed", () => {
  it("is read back as the same", () => {
    for (const value of [0, 1, 999_999, 1_000_000, 1_234_500, 20_000_000, most]) {
      expect(typed(plain(value, "microcredits"), "microcredits")).toBe(value);
      expect(typed(plain(value, "tokens"), "tokens")).toBe(value);
    }
    expect(plain(1_500_000, "microcredits")).toBe("1.5");
    expect(plain(20_000_000, "microcredits")).toBe("20");
  });
});

describe("a scope", () => {
  it("needs what its name says", () => {
    expect(needs("global")).toEqual({ user: false, key: false, model: false });
    expect(needs("user_model")).toEqual({ user: true, key: false, model: true });
    expect(needs("key")).toEqual({ user: false, key: true, model: false });
  });
});

describe("percentages of a warning", () => {
  it("are up to five different ones, in order", () => {
    expect(percents("95, 50 80%")).toEqual([50, 80, 95]);
    expect(percents("1;100")).toEqual([1, 100]);
    expect(percents(" ")).toEqual([]);
  });

  it.each(["0", "101", "50, 50", "-1", "1.5", "half", "1 2 3 4 5 6"])("are wrong when they are %j", (text) => {
    expect(percents(text)).toBeNull();
  });
});
