// tests/support/modelhub.mjs: a model hub of the test's own, on this machine, that can misbehave in every way a download meets.
//
//   const hub = await startHub({ 'owner/repo': { 'tiny-Q8_0.gguf': bytes } });
//   hub.behave = { 'tiny-Q8_0.gguf': { dropAfter: 3_000_000 } };      // per file; see serveFile
//   hub.requests                                                       // what was asked: { path, range, ifRange, authorization }
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

/** One value of a key of a GGUF header. */
const str = (text) => {
  const bytes = Buffer.from(text);
  const out = Buffer.alloc(8 + bytes.length);
  out.writeBigUInt64LE(BigInt(bytes.length));
  bytes.copy(out, 8);
  return out;
};
const u32 = (n) => (n = BigInt(n), Buffer.from([n & 255n, (n >> 8n) & 255n, (n >> 16n) & 255n, (n >> 24n) & 255n].map(Number)));
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
/** Keys for `extra` of gguf(). */
export const keys = {
  string: (name, value) => Buffer.concat([str(name), u32(8), str(value)]),
  number: (name, value) => Buffer.concat([str(name), u32(4), u32(value)]),
};

/** A GGUF file without sense: a header that is right, and weights of noise. tensors: [[name, [dims]]] of F32. */
export function gguf({ tensors = [['token_embd.weight', [64, 64]]], extra = [], architecture = 'llama', cut = null, seed = 1, header = false } = {}) {
  const kv = [
    keys.string('general.architecture', architecture), keys.number(`${architecture}.context_length`, 512), keys.number(`${architecture}.embedding_length`, 64),
    keys.number(`${architecture}.block_count`, 1), keys.number(`${architecture}.attention.head_count`, 4), ...extra,
  ];
  let offset = 0;
  const rows = tensors.map(([name, dims]) => {
    const row = Buffer.concat([str(name), u32(dims.length), ...dims.map(u64), u32(0), u64(offset)]);
    offset += Math.ceil((dims.reduce((a, b) => a * b, 1) * 4) / 32) * 32;
    return row;
  });
  const head = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(kv.length), ...kv, ...rows]);
  const start = Math.ceil(head.length / 32) * 32;
  if (header) return { bytes: Buffer.concat([head, Buffer.alloc(start - head.length)]), size: start + offset };
  const bytes = Buffer.alloc(start + offset);
  head.copy(bytes);
  for (let i = start, x = seed; i + 4 <= bytes.length; i += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE(x, i);
  }
  return cut === null ? bytes : bytes.subarray(0, cut);
}
export const splitKeys = (part, parts) => [keys.number('split.no', part), keys.number('split.count', parts)];
/** A model in so many parts, by path: `${stem}-00001-of-00003.gguf`, each with one matrix of these sides. */
export const splitModel = (stem, parts, sides) => Object.fromEntries(Array.from({ length: parts }, (_, i) => [
  `${stem}-${String(i + 1).padStart(5, '0')}-of-${String(parts).padStart(5, '0')}.gguf`, gguf({ tensors: [[`blk.${i}.w`, sides]], extra: splitKeys(i, parts), seed: i + 5 })]));
