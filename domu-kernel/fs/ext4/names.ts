// What is in a directory, read once and kept.
import { XenError } from '#pvbus';
import type { DirectoryEntry, FileType } from '../file-system.ts';
import type { Ext4Core } from './core.ts';
import { fileType } from './node.ts';

const TYPES: readonly (FileType | undefined)[] = [
  undefined,
  'file',
  'directory',
  'character',
  'character',
  'character',
  'character',
  'symlink',
];
const decoder = new TextDecoder();

export class Ext4Names {
  /** The inode of the directory that it is in. */
  parent: number;
  private readonly entries = new Map<string, DirectoryEntry>();

  private constructor(parent: number) {
    this.parent = parent;
  }
  static read(core: Ext4Core, what: string, directory: number): Ext4Names {
    core.call(what, x => x.list(directory));
    const bytes = core.bytes(core.x.listed_at(), core.x.listed_bytes()).slice();
    const view = new DataView(bytes.buffer);
    const names = new Ext4Names(view.getUint32(0, true));
    for (let at = 4; at + 6 <= bytes.length; ) {
      const ino = view.getUint32(at, true);
      const length = view.getUint8(at + 5);
      const name = decoder.decode(bytes.subarray(at + 6, at + 6 + length));
      names.put({ name, ino, type: TYPES[view.getUint8(at + 4)] ?? typeOf(core, what, ino) });
      at += 6 + length;
    }
    return names;
  }
  get(name: string): DirectoryEntry | undefined {
    return this.entries.get(name);
  }
  put(entry: DirectoryEntry): void {
    this.entries.set(entry.name, entry);
  }
  delete(name: string): void {
    this.entries.delete(name);
  }
  list(): DirectoryEntry[] {
    return [...this.entries.values()];
  }
}

/** Where directories do not say it. */
function typeOf(core: Ext4Core, what: string, ino: number): FileType {
  core.call(what, x => x.attributes_of(ino));
  const mode = core.doubles(core.x.attributes_at(), 1)[0];
  if (mode === undefined) throw new XenError('EIO', `${what}: no attributes`);
  return fileType(mode);
}
