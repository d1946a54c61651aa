import { describe, expect, it } from "vitest";
import { isLimited, mostOf, noRates, rateNames, rateTexts, typedRate, typedRates } from "./rates";

describe("a rate that somebody typed", () => {
  it("is a whole number from 1 to the highest, and nothing is none", () => {
    expect(typedRate(" 60 ", "requests_per_minute")).toBe(60);
    expect(typedRate("", "requests_per_minute")).toBeNull();
    expect(typedRate("  ", "tokens_per_minute")).toBeNull();
    for (const name of rateNames) {
      expect(typedRate(String(mostOf[name]), name)).toBe(mostOf[name]);
      expect(typedRate(String(mostOf[name] + 1), name)).toBeUndefined();
    }
  });

  it.each(["0", "-1", "1.5", "1e3", "0x1", "one", "1 000", "9".repeat(30)])("is wrong when it is %j", (text) => {
    expect(typedRate(text, "tokens_per_minute")).toBeUndefined();
  });
});

describe("the three of somebody", () => {
  it("come back as they were shown", () => {
    const rates = { requests_per_minute: 60, tokens_per_minute: null, concurrent_requests: 3 };
    expect(typedRates(rateTexts(rates))).toEqual(rates);
    expect(typedRates(rateTexts(noRates))).toEqual(noRates);
  });

  it("are wrong when one is", () => {
    expect(typedRates({ requests_per_minute: "60", tokens_per_minute: "many", concurrent_requests: "" })).toBeNull();
  });

  it("limit when one does", () => {
    expect(isLimited(noRates)).toBe(false);
    expect(isLimited({ ...noRates, concurrent_requests: 1 })).toBe(true);
  });
});
