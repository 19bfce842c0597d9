// ls, cp, mv, rm, mkdir, rmdir, ln, touch.
import { XenError } from '#pvbus';
import type { DescriptorOf } from '../fs/dev-fs.ts';
import type { FileType, Vnode } from '../fs/file-system.ts';
import { link, makeDirectory, readlink, removeDirectory, removeFile, rename, symlink } from '../fs/path-operations.ts';
import { attempt, readBytes, type Waiting, writeBytes, writeText } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import { openVnode } from '../wasi/open-vnode.ts';
import { baseName, fromCwd, joined } from './paths.ts';
import type { Call, UtilityProgram } from './utilities.ts';

const CHUNK = 65536;
/** Directories in one another that are copied or removed. */
const MAX_DEPTH = 256;
const LETTER: Readonly<Record<FileType, string>> = { file: '-', directory: 'd', symlink: 'l', character: 'c' };

const pathOf = ({ self }: Call, word: string): string => fromCwd(self.cwd, word);
function wanted(args: readonly string[], least: number): void {
  if (args.length < least)
    throw new XenError('EINVAL', least === 1 ? 'the name of a file is missing' : 'two names are needed');
}
/** The type of what is at a path; undefined when nothing is. */
function* typeAt({ system }: Call, path: string, follow: 'always' | 'never' = 'always'): Waiting<FileType | undefined> {
  return yield* attempt(() => {
    const located = system.mounts.locate(path, { follow });
    try {
      return located.vnode?.type;
    } finally {
      located.release();
    }
  });
}

// ---- ls ----

function* ls(call: Call): Waiting<number> {
  const { args, options, io, system } = call;
  const names = args.length > 0 ? args : ['.'];
  const directories: string[] = [];
  for (const name of names) {
    const type = yield* typeAt(call, pathOf(call, name));
    if (type === undefined) yield* attempt(() => system.mounts.find(pathOf(call, name)).release());
    if (type === 'directory' && !options.has('d')) directories.push(name);
    else yield* writeText(io[1], `${yield* lineOf(call, pathOf(call, name), name)}\n`);
  }
  for (const [i, name] of directories.entries()) {
    if (names.length > 1) yield* writeText(io[1], `${i > 0 ? '\n' : ''}${name}:\n`);
    const path = pathOf(call, name);
    const entries = yield* attempt(() => withVnode(call, path, vnode => vnode.entries()));
    const shown = entries.map(entry => entry.name).filter(entry => options.has('a') || !entry.startsWith('.'));
    for (const entry of shown.sort()) yield* writeText(io[1], `${yield* lineOf(call, joined(path, entry), entry)}\n`);
  }
  return 0;
}
function* lineOf(call: Call, path: string, name: string): Waiting<string> {
  if (!call.options.has('l')) return name;
  return yield* attempt(() => {
    const located = call.system.mounts.locate(path, { follow: 'never' });
    const { vnode } = located;
    try {
      // It may have gone since its directory was read.
      if (vnode === undefined) return `?          ? ${name}`;
      const { nlink, size, mtimeNs } = vnode.attributes();
      const date = new Date(Number(mtimeNs / 1_000_000n)).toISOString().slice(0, 16).replace('T', ' ');
      const target = vnode.type === 'symlink' ? ` -> ${vnode.readlink()}` : '';
      return `${LETTER[vnode.type]} ${String(nlink).padStart(3)} ${String(size).padStart(10)} ${date} ${name}${target}`;
    } finally {
      located.release();
    }
  });
}
function withVnode<T>({ system }: Call, path: string, use: (vnode: Vnode) => T): T {
  const vnode = system.mounts.find(path);
  try {
    return use(vnode);
  } finally {
    vnode.release();
  }
}

// ---- cp, mv ----

