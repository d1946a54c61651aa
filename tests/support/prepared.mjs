// tests/support/prepared.mjs: a database cluster with its schema, made once per build by a start of the product itself, and copied for each studio
// whose test is not about a first start. What a copy lacks, the studio makes as ever: keys, folders, users, the one-time link.
//
//   await givePrepared(home, start);   // before `up`; start(home) starts a studio on an empty folder and ends it in order
//
// Kept in <build>/prepared/<digest of the programs, the migrations and the server>: another build makes another one. The copy is whole, never
// linked: the server writes into its files.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

const LIMIT_MS = 300_000;
/** The cluster, and the file by which the studio knows a data folder of its own. */
const PARTS = ['pg', 'supervisor.lock'];

/** One folder's files, by name and content. */
function addFolder(hash, folder) {
  for (const name of readdirSync(folder).sort()) hash.update(`${name}\0`).update(createHash('sha256').update(readFileSync(join(folder, name))).digest());
}

/** Servers stand below /usr/lib/postgresql, one folder for each version; an update changes the size or the time of the program. */
function addServers(hash) {
  const base = '/usr/lib/postgresql';
  for (const version of existsSync(base) ? readdirSync(base).sort() : []) {
    const server = join(base, version, 'bin/postgres');
    if (existsSync(server)) hash.update(`${version}\0`).update(createHash('sha256').update(readFileSync(server)).digest());
  }
}

function keyOf(build) {
  const hash = createHash('sha256').update(`${process.getuid()}\0`);
  addFolder(hash, join(build, 'share/migrations'));
  hash.update(readFileSync(join(build, 'bin/cyberdevstudio')));
  addServers(hash);
  return hash.digest('hex').slice(0, 20);
}

/** With owners and rights: as root the files belong to the database's user. */
async function copy(from, to) {
  const child = spawn('cp', ['-a', '--reflink=auto', from, to], { stdio: ['ignore', 'ignore', 'pipe'], timeout: LIMIT_MS });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (said += text));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`the prepared database cannot be copied from ${from}: ${said}`);
}

/** Made beside its place and moved there whole; of two that make it at once, the first one stays. */
async function make(place, start) {
  const kept = dirname(place);
  mkdirSync(kept, { recursive: true, mode: 0o755 });
  // Of other builds; what others are just making has a dot in its name.
  for (const old of readdirSync(kept)) if (!old.includes('.') && old !== basename(place)) rmSync(join(kept, old), { recursive: true, force: true });
  const folder = mkdtempSync(join(tmpdir(), 'cds-prepared-'));
  const unfinished = mkdtempSync(`${place}.`);
  try {
    chmodSync(folder, 0o755); // the database has a user of its own
    await start(join(folder, 'home'));
    if (existsSync(join(folder, 'home/pg/postmaster.pid'))) throw new Error('the studio that prepares the database did not end in order');
    for (const name of PARTS) await copy(join(folder, 'home', name), join(unfinished, name));
    writeFileSync(join(unfinished, 'complete'), '');
    try {
      renameSync(unfinished, place);
    } catch (error) {
      if (!existsSync(join(place, 'complete'))) throw error;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/** @param home  a data folder without a database; it is made when it is missing */
export async function givePrepared(build, home, start) {
  const place = join(build, 'prepared', keyOf(build));
  if (!existsSync(join(place, 'complete'))) await make(place, start);
  if (!existsSync(home)) mkdirSync(home, { mode: 0o711 });
  for (const name of PARTS) await copy(join(place, name), join(home, name));
}
