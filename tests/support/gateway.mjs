// tests/support/gateway.mjs: what the live tests of the gateway share: sockets, raw HTTP, a held lock in the database, tokens of any life.
import { spawn } from 'node:child_process';
import { createPrivateKey, sign } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import WebSocket from 'ws';

/** An open socket: messages so far, call(id, method, params), next(test) for the first message that passes, closed: its close code. */
export async function openSocket(stack, { path = '/ws', protocol = 'cds.rpc.v1', token = stack.tokens.developer } = {}) {
  const socket = new WebSocket(stack.apiUrl.replace(/^http/, 'ws') + path, [protocol, `cds.bearer.${token}`], { origin: stack.url });
  const messages = [];
  const waiting = new Set();
  const wake = () => waiting.forEach((look) => look());
  const open = { socket, messages, closed: null };
  socket.on('message', (data) => (messages.push(JSON.parse(data.toString())), wake()));
  socket.on('close', (code) => ((open.closed = code), wake()));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  socket.on('error', () => {});
  open.next = (wanted, timeoutMs = 120_000) =>
    new Promise((resolve, reject) => {
      const done = (how, value) => (clearTimeout(timer), waiting.delete(look), how(value));
      const timer = setTimeout(() => done(reject, new Error(`nothing came within ${timeoutMs} ms`)), timeoutMs);
      const look = () => {
        const found = messages.find(wanted);
        if (found) done(resolve, found);
        else if (open.closed !== null) done(reject, new Error(`closed with ${open.closed}`));
      };
      waiting.add(look);
      look();
    });
  open.answer = (id, timeoutMs) => open.next((m) => m.id === id && !m.method, timeoutMs);
  open.send = (message) => socket.send(JSON.stringify(message));
  open.call = (id, method, params = {}) => open.send({ jsonrpc: '2.0', id, method, params });
  return open;
}

/** POST /rpc with its headers: { status, json, headers }. */
export async function rpcHttp(stack, method, params = {}, { as = 'developer', headers = {}, signal } = {}) {
  const reply = await fetch(`${stack.apiUrl}/rpc`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens[as]}`, ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    signal,
  });
  return { status: reply.status, json: await reply.json(), headers: reply.headers };
}

/** Sends bytes and reads until the end of the connection: { status, headers, json }. */
export async function rawHttp(port, text) {
  const socket = connect(port, '127.0.0.1');
  let got = '';
  socket.setEncoding('utf8').on('data', (piece) => (got += piece));
  socket.on('error', () => {});
  socket.write(text);
  await once(socket, 'close');
  const [head, body] = [got.slice(0, got.indexOf('\r\n\r\n')), got.slice(got.indexOf('\r\n\r\n') + 4)];
  return { status: Number(head.split(' ')[1]), headers: head.toLowerCase(), json: JSON.parse(body) };
}

/** Runs fn while a transaction holds what the statement locks. Sessions of the studio wait two seconds at most. */
export async function whileLocked(stack, statement, fn) {
  const args = ['-X', '-qAt', '-h', join(stack.home, 'run/pg'), '-U', 'studio', '-d', 'studio'];
  const holder = spawn('psql', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  holder.stdin.write(`BEGIN; ${statement}; SELECT 'held';\n`);
  await once(holder.stdout, 'data');
  try {
    return await fn();
  } finally {
    holder.stdin.end('COMMIT;\n');
    await once(holder, 'close');
  }
}

/**
 * An attempt that holds a lock once, with hold(fn) as above. One that fails and held it for nearly as long as the studio waits says nothing, and is made
 * again: the machine was too slow for it.
 */
export async function withLock(stack, statement, attempt) {
  const SOON_MS = 1500;
  for (let tries = 10; ; tries--) {
    let ms = 0;
    const hold = async (fn) => {
      const began = performance.now();
      try {
        return await whileLocked(stack, statement, fn);
      } finally {
        ms = performance.now() - began;
      }
    };
    try {
      return await attempt(hold);
    } catch (error) {
      if (ms < SOON_MS || tries === 1) throw error;
    }
  }
}

/**
 * Begins a call while a transaction has done `first`. Once the call waits for what that holds, the transaction does `then` and commits.
 * @return what the call gives
 */
export async function whileItWaits(stack, first, call, then = '') {
  const holder = spawn('psql', ['-X', '-qAt', '-h', join(stack.home, 'run/pg'), '-U', 'studio', '-d', 'studio'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(holder, 'close');
  holder.stdin.write(`BEGIN; ${first}; SELECT 'held';\n`);
  await new Promise((resolve) => holder.stdout.setEncoding('utf8').on('data', (text) => text.includes('held') && resolve()));
  const going = call();
  going.catch(() => {}); // told below
  holder.stdin.end(`DO $$ BEGIN
    FOR i IN 1..6000 LOOP
      EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)));
      PERFORM pg_sleep(0.01);
    END LOOP; END $$; ${then}; COMMIT;\n`);
  await closed;
  return going;
}

/** Runs fn while a process stands still. */
export async function whileStopped(pid, fn) {
  process.kill(pid, 'SIGSTOP');
  try {
    return await fn();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

const decode = (token, part) => JSON.parse(Buffer.from(token.split('.')[part], 'base64url').toString());

/** The same user's token, signed by the studio's own key, that lives only so long. */
export function shortToken(stack, seconds, as = 'developer') {
  const key = createPrivateKey(readFileSync(join(stack.home, 'keys/jwt.pem')));
  const claims = { ...decode(stack.tokens[as], 1), exp: Math.floor(Date.now() / 1000) + seconds };
  const input = [decode(stack.tokens[as], 0), claims].map((v) => Buffer.from(JSON.stringify(v)).toString('base64url')).join('.');
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`;
}

/** An open socket with a token that lives a few seconds, and longer where the machine is too slow to open it in time: the socket with `seconds` and, by the clock, `expires`. */
export async function openShort(stack, how, as = 'developer') {
  for (let seconds = 3; ; seconds *= 3) {
    const token = shortToken(stack, seconds, as);
    try {
      return Object.assign(await openSocket(stack, { ...how, token }), { seconds, expires: 1000 * decode(token, 1).exp });
    } catch (error) {
      if (seconds > 60) throw error;
    }
  }
}
