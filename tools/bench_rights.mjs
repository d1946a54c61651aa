// tools/bench_rights.mjs: how long everything that is open lives on after the call that takes the right away, by kind. Figures, not a gate: the gate of
// one second is tests/security/rights.test.mjs. Part of tools/bench; "tools/bench rights" does this part alone (BENCH_REVOCATIONS: how many, 60).
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { callAs, login, openAll, person } from '../tests/security/support.mjs';

const TRIES = Number(process.env.BENCH_REVOCATIONS ?? 60);
const KINDS = [
  ['http', 'a call over HTTP that comes afterwards'], ['httpRun', 'a run over HTTP'], ['socket', 'socket of the page'], ['logs', 'socket of the logs'], ['responses', 'socket of responses'],
  ['direct', 'stream of the model server'], ['proxied', 'stream through the gateway'], ['chat', 'chat on a socket'], ['run', 'run'], ['terminal', 'terminal'],
];

export async function benchRights(stack, row) {
  const who = await person(stack, 'developer', { project: true });
  const times = Object.fromEntries(KINDS.map(([name]) => [name, []]));
  for (let i = 0; i < TRIES; i++) {
    const mine = { ...(await login(stack, who)), project: who.project };
    const { ended } = await openAll(stack, mine);
    const since = performance.now();
    const revoke = stack.rpc('session.revoke', { session_id: mine.sid }, 'admin');
    ended.http = (async () => {
      for (;; await sleep(2)) if ((await callAs(stack, mine.token, 'user.self')).status === 401) return { at: performance.now() };
    })();
    for (const [name, end] of Object.entries(ended)) times[name].push((await end).at - since);
    await revoke;
  }
  for (const [name, what] of KINDS) {
    const list = times[name].sort((a, b) => a - b);
    const at = (share) => list[Math.min(list.length - 1, Math.ceil(list.length * share) - 1)].toFixed(1);
    row(`right taken away until the end: ${what}, ms of ${TRIES}`, `p50 ${at(0.5)}  p99 ${at(0.99)}  most ${at(1)}`, 'target p99 < 100, all < 1000', '');
  }
}
