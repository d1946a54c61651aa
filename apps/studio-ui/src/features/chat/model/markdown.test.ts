import { describe, expect, it } from "vitest";
import { parseMarkdown, parseSpans } from "./markdown";

const paragraph = (text: string) => ({ kind: "paragraph", spans: [{ kind: "text", text }] });

describe("blocks", () => {
  it("splits paragraphs at empty lines and keeps line breaks inside", () => {
    expect(parseMarkdown("one\ntwo\n\nthree")).toEqual([paragraph("one\ntwo"), paragraph("three")]);
  });

  it("reads a fenced block with its language, and nothing inside it", () => {
    expect(parseMarkdown("```python\n# no heading\n- no list\n```\nafter")).toEqual([
      { kind: "code", language: "python", text: "# no heading\n- no list" },
      paragraph("after"),
    ]);
  });

  it("treats a fence that is still open as code up to the end", () => {
    expect(parseMarkdown("```c\nint x;")).toEqual([{ kind: "code", language: "c", text: "int x;" }]);
    expect(parseMarkdown("```")).toEqual([{ kind: "code", language: "", text: "" }]);
  });

  it("closes a fence only with as many marks", () => {
    expect(parseMarkdown("````\n```\n````")).toEqual([{ kind: "code", language: "", text: "```" }]);
    expect(parseMarkdown("~~~\n```\n~~~")).toEqual([{ kind: "code", language: "", text: "```" }]);
  });

  it("reads headings and lists", () => {
    expect(parseMarkdown("## Title ##\n- a\n- b\n3. c\n4. d")).toEqual([
      { kind: "heading", level: 2, spans: [{ kind: "text", text: "Title" }] },
      { kind: "list", ordered: false, start: 1, items: [[{ kind: "text", text: "a" }], [{ kind: "text", text: "b" }]] },
      { kind: "list", ordered: true, start: 3, items: [[{ kind: "text", text: "c" }], [{ kind: "text", text: "d" }]] },
    ]);
  });

  it("reads any beginning of a text without throwing and never loses its words", () => {
    const text = "# T\n\nSome `code` and **bold**.\n\n```js\nlet a = `b`;\n```\n\n1. x\n2. *y*\n";
    for (let end = 0; end <= text.length; end++) {
      const words = JSON.stringify(parseMarkdown(text.slice(0, end)));
      for (const word of text.slice(0, end).match(/\b[a-z]{4,}\b(?=\W)/g) ?? []) expect(words).toContain(word);
    }
  });
});

describe("what could be HTML or a link", () => {
  it.each(["<img src=http://evil.example/x.png onerror=alert(1)>", "![x](http://evil.example/y.png)", "[here](javascript:alert(1))", "<script>1</script>"])("stays text: %s", (text) => {
    expect(parseMarkdown(text)).toEqual([paragraph(text)]);
  });
});

describe("spans", () => {
  it("reads code, strong and emphasis", () => {
    expect(parseSpans("a `b` **c** *d*")).toEqual([
      { kind: "text", text: "a " },
      { kind: "code", text: "b" },
      { kind: "text", text: " " },
      { kind: "strong", text: "c" },
      { kind: "text", text: " " },
      { kind: "em", text: "d" },
    ]);
  });

  it("leaves marks alone that stand for themselves", () => {
    for (const text of ["2 * 3 * 4", "a ** b", "`open", "snake_case_name", "x*y*z"]) expect(parseSpans(text)).toEqual([{ kind: "text", text }]);
  });

  it("takes longer backtick runs around backticks", () => {
    expect(parseSpans("``a ` b``")).toEqual([{ kind: "code", text: "a ` b" }]);
  });

  it.each(["*".repeat(20_000), "`".repeat(20_000), "**a ".repeat(20_000), "*a ".repeat(20_000), "`a``b".repeat(20_000), "*a*b".repeat(20_000)])(
    "reads 20,000 marks that close nothing, whole",
    (text) => {
      const words = parseSpans(text).map((span) => span.text.length);
      expect(words.reduce((sum, length) => sum + length, 0)).toBeGreaterThan(0);
    },
  );
});
