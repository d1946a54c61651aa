import { expect, it } from "vitest";
import { rolesUpTo, wordsOf } from "./keys";

it("offers no role beyond one's own", () => {
  expect(rolesUpTo("viewer")).toEqual(["viewer"]);
  expect(rolesUpTo("admin")).toEqual(["viewer", "developer", "admin"]);
});

it("takes names apart, each once", () => {
  expect(wordsOf(" a, b  a,")).toEqual(["a", "b"]);
  expect(wordsOf(" ")).toEqual([]);
});
