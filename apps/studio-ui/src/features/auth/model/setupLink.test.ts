import { describe, expect, it } from "vitest";
import { Failure } from "@/lib/failure";
import { linkStateOf, tokenOfFragment } from "./setupLink";

const token = `${"aZ09-_".repeat(7)}x`;

describe("the setup link", () => {
  it("holds 43 base64url characters behind #token=", () => {
    expect(token).toHaveLength(43);
    expect(tokenOfFragment(`#token=${token}`)).toBe(token);
  });

  it.each(["", "#", "#token=", `#token=${token}a`, `#token=${token.slice(1)}`, `#token=${token.slice(1)}=`, `#other=${token}`])("is refused when it reads %s", (fragment) => {
    expect(tokenOfFragment(fragment)).toBeNull();
  });

  it("is told used, expired and unknown apart by the rule of the refusal", () => {
    const of = (rule: string) => linkStateOf(new Failure("DENIED", { rule }));
    expect([of("setup.used"), of("setup.expired"), of("setup.unknown")]).toEqual(["used", "expired", "invalid"]);
  });

  it("is not blamed for a weak password", () => {
    expect(linkStateOf(new Failure("BAD_PARAM", { rule: "password.short", pointer: "/password" }))).toBeNull();
  });
});
