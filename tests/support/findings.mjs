// tests/support/findings.mjs: what sanitizers said of the programs of a studio that was built with them (`tools/check live`).
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const FINDING = /ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|: runtime error: /;
const LINES_AFTER = 24; // the stack of a finding

/** The lines of the logs from the first finding on, or null where there is none. Programs say it on their error output, which the logs keep. */
export function firstFinding(home) {
  const logs = join(home, 'logs');
  if (!existsSync(logs)) return null;
  for (const name of readdirSync(logs)) {
    const lines = readFileSync(join(logs, name), 'utf8').split('\n');
    const at = lines.findIndex((line) => FINDING.test(line));
    if (at >= 0) return lines.slice(at, at + LINES_AFTER).join('\n');
  }
  return null;
}
