import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { compressed } from "./build-tools/compressed";
import { licences } from "./build-tools/licences";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  plugins: [react(), tailwindcss(), licences(), compressed()],
  resolve: { alias: { "@": here("./src") } },
  build: {
    outDir: process.env.CDS_UI_OUT || here("../../build/share/ui"),
    emptyOutDir: true,
    target: "es2022",
    // The CSP has no data: for fonts and scripts, so nothing is folded into the bundle.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Monaco is one chunk of its own, loaded when the Code tab opens.
    chunkSizeWarningLimit: 4000,
    reportCompressedSize: false,
  },
  worker: { format: "es" },
  // The deadline only ends what hangs: a test holds on a machine that is ten times slower, too.
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"], environment: "node", testTimeout: 60_000, hookTimeout: 60_000 },
});
