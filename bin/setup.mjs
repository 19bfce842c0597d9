#!/usr/bin/env node
// Makes a checkout ready to run: installs what the lockfile names when that is not there, and builds
// dist/ when a source has changed. Does nothing, quickly, when all is in place.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { packCli } from './cli-pack.mjs';
import { removeDrafts, removeUnused } from './old-builds.mjs';
import { hostsOf } from './running-hosts.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const at = path => join(root, path);

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`xenolith needs Node 20.19 or newer; this is ${process.version}`);
  process.exit(1);
}

function install() {
  const stamp = at('node_modules/.xenolith-lockfile');
  const wanted = createHash('sha256')
    .update(readFileSync(at('package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  // What a host starts from now on would find none while they are installed, and others than its own afterwards.
  const hosts = existsSync(at('node_modules')) ? hostsOf(root) : [];
  if (hosts.length > 0) {
    const those = `hosts that run from here: ${hosts.join('; ')}`;
    console.error(`packages would be installed anew under ${those}; end them first (xl down)`);
    process.exit(1);
  }
  console.error('installing packages from package-lock.json');
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-fund', '--no-audit'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(stamp, wanted);
}

const BARREL = 'pvbus/index.ts';
/** Of a build that is only to tell what it would hold. */
const DRY = { outdir: 'unwritten', write: false, metafile: true, sourcemap: false };
/** Programs whose start guests may wait for, and their threads. */
const AWAITED = {
  dom0: 'dom0/main.ts',
  heir: 'dom0/heir.ts',
  'driver-domain': 'dom0/driver-domain/main.ts',
  'blkback-thread': 'dom0/backends/blkback/thread.ts',
  'netback-thread': 'dom0/backends/netback/thread.ts',
  'pvcalls-thread': 'dom0/backends/pvcalls/thread.ts',
  'slow-blkback-thread': 'dom0/backends/blkback/thread.ts',
  'nbd-thread': 'dom0/backends/nbd/thread.ts',
  'p9-thread': 'dom0/backends/p9/thread.ts',
  xenstored: 'dom0/xenstored/main.ts',
  'event-pump-thread': 'pvbus/event-pump-thread.ts',
  'socket-watch-thread': 'dom0/socket-watch-thread.ts',
};
/** V8's, of the processes that they are (hypervisor/child-processes.ts): compiled code is for the same ones. */
const AWAITED_FLAGS = ['--min-semi-space-size=4'];
/** The same of shells (hypervisor/confinement/launch-command.ts), for the kernel. */
const SHELL_FLAGS = ['--expose-gc', '--no-short-builtin-calls'];
const LIBRARY = {
  format: 'esm',
  packages: 'external',
  entryPoints: { library: 'tools/library/index.ts' },
  outExtension: { '.js': '.mjs' },
};
const SOURCES = ['pvbus', 'hypervisor', 'dom0', 'domu-kernel', 'tools', 'bin'];

/** Of every source its name, size and time of change: what a build is known by. */
function fingerprint() {
  const hash = createHash('sha256');
  const add = path => {
    const entry = statSync(at(path));
    if (entry.isDirectory()) for (const name of readdirSync(at(path)).sort()) add(join(path, name));
    else hash.update(`${path} ${entry.size} ${entry.mtimeMs}\n`);
  };
  for (const path of ['package-lock.json', ...SOURCES]) add(path);
  return hash.digest('hex').slice(0, 16);
}

async function build() {
  const stamp = at('dist/.built');
  const wanted = fingerprint(); // order: before the sources are read, so that a change meanwhile shows
  const before = existsSync(stamp) ? readFileSync(stamp, 'utf8') : '';
  if (before === wanted) return;
  const { build: bundle } = await import(pathToFileURL(at('node_modules/esbuild/lib/main.js')).href);
  const draft = `dist.${process.pid}`;
  removeDrafts(root);
  try {
    mkdirSync(at(draft));
    await bundleInto(draft, bundle);
    // What `xl build-ext4` has built is not made of these sources.
    if (existsSync(at('dist/ext4.wasm'))) copyFileSync(at('dist/ext4.wasm'), at(`${draft}/ext4.wasm`));
    writeFileSync(at(`${draft}/.built`), wanted);
    keep(draft, `dist.${wanted}`);
    replaceDist(draft);
    // A host may be about to start from the one that was the newest until now.
    removeUnused(root, [`dist.${wanted}`, `dist.${before}`]);
  } finally {
    rmSync(at(draft), { recursive: true, force: true });
  }
}

/** The copy that hosts run from (tools/kept-build.ts): their files stay where they are when dist is another build. */
function keep(draft, kept) {
  if (existsSync(at(kept))) return; // of the same sources, and somebody's
  const copy = `${draft}.kept`;
  try {
    cpSync(at(draft), at(copy), { recursive: true });
    renameSync(at(copy), at(kept));
  } catch (error) {
    // Another one was faster, with the same sources.
    if (!['ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
  } finally {
    rmSync(at(copy), { recursive: true, force: true });
  }
}

/** Put whole in its place: who calls it meanwhile finds the old files or the new ones. */
function replaceDist(draft) {
  const old = `${draft}.old`;
  try {
    if (existsSync(at('dist'))) renameSync(at('dist'), at(old));
    renameSync(at(draft), at('dist'));
  } catch (error) {
    // Another one was faster, with the same sources.
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
  } finally {
    rmSync(at(old), { recursive: true, force: true });
  }
}

async function bundleInto(outdir, bundle) {
  const common = {
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
    sourcemap: 'linked',
    loader: { '.wasm': 'binary' },
    metafile: true, // for the licences of what is in them
    // Threads are found beside the file that starts them; a CJS bundle starts none.
    logOverride: { 'empty-import-meta': 'silent' },
  };
  const bundles = await Promise.all([
    bundle({ ...common, ...LIBRARY, outdir }),
    // CommonJS, which Node 20 loads in less time, and whose compiled code can be kept.
    bundle({
      ...common,
      format: 'cjs',
      external: ['koffi', 'node-ipc', 'esbuild'],
      outdir,
      inject: ['bin/own-url.mjs'],
      define: { 'import.meta.url': 'fileUrl' },
      entryPoints: {
        hypervisor: 'hypervisor/main.ts',
        'hypervisor-core': 'hypervisor/core-thread.ts',
        'hypervisor-launcher': 'hypervisor/confinement/launcher-thread.ts',
        'hypervisor-store-launcher': 'hypervisor/confinement/store-thread.ts',
        'shell-test': 'hypervisor/confinement/shell-test.ts',
        'prepare-program': 'dom0/toolstack/prepare-program.ts',
        ...AWAITED,
      },
    }),
    buildCli(outdir, bundle, common),
    bundle({
      ...common,
      format: 'cjs',
      external: ['koffi'],
      sourcemap: false,
      outExtension: { '.js': '.cjs' },
      outdir,
      entryPoints: {
        'domain-shell': 'domu-kernel/shell.ts',
        'domain-vcpu': 'domu-kernel/smp/vcpu-thread.ts',
        'keep-code': 'domu-kernel/keep-code.ts',
      },
    }),
    // The kernel: one text that a domain's memory carries. It may ask for koffi and timers, nothing else.
    bundle({
      ...common,
      format: 'cjs',
      external: ['koffi'],
      sourcemap: false,
      outdir,
      entryPoints: { 'domu-kernel': 'domu-kernel/main.ts' },
    }),
  ]);
  writeFileSync(at(`${outdir}/package.json`), '{ "type": "commonjs" }\n');
  copyFileSync(at('bin/code-load.cjs'), at(`${outdir}/code-load.cjs`));
  const awaited = Object.keys(AWAITED).map(name => at(`${outdir}/${name}.js`));
  execFileSync(process.execPath, [...AWAITED_FLAGS, at('bin/code-keep.cjs'), ...awaited], { stdio: 'inherit' });
  const keepCode = at(`${outdir}/keep-code.cjs`);
  execFileSync(process.execPath, [...SHELL_FLAGS, keepCode, at(`${outdir}/domu-kernel.js`)], { stdio: 'inherit' });
  rmSync(keepCode);
  const inputs = bundles.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  const { thirdPartyLicences } = await import('./third-party.mjs');
  writeFileSync(at(`${outdir}/THIRD-PARTY-LICENSES.txt`), thirdPartyLicences(inputs.map(path => resolve(root, path))));
}

/**
 * xl and xentop, which must be there at once: CommonJS, which Node 20 loads in half the time, one file a command, with
 * what it needs of our packages in it, and those that are called most in one. dist/xl.js and dist/xentop.js are for whoever
 * runs those.
 */
async function buildCli(outdir, bundle, common) {
  const programs = { xl: 'tools/xl.ts', xentop: 'tools/xentop.ts' };
  const split = await bundle({
    ...common,
    format: 'esm',
    external: ['koffi', 'fatfs-wasm'],
    splitting: true,
    sourcemap: false,
    outdir: `${outdir}/cli`,
    entryPoints: programs,
    write: false,
    plugins: [await withoutBarrel(bundle, common)],
    inject: ['bin/file-url.mjs'],
    define: { 'import.meta.url': 'fileUrl' },
  });
  mkdirSync(at(`${outdir}/cli`), { recursive: true });
  for (const { path, text } of split.outputFiles) {
    // Not for packages, of which some are ES modules.
    writeFileSync(path, text.replace(/\bimport\("(\.\/[^"]+)"\)/g, 'Promise.resolve().then(() => require("$1"))'));
  }
  await bundle({
    absWorkingDir: root,
    entryPoints: split.outputFiles.map(({ path }) => path),
    allowOverwrite: true,
    bundle: false,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    minifyWhitespace: true,
    minifySyntax: true,
    outdir: `${outdir}/cli`,
    logLevel: 'warning',
  });
  packCli(at(`${outdir}/cli`), split.metafile.outputs, Object.keys(programs));
  for (const name of Object.keys(programs)) {
    writeFileSync(at(`${outdir}/${name}.js`), `#!/usr/bin/env node\nrequire('./cli/${name}.js');\n`);
  }
  return split;
}

/**
 * Has tools import from the file of '#pvbus' that has the name. Else every command would load all of pvbus, koffi
 * included: a file that anything imports goes into the chunk of all who could.
 */
async function withoutBarrel(bundle, common) {
  const list = await bundle({ ...common, format: 'esm', packages: 'external', entryPoints: [BARREL], ...DRY });
  const files = list.metafile.inputs[BARREL].imports.map(({ path }) => path);
  const all = await bundle({ ...common, format: 'esm', packages: 'external', entryPoints: files, ...DRY });
  const fileOf = new Map();
  for (const { entryPoint, exports } of Object.values(all.metafile.outputs)) {
    // The index gives a name once; two files have it when the one passes on what is the other's.
    for (const name of exports) if (!fileOf.has(name)) fileOf.set(name, at(entryPoint));
  }
  const direct = (_, verb, type, names) => {
    if (type !== undefined) return '';
    const values = names.split(',').map(name => name.trim());
    const lines = values
      .filter(name => name !== '' && !name.startsWith('type '))
      .map(name => {
        const file = fileOf.get(name.split(' ')[0]);
        if (file === undefined) throw new Error(`pvbus exports no ${name}`);
        return `${verb} { ${name} } from ${JSON.stringify(file)};`;
      });
    return lines.join(' ');
  };
  return {
    name: 'without barrel',
    setup({ onLoad }) {
      onLoad({ filter: /\/tools\/.*\.ts$/ }, ({ path }) => ({
        contents: readFileSync(path, 'utf8').replace(/^(import|export) (type )?\{([^}]*)\} from '#pvbus';/gm, direct),
        loader: 'ts',
        resolveDir: dirname(path),
      }));
    },
  };
}
install();
await build();
