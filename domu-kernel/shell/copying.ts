// cp, mv, ln: one more place for what is there, or another one.
import { XenError } from '#pvbus';
import type { DescriptorOf } from '../fs/dev-fs.ts';
import type { Vnode } from '../fs/file-system.ts';
import { link, makeDirectory, readlink, removeFile, rename, symlink } from '../fs/path-operations.ts';
import { attempt, readBytes, type Waiting, writeBytes } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import { openVnode } from '../wasi/open-vnode.ts';
import { isSame, pathOf, typeAt, wanted, withVnode } from './file-paths.ts';
import { MAX_DEPTH, remove } from './file-utilities.ts';
import { baseName, joined } from './paths.ts';
import { type Call, each, type UtilityProgram } from './utility.ts';

const CHUNK = 65536;

/** Calls `one` for each source, as it was written, with where it goes: into the last argument if that is a directory. */
function* eachTarget(
  call: Call,
  one: (from: string, to: string) => Waiting<void>,
  nothingInto = false,
): Waiting<number> {
  const { args } = call;
  wanted(args, 2);
  const sources = args.slice(0, -1);
  const last = pathOf(call, args.at(-1)!);
  const into = !nothingInto && (yield* typeAt(call, last)) === 'directory';
  if (sources.length > 1 && !into) throw new XenError('ENOTDIR', `${args.at(-1)}: it is no directory`);
  return yield* each(call, sources, source => one(source, into ? joined(last, baseName(source)) : last));
}
const areSame = (from: string, to: string): XenError => new XenError('EINVAL', `${from} and ${to} are the same file`);

// ---- cp ----

function* cp(call: Call): Waiting<number> {
  const all = call.options.has('r') || call.options.has('R');
  let status = 0;
  const code = yield* eachTarget(call, function* (from, to) {
    if (!(yield* copied(call, pathOf(call, from), to, all))) status = 1;
  });
  return code || status;
}
/** A tree, of which `into` is where the copy goes: false where a part was left out, which was said. */
function* copied(call: Call, from: string, to: string, all: boolean): Waiting<boolean> {
  const copy = new Copy(call, all);
  try {
    yield* copy.any(from, to, 0);
    return copy.whole;
  } finally {
    copy.end();
  }
}
class Copy {
  whole = true;
  readonly #call: Call;
  readonly #all: boolean;
  /** The directory that the first one is copied to, in use: what is copied may have it in it. */
  #target: Vnode | undefined;

  constructor(call: Call, all: boolean) {
    this.#call = call;
    this.#all = all;
  }
  end(): void {
    this.#target?.release();
  }
  *any(from: string, to: string, depth: number): Waiting<void> {
    const call = this.#call;
    const type = yield* typeAt(call, from, this.#all ? 'never' : 'always');
    if (depth > MAX_DEPTH) throw new XenError('ELOOP', `${from}: more than ${MAX_DEPTH} directories in one another`);
    if (type === 'symlink') yield* this.#symlink(from, to);
    else if (type === 'directory') yield* this.#directory(from, to, depth);
    else if (type === 'character' && this.#all) throw new XenError('EINVAL', `${from}: it is a device`);
    else yield* copyFile(call, from, to);
  }
  *#symlink(from: string, to: string): Waiting<void> {
    const { mounts } = this.#call.system;
    if (yield* isSame(this.#call, from, to, true)) throw areSame(from, to);
    const old = yield* typeAt(this.#call, to, 'never');
    if (old === 'file' || old === 'symlink') yield* attempt(() => removeFile(mounts, { path: to }));
    yield* attempt(() => symlink(mounts, readlink(mounts, { path: from }), { path: to }));
  }
  *#directory(from: string, to: string, depth: number): Waiting<void> {
    const call = this.#call;
    const { mounts } = call.system;
    if (!this.#all) throw new XenError('EISDIR', `${from}: it is a directory: cp -r`);
    const isTarget = (): boolean => withVnode(call, from, vnode => vnode === this.#target);
    if (yield* attempt(isTarget)) throw new XenError('EINVAL', `${from}: into itself`);
    if ((yield* typeAt(call, to)) === undefined) yield* attempt(() => makeDirectory(mounts, { path: to }));
    this.#target ??= yield* attempt(() => mounts.find(to));
    if (depth === 0 && (yield* attempt(isTarget))) throw areSame(from, to);
    const entries = yield* attempt(() => withVnode(call, from, vnode => vnode.entries()));
    const status = yield* each(call, entries, ({ name }) => this.any(joined(from, name), joined(to, name), depth + 1));
    if (status !== 0) this.whole = false;
  }
}
function* copyFile({ system, io }: Call, from: string, to: string): Waiting<void> {
  const own: DescriptorOf = fd => io[fd as 0 | 1 | 2];
  const source = yield* attempt(() => system.mounts.find(from));
  try {
    const target = yield* attempt(() => system.create(to));
    try {
      if (source === target) throw areSame(from, to);
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

// ---- mv, ln ----

function* mv(call: Call): Waiting<number> {
  const { mounts } = call.system;
  return yield* eachTarget(call, function* (source, to) {
    const from = pathOf(call, source);
    if (yield* isSame(call, from, to, true)) throw areSame(from, to);
    try {
      yield* attempt(() => rename(mounts, { path: from }, { path: to }));
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'EXDEV') throw error;
      // What could not be copied stays where it is.
      if (!(yield* copied(call, from, to, true))) throw new XenError('EIO', `${from}: not all of it could be moved`);
      yield* remove(call, from, 0);
    }
  });
}
function* ln(call: Call): Waiting<number> {
  const { options, system } = call;
  const { mounts } = system;
  // One name: to be had in the working directory as well.
  const args = call.args.length === 1 ? [...call.args, '.'] : call.args;
  const last = args.at(-1) ?? '';
  const isLink = options.has('n') && last !== '' && (yield* typeAt(call, pathOf(call, last), 'never')) === 'symlink';
  const one = function* (target: string, to: string): Waiting<void> {
    const old = yield* typeAt(call, to, 'never');
    if (options.has('f') && old !== undefined && old !== 'directory') {
      const from = pathOf(call, target);
      if (yield* isSame(call, from, to, options.has('s'))) throw areSame(target, to);
      if (!options.has('s')) yield* attempt(() => mounts.find(from).release());
      yield* attempt(() => removeFile(mounts, { path: to }));
    }
    if (options.has('s')) yield* attempt(() => symlink(mounts, target, { path: to }));
    else yield* attempt(() => link(mounts, { path: pathOf(call, target) }, { path: to }, true));
  };
  return yield* eachTarget({ ...call, args }, one, isLink);
}

export const COPYING: Readonly<Record<string, UtilityProgram>> = {
  cp: { options: 'rR', run: cp },
  mv: { options: 'f', run: mv },
  ln: { options: 'sfn', run: ln },
};
