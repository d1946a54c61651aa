// tests/support/wasm.mjs: makes WebAssembly modules out of small lists, so that a test shows what it runs.
//
//   const bytes = wasmModule({ types: [[['i32', 'i32'], ['i32']]], functions: [{ type: 0, body: [get(0), get(1), op.add] }], exports: [['add', 'func', 0]] });
//   const program = wasiProgram((w) => [w.print(w.text('hello\n')), w.show(w.call('fd_close', 9))]);
//
// Source: WebAssembly Core Specification, section 5.
const encoder = new TextEncoder();
const types = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, funcref: 0x70 };
const kinds = { func: 0, table: 1, memory: 2, global: 3 };

export function leb(value) {
  const out = [];
  do {
    const byte = value % 128;
    value = Math.floor(value / 128);
    out.push(value ? byte | 0x80 : byte);
  } while (value);
  return out;
}
function signed(value) {
  const out = [];
  let n = BigInt(value);
  for (;;) {
    const byte = Number(n & 0x7fn);
    n >>= 7n;
    if ((n === 0n && !(byte & 0x40)) || (n === -1n && byte & 0x40)) return [...out, byte];
    out.push(byte | 0x80);
  }
}
const flat = (list) => list.flat(Infinity);
const vector = (items) => [...leb(items.length), ...flat(items)];
const name = (text) => vector([...encoder.encode(text)]);
export const section = (id, bytes) => [id, ...leb(bytes.length), ...bytes];
const limits = ({ min, max, shared, wide }) => [(max === undefined ? 0 : 1) | (shared ? 2 : 0) | (wide ? 4 : 0), ...leb(min), ...(max === undefined ? [] : leb(max))];

// Instructions.
export const op = { unreachable: 0x00, end: 0x0b, drop: 0x1a, add: 0x6a, sub: 0x6b, eqz: 0x45, divS: 0x6d, ret: 0x0f, i64add: 0x7c, f64add: 0xa0, f64div: 0xa3, f32add: 0x92 };
export const i32 = (value) => [0x41, ...signed(value | 0)];
export const i64 = (value) => [0x42, ...signed(value)];
export const f64 = (value) => [0x44, ...new Uint8Array(new Float64Array([value]).buffer)];
export const get = (at) => [0x20, ...leb(at)];
export const set = (at) => [0x21, ...leb(at)];
export const call = (at) => [0x10, ...leb(at)];
export const forever = (...body) => [0x03, 0x40, ...flat(body), 0x0c, 0, op.end];
export const load8 = [0x2d, 0, 0];
export const store8 = [0x3a, 0, 0];
export const memoryGrow = [0x40, 0];

export function wasmModule({ types: signatures = [], imports = [], functions = [], table, memory, globals = [], exports = [], start, elements = [], data = [], custom = [] }) {
  const parts = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const add = (id, list, always) => (list.length || always) && parts.push(...section(id, vector(list)));
  add(1, signatures.map(([params, results]) => [0x60, vector(params.map((t) => types[t])), vector(results.map((t) => types[t]))]));
  add(2, imports.map(([module, field, what]) => [name(module), name(field), typeof what === 'number' ? [0, ...leb(what)] : [2, ...limits(what)]]));
  add(3, functions.map((f) => leb(f.type)));
  if (table) add(4, [[types.funcref, ...limits(table)]]);
  if (memory) add(5, [limits(memory)]);
  add(6, globals.map((g) => [types.i32, 1, i32(g), op.end]));
  add(7, exports.map(([field, kind, at]) => [name(field), kinds[kind], ...leb(at)]));
  if (start !== undefined) parts.push(...section(8, leb(start)));
  add(9, elements.map(([offset, list]) => [0, i32(offset), op.end, vector(list.map(leb))]));
  add(10, functions.map((f) => {
    const body = [...vector((f.locals ?? []).map(([count, type]) => [...leb(count), types[type]])), ...flat(f.body), op.end];
    return [...leb(body.length), ...body];
  }));
  add(11, data.map(([offset, bytes]) => [0, i32(offset), op.end, ...leb(bytes.length), ...bytes]));
  for (const [field, bytes] of custom) parts.push(...section(0, [...name(field), ...bytes]));
  return Buffer.from(parts);
}

