// rm, mkdir, rmdir, touch.
import { XenError } from '#pvbus';
import { makeDirectory, removeDirectory, removeFile } from '../fs/path-operations.ts';
import { attempt, type Waiting } from '../process/transfer.ts';
import { pathOf, typeAt, wanted, withVnode } from './file-paths.ts';
import { joined } from './paths.ts';
import { type Call, each, type UtilityProgram } from './utility.ts';

/** Directories in one another that are copied or removed. */
export const MAX_DEPTH = 256;

function* rm(call: Call): Waiting<number> {
  const { options, args, system } = call;
  const all = options.has('r') || options.has('R');
  if (!options.has('f')) wanted(args, 1);
  return yield* each(call, args, function* (word) {
    if (word === '' && options.has('f')) return;
    const path = pathOf(call, word);
    const type = yield* typeAt(call, path, 'never');
    if (type === undefined && options.has('f')) return;
    if (type !== 'directory' || !all) return yield* attempt(() => removeFile(system.mounts, { path }));
    if (/(^|\/)\.{0,2}\/*$/.test(path.replace(/\/+$/, '')))
      throw new XenError('EINVAL', `${word}: neither '.', '..' nor '/' is removed`);
    yield* remove(call, path, 0);
  });
}
export function* remove(call: Call, path: string, depth: number): Waiting<void> {
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
  return yield* each(call, args, function* (word) {
    const names = pathOf(call, word).split('/').filter(Boolean);
    for (let n = options.has('p') ? 1 : Math.max(1, names.length); n <= Math.max(1, names.length); n++) {
      const path = `/${names.slice(0, n).join('/')}`;
      if (options.has('p') && (yield* typeAt(call, path)) === 'directory') continue;
      yield* attempt(() => makeDirectory(system.mounts, { path }));
    }
  });
}
function* rmdir(call: Call): Waiting<number> {
  wanted(call.args, 1);
  return yield* each(call, call.args, word =>
    attempt(() => removeDirectory(call.system.mounts, { path: pathOf(call, word) })),
  );
}
function* touch(call: Call): Waiting<number> {
  const { system, args } = call;
  wanted(args, 1);
  return yield* each(call, args, function* (word) {
    const path = pathOf(call, word);
    const isDirectory = (yield* typeAt(call, path)) === 'directory';
    const file = yield* attempt(() => (isDirectory ? system.mounts.find(path) : system.create(path)));
    try {
      const now = BigInt(Math.floor(system.clock.wallMs())) * 1_000_000n;
      yield* attempt(() => file.setTimes({ atimeNs: now, mtimeNs: now }));
    } finally {
      file.release();
    }
  });
}

export const FILE_UTILITIES: Readonly<Record<string, UtilityProgram>> = {
  rm: { options: 'rRf', run: rm },
  mkdir: { options: 'p', run: mkdir },
  rmdir: { options: '', run: rmdir },
  touch: { options: '', run: touch },
};
