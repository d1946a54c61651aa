import { describe, expect, it } from "vitest";
import { errorCodes } from "@/lib/rpc/methods.gen";
import { fill, languages, tables, type TextKey } from "./i18n";

const keys = Object.keys(tables.en) as TextKey[];
const blanks = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

describe("the tables of texts", () => {
  it.each(languages)("hold every key in %s, none empty", (language) => {
    expect(Object.keys(tables[language]).sort()).toEqual([...keys].sort());
    expect(keys.filter((key) => tables[language][key].trim() === "")).toEqual([]);
  });

  it("have the same blanks to fill in both languages", () => {
    expect(keys.filter((key) => blanks(tables.en[key]).join() !== blanks(tables.de[key]).join())).toEqual([]);
  });

  it("have a title and advice for every failure a server can name", () => {
    for (const name of Object.keys(errorCodes)) {
      expect(tables.en).toHaveProperty([`problem.${name}`]);
      expect(tables.en).toHaveProperty([`problem.do.${name}`]);
    }
  });

  it("never say only that an error occurred", () => {
    for (const language of languages) expect(keys.filter((key) => /an error occurred|ein fehler ist aufgetreten/i.test(tables[language][key]))).toEqual([]);
  });
});

describe("filling in", () => {
  it("puts values into the blanks", () => {
    expect(fill("{a} of {b}, {a}", { a: 1, b: "two" })).toBe("1 of two, 1");
  });

  it("leaves a blank visible when its value is missing, and values as they are", () => {
    expect(fill("{a} {b}", { a: "{b}" })).toBe("{b} {b}");
    expect(fill("{a}")).toBe("{a}");
  });
});
