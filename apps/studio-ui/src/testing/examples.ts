import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { MethodName } from "@/lib/rpc/methods.gen";

/** One file of examples/rpc: the same examples that the contract tests replay against a live studio. */
export interface Example {
  file: string;
  method: MethodName;
  about: string;
  request: { id: unknown; params: Record<string, unknown> };
  response: { result?: unknown; error?: { code: number; message: string; data?: { type?: string } } };
}

const folder = fileURLToPath(new URL("../../../../examples/rpc/", import.meta.url));
const uuid = "018f3c2a-0000-7000-8000-000000000001";

/** Stands in for what an example only describes: {"$type": "string"} and the like. */
function concrete(value: unknown): unknown {
  if (value === "$PROJECT" || value === "$TERM") return uuid;
  if (Array.isArray(value)) return value.map(concrete);
  if (value === null || typeof value !== "object") return value;
  const matcher = value as Record<string, unknown>;
  if (typeof matcher["$match"] === "string") return uuid;
  if (matcher["$type"] === "integer" || matcher["$type"] === "number") return 1;
  if (matcher["$type"] === "array") return [];
  if (matcher["$type"] === "object") return {};
  if (matcher["$type"] === "boolean") return true;
  if (Object.keys(matcher).some((key) => key.startsWith("$"))) return "text";
  return Object.fromEntries(Object.entries(matcher).map(([key, inner]) => [key, concrete(inner)]));
}

/** Every example that is one JSON-RPC request and its answer. */
export function examples(): Example[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .map((file) => ({ file, ...(concrete(JSON.parse(readFileSync(folder + file, "utf8"))) as Omit<Example, "file">) }))
    .filter((example) => example.request?.params !== undefined && (example.response?.result !== undefined || example.response?.error !== undefined));
}
