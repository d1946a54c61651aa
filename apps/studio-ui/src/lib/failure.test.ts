import { describe, expect, it } from "vitest";
import { Failure, failureOfHttp, failureOfRpc, toFailure } from "./failure";

describe("failures", () => {
  it("are named by the JSON-RPC code", () => {
    expect(failureOfRpc({ code: -32030, message: "used up" })).toMatchObject({ name: "BUDGET_EXCEEDED", facts: { detail: "used up" } });
    expect(failureOfRpc({ code: -1, message: "?" }).name).toBe("INTERNAL");
  });

  it("are named by the problem type, or by the status when there is none", () => {
    expect(failureOfHttp(429, { type: "urn:cyberdevstudio:problem:budget-exceeded" }).name).toBe("BUDGET_EXCEEDED");
    expect(failureOfHttp(429, null).name).toBe("RATE_LIMITED");
    expect(failureOfHttp(502, "<html>").name).toBe("UNAVAILABLE");
    expect(failureOfHttp(418, {}).name).toBe("INTERNAL");
  });

  it("keep when to try again and which member was wrong", () => {
    expect(failureOfHttp(429, { retry_after_ms: 1500, errors: [{ pointer: "/password" }] }).facts).toMatchObject({ retryAfterMs: 1500, pointer: "/password" });
  });

  it("stay themselves, and wrap anything else", () => {
    const failure = new Failure("BUSY");
    expect(toFailure(failure)).toBe(failure);
    expect(toFailure(new TypeError("x is undefined"))).toMatchObject({ name: "BAD_ANSWER", facts: { detail: "x is undefined" } });
  });
});
