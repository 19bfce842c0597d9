// untrusted: unpacking an archive into a file system. Whatever it holds, nothing is made outside of the given directory,
// and nothing that it does not have the bytes for.
import { XenError } from '#pvbus';
import { type ArchiveEntry, refuse } from './archive-entry.ts';
import { isCpio, readCpio } from './cpio.ts';
import type { Vnode } from './file-system.ts';
import { isTar, readTar } from './tar.ts';

const MAX_PATH = 4096;

export const isArchive = (bytes: Uint8Array): boolean => isCpio(bytes) || isTar(bytes);

/** How many entries there were. EINVAL with the reason when it is refused; what came before that stays. */
export function unpackArchive(archive: Uint8Array, root: Vnode): number {
  const unpacking = new Unpacking(root);
  const entries = isCpio(archive) ? readCpio(archive) : readTar(archive);
  let count = 0;
  try {
    for (const entry of entries) {
      unpacking.add(entry);
      count++;
    }
    unpacking.finish();
  } finally {
    unpacking.release();
  }
  return count;
}

class Unpacking {
  private readonly root: Vnode;
  /** Files that have several names in a cpio archive. */
  private readonly inodes = new Map<string, Vnode>();
  /** Set last: what comes into a directory changes its time. */
  private readonly directoryTimes = new Map<Vnode, bigint>();

  constructor(root: Vnode) {
    this.root = root;
  }

  add(entry: ArchiveEntry): void {
    const names = namesOf(entry.path);
    const name = names.pop();
    if (entry.type === 'device') return;
    if (name === undefined) {
      // The root itself, as './'.
      if (entry.type === 'directory') this.keepTime(this.root.hold(), entry.mtimeNs);
      else throw refuse(`'${entry.path}' is no name for a file`);
      return;
    }
    const directory = this.directory(entry.path, names);
    try {
      this.put(directory, name, entry);
    } catch (error) {
      if (error instanceof XenError && error.code !== 'EINVAL') {
        throw new XenError(error.code, `unpacking ${entry.path}: ${error.message}`, error);
      }
      throw error;
    } finally {
      directory.release();
    }
  }
  finish(): void {
    for (const [directory, mtimeNs] of this.directoryTimes) directory.setTimes({ mtimeNs });
  }
  release(): void {
    for (const vnode of this.inodes.values()) vnode.release();
    for (const vnode of this.directoryTimes.keys()) vnode.release();
  }

  private put(directory: Vnode, name: string, entry: ArchiveEntry): void {
    const { type, path } = entry;
    const there = directory.lookup(name);
    there?.release();
    if (type === 'directory') {
      if (there && there.type !== 'directory') throw refuse(`${path} is a directory and a ${there.type}`);
      const made = there ? there.hold() : directory.create(name, 'directory');
      this.keepTime(made, entry.mtimeNs);
      return;
    }
    if (there?.type === 'directory') throw refuse(`${path} is a ${type} and a directory`);
    const first = entry.inode === undefined ? undefined : this.inodes.get(entry.inode);
    const linked = type === 'link' ? this.linked(entry) : first?.hold();
    try {
      // A name that comes twice is what came last, as when tar extracts it.
      if (linked && linked === there) return;
      if (there) directory.unlink(name);
      if (linked) {
        directory.link(name, linked);
        if (type === 'file' && entry.data.length > 0) fill(linked, entry);
        return;
      }
    } finally {
      linked?.release();
    }
    if (type === 'symlink') {
      directory.symlink(name, entry.target).release();
      return;
    }
    const file = directory.create(name, 'file');
    try {
      fill(file, entry);
      if (entry.inode !== undefined) this.inodes.set(entry.inode, file.hold());
    } finally {
      file.release();
    }
  }
  /** What a tar's link is a name for: a file that came before. */
  private linked({ path, target }: ArchiveEntry): Vnode {
    const names = namesOf(target);
    const name = names.pop();
    const directory = this.directory(target, names);
    try {
      const file = name === undefined ? undefined : directory.lookup(name);
      if (file && file.type !== 'directory') return file;
      file?.release();
      throw refuse(`${path} is a link to ${target}, which is not before it`);
    } finally {
      directory.release();
    }
  }
  /** Directories that the archive does not list are made. */
  private directory(path: string, names: readonly string[]): Vnode {
    let directory = this.root.hold();
    for (const name of names) {
      const next: Vnode = directory.lookup(name) ?? directory.create(name, 'directory');
      directory.release();
      directory = next;
      if (next.type === 'directory') continue;
      next.release();
      throw refuse(`${path} leads through ${name}, which is a ${next.type}`);
    }
    return directory;
  }
  private keepTime(directory: Vnode, mtimeNs: bigint): void {
    if (this.directoryTimes.has(directory)) directory.release();
    this.directoryTimes.set(directory, mtimeNs);
  }
}

function fill(file: Vnode, { data, mtimeNs }: ArchiveEntry): void {
  if (file.write(0, data) < data.length) throw new XenError('ENOSPC', 'there is no room for it');
  file.setTimes({ mtimeNs });
}
function namesOf(path: string): string[] {
  if (path.startsWith('/')) throw refuse(`'${shortened(path)}' is an absolute name`);
  if (Buffer.byteLength(path) > MAX_PATH) throw refuse(`a name of ${path.length} characters`);
  const names = path.split('/').filter(name => name !== '' && name !== '.');
  if (names.includes('..')) throw refuse(`'${shortened(path)}' leads out of the archive`);
  return names;
}
const shortened = (path: string): string => (path.length > 80 ? `${path.slice(0, 80)}…` : path);
