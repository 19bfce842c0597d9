// ls: what is in directories, and what it is.
import type { FileType } from '../fs/file-system.ts';
import { attempt, type Waiting, writeText } from '../process/transfer.ts';
import { pathOf, typeAt, withVnode } from './file-paths.ts';
import { joined } from './paths.ts';
import { type Call, each, type UtilityProgram } from './utility.ts';

const LETTER: Readonly<Record<FileType, string>> = { file: '-', directory: 'd', symlink: 'l', character: 'c' };

function* list(call: Call): Waiting<number> {
  const { args, options, io, system } = call;
  const names = args.length > 0 ? [...args].sort() : ['.'];
  const directories: string[] = [];
  let first = true;
  const missing = yield* each(call, names, function* (name) {
    const type = yield* typeAt(call, pathOf(call, name));
    if (type === 'directory' && !options.has('d')) return void directories.push(name);
    // A symlink that leads nowhere is there itself.
    if (type === undefined && (yield* typeAt(call, pathOf(call, name), 'never')) === undefined)
      yield* attempt(() => system.mounts.find(pathOf(call, name)).release());
    yield* writeText(io[1], `${yield* lineOf(call, pathOf(call, name), name)}\n`);
    first = false;
  });
  const unread = yield* each(call, directories, function* (name) {
    const path = pathOf(call, name);
    const entries = yield* attempt(() => withVnode(call, path, vnode => vnode.entries()));
    if (names.length > 1) yield* writeText(io[1], `${first ? '' : '\n'}${name}:\n`);
    first = false;
    const all = ['.', '..', ...entries.map(entry => entry.name)];
    const shown = options.has('a') ? all : all.filter(entry => !entry.startsWith('.'));
    for (const entry of shown.sort()) yield* writeText(io[1], `${yield* lineOf(call, joined(path, entry), entry)}\n`);
  });
  return missing + unread === 0 ? 0 : 2;
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

export const ls: UtilityProgram = { options: 'lad1', misuse: 2, run: list };
