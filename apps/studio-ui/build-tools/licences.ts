import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Emits licences.txt: name, version and licence text of every package that ships inside the page. */
export function licences(): Plugin {
  return {
    name: "cds-licences",
    apply: "build",
    async generateBundle() {
      const own = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { dependencies: Record<string, string> };
      const parts: string[] = [];
      for (const name of [...Object.keys(own.dependencies), "scheduler", "tailwindcss"]) {
        const folder = join(root, "node_modules", name);
        const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { version: string; license?: string };
        const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
        const words = file ? await readFile(join(folder, file), "utf8") : "";
        parts.push(`${name} ${about.version} (${about.license ?? "see below"})\n\n${words.trim()}\n`);
      }
      this.emitFile({ type: "asset", fileName: "licences.txt", source: parts.join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}