export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** @param repos { 'owner/repo': { path: bytes | {bytes, size} } } ; size: length that is claimed, with nothing behind the bytes */
export async function startHub(repos, { key = null } = {}) {
  const hub = { requests: [], behave: {}, repos, etags: {}, served: 0 };
  const server = createServer((req, res) => {
    const url = new URL(req.url, 'http://hub');
    const path = decodeURIComponent(url.pathname);
    hub.requests.push({ path, range: req.headers.range ?? null, ifRange: req.headers['if-range'] ?? null, authorization: req.headers.authorization ?? null, query: url.search });
    if (key && req.headers.authorization !== `Bearer ${key}`) return void res.writeHead(401).end('no');
    const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/(.+)$/.exec(path);
    if (tree) return void list(res, tree[1]);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/[^/]+\/(.+)$/.exec(path);
    const name = file ? file[2] : path.slice(1);
    const entry = file ? repos[file[1]]?.[name] : Object.values(repos).map((r) => r[name]).find(Boolean);
    if (!entry) return void res.writeHead(404).end('no such file');
    serveFile(req, res, name, entry);
  });
  const list = (res, repo) => {
    const files = repos[repo];
    if (!files) return void res.writeHead(404).end('{}');
    res.setHeader('content-type', 'application/json');
    if (hub.badTree) return void res.end(hub.badTree);
    res.end(JSON.stringify(Object.entries(files).map(([path, entry]) => ({
      type: 'file', path, oid: 'a'.repeat(40), size: entry.size ?? entry.length,
      ...(hub.noSha ? {} : { lfs: { oid: hub.liesSha ?? sha256(entry.bytes ?? entry), size: (entry.size ?? entry.length) + (hub.liesSize ?? 0), pointerSize: 134 } }),
    }))));
  };
  /** how: { dropAfter, times, status, retryAfter, redirect, noRange, noLength, noEtag, corrupt, changeAfter, endless, stall, claim, html, more, from, hold, gather };
   *  from: the rest holds for requests from this byte on only; hold: from this byte of the file on nothing comes any more; gather: nothing comes before so
   *  many answers are open at once */
  const serveFile = (req, res, name, entry) => {
    let how = hub.behave[name] ?? {};
    if (how.from && Number(/^bytes=(\d+)/.exec(req.headers.range ?? '')?.[1] ?? 0) < how.from) how = {};
    hub.served++;
    const all = entry.bytes ?? entry;
    const total = (entry.size ?? all.length) + (how.claim ?? 0);
    if (how.status && (how.times === undefined || how.times-- > 0)) return void res.writeHead(how.status, how.retryAfter ? { 'retry-after': how.retryAfter } : {}).end('later');
    if (how.redirect) return void res.writeHead(302, { location: typeof how.redirect === 'function' ? how.redirect(req) : how.redirect }).end();
    if (how.html) return void res.writeHead(200, { 'content-type': 'text/html', 'content-length': 300 }).end('<html>'.padEnd(300, 'x'));
    let body = how.changed ?? all;
    let etag = `"${sha256(body).slice(0, 16)}"`;
    if (how.etags) etag = `"${how.etags.length > 1 ? how.etags.shift() : how.etags[0]}"`;
    const match = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? '');
    const fresh = !req.headers['if-range'] || req.headers['if-range'] === etag;
    let first = 0, last = total - 1;
    const partial = match && fresh && !how.noRange;
    if (partial) {
      first = Number(match[1]);
      if (match[2]) last = Math.min(last, Number(match[2]));
      if (first >= total) return void res.writeHead(416, { 'content-range': `bytes */${total}` }).end();
    }
    const headers = { 'content-type': 'application/octet-stream', ...(how.noEtag ? {} : { etag }) };
    if (partial) headers['content-range'] = `bytes ${first + (how.wrongRange ?? 0)}-${last}/${total}`;
    if (!how.noLength && !how.endless) headers['content-length'] = last - first + 1;
    let piece = body.subarray(first, last + 1);
    if (how.corrupt !== undefined && first <= how.corrupt && how.corrupt < first + piece.length) {
      piece = Buffer.from(piece);
      piece[how.corrupt - first] ^= 0xff;
    }
    if (how.more) { // bytes nobody asked for, behind those that were
      piece = Buffer.concat([piece, Buffer.alloc(how.more)]);
      if (headers['content-length']) headers['content-length'] = piece.length;
    }
    res.writeHead(partial ? 206 : 200, headers);
    if (how.stall) return void res.write(piece.subarray(0, 1000));
    if (how.dropAfter !== undefined && piece.length > how.dropAfter && (how.times === undefined || how.times-- > 0)) {
      res.write(piece.subarray(0, how.dropAfter), () => res.destroy());
      how.after?.();
      return;
    }
    if (how.endless) {
      const more = () => { while (!res.destroyed && res.write(Buffer.alloc(65536, 7))) { /* as much as goes */ } };
      res.write(piece);
      res.on('drain', more);
      return void more();
    }
    const held = how.hold !== undefined && how.hold < first + piece.length; // an answer that is whole ends, or its connection takes no other request
    if (held) piece = piece.subarray(0, Math.max(0, how.hold - first));
    if (how.slow || how.gather) {
      hub.open = (hub.open ?? 0) + 1;
      hub.mostOpen = Math.max(hub.mostOpen ?? 0, hub.open);
      res.on('close', () => hub.open--);
      let at = 0;
      const step = () => {
        if (res.destroyed) return;
        if (at >= piece.length) return held ? undefined : void res.end();
        if ((how.gather ?? 0) <= hub.mostOpen) res.write(piece.subarray(at, (at += how.slow ?? piece.length)));
        setTimeout(step, 20);
      };
      return void step();
    }
    if (held) res.write(piece);
    else res.end(piece);
  };
  server.on('clientError', (e, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  hub.port = server.address().port;
  hub.url = `http://127.0.0.1:${hub.port}`;
  hub.stop = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return hub;
}
