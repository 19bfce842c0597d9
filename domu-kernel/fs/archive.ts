// untrusted: unpacking an archive into a file system. Whatever it holds, nothing is made outside of the given directory,
// and nothing that it does not have the bytes for.
import { type ArchiveEntry, archiveEntries, unusableArchive, XenError } from '#pvbus';
import type { Vnode } from './file-system.ts';

/** EINVAL with the reason when it is refused; what came before that stays. */
export function unpackArchive(archive: Uint8Array, root: Vnode): void {
  const unpacking = new Unpacking(root);
  try {
    for (const entry of archiveEntries(archive)) unpacking.add(entry);
    unpacking.finish();
  } finally {
    unpacking.release();
  }
}

class Unpacking {
  private readonly root: Vnode;
  /** Set last: what comes into a directory changes its time. */
  private readonly directoryTimes = new Map<Vnode, bigint>();

  constructor(root: Vnode) {
    this.root = root;
  }

  add(entry: ArchiveEntry): void {
    const { directory, name } = this.parentOf(entry.path);
    try {
      if (name === '') this.keepTime(directory.hold(), entry);
      else this.put(directory, name, entry);
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
    for (const vnode of this.directoryTimes.keys()) vnode.release();
  }

  private put(directory: Vnode, name: string, entry: ArchiveEntry): void {
    const { type, path, data } = entry;
    const there = directory.lookup(name);
    there?.release();
    if (there && (there.type === 'directory') !== (type === 'directory'))
      throw unusableArchive(`${path} is a ${type} and a ${there.type}`);
    if (type === 'directory') {
      this.keepTime(there ? there.hold() : directory.create(name, type), entry);
      return;
    }
    if (type === 'link') {
      const linked = this.linked(entry);
      try {
        if (linked === there) return;
        if (there) directory.unlink(name);
        directory.link(name, linked);
      } finally {
        linked.release();
      }
      return;
    }
    // A name that comes twice is what came last, as when tar extracts it.
    if (there) directory.unlink(name);
    if (type === 'symlink') {
      directory.symlink(name, entry.target).release();
      return;
    }
    const file = directory.create(name, type);
    try {
      if (file.write(0, data) < data.length) throw new XenError('ENOSPC', 'there is no room for it');
      file.setTimes({ mtimeNs: mtimeNsOf(entry) });
    } finally {
      file.release();
    }
  }
  /** What a link is a name for: a file that came before. */
  private linked({ path, target }: ArchiveEntry): Vnode {
    const { directory, name } = this.parentOf(target);
    try {
      const file = name === '' ? undefined : directory.lookup(name);
      if (file && file.type !== 'directory') return file;
      file?.release();
      throw unusableArchive(`${path} is a link to ${target}, which is not before it`);
    } finally {
      directory.release();
    }
  }
  /** Directories that the archive does not list are made. The root is the `` in itself. */
  private parentOf(path: string): { directory: Vnode; name: string } {
    const names = path.split('/');
    const last = names.pop() ?? '';
    let directory = this.root.hold();
    for (const name of names) {
      const next: Vnode = directory.lookup(name) ?? directory.create(name, 'directory');
      directory.release();
      directory = next;
      if (next.type === 'directory') continue;
      next.release();
      throw unusableArchive(`${path} leads through ${name}, which is a ${next.type}`);
    }
    return { directory, name: last };
  }
  private keepTime(directory: Vnode, entry: ArchiveEntry): void {
    if (this.directoryTimes.has(directory)) directory.release();
    this.directoryTimes.set(directory, mtimeNsOf(entry));
  }
}

const mtimeNsOf = ({ mtime }: ArchiveEntry): bigint => BigInt(mtime) * 1_000_000_000n;
