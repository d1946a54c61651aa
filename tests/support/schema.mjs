// tests/support/schema.mjs: JSON Schema (draft 7) for tests, with the keywords of lib/json/schema.h and no others.
// A second implementation on purpose: the answers of the studio are not judged by the code that made them.

const annotations = new Set(["title", "description", "default", "examples", "format", "$comment", "$schema", "$id", "definitions"]);
const parts = new Set(["$ref", "items", "properties", "additionalProperties", "allOf"]);

const typeOf = (v) => (v === null ? "null" : Array.isArray(v) ? "array" : typeof v);
const isType = (v, type) =>
  type === "integer" ? typeof v === "number" && Number.isInteger(v) : type === "number" ? typeof v === "number" : typeOf(v) === type;

export function equal(a, b) {
  if (typeOf(a) !== typeOf(b)) return false;
  if (Array.isArray(a)) return a.length === b.length && a.every((v, i) => equal(v, b[i]));
  if (typeOf(a) !== "object") return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => Object.hasOwn(b, k) && equal(a[k], b[k]));
}

const characters = (text) => [...text].length;
const passes = (schema, v, root) => first(schema, v, "", root) === null;

// keyword -> (argument, value, schema) => sentence or null; only looks at values of its kind.
const rules = {
  type: (arg, v) => ([arg].flat().some((t) => isType(v, t)) ? null : `must be ${[arg].flat().join(" or ")}`),
  enum: (arg, v) => (arg.some((x) => equal(x, v)) ? null : `must be one of ${JSON.stringify(arg)}`),
  const: (arg, v) => (equal(arg, v) ? null : `must be ${JSON.stringify(arg)}`),
  minLength: (arg, v) => (typeof v !== "string" || characters(v) >= arg ? null : `is shorter than ${arg}`),
  maxLength: (arg, v) => (typeof v !== "string" || characters(v) <= arg ? null : `is longer than ${arg}`),
  pattern: (arg, v) => (typeof v !== "string" || new RegExp(arg, "u").test(v) ? null : `does not match ${arg}`),
  minimum: (arg, v) => (typeof v !== "number" || v >= arg ? null : `is below ${arg}`),
  maximum: (arg, v) => (typeof v !== "number" || v <= arg ? null : `is above ${arg}`),
  exclusiveMinimum: (arg, v) => (typeof v !== "number" || v > arg ? null : `is not above ${arg}`),
  exclusiveMaximum: (arg, v) => (typeof v !== "number" || v < arg ? null : `is not below ${arg}`),
  multipleOf: (arg, v) => (typeof v !== "number" || v % arg === 0 ? null : `is no multiple of ${arg}`),
  minItems: (arg, v) => (!Array.isArray(v) || v.length >= arg ? null : `has fewer than ${arg} items`),
  maxItems: (arg, v) => (!Array.isArray(v) || v.length <= arg ? null : `has more than ${arg} items`),
  uniqueItems: (arg, v) => (!arg || !Array.isArray(v) || v.every((x, i) => v.findIndex((y) => equal(x, y)) === i) ? null : "has an item twice"),
  minProperties: (arg, v) => (typeOf(v) !== "object" || Object.keys(v).length >= arg ? null : `has fewer than ${arg} members`),
  maxProperties: (arg, v) => (typeOf(v) !== "object" || Object.keys(v).length <= arg ? null : `has more than ${arg} members`),
  required: (arg, v) => {
    const missing = typeOf(v) === "object" ? arg.filter((k) => !Object.hasOwn(v, k)) : [];
    return missing.length ? `lacks ${missing.join(", ")}` : null;
  },
};
const combined = {
  anyOf: (arg, v, root) => (arg.some((s) => passes(s, v, root)) ? null : "fits none of anyOf"),
  oneOf: (arg, v, root) => (arg.filter((s) => passes(s, v, root)).length === 1 ? null : "does not fit exactly one of oneOf"),
  not: (arg, v, root) => (passes(arg, v, root) ? "fits what is forbidden" : null),
};

function inside(schema, v, at, root) {
  if (Array.isArray(v) && "items" in schema) {
    for (const [i, item] of v.entries()) {
      const wrong = first(schema.items, item, `${at}/${i}`, root);
      if (wrong) return wrong;
    }
  }
  if (typeOf(v) === "object" && ("properties" in schema || "additionalProperties" in schema)) {
    for (const [key, member] of Object.entries(v)) {
      const known = Object.hasOwn(schema.properties ?? {}, key);
      const rule = known ? schema.properties[key] : (schema.additionalProperties ?? true);
      const wrong = first(rule, member, `${at}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, root);
      if (wrong) return wrong;
    }
  }
  for (const part of schema.allOf ?? []) {
    const wrong = first(part, v, at, root);
    if (wrong) return wrong;
  }
  return null;
}

function resolve(ref, root) {
  if (ref === "#") return root;
  const name = /^#\/definitions\/([^/~%]+)$/.exec(ref)?.[1];
  if (!name || !Object.hasOwn(root.definitions ?? {}, name)) throw new Error(`schema: $ref ${ref} is not supported`);
  return root.definitions[name];
}

/** The first thing that is wrong, as "<pointer> <sentence>", or null. */
function first(schema, v, at, root) {
  if (schema === true) return null;
  if (schema === false) return `${at || "/"} is not allowed`;
  if ("$ref" in schema) return first(resolve(schema.$ref, root), v, at, root);
  for (const [key, arg] of Object.entries(schema)) {
    const why = key in rules ? rules[key](arg, v) : key in combined ? combined[key](arg, v, root) : null;
    if (why) return `${at || "/"} ${why}`;
  }
  return inside(schema, v, at, root);
}

/** Throws when a schema uses what is not checked here, so that no rule is dropped in silence. */
function inspect(schema, root, atRoot) {
  if (typeof schema === "boolean") return;
  const refuse = (what) => {
    throw new Error(`schema: ${what} is not supported`);
  };
  for (const [key, arg] of Object.entries(schema)) {
    if (!(key in rules || key in combined || annotations.has(key) || parts.has(key))) refuse(key);
    if (["$id", "$schema", "definitions"].includes(key) && !atRoot) refuse(`${key} below the root`);
    if ("$ref" in schema && key !== "$ref" && !annotations.has(key)) refuse(`${key} beside $ref`);
    if (key === "$ref") resolve(arg, root);
    if (key === "multipleOf" && !(Number.isInteger(arg) && arg > 0)) refuse("multipleOf of a fraction");
    if (key === "items" && Array.isArray(arg)) refuse("a list in items");
    if (["items", "additionalProperties", "not"].includes(key)) inspect(arg, root, false);
    if (["anyOf", "oneOf", "allOf"].includes(key)) arg.forEach((s) => inspect(s, root, false));
    if (["properties", "definitions"].includes(key)) Object.values(arg).forEach((s) => inspect(s, root, false));
  }
}

/** @returns {string|null} null when value fits schema, else the first thing that is wrong */
export function validate(schema, value) {
  inspect(schema, schema, true);
  return first(schema, value, "", schema);
}