/** Calls `one` for each source, with where it goes: into the last argument if that is a directory. */
function* eachTarget(call: Call, one: (from: string, to: string) => Waiting<void>): Waiting<number> {
  const { args } = call;
  wanted(args, 2);
  const sources = args.slice(0, -1);
  const last = pathOf(call, args.at(-1)!);
  const into = (yield* typeAt(call, last)) === 'directory';
  if (sources.length > 1 && !into) throw new XenError('ENOTDIR', `${args.at(-1)}: it is no directory`);
  for (const source of sources) yield* one(pathOf(call, source), into ? joined(last, baseName(source)) : last);
  return 0;
}
function* cp(call: Call): Waiting<number> {
  const all = call.options.has('r') || call.options.has('R');
  return yield* eachTarget(call, (from, to) => copy(call, from, to, all, 0));
}
function* copy(call: Call, from: string, to: string, all: boolean, depth: number): Waiting<void> {
  const { mounts } = call.system;
  const type = yield* typeAt(call, from, depth === 0 ? 'always' : 'never');
  if (depth > MAX_DEPTH) throw new XenError('ELOOP', `${from}: more than ${MAX_DEPTH} directories in one another`);
  if (type === 'symlink') return yield* attempt(() => symlink(mounts, readlink(mounts, { path: from }), { path: to }));
  if (type !== 'directory') return yield* copyFile(call, from, to);
  if (!all) throw new XenError('EISDIR', `${from}: it is a directory: cp -r`);
  if (`${to}/`.startsWith(`${from}/`)) throw new XenError('EINVAL', `${from}: into itself`);
  if ((yield* typeAt(call, to)) === undefined) yield* attempt(() => makeDirectory(mounts, { path: to }));
  const entries = yield* attempt(() => withVnode(call, from, vnode => vnode.entries()));
  for (const { name } of entries) yield* copy(call, joined(from, name), joined(to, name), all, depth + 1);
}
function* copyFile({ system, io }: Call, from: string, to: string): Waiting<void> {
  const own: DescriptorOf = fd => io[fd as 0 | 1 | 2];
  const source = yield* attempt(() => system.mounts.find(from));
  try {
    const target = yield* attempt(() => system.create(to));
    try {
      if (source === target) throw new XenError('EINVAL', `${from} and ${to} are the same file`);
      yield* attempt(() => target.truncate(0));
      const input = openVnode(source.hold(), 0, own);
      const output = openVnode(target.hold(), 0, own);
      try {
        const chunk = new Uint8Array(CHUNK);
        for (let n = yield* readBytes(input, chunk); n > 0; n = yield* readBytes(input, chunk)) {
          yield* writeBytes(output, chunk.subarray(0, n));
          yield YIELD;
        }
      } finally {
        input.release();
        output.release();
      }
    } finally {
      target.release();
    }
  } finally {
    source.release();
  }
}
function* mv(call: Call): Waiting<number> {
  const { mounts } = call.system;
  return yield* eachTarget(call, function* (from, to) {
    try {
      yield* attempt(() => rename(mounts, { path: from }, { path: to }));
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'EXDEV') throw error;
      yield* copy(call, from, to, true, 0);
      yield* remove(call, from, 0);
    }
  });
}

// ---- rm, mkdir, rmdir, ln, touch ----

function* rm(call: Call): Waiting<number> {
  const { options, args, system } = call;
  if (!options.has('f')) wanted(args, 1);
  for (const word of args) {
    const path = pathOf(call, word);
    const type = yield* typeAt(call, path, 'never');
    if (type === undefined && options.has('f')) continue;
    if (options.has('r')) yield* remove(call, path, 0);
    else yield* attempt(() => removeFile(system.mounts, { path }));
  }
  return 0;
}
function* remove(call: Call, path: string, depth: number): Waiting<void> {
  const { mounts } = call.system;
  if (depth > MAX_DEPTH) throw new XenError('ELOOP', `${path}: more than ${MAX_DEPTH} directories in one another`);
  if ((yield* typeAt(call, path, 'never')) !== 'directory') return yield* attempt(() => removeFile(mounts, { path }));
  const entries = yield* attempt(() => withVnode(call, path, vnode => vnode.entries()));
  for (const { name } of entries) yield* remove(call, joined(path, name), depth + 1);
  yield* attempt(() => removeDirectory(mounts, { path }));
}
function* mkdir(call: Call): Waiting<number> {
  const { args, options, system } = call;
  wanted(args, 1);
  for (const word of args) {
    const names = pathOf(call, word).split('/').filter(Boolean);
    for (let n = options.has('p') ? 1 : names.length; n <= names.length; n++) {
      const path = `/${names.slice(0, n).join('/')}`;
      if (options.has('p') && (yield* typeAt(call, path)) === 'directory') continue;
      yield* attempt(() => makeDirectory(system.mounts, { path }));
    }
  }
  return 0;
}
function* rmdir(call: Call): Waiting<number> {
  wanted(call.args, 1);
  for (const word of call.args) yield* attempt(() => removeDirectory(call.system.mounts, { path: pathOf(call, word) }));
  return 0;
}
function* ln(call: Call): Waiting<number> {
  const { mounts } = call.system;
  if (call.options.has('f')) {
    const path = pathOf(call, call.args.at(-1) ?? '');
    if ((yield* typeAt(call, path, 'never')) === 'file') yield* attempt(() => removeFile(mounts, { path }));
  }
  if (call.options.has('s')) {
    const [target, name] = call.args;
    if (target === undefined || name === undefined) throw new XenError('EINVAL', 'two names are needed');
    const path = pathOf(call, name);
    const into = (yield* typeAt(call, path)) === 'directory';
    yield* attempt(() => symlink(mounts, target, { path: into ? joined(path, baseName(target)) : path }));
    return 0;
  }
  return yield* eachTarget(call, (from, to) => attempt(() => link(mounts, { path: from }, { path: to }, true)));
}
function* touch(call: Call): Waiting<number> {
  const { system, args } = call;
  wanted(args, 1);
  for (const word of args) {
    const file = yield* attempt(() => system.create(pathOf(call, word)));
    try {
      const now = BigInt(Math.floor(system.clock.wallMs())) * 1_000_000n;
      yield* attempt(() => file.setTimes({ atimeNs: now, mtimeNs: now }));
    } finally {
      file.release();
    }
  }
  return 0;
}

export const FILE_UTILITIES: Readonly<Record<string, UtilityProgram>> = {
  ls: { options: 'lad1', run: ls },
  cp: { options: 'rR', run: cp },
  mv: { options: 'f', run: mv },
  rm: { options: 'rf', run: rm },
  mkdir: { options: 'p', run: mkdir },
  rmdir: { options: '', run: rmdir },
  ln: { options: 'sf', run: ln },
  touch: { options: '', run: touch },
};
