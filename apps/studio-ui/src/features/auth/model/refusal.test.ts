import { describe, expect, it } from "vitest";
import { isBack, refusalOf } from "./refusal";

describe("why a sign-in at the provider was refused", () => {
  it("is nothing without a word in the address", () => {
    expect(refusalOf("")).toBeNull();
    expect(refusalOf("?x=1")).toBeNull();
    expect(refusalOf("?oidc=ok")).toBeNull();
    expect([isBack("?oidc=ok"), isBack("?oidc=oidc.state"), isBack("")]).toEqual([true, false, false]);
  });

  it("is one of the rules that the page has words for", () => {
    for (const rule of ["oidc.state", "oidc.pending", "user.blocked"]) expect(refusalOf(`?oidc=${rule}`)?.facts.rule).toBe(rule);
    for (const rule of ["oidc.nonce", "jws.signature", "jws.alg"]) expect(refusalOf(`?oidc=${rule}`)?.facts.rule).toBe("oidc.token");
    expect(refusalOf("?oidc=oidc.host")?.facts.rule).toBe("oidc.setup");
    expect(refusalOf("?oidc=oidc.unreachable")?.name).toBe("UNAVAILABLE");
  });

  it("never repeats what somebody wrote into a link", () => {
    for (const text of ["<b>call 555</b>", "Call%20us", ""]) expect(refusalOf(`?oidc=${text}`)?.facts).toEqual({ rule: "oidc.failed" });
  });
});
