// SQLite's shell, of the version that Debian's own `sqlite3` has. A database has one process here: no file locks, no WAL.
import { execFile } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cachedBuild } from '../cached-build.ts';
import { compileWasi } from '../wasi-cc.ts';
import { debianSource } from './debian-source.ts';

const SQLITE = { name: 'sqlite3', version: '3.40.1', suite: 'bookworm' } as const;
const OPTIONS = [
  ...['SQLITE_THREADSAFE=0', 'SQLITE_OMIT_LOAD_EXTENSION', 'SQLITE_OMIT_WAL', 'SQLITE_NOHAVE_SYSTEM'],
  ...['SQLITE_DEFAULT_UNIX_VFS="unix-none"', '_GNU_SOURCE'],
  ...['SIGNAL', 'PROCESS_CLOCKS', 'GETPID', 'MMAN'].map(name => `_WASI_EMULATED_${name}`),
];
const LIBRARIES = ['signal', 'process-clocks', 'getpid', 'mman'].map(name => `-lwasi-emulated-${name}`);

export async function sqlite(): Promise<string> {
  const source = await amalgamation();
  return compileWasi([join(source, 'sqlite3.c'), join(source, 'shell.c')], {
    key: SQLITE.version,
    posix: true,
    flags: ['-O2', '-w', '-Wl,--strip-all', ...OPTIONS.map(option => `-D${option}`), ...LIBRARIES, '-lm'],
  });
}

/** Its makefile writes two files out of all the others, with tclsh. */
async function amalgamation(): Promise<string> {
  const source = await debianSource(SQLITE);
  return cachedBuild(`sqlite3-${SQLITE.version}-amalgamation`, async out => {
    cpSync(source, out, { recursive: true });
    const tools = ['TOP=.', 'BCC=gcc', 'NAWK=awk', 'TCLSH_CMD=tclsh'];
    await promisify(execFile)('make', ['-f', 'main.mk', ...tools, 'sqlite3.c', 'shell.c'], { cwd: out });
  });
}
