// A volume's files by paths, as guest programs have them. Below are the same vnodes that processes use.
import type { FileInfo, OpenMode } from 'xenolith';
import { XenError } from '#pvbus';
import type { FileSystem, Vnode } from '../fs/file-system.ts';
import { type Located, MountTable } from '../fs/mount-table.ts';
import { makeDirectory, removeDirectory, removeFile, rename } from '../fs/path-operations.ts';
import { Openings, ProgramFile } from './program-file.ts';

const NS_PER_MS = 1_000_000n;
const LEADS_NOWHERE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);

export interface LabelledVolume extends FileSystem {
  label(): string;
}

/** One for a volume: it knows what is open. Symlinks are followed and do not lead out of it. */
export class VolumeFiles {
  readonly volume: LabelledVolume;
  private readonly paths: MountTable;
  private readonly openings = new Openings();

  constructor(volume: LabelledVolume) {
    this.volume = volume;
    this.paths = new MountTable(volume);
  }

  // ---- the volume ----

  space(): { free: number; total: number } {
    return this.volume.space();
  }
  label(): string {
    return this.volume.label();
  }
  /** Everything written so far is on the medium when this returns, or an earlier failure is thrown. */
  sync(): void {
    this.volume.sync();
  }

  // ---- whole files ----

  readFile(path: string): Uint8Array {
    return this.withFile(path, 'r', file => {
      const bytes = new Uint8Array(file.size);
      const got = file.read(bytes);
      return got === bytes.length ? bytes : bytes.subarray(0, got);
    });
  }
  /** The file holds exactly `data` afterwards. */
  writeFile(path: string, data: Uint8Array, sync = false): void {
    this.withFile(path, 'w', file => {
      file.write(data);
      if (sync) file.sync();
    });
  }
  /** All of `data` is at the end of the file afterwards, or, when this throws ENOSPC, none of it. */
  appendFile(path: string, data: Uint8Array, sync = false): void {
    this.withFile(path, 'a', file => {
      const before = file.size;
      try {
        file.write(data, before);
      } catch (error) {
        if (error instanceof XenError && error.code === 'ENOSPC') file.truncate(before);
        throw error;
      }
      if (sync) file.sync();
    });
  }
  truncate(path: string, size: number): void {
    this.withFile(path, 'r+', file => file.truncate(size));
  }

  // ---- open files ----

  /** A file may be open many times for reading, or once for writing: EBUSY. Processes do not count. */
  open(path: string, mode: OpenMode): ProgramFile {
    return this.withLocated(path, 'always', located => {
      const what = `open ${path}`;
      const writing = mode !== 'r';
      if (writing) this.checkWritable(what);
      const vnode = this.openable(what, located, mode === 'w' || mode === 'a');
      try {
        if (vnode.type === 'directory') throw new XenError('EISDIR', `${what}: it is a directory`);
        const { isReadOnly, size } = vnode.attributes();
        if (writing && isReadOnly) throw new XenError('EACCES', `${what}: the file is read-only`);
        this.openings.check(what, vnode, writing);
        if (mode === 'w' && size > 0) vnode.truncate(0);
        const file = new ProgramFile(path, vnode.hold(), this.openings, writing);
        if (mode === 'a') file.position = size;
        return file;
      } finally {
        vnode.release();
      }
    });
  }
  private openable(what: string, { directory, name, vnode, wantsDirectory }: Located, creates: boolean): Vnode {
    if (vnode) return vnode.hold();
    if (!creates) throw new XenError('ENOENT', `${what}: no such file`);
    if (wantsDirectory) throw new XenError('EISDIR', `${what}: the path is a directory's`);
    return directory.create(name, 'file');
  }
  private withFile<T>(path: string, mode: OpenMode, use: (file: ProgramFile) => T): T {
    const file = this.open(path, mode);
    try {
      return use(file);
    } finally {
      file.close();
    }
  }

  // ---- names ----

