#!/usr/bin/env node
// tools/bench_gates: the speed gates of the sandbox, G1 to G21, in one table. `make bench-sandbox`; read in docs/performance.md.
//
//   bench_gates.mjs [PROGRAM...]   only these of build/bench: sandbox, load, fs, wasm, micro
//
// Runs the yardsticks one after the other, passes on what they print, and collects their lines for gates: those of bench/gates.h, and the ready
// lines of bench/micro. The table goes to the screen and to build/bench-sandbox.md. A gate that is missed is no failure of this tool: machines are
// shared, and a figure is judged by whoever reads it.
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const build = process.env.CDS_BUILD ?? 'build';
const LIMIT_MS = 1200000; // of one program
const NOT_ASKED = 'not asked for';
const PROBE_MS = 120000;
const programs = ['sandbox', 'load', 'fs', 'wasm', 'micro'];

// Ratios of p50s, except where a unit stands.
const gates = [
  ['G1', 'jail cold / bare python3', 1.8, 1.15, 'sandbox'],
  ['G2', 'jail cold / bubblewrap with the same namespaces', 1.15, 0.75, 'sandbox'],
  ['G3', 'ready jail, fresh python3 / bare python3', 1.25, 1.03, 'sandbox'],
  ['G4', 'ready jail with a started interpreter / bare, the worse of python and node', 0.35, 0.1, 'sandbox'],
  ['G5', 'micro:python pool / bare python3, TCG', 5, 1.5, 'micro'],
  ['G6', 'micro:python snapshot / cold, TCG', 0.35, 0.1, 'micro'],
  ['G7', 'micro:python snapshot / bare python3, TCG', 40, 10, 'micro'],
  ['G8', 'micro:python cold / bare python3, TCG, stock kernel', 450, 60, 'micro'],
  ['G9', 'micro:node pool / bare node, TCG', 8, 2, 'micro'],
  ['G10', 'micro on KVM: pool / bare python3', 1, 0.3, ''],
  ['G11', 'wasm add(1, 2), warm / bare python3', 0.25, 0.03, 'wasm'],
  ['G12', 'wasm add(1, 2), cold / the engine of node', 0.8, 0.1, 'wasm'],
  ['G13', 'fs.write 64 KiB checked / plain write and rename', 1.5, 1.05, 'fs'],
  ['G14', '32 durable writes at once / one', 8, 1.5, 'fs'],
  ['G15', 'private memory of an idle pooled machine / its RAM', 0.25, 0.05, 'micro'],
  ['G16', 'p99 / p50 of runs from ready jails at 80 % load', 4, 1.5, 'load'],
  ['G17', "a neighbour's run while A01, A02 and A07 run / idle", 2, 1.2, 'load'],
  ['G18', 'kill to nothing left, p99 in ms, the worse of jail and machine', 200, 20, 'load'],
  ['G19', 'repeated random values in 10,000 restores', 0, 0, ''],
  ['G20', 'escapes in 1,000,000 path races; rows of the abuse list', 0, 0, ''],
  ['G21', 'error of a time limit of 1 s, the worst', 0.1, 0.02, 'load'],
];
const elsewhere = {
  G10: () => kvm(),
  G19: () => 'not measured here: make storm-micro, hours under emulation',
  G20: () => 'not measured here: make check and make abuse-storm',
};

/** Why there is no figure of machines on KVM. */
function kvm() {
  const probe = spawnSync(join(build, 'bin', 'cds-sandboxd'), ['--probe'], { encoding: 'utf8', timeout: PROBE_MS });
  try {
    const { works, reason } = JSON.parse(probe.stdout).engines.find((engine) => engine.backend === 'qemu-kvm');
    return works ? 'not measured: bench/micro measures without KVM' : `cannot be measured here: ${reason.split(':')[0]}`;
  } catch {
    return 'cannot be measured here: the probe gave no answer';
  }
}

/** What one line says of a gate, or null. */
function read(line) {
  if (line.startsWith('{"gate"')) {
    const { gate, figure, spread, noisy } = JSON.parse(line);
    return { gate, figure, spread, noisy };
  }
  const found = /^(G\d+)\s.*\s(\d+(?:\.\d+)?)\s+gate\s.*\s(ok|noisy|over)$/.exec(line);
  return found && { gate: found[1], figure: Number(found[2]), spread: 0, noisy: found[3] === 'noisy' };
}

/** Runs a yardstick. Resolves to why it gave no figures, '' when all is well. */
function measure(program, found) {
  return new Promise((resolve) => {
    const child = spawn(join(build, 'bench', program), { stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS });
    let last = '';
    createInterface(child.stderr).on('line', (line) => {
      last = line;
      console.error(line);
    });
    createInterface(child.stdout).on('line', (line) => {
      const said = read(line);
      if (/"skipped"/.test(line)) last = JSON.parse(line).skipped;
      if (!line.startsWith('{"gate"')) console.log(line);
      if (!said) return;
      const before = found.get(said.gate); // one gate of several parts is as good as the worst of them
      if (!before || said.figure > before.figure) found.set(said.gate, said);
    });
    child.on('error', (e) => resolve(`${program} cannot be started: ${e.message}`));
    child.on('close', (code, signal) => resolve(code === 0 && !last ? '' : last || `${program} ended with ${signal ?? code}`));
  });
}

function verdict([id, , gate, moonshot, program], found, failed) {
  const said = found.get(id);
  if (!said) return elsewhere[id]?.() ?? (failed.get(program) === NOT_ASKED ? NOT_ASKED : `cannot be measured here: ${failed.get(program) || 'no figure came'}`);
  if (said.figure <= moonshot) return 'met, moonshot too';
  if (said.figure <= gate) return 'met';
  return said.noisy ? 'noisy' : `missed by ${((said.figure / gate - 1) * 100).toFixed(0)} %`;
}

const asked = process.argv.slice(2);
const found = new Map();
const failed = new Map();
for (const program of programs)
  failed.set(program, asked.length && !asked.includes(program) ? NOT_ASKED : await measure(program, found));

const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(2) : value.toFixed(3));
const rows = gates.map((gate) => {
  const said = found.get(gate[0]);
  return [gate[0], gate[1], said ? digits(said.figure) : '–', said?.spread ? digits(said.spread) : '–', gate[2], gate[3], verdict(gate, found, failed)].map(String);
});
const head = ['id', 'what', 'figure', 'p95 / p50', 'gate', 'moonshot', 'verdict'];
const width = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i].length)));
console.log();
for (const row of [head, ...rows]) console.log(row.map((cell, i) => cell.padEnd(width[i])).join('  ').trimEnd());
const table = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
const where = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, Linux ${release()}, ${new Date().toISOString().slice(0, 16)}Z`;
writeFileSync(join(build, 'bench-sandbox.md'), `# Gates of the sandbox\n\n${where}\n\n${table}\n`);
