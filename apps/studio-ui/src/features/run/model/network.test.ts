import { describe, expect, it } from "vitest";
import { hostsOf, lineOf } from "./network";

describe("the list of hosts", () => {
  it("is one host per line, whatever stands around it", () => {
    expect(hostsOf(" pypi.org\n\n*.example.org, a.org:8443 \n")).toEqual(["pypi.org", "*.example.org", "a.org:8443"]);
    expect(hostsOf(" \n ")).toEqual([]);
  });

  it("is found again by the server's pointer", () => {
    expect(lineOf("a.org\nhttp://b.org", "/params/rules/1")).toEqual({ place: 2, host: "http://b.org" });
    expect(lineOf("a.org", "/params/rules/4")).toBeNull();
    expect(lineOf("a.org", "/params/mode")).toBeNull();
    expect(lineOf("a.org", undefined)).toBeNull();
  });
});
