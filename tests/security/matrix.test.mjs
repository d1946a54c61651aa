// Role x method: every method of schemas/rpc with every role, over HTTP, in a batch, on a socket, and at cds-auth itself. The rows are those of
// schemas/access.txt; a method without a row does not build.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openSocket } from '../support/gateway.mjs';
import { root, startStack } from '../support/stack.mjs';
import { post } from './support.mjs';

const roles = ['none', 'viewer', 'developer', 'admin'];
const rows = readFileSync(join(root, 'schemas/access.txt'), 'utf8').split('\n').filter((line) => line && !line.startsWith('#')).map((line) => {
  const [method, least] = line.trim().split(/\s+/);
  return { method, least };
});
const leafOf = (method) => JSON.parse(readFileSync(join(root, 'schemas/rpc', `${method}.json`), 'utf8')).leaf;
/** No schema knows this member, so a call that passes the guard ends as BAD_PARAM and does nothing. */
const nothing = { 'no-such-member': 1 };

/** What the guard has to answer: [code, rule]; a passed guard is told by the parameters. */
function expected(least, role) {
  if (roles.indexOf(role) >= roles.indexOf(least)) return [-32602, undefined];
  return role === 'none' ? [-32001, 'auth.absent'] : [-32003, 'role'];
}

let stack;
before(async () => (stack = await startStack({ llm: false, fresh: true })));
after(() => stack?.stop());

test('every method has a row and every row a method', () => {
  const methods = readdirSync(join(root, 'schemas/rpc')).map((file) => file.replace(/\.json$/, '')).sort();
  assert.deepEqual(rows.map((row) => row.method), methods);
});

describe('each role gets exactly the methods of its rows', { concurrency: false }, () => {
  for (const role of roles) {
    const token = () => (role === 'none' ? undefined : stack.tokens[role]);
    test(`${role}: one by one, and in batches`, async () => {
      const url = `${stack.apiUrl}/rpc`;
      for (const { method, least } of rows) {
        const [code, rule] = expected(least, role);
        const got = await post(url, { jsonrpc: '2.0', id: 1, method, params: nothing }, { token: token() });
        assert.deepEqual([got.json.error?.code, got.json.error?.data.rule], [code, rule], `${method} as ${role}`);
        const byPath = await post(`${url}/${method}`, nothing, { token: token() });
        assert.equal(byPath.json.error?.code, code, `/rpc/${method} as ${role}`);
      }
      for (let from = 0; from < rows.length; from += 50) {
        const part = rows.slice(from, from + 50);
        const got = await post(url, part.map(({ method }, id) => ({ jsonrpc: '2.0', id, method, params: nothing })), { token: token() });
        for (const answer of got.json) assert.equal(answer.error?.code, expected(part[answer.id].least, role)[0], `${part[answer.id].method} in a batch as ${role}`);
        assert.equal(got.json.length, part.length);
      }
    });
    if (role === 'none') continue;
    test(`${role}: on a socket`, async () => {
      const socket = await openSocket(stack, { token: token() });
      for (const [id, { method, least }] of rows.entries()) {
        socket.call(id, method, nothing);
        const { error } = await socket.answer(id);
        assert.deepEqual([error?.code, error?.data.rule], expected(least, role), `${method} as ${role}`);
      }
      socket.socket.close();
    });
    test(`${role}: at cds-auth itself, past the gateway`, async () => {
      for (const { method, least } of rows.filter((row) => leafOf(row.method) === 'auth')) {
        const example = JSON.parse(readFileSync(join(root, 'examples/rpc', `${method}.ok.json`), 'utf8')).request.params;
        const got = await post(`${stack.authUrl}/auth/rpc`, { jsonrpc: '2.0', id: 1, method, params: example }, { token: token() });
        const refused = roles.indexOf(role) < roles.indexOf(least);
        assert.equal(got.json.error?.data.rule === 'role', refused, `${method} as ${role}: ${JSON.stringify(got.json)}`);
      }
    });
  }
});

test('a method without a row, with another role, or with an id that no row names, does not build', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cds-access-'));
  try {
    for (const part of ['schemas', 'lib/base', 'examples', 'docs', 'tools', 'apps/studio-ui/src/lib/rpc']) cpSync(join(root, part), join(folder, part), { recursive: true });
    const file = join(folder, 'schemas/access.txt');
    const text = readFileSync(file, 'utf8');
    const build = () => spawnSync(join(folder, 'tools/gen_rpc'), ['--c', join(folder, 'table.c')], { encoding: 'utf8' });
    assert.equal(build().status, 0);
    for (const [changed, why] of [
      [text.replace(/^user\.block .*\n/m, ''), /user\.block has no row/],
      [text.replace(/^(fs\.write +)developer/m, '$1viewer'), /fs\.write is for viewer there and for developer/],
      [text.replace(/^(term\.kill .*) term_id/m, '$1'), /term\.kill: term_id is an id/],
      [`${text}fs.nothing viewer -\n`, /there is no method fs\.nothing/],
    ]) {
      assert.notEqual(changed, text);
      writeFileSync(file, changed);
      const got = build();
      assert.notEqual(got.status, 0);
      assert.match(got.stderr + got.stdout, why);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