/** add(1, 2) is 3. */
export const addModule = () =>
  wasmModule({ types: [[['i32', 'i32'], ['i32']]], functions: [{ type: 0, body: [get(0), get(1), op.add] }], exports: [['add', 'func', 0]] });
/** One function without values under the name go. */
export const oneFunction = (body, more = {}) =>
  wasmModule({ types: [[[], []]], functions: [{ type: 0, body }], exports: [['go', 'func', 0]], memory: { min: 1 }, ...more });

const I = 'i32', L = 'i64';
const calls = {
  args_get: [I, I], args_sizes_get: [I, I], environ_get: [I, I], environ_sizes_get: [I, I], fd_close: [I], fd_prestat_get: [I, I], fd_prestat_dir_name: [I, I, I], fd_read: [I, I, I, I],
  fd_renumber: [I, I], fd_write: [I, I, I, I], path_create_directory: [I, I, I], path_filestat_get: [I, I, I, I, I], path_link: [I, I, I, I, I, I, I],
  path_open: [I, I, I, I, I, L, L, I, I], path_readlink: [I, I, I, I, I, I], path_rename: [I, I, I, I, I, I], path_symlink: [I, I, I, I, I], path_unlink_file: [I, I, I], proc_exit: [I],
};

/**
 * A program for WASI: build gets helpers and returns the instructions of _start.
 * Memory: below 1024 scratch (descriptors that path_open returns stand at 64), texts from 1024 on, a buffer of 32 KiB at 32768.
 */
export function wasiProgram(build, { namespace = 'wasi_snapshot_preview1', imports = Object.keys(calls) } = {}) {
  const data = [];
  let at = 1024;
  const index = (field) => imports.indexOf(field);
  const w = {
    buffer: 32768,
    opened: [i32(64), 0x28, 2, 0],
    text(text) {
      const bytes = [...encoder.encode(text)];
      data.push([at, bytes]);
      at += bytes.length;
      return { at: at - bytes.length, len: bytes.length };
    },
    call: (field, ...args) => [...args.map((a) => (typeof a === 'bigint' ? i64(a) : Array.isArray(a) ? a : i32(a))), call(index(field))],
    path: (text) => {
      const t = w.text(text);
      return [i32(t.at), i32(t.len)];
    },
    /** Writes an i32 that stands on the stack as three digits and a newline. */
    show: (...value) => [...value, call(imports.length)],
    /** Writes bytes of memory. */
    write: (from, len) => [i32(0), typeof from === 'number' ? i32(from) : from, 0x36, 2, 0, i32(4), typeof len === 'number' ? i32(len) : len, 0x36, 2, 0, w.call('fd_write', 1, 0, 1, 8), op.drop],
    print: (t) => w.write(t.at, t.len),
    /** Reads up to 32 KiB from a descriptor into the buffer and writes it out; shows the error instead when there is one. */
    copyOut: (fd) => [i32(16), i32(32768), 0x36, 2, 0, i32(20), i32(32767), 0x36, 2, 0, w.call('fd_read', fd, 16, 1, 24), op.drop, w.write(32768, [i32(24), 0x28, 2, 0])],
    open: (dir, path, { oflags = 0, rights = 0x1fffffffn, flags = 0, dirflags = 0 } = {}) => w.call('path_open', dir, dirflags, w.path(path), oflags, rights, rights, flags, 64),
  };
  const body = build(w);
  const show = [
    // digits at 512..514
    ...[100, 10, 1].map((unit, i) => [i32(512 + i), get(0), i32(unit), 0x6e, i32(10), 0x70, i32(48), op.add, store8]),
    i32(515), i32(10), store8, w.write(512, 4),
  ];
  const signatures = [];
  const typeOf = (params, results) => {
    const key = JSON.stringify([params, results]);
    if (!signatures.some((s) => JSON.stringify(s) === key)) signatures.push([params, results]);
    return signatures.findIndex((s) => JSON.stringify(s) === key);
  };
  const imported = imports.map((field) => [namespace, field, typeOf(calls[field], field === 'proc_exit' ? [] : [I])]);
  const functions = [{ type: typeOf([I], []), body: show }, { type: typeOf([], []), body }];
  return wasmModule({ types: signatures, imports: imported, functions, memory: { min: 2 }, exports: [['memory', 'memory', 0], ['_start', 'func', imports.length + 1]], data });
}
