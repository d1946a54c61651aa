import { fileURLToPath } from "node:url";
import { ESLint } from "eslint";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Messages of the lint rules for one line of code in a file. */
async function lint(file: string, code: string): Promise<string[]> {
  const [result] = await new ESLint({ cwd: root }).lintText(`${code}\n`, { filePath: `${root}/${file}` });
  return (result?.messages ?? []).filter((message) => message.ruleId === "no-restricted-imports").map((message) => message.message);
}

describe("who may import whom", () => {
  it.each([
    ["src/features/chat/model/x.ts", 'import "@/features/run";'],
    ["src/features/chat/model/x.ts", 'import "../../run/model/runs";'],
    ["src/features/chat/x.ts", 'import "@/app/actions";'],
    ["src/features/chat/x.ts", 'import "monaco-editor";'],
    ["src/features/chat/x.ts", 'import "@xterm/xterm";'],
    ["src/app/x.ts", 'import "@xterm/xterm";'],
    ["src/lib/x.ts", 'import "@/features/chat";'],
    ["src/components/ui/x.ts", 'import "@/features/chat";'],
    ["src/app/x.ts", 'import "monaco-editor/esm/vs/editor/editor.api.js";'],
  ])("%s may not: %s", async (file, code) => {
    expect(await lint(file, code)).not.toEqual([]);
  }, 30_000);

  it.each([
    ["src/features/chat/model/x.ts", 'import "../components/Markdown";'],
    ["src/features/chat/model/x.ts", 'import "@/lib/store";'],
    ["src/features/editor/monaco/x.ts", 'import "monaco-editor/esm/vs/editor/editor.api.js";'],
    ["src/features/terminal/xterm/x.ts", 'import "@xterm/xterm";'],
    ["src/app/x.ts", 'import "@/features/chat";'],
  ])("%s may: %s", async (file, code) => {
    expect(await lint(file, code)).toEqual([]);
  }, 30_000);
});
