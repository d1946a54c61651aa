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

const fence = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
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
      const [, marks = "", language = ""] = opened;
      const end = endOfFence(lines, at + 1, marks);
      blocks.push({ kind: "code", language, text: lines.slice(at + 1, end).join("\n") });
      at = end;
      continue;
    }
    const title = heading.exec(line);
    if (title) {
      flush();
      blocks.push({ kind: "heading", level: title[1]?.length ?? 1, spans: parseSpans(title[2] ?? "") });
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

/** Inline code, strong and emphasis, without nesting. */
export function parseSpans(text: string): Span[] {
  const spans: Span[] = [];
  const pattern = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])/g;
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > from) spans.push({ kind: "text", text: text.slice(from, match.index) });
    if (match[2] !== undefined) spans.push({ kind: "code", text: match[2] });
    else if (match[3] !== undefined) spans.push({ kind: "strong", text: match[3] });
    else spans.push({ kind: "em", text: match[4] ?? "" });
    from = match.index + match[0].length;
  }
  if (from < text.length) spans.push({ kind: "text", text: text.slice(from) });
  return spans;
}
