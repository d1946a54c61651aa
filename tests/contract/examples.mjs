// tests/contract/examples.mjs: reads examples/rpc, fills in their placeholders, compares answers. The rules stand in examples/rpc/README.md.
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { equal } from "../support/schema.mjs";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (file) => JSON.parse(readFileSync(path.join(root, file), "utf8"));
const names = (folder) => readdirSync(path.join(root, folder)).filter((f) => f.endsWith(".json")).sort();

/** method -> schema file */
export function loadSchemas() {
  return new Map(names("schemas/rpc").map((file) => [file.slice(0, -5), read(`schemas/rpc/${file}`)]));
}

/** [{name, case, method, as, request, ...}] */
export function loadExamples() {
  return names("examples/rpc").map((file) => ({ name: file.slice(0, -5), case: file.slice(0, -5).split(".").at(-1), ...read(`examples/rpc/${file}`) }));
}

/** Error table of the code: name -> {rpc, http} */
export function loadErrors() {
  const text = readFileSync(path.join(root, "lib/base/err_codes.def"), "utf8");
  return new Map([...text.matchAll(/^CDS_ERR\((\w+), (-?\d+), (\d+),/gm)].map((m) => [m[1], { rpc: Number(m[2]), http: Number(m[3]) }]));
}

/** Replaces $NAMES in texts and makes the generated ones. */
export function fill(value, values) {
  if (typeof value === "string") return value.replace(/\$([A-Z]+)/g, (all, name) => values[name] ?? all);
  if (Array.isArray(value)) return value.map((v) => fill(v, values));
  if (value === null || typeof value !== "object") return value;
  if ("$repeat" in value) return value.$repeat[0].repeat(value.$repeat[1]);
  if ("$join" in value) return value.$join.map((v) => fill(v, values)).join("");
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fill(v, values)]));
}

const kind = (v) => (v === null ? "null" : Array.isArray(v) ? "array" : Number.isInteger(v) ? "integer" : typeof v);

/** @returns {string|null} where actual differs from what is expected, or null */
export function differs(expected, actual, at = "") {
  if (expected === null || typeof expected !== "object")
    return equal(expected, actual) ? null : `${at || "/"}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)?.slice(0, 300)}`;
  if ("$type" in expected) return kind(actual) === expected.$type ? null : `${at}: expected a value of type ${expected.$type}, got ${JSON.stringify(actual)}`;
  if ("$match" in expected)
    return typeof actual === "string" && new RegExp(expected.$match, "u").test(actual)
      ? null
      : `${at}: expected a text that matches ${expected.$match}, got ${JSON.stringify(actual)}`;
  if ("$contains" in expected) {
    const missing = expected.$contains.find((e) => !Array.isArray(actual) || !actual.some((a) => differs(e, a) === null));
    return missing === undefined ? null : `${at}: no item like ${JSON.stringify(missing)} in ${JSON.stringify(actual)?.slice(0, 300)}`;
  }
  if (kind(actual) !== (Array.isArray(expected) ? "array" : "object")) return `${at || "/"}: got ${JSON.stringify(actual)?.slice(0, 300)}`;
  if (Array.isArray(expected) && expected.length !== actual.length) return `${at}: expected ${expected.length} items, got ${actual.length}`;
  for (const [key, part] of Object.entries(expected)) {
    const wrong = Object.hasOwn(actual, key) ? differs(part, actual[key], `${at}/${key}`) : `${at}/${key}: is missing in ${JSON.stringify(actual).slice(0, 300)}`;
    if (wrong) return wrong;
  }
  return null;
}
