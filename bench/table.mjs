// What the benchmarks of the model server share: medians, rows of a table, programs that print one JSON object.
import { spawnSync } from 'node:child_process';

export const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
export const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
export const spread = (list, digits = 2) => `${Math.min(...list).toFixed(digits)}-${Math.max(...list).toFixed(digits)}`;
export const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);
export const heads = (...cells) => {
  row(...cells);
  row(...cells.map(() => '---'));
};
/** "median (least-most)". */
export const figure = (list, digits = 2) => `${median(list).toFixed(digits)} (${spread(list, digits)})`;

export function json(program, args) {
  const out = spawnSync(program, args.map(String), { encoding: 'utf8', maxBuffer: 1 << 24 });
  if (out.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${out.stderr}`);
  return JSON.parse(out.stdout.trim().split('\n').at(-1));
}
