// What sanitizers say stands in a studio's log, and the test that ends the studio has to see it.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { firstFinding } from '../support/findings.mjs';

function withLog(lines, look) {
  const home = mkdtempSync(join(tmpdir(), 'cds-findings-'));
  try {
    mkdirSync(join(home, 'logs'));
    writeFileSync(join(home, 'logs/studio.jsonl'), lines.map((msg) => `${JSON.stringify({ part: 'api', msg })}\n`).join(''));
    return look(home);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

for (const line of [
  '==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010', '==7==ERROR: LeakSanitizer: detected memory leaks', 'WARNING: ThreadSanitizer: data race (pid=7)',
  'lib/json/json.c:12:9: runtime error: index 4 out of bounds for type \'int [4]\'',
])
  test(`a finding is seen with its stack: ${line.slice(0, 40)}`, () => {
    const found = withLog(['ready', line, '    #0 0x55 in answer apps/api/main.c:7', 'request'], firstFinding);
    assert.match(found, /main\.c:7/);
    assert.doesNotMatch(found, /ready/);
  });

test('a log without one, and a studio without a log, have no finding', () => {
  assert.equal(withLog(['ready', 'the answer of the model has a runtime error in it'], firstFinding), null);
  assert.equal(firstFinding(join(tmpdir(), 'cds-findings-none')), null);
});
