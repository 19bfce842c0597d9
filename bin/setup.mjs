#!/usr/bin/env node
// Makes a checkout ready to run: installs what the lockfile names when that is not there, and builds
// dist/ when a source has changed. Does nothing, quickly, when all is in place.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

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
  console.error('installing packages from package-lock.json');
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-fund', '--no-audit'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(stamp, wanted);
}

const SOURCES = ['pvbus', 'hypervisor', 'dom0', 'domu-kernel', 'tools', 'bin'];

/** Of every source its name, size and time of change. */
function fingerprint() {
  const hash = createHash('sha256');
  const add = path => {
    const entry = statSync(at(path));
    if (entry.isDirectory()) for (const name of readdirSync(at(path)).sort()) add(join(path, name));
    else hash.update(`${path} ${entry.size} ${entry.mtimeMs}\n`);
  };
  for (const path of ['package-lock.json', ...SOURCES]) add(path);
  return hash.digest('hex');
}

async function build() {
  const stamp = at('dist/.built');
  const wanted = fingerprint(); // order: before the sources are read, so that a change meanwhile shows
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  const { build: bundle } = await import(pathToFileURL(at('node_modules/esbuild/lib/main.js')).href);
  const draft = `dist.${process.pid}`;
  try {
    mkdirSync(at(draft));
    await bundleInto(draft, bundle);
    writeFileSync(at(`${draft}/.built`), wanted);
    replaceDist(draft);
  } finally {
    rmSync(at(draft), { recursive: true, force: true });
  }
}

/** Put whole in its place: a host that runs meanwhile finds the old files or the new ones. */
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
    // Threads are found beside the file that starts them; a CJS bundle starts none.
    logOverride: { 'empty-import-meta': 'silent' },
  };
  await Promise.all([
    bundle({
      ...common,
      format: 'esm',
      packages: 'external',
      outdir,
      entryPoints: {
        hypervisor: 'hypervisor/main.ts',
        'hypervisor-core': 'hypervisor/core-thread.ts',
        dom0: 'dom0/main.ts',
        'blkback-thread': 'dom0/backends/blkback/thread.ts',
        'netback-thread': 'dom0/backends/netback/thread.ts',
        'pvcalls-thread': 'dom0/backends/pvcalls/thread.ts',
        xenstored: 'dom0/xenstored/main.ts',
        'event-pump-thread': 'pvbus/event-pump-thread.ts',
        'socket-watch-thread': 'dom0/xenstored/socket-watch-thread.ts',
      },
    }),
    // One file a command, so that `xl list` reads no more than it needs.
    bundle({
      ...common,
      format: 'esm',
      packages: 'external',
      splitting: true,
      outdir,
      entryPoints: { xl: 'tools/xl.ts', xentop: 'tools/xentop.ts' },
    }),
    bundle({
      ...common,
      format: 'cjs',
      external: ['koffi'],
      sourcemap: false,
      outExtension: { '.js': '.cjs' },
      outdir,
      entryPoints: { 'domain-shell': 'domu-kernel/shell.ts', 'domain-vcpu': 'domu-kernel/smp/vcpu-thread.ts' },
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
}

install();
await build();