  stat(path: string): FileInfo {
    return this.withLocated(path, 'always', ({ name, vnode }) => {
      if (!vnode) throw new XenError('ENOENT', `stat ${path}: no such file`);
      return infoOf(vnode, vnode === this.volume.root ? '/' : name);
    });
  }
  exists(path: string): boolean {
    try {
      this.paths.find(path).release();
      return true;
    } catch (error) {
      if (error instanceof XenError && LEADS_NOWHERE.has(error.code)) return false;
      throw error;
    }
  }
  /** What is in a directory, in the disk's order. A symlink is what it leads to, or itself where that is nothing. */
  list(path = '/'): FileInfo[] {
    const directory = this.paths.find(path);
    try {
      if (directory.type !== 'directory') throw new XenError('ENOTDIR', `list ${path}: it is a file`);
      return directory.entries().flatMap(({ name, type }) => this.listed(path, directory, name, type === 'symlink'));
    } finally {
      directory.release();
    }
  }
  private listed(path: string, directory: Vnode, name: string, isSymlink: boolean): FileInfo[] {
    const at = `${path}/${name}`;
    if (isSymlink && this.exists(at)) return [{ ...this.stat(at), name }];
    const vnode = directory.lookup(name);
    if (!vnode) return [];
    try {
      return [infoOf(vnode, name)];
    } finally {
      vnode.release();
    }
  }
  /** With `recursive`, missing parents are made too and an existing directory is no error. */
  mkdir(path: string, recursive = false): void {
    if (!recursive) {
      makeDirectory(this.paths, { path });
      return;
    }
    const names = path.split('/');
    for (let depth = 1; depth <= names.length; depth++) {
      this.withLocated(`/${names.slice(0, depth).join('/')}`, 'always', ({ directory, name, vnode }) => {
        if (vnode && vnode.type !== 'directory') throw new XenError('ENOTDIR', `mkdir ${path}: ${name} is a file`);
        if (!vnode) directory.create(name, 'directory').release();
      });
    }
  }
  /** A file, or an empty directory. */
  remove(path: string): void {
    const what = `remove ${path}`;
    const { type, isReadOnly } = this.movable(what, path);
    if (isReadOnly) throw new XenError('EACCES', `${what}: the file is read-only`);
    if (type === 'directory') removeDirectory(this.paths, { path });
    else removeFile(this.paths, { path });
  }
  /** EEXIST when `to` exists. */
  rename(from: string, to: string): void {
    const what = `rename ${from} to ${to}`;
    this.movable(what, from);
    this.withLocated(from, 'never', source =>
      this.withLocated(to, 'never', target => {
        // One that is found by the new name too, as where case does not count, is only called by that from now on.
        const isItself = target.vnode === source.vnode && target.directory === source.directory && hasOneName(source);
        if (target.vnode && !isItself) throw new XenError('EEXIST', `${what}: it exists already`);
      }),
    );
    rename(this.paths, { path: from }, { path: to });
  }
  /** What is there, which no program has open. */
  private movable(what: string, path: string): { type: Vnode['type']; isReadOnly: boolean } {
    return this.withLocated(path, 'never', ({ vnode }) => {
      if (!vnode) throw new XenError('ENOENT', `${what}: no such file`);
      if (vnode === this.volume.root) throw new XenError('EBUSY', `${what}: it is the root`);
      this.checkWritable(what);
      if (this.openings.isOpen(vnode)) throw new XenError('EBUSY', `${what}: the file is open`);
      return { type: vnode.type, isReadOnly: vnode.attributes().isReadOnly ?? false };
    });
  }

  private checkWritable(what: string): void {
    if (this.volume.readOnly) throw new XenError('EROFS', `${what}: the disk is read-only`);
  }
  private withLocated<T>(path: string, follow: 'always' | 'never', act: (located: Located) => T): T {
    const located = this.paths.locate(path, { follow });
    try {
      return act(located);
    } finally {
      located.release();
    }
  }
}

const hasOneName = ({ vnode }: Located): boolean => vnode?.type === 'directory' || vnode?.attributes().nlink === 1;

function infoOf(vnode: Vnode, name: string): FileInfo {
  const { type, size, mtimeNs, isReadOnly = false } = vnode.attributes();
  const isDirectory = type === 'directory';
  const modified = new Date(Number(mtimeNs / NS_PER_MS));
  return { name: vnode.spelling ?? name, size: isDirectory ? 0 : size, isDirectory, isReadOnly, modified };
}
