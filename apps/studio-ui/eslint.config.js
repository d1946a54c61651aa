import js from "@eslint/js";
import reactHooks from "eslint-plugin-react-hooks";
import globals from "globals";
import { readdirSync } from "node:fs";
import tseslint from "typescript-eslint";

const features = readdirSync(new URL("./src/features", import.meta.url));

/** lib, components -> features -> app. A feature never reaches into another one; Monaco and xterm live in one feature each. */
const monaco = { group: ["monaco-editor", "monaco-editor/*"], message: "Monaco is imported in features/editor only." };
const xterm = { group: ["@xterm/*"], message: "xterm is imported in features/terminal only." };
const app = { group: ["@/app", "@/app/*", "**/app/*"], message: "Only src/main.tsx and src/app may import from src/app." };
const anyFeature = { group: ["@/features/*", "**/features/*"], message: "lib and components know no feature." };
const restrict = (files, patterns) => ({ files, rules: { "no-restricted-imports": ["error", { patterns }] } });

export default tseslint.config(
  { ignores: ["node_modules", "server", "src/lib/rpc/methods.gen.ts"] },
  js.configs.recommended,
  ...tseslint.configs.strict,
  {
    languageOptions: { globals: { ...globals.browser } },
    plugins: { "react-hooks": reactHooks },
    rules: {
      "react-hooks/rules-of-hooks": "error",
      "react-hooks/exhaustive-deps": "error",
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Text from a model or a run is never HTML." },
        { selector: "AssignmentExpression[left.property.name='innerHTML']", message: "Text from a model or a run is never HTML." },
      ],
    },
  },
  { files: ["public/*.js"], languageOptions: { sourceType: "script" }, rules: { "@typescript-eslint/no-unused-vars": "off" } },
  restrict(["src/lib/**", "src/components/**", "src/testing/**"], [monaco, xterm, app, anyFeature]),
  restrict(["src/app/**"], [monaco, xterm]),
  ...features.map((name) =>
    restrict(
      [`src/features/${name}/**`],
      [
        ...(name === "editor" ? [] : [monaco]),
        ...(name === "terminal" ? [] : [xterm]),
        app,
        {
          regex: `^(@/features/(?!${name}(/|$))|(\\.\\./)+(?!${name}/)(${features.join("|")})(/|$))`,
          message: "Features never import each other; src/app joins them.",
        },
      ],
    ),
  ),
);
