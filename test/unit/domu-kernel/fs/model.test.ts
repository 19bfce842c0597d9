// Sequences of operations that nobody thought of, on every file system and on a model of what POSIX says.

import { describe, expect, it } from 'vitest';
import type { FileSystem, Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../../domu-kernel/fs/mount-table.ts';
import * as paths from '../../../../domu-kernel/fs/path-operations.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { ext4Kinds } from '../../../support/ext4-kinds.ts';
import { kinds } from '../../../support/file-systems.ts';
import fc from '../../../support/properties.ts';

/** What a file system is: names in directories, and files that may have lost theirs. */
interface ModelFile {
  bytes: Uint8Array;
}
type ModelNode = ModelFile | Map<string, ModelNode>;

class ModelError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

class Model {
  readonly root = new Map<string, ModelNode>();
  readonly open: (ModelFile | undefined)[] = [];

  private at(path: string): { directory: Map<string, ModelNode>; name: string; node: ModelNode | undefined } {
    const names = path.split('/').filter(Boolean);
    const name = names.pop() ?? '';
    let directory = this.root;
    for (const each of names) {
      const next = directory.get(each);
      if (!next) throw new ModelError('ENOENT');
      if (!(next instanceof Map)) throw new ModelError('ENOTDIR');
      directory = next;
    }
    return { directory, name, node: directory.get(name) };
  }
  openFile(slot: number, path: string): void {
    const { directory, name, node } = this.at(path);
    if (node instanceof Map) throw new ModelError('EISDIR');
    const file = node ?? { bytes: new Uint8Array(0) };
    directory.set(name, file);
    this.open[slot] = file;
  }
  write(slot: number, offset: number, length: number, value: number): void {
    const file = this.open[slot];
    if (!file) return;
    const bytes = new Uint8Array(Math.max(file.bytes.length, offset + length));
    bytes.set(file.bytes);
    bytes.fill(value, offset, offset + length);
    if (length > 0) file.bytes = bytes;
  }
  truncate(slot: number, size: number): void {
    const file = this.open[slot];
    if (!file) return;
    const bytes = new Uint8Array(size);
    bytes.set(file.bytes.subarray(0, size));
    file.bytes = bytes;
  }
  mkdir(path: string): void {
    const { directory, name, node } = this.at(path);
    if (node) throw new ModelError('EEXIST');
    directory.set(name, new Map());
  }
  unlink(path: string): void {
    const { directory, name, node } = this.at(path);
    if (!node) throw new ModelError('ENOENT');
    if (node instanceof Map) throw new ModelError('EISDIR');
    directory.delete(name);
  }
  rmdir(path: string): void {
    const { directory, name, node } = this.at(path);
    if (!node) throw new ModelError('ENOENT');
    if (!(node instanceof Map)) throw new ModelError('ENOTDIR');
    if (node.size > 0) throw new ModelError('ENOTEMPTY');
    directory.delete(name);
  }
  rename(from: string, to: string): void {
    const source = this.at(from);
    const target = this.at(to);
    const { node } = source;
    if (!node) throw new ModelError('ENOENT');
    if (node instanceof Map && `${to}/`.startsWith(`${from}/`) && to !== from) throw new ModelError('EINVAL');
    if (target.node === node) return;
    if (target.node) {
      if (node instanceof Map && !(target.node instanceof Map)) throw new ModelError('ENOTDIR');
      if (node instanceof Map && target.node instanceof Map && target.node.size > 0) throw new ModelError('ENOTEMPTY');
      if (!(node instanceof Map) && target.node instanceof Map) throw new ModelError('EISDIR');
    }
    source.directory.delete(source.name);
    target.directory.set(target.name, node);
  }
}

/** The same on a file system. */
class Real {
  readonly mounts: MountTable;
  readonly open: (Vnode | undefined)[] = [];
  constructor(fs: FileSystem) {
    this.mounts = new MountTable(fs);
  }
  openFile(slot: number, path: string): void {
    const { directory, name, vnode } = this.mounts.locate(path);
    try {
      if (vnode?.type === 'directory') throw new XenError('EISDIR', path);
      const file = vnode?.hold() ?? directory.create(name, 'file');
      this.open[slot]?.release();
      this.open[slot] = file;
    } finally {
      directory.release();
      vnode?.release();
    }
  }
  write(slot: number, offset: number, length: number, value: number): void {
    this.open[slot]?.write(offset, new Uint8Array(length).fill(value));
  }
  truncate(slot: number, size: number): void {
    this.open[slot]?.truncate(size);
  }
  close(slot: number): void {
    this.open[slot]?.release();
    this.open[slot] = undefined;
  }
  mkdir = (path: string): void => paths.makeDirectory(this.mounts, { path });
  unlink = (path: string): void => paths.removeFile(this.mounts, { path });
  rmdir = (path: string): void => paths.removeDirectory(this.mounts, { path });
  rename = (from: string, to: string): void => paths.rename(this.mounts, { path: from }, { path: to });
}

type Step = (on: Pick<Model, 'openFile' | 'write' | 'truncate' | 'mkdir' | 'unlink' | 'rmdir' | 'rename'>) => void;
const SLOTS = 3;
const name = fc.constantFrom('a', 'b', 'a longer name.text', 'Ünïcödé');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map(names => `/${names.join('/')}`);
const slot = fc.integer({ min: 0, max: SLOTS - 1 });
const step: fc.Arbitrary<{ readonly text: string; readonly act: Step | 'remount' | { readonly close: number } }> =
  fc.oneof(
    fc
      .tuple(slot, path)
      .map(([s, p]) => ({ text: `open ${s} ${p}`, act: (on: Parameters<Step>[0]) => on.openFile(s, p) })),
    fc
      .tuple(
        slot,
        fc.integer({ min: 0, max: 9000 }),
        fc.integer({ min: 0, max: 9000 }),
        fc.integer({ min: 1, max: 255 }),
      )
      .map(([s, at, n, v]) => ({
        text: `write ${s} ${at}+${n}`,
        act: (on: Parameters<Step>[0]) => on.write(s, at, n, v),
      })),
    fc
      .tuple(slot, fc.integer({ min: 0, max: 12_000 }))
      .map(([s, n]) => ({ text: `truncate ${s} ${n}`, act: (on: Parameters<Step>[0]) => on.truncate(s, n) })),
    slot.map(s => ({ text: `close ${s}`, act: { close: s } })),
    path.map(p => ({ text: `mkdir ${p}`, act: (on: Parameters<Step>[0]) => on.mkdir(p) })),
    path.map(p => ({ text: `unlink ${p}`, act: (on: Parameters<Step>[0]) => on.unlink(p) })),
    path.map(p => ({ text: `rmdir ${p}`, act: (on: Parameters<Step>[0]) => on.rmdir(p) })),
    fc
      .tuple(path, path)
      .map(([a, b]) => ({ text: `rename ${a} ${b}`, act: (on: Parameters<Step>[0]) => on.rename(a, b) })),
    fc.constant({ text: 'remount', act: 'remount' as const }),
  );

function codeOf(act: () => void): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError || error instanceof ModelError) return error.code;
    throw error;
  }
  return 'done';
}
function compare(real: Vnode, model: Map<string, ModelNode>, where: string): void {
  expect(
    real
      .entries()
      .map(entry => entry.name)
      .sort(),
    where,
  ).toEqual([...model.keys()].sort());
  for (const [name, node] of model) {
    const child = real.lookup(name);
    if (!child) throw new Error(`${where}/${name} is not there`);
    if (node instanceof Map) compare(child, node, `${where}/${name}`);
    else compareFile(child, node, `${where}/${name}`);
    child.release();
  }
}
function compareFile(real: Vnode, { bytes }: ModelFile, where: string): void {
  const into = new Uint8Array(bytes.length + 1);
  expect([where, real.attributes().size, real.read(0, into)]).toEqual([where, bytes.length, bytes.length]);
  if (Buffer.compare(into.subarray(0, bytes.length), bytes) !== 0) throw new Error(`${where} holds something else`);
}

