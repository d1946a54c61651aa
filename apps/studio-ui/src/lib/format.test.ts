import { describe, expect, it } from "vitest";
import { bytes, credits, integer, milliseconds, parameters } from "./format";

describe("credits", () => {
  it.each([
    [0, "0.00"],
    [1, "0.000001"],
    [5, "0.000005"],
    [10_000, "0.01"],
    [999_999, "0.999999"],
    [1_000_000, "1.00"],
    [1_234_500, "1.2345"],
    [1_200_000, "1.20"],
    [123_456_789_012, "123,456.789012"],
    [-1, "-0.000001"],
    [9_007_199_254_740_991, "9,007,199,254.740991"],
  ])("shows %i micro-credits as %s, without rounding", (micro, shown) => {
    expect(credits(micro, "en-GB")).toBe(shown);
  });

  it("shows every digit of every amount", () => {
    for (let micro = 0; micro < 3_000_000; micro += 7919) {
      const [whole = "", fraction = ""] = credits(micro, "en-GB").replaceAll(",", "").split(".");
      expect(Number(whole) * 1_000_000 + Number(fraction.padEnd(6, "0"))).toBe(micro);
    }
  });

  it("uses the German decimal comma", () => {
    expect(credits(1_234_567_890_000, "de-DE")).toBe("1.234.567,89");
  });

  it("refuses what is no whole number of micro-credits", () => {
    expect(() => credits(0.5, "en-GB")).toThrow(RangeError);
    expect(() => credits(2 ** 53, "en-GB")).toThrow(RangeError);
  });
});

describe("other numbers", () => {
  it("groups integers", () => {
    expect(integer(1234567, "en-GB")).toBe("1,234,567");
    expect(integer(1234567, "de-DE")).toBe("1.234.567");
  });

  it("shows bytes in binary units", () => {
    expect([0, 1023, 1024, 1536, 268435456, 5 * 2 ** 40].map((n) => bytes(n, "en-GB"))).toEqual(["0 B", "1,023 B", "1 KiB", "1.5 KiB", "256 MiB", "5 TiB"]);
  });

  it("shows times in milliseconds, then seconds", () => {
    expect([0, 999, 1000, 12345].map((n) => milliseconds(n, "en-GB"))).toEqual(["0 ms", "999 ms", "1.00 s", "12.35 s"]);
  });

  it("shows parameter counts as model people write them", () => {
    expect([134_515_008, 1_100_000_000].map((n) => parameters(n, "en-GB"))).toEqual(["135M", "1.1B"]);
  });
});
