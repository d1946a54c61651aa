import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import type { Plugin } from "vite";

const text = /\.(?:js|css|html|svg|json|txt|ttf)$/;
/** Below this, headers outweigh what is saved. */
const leastBytes = 512;

async function* filesIn(folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesIn(path);
    else yield path;
  }
}

/** Writes file.br and file.gz beside every text file, so that the server compresses nothing at run time. */
export function compressed(): Plugin {
  let outDir = "";
  return {
    name: "cds-compressed",
    apply: "build",
    configResolved(config) {
      outDir = config.build.outDir;
    },
    closeBundle: {
      sequential: true,
      order: "post",
      async handler() {
        for await (const path of filesIn(outDir)) {
          if (!text.test(path)) continue;
          const plain = await readFile(path);
          if (plain.length < leastBytes) continue;
          const params = { [constants.BROTLI_PARAM_QUALITY]: plain.length > 1_000_000 ? 9 : 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length };
          const [br, gz] = await Promise.all([promisify(brotliCompress)(plain, { params }), promisify(gzip)(plain, { level: 9 })]);
          await Promise.all([writeFile(`${path}.br`, br), writeFile(`${path}.gz`, gz)]);
        }
      },
    },
  };
}
