// The tests' own schema check against Debian's json-schema-test-suite: groups with
// other keywords must throw, all else must be judged right.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import test from "node:test";
import { validate } from "../support/schema.mjs";

const suite = "/usr/share/json-schema-test-suite/tests/draft7";

test("the schema check of the tests passes the draft 7 suite", () => {
  assert.ok(existsSync(suite), `${suite} is missing: install the package json-schema-test-suite`);
  let judged = 0;
  const refused = [];
  for (const file of readdirSync(suite).filter((f) => f.endsWith(".json"))) {
    for (const group of JSON.parse(readFileSync(`${suite}/${file}`, "utf8"))) {
      try {
        validate(group.schema, null);
      } catch (e) {
        assert.match(e.message, /^schema: .* is not supported$/, `${file}: ${group.description}`);
        refused.push(`${file}: ${group.description}`);
        continue;
      }
      for (const one of group.tests) {
        const wrong = validate(group.schema, one.data);
        assert.equal(wrong === null, one.valid, `${file}: ${group.description}: ${one.description}: ${wrong}`);
        judged++;
      }
    }
  }
  console.log(`${judged} values judged; refused: ${refused.join("; ")}`);
  assert.ok(judged >= 264, `only ${judged} values were judged`);
  assert.equal(refused.length, 50);
});
