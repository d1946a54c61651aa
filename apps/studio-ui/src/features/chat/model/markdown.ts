/**
 * The little Markdown that answers use, as data. What comes out is painted as React text nodes, so nothing in an answer can become HTML, and
 * links and images stay the characters they are: an answer cannot make the browser ask another host for anything.
 */

export type Span = { kind: "text" | "code" | "strong" | "em"; text: string };

export type Block =
  | { kind: "paragraph"; spans: Span[] }
  | { kind: "heading"; level: number; spans: Span[] }
  | { kind: "list"; ordered: boolean; start: number; items: Span[][] }
  | { kind: "code"; language: string; text: string };

const fence = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const heading = /^ {0,3}(#{1,6})\s(.*)$/;
const bullet = /^\s*[-*+]\s+(.*)$/;
const numbered = /^\s*(\d{1,9})[.)]\s+(.*)$/;

/** An unfinished text is fine: a fence that is still open is a code block up to the end. */
export function parseMarkdown(source: string): Block[] {
  const lines = source.replaceAll("\r\n", "\n").split("\n");
  const blocks: Block[] = [];
  let paragraph: string[] = [];
  const flush = () => {
    if (paragraph.length > 0) blocks.push({ kind: "paragraph", spans: parseSpans(paragraph.join("\n")) });
    paragraph = [];
  };
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const opened = fence.exec(line);
    if (opened) {
      flush();
      const [, marks = "", info = ""] = opened;
      const language = info.trim().split(/\s/)[0] ?? "";
      const end = endOfFence(lines, at + 1, marks);
      blocks.push({ kind: "code", language, text: lines.slice(at + 1, end).join("\n") });
      at = end;
      continue;
    }
    const title = heading.exec(line);
    if (title) {
      flush();
      blocks.push({ kind: "heading", level: title[1]?.length ?? 1, spans: parseSpans((title[2] ?? "").trim().replace(/\s#+$/, "").trimEnd()) });
    } else if (bullet.test(line) || numbered.test(line)) {
      flush();
      addItem(blocks, line);
    } else if (line.trim() === "") {
      flush();
    } else {
      paragraph.push(line);
    }
  }
  flush();
  return blocks;
}

function endOfFence(lines: string[], from: number, marks: string): number {
  const char = marks[0] ?? "`";
  for (let at = from; at < lines.length; at++) {
    const text = (lines[at] ?? "").trim();
    if (text.length >= marks.length && [...text].every((one) => one === char)) return at;
  }
  return lines.length;
}

function addItem(blocks: Block[], line: string): void {
  const number = numbered.exec(line);
  const ordered = number !== null;
  const spans = parseSpans((number ? number[2] : bullet.exec(line)?.[1]) ?? "");
  const last = blocks[blocks.length - 1];
  if (last?.kind === "list" && last.ordered === ordered) last.items.push(spans);
  else blocks.push({ kind: "list", ordered, start: number ? Number(number[1]) : 1, items: [spans] });
}

const isSpace = (char: string | undefined): boolean => char === undefined || /\s/.test(char);
const isWord = (char: string | undefined): boolean => char !== undefined && /[\w*]/.test(char);

/** Reads spans from left to right. What could not be closed once is not searched for again, so that the work stays linear. */
class SpanReader {
  private readonly text: string;
  private readonly unclosedRuns = new Set<number>();
  private strongEnds = true;
  private emphasisFrom = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** The span that begins at a mark, and where it ends; null when the mark stands for itself. */
  at(from: number): { span: Span; end: number } | null {
    if (this.text[from] === "`") return this.code(from);
    if (this.text.startsWith("**", from)) return this.strong(from);
    return this.emphasis(from);
  }

  runLength(from: number): number {
    let end = from;
    while (this.text[end] === "`") end++;
    return end - from;
  }

  private code(from: number): { span: Span; end: number } | null {
    const length = this.runLength(from);
    if (this.unclosedRuns.has(length)) return null;
    const begin = from + length;
    for (let at = this.text.indexOf("`", begin); at >= 0; ) {
      const run = this.runLength(at);
      if (run === length) return { span: { kind: "code", text: this.text.slice(begin, at) }, end: at + run };
      at = this.text.indexOf("`", at + run);
    }
    this.unclosedRuns.add(length);
    return null;
  }

  private strong(from: number): { span: Span; end: number } | null {
    if (!this.strongEnds || isSpace(this.text[from + 2])) return null;
    for (let at = this.text.indexOf("**", from + 3); at >= 0; at = this.text.indexOf("**", at + 2))
      if (!isSpace(this.text[at - 1])) return { span: { kind: "strong", text: this.text.slice(from + 2, at) }, end: at + 2 };
    this.strongEnds = false;
    return null;
  }

  private emphasis(from: number): { span: Span; end: number } | null {
    if (from < this.emphasisFrom || isWord(this.text[from - 1]) || isSpace(this.text[from + 1]) || this.text[from + 1] === "*") return null;
    for (let at = from + 1; at < this.text.length && this.text[at] !== "\n"; at++)
      if (this.text[at] === "*" && !isSpace(this.text[at - 1]) && !isWord(this.text[at + 1])) return { span: { kind: "em", text: this.text.slice(from + 1, at) }, end: at + 1 };
    const line = this.text.indexOf("\n", from);
    this.emphasisFrom = line < 0 ? this.text.length : line;
    return null;
  }
}

/** Inline code, strong and emphasis, without nesting. */
export function parseSpans(text: string): Span[] {
  const spans: Span[] = [];
  const reader = new SpanReader(text);
  let plain = 0;
  for (let at = 0; at < text.length; ) {
    if (text[at] !== "`" && text[at] !== "*") {
      at++;
      continue;
    }
    const found = reader.at(at);
    if (!found) {
      at += text[at] === "`" ? reader.runLength(at) : text.startsWith("**", at) ? 2 : 1;
      continue;
    }
    if (at > plain) spans.push({ kind: "text", text: text.slice(plain, at) });
    spans.push(found.span);
    plain = at = found.end;
  }
  if (plain < text.length) spans.push({ kind: "text", text: text.slice(plain) });
  return spans;
}