/** A remount is no end of the guest, after which ext2 would be read-only. */
const UNMODELLED = ['FAT32', 'an archive', 'ext2'];
const modelled = [...kinds, ...ext4Kinds].filter(({ name }) => !UNMODELLED.includes(name));

describe.each(modelled)('$name', kind => {
  it('does what a model does, whatever is asked of it', () => {
    const property = fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), steps => {
      const made = kind.make();
      let { fs } = made;
      let real = new Real(fs);
      const model = new Model();
      for (const { text, act } of steps) {
        if (act === 'remount') {
          if (!made.remount) continue;
          for (let s = 0; s < SLOTS; s++) real.close(s);
          model.open.length = 0;
          fs.sync();
          expect(fs.inUse).toBe(false);
          fs = made.remount();
          real = new Real(fs);
        } else if (typeof act === 'object') {
          real.close(act.close);
          model.open[act.close] = undefined;
        } else {
          const wanted = codeOf(() => act(model));
          expect([text, codeOf(() => act(real))]).toEqual([text, wanted]);
        }
      }
      compare(fs.root, model.root, '');
      for (const [s, file] of model.open.entries()) {
        const held = real.open[s];
        if (file && held) compareFile(held, file, `open ${s}`);
      }
      for (let s = 0; s < SLOTS; s++) real.close(s);
      expect(fs.inUse).toBe(false);
      compare(fs.root, model.root, '');
      made.check?.();
    });
    fc.assert(property, { numRuns: Number(process.env.XENOLITH_FS_RUNS ?? 20) });
  });
});
