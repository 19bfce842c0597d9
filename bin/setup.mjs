#!/usr/bin/env node
// Makes a checkout ready to run: installs what the lockfile names when that is not there, and builds
// dist/ when a source is newer. Does nothing, quickly, when all is in place.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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

function newest(path) {
  const entry = statSync(path);
  if (!entry.isDirectory()) return entry.mtimeMs;
  return Math.max(entry.mtimeMs, ...readdirSync(path).map(name => newest(join(path, name))));
}

async function build() {
  const stamp = at('dist/.built');
  const changed = Math.max(newest(at('package-lock.json')), ...SOURCES.map(path => newest(at(path))));
  if (existsSync(stamp) && statSync(stamp).mtimeMs > changed) return;
  const { build: bundle } = await import(pathToFileURL(at('node_modules/esbuild/lib/main.js')).href);
  rmSync(at('dist'), { recursive: true, force: true });
  mkdirSync(at('dist'));
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
      outdir: 'dist',
      entryPoints: {
        hypervisor: 'hypervisor/main.ts',
        'hypervisor-core': 'hypervisor/core-thread.ts',
        dom0: 'dom0/main.ts',
        'blkback-thread': 'dom0/backends/blkback/thread.ts',
        'netback-thread': 'dom0/backends/netback/thread.ts',
        'pvcalls-thread': 'dom0/backends/pvcalls/thread.ts',
        xenstored: 'dom0/xenstored/main.ts',
        'event-pump-thread': 'pvbus/event-pump-thread.ts',
      },
    }),
    // One file a command, so that `xl list` reads no more than it needs.
    bundle({
      ...common,
      format: 'esm',
      packages: 'external',
      splitting: true,
      outdir: 'dist',
      entryPoints: { xl: 'tools/xl.ts' },
    }),
    bundle({
      ...common,
      format: 'cjs',
      external: ['koffi'],
      sourcemap: false,
      outExtension: { '.js': '.cjs' },
      outdir: 'dist',
      entryPoints: { 'domain-shell': 'domu-kernel/shell.ts' },
    }),
    // The kernel: one text that a domain's memory carries. It may ask for koffi and timers, nothing else.
    bundle({
      ...common,
      format: 'cjs',
      external: ['koffi'],
      sourcemap: false,
      outdir: 'dist',
      entryPoints: { 'domu-kernel': 'domu-kernel/main.ts' },
    }),
  ]);
  writeFileSync(stamp, '');
}

install();
await build();
