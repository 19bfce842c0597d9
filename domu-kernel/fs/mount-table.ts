// Which file system lies where, and what a path leads to over all of them.
import { XenError } from '#pvbus';
import type { FileSystem, Vnode } from './file-system.ts';

/** As Linux counts: symlinks in one walk, bytes in one path. */
const MAX_SYMLINKS = 40;
const MAX_PATH_BYTES = 4096;

/** Symlinks in the last place: followed; followed only when a '/' follows them; never. Those before it always are. */
export type Follow = 'always' | 'slash' | 'never';

export interface WalkOptions {
  /** Default 'always'. */
  readonly follow?: Follow;
  /** The walk begins here and never leaves it: EPERM. Without it, it begins at the root of everything. */
  readonly beneath?: Vnode | undefined;
}

/** Where a path leads. Both vnodes are in use until `release`. */
export interface Located {
  /** Which has the last name, or would have it. */
  readonly directory: Vnode;
  /** '' where the path ends in '.', '..' or the beginning: `vnode` is `directory` then. */
  readonly name: string;
  readonly vnode: Vnode | undefined;
  /** The path ends in '/': only a directory will do. */
  readonly wantsDirectory: boolean;
  /** `vnode` is not in use by this any more: who removes a file that nobody uses need not keep it. */
  letGo(): void;
  release(): void;
}

interface Mount {
  readonly path: string;
  readonly fs: FileSystem;
  readonly covered: Vnode | undefined;
}

export class MountTable {
  private readonly root: Vnode;
  private readonly mounts: Mount[];
  private readonly byCovered = new Map<Vnode, Mount>();
  private readonly provided = new Map<string, Vnode>();

  constructor(root: FileSystem) {
    this.root = root.root;
    this.mounts = [{ path: '/', fs: root, covered: undefined }];
  }

  /** In the order they were mounted, the root first. */
  list(): readonly { readonly path: string; readonly fs: FileSystem }[] {
    return this.mounts;
  }
  /** At a name in the root, which needs no directory of that name: no disk is written to for it. Always there. */
  provide(name: string, fs: FileSystem): void {
    this.mounts.push({ path: `/${name}`, fs, covered: undefined });
    this.provided.set(name, fs.root);
  }
  /** Over a directory, whose own files are out of sight meanwhile. */
  mount(path: string, fs: FileSystem): void {
    const covered = this.find(path);
    try {
      const what = `mount ${fs.name} on ${path}`;
      if (covered.type !== 'directory') throw new XenError('ENOTDIR', `${what}: it is no directory`);
      if (this.isMountPoint(covered)) throw new XenError('EBUSY', `${what}: something is mounted there`);
      if (this.mounts.some(mount => mount.fs === fs)) throw new XenError('EBUSY', `${what}: it is mounted already`);
      const mount = { path: normalized(path), fs, covered: covered.hold() };
      this.mounts.push(mount);
      this.byCovered.set(covered, mount);
    } finally {
      covered.release();
    }
  }
  /** All of it is on the medium afterwards. EBUSY while anything of it is in use. */
  umount(path: string): void {
    const root = this.find(path);
    const mount = this.mounts.find(({ fs }) => fs.root === root);
    root.release();
    const what = `umount ${path}`;
    if (!mount) throw new XenError('EINVAL', `${what}: nothing is mounted there`);
    if (!mount.covered) throw new XenError('EBUSY', `${what}: it is always there`);
    // What is mounted inside it has a directory of it in use.
    if (mount.fs.inUse) throw new XenError('EBUSY', `${what}: files are in use`);
    mount.fs.sync();
    mount.fs.close();
    this.mounts.splice(this.mounts.indexOf(mount), 1);
    this.byCovered.delete(mount.covered);
    mount.covered.release();
  }
  /** It cannot be removed or renamed. */
  isMountPoint(vnode: Vnode): boolean {
    return this.mounts.some(({ fs, covered }) => covered === vnode || fs.root === vnode);
  }
  /** Everything that is mounted; the first failure is thrown when all have been tried. */
  sync(): void {
    let failure: unknown;
    for (const { fs } of this.mounts) {
      try {
        if (!fs.readOnly) fs.sync();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure) throw failure;
  }

  /** What is there, in use. ENOENT. */
  find(path: string, options?: WalkOptions): Vnode {
    const located = this.locate(path, options);
    try {
      if (located.vnode) return located.vnode.hold();
      throw new XenError('ENOENT', `${path}: no such file or directory`);
    } finally {
      located.release();
    }
  }

  /** ENOENT for a missing directory on the way, ENOTDIR, ELOOP, ENAMETOOLONG, EPERM out of `beneath`. */
  locate(path: string, { follow = 'always', beneath }: WalkOptions = {}): Located {
    if (path === '') throw new XenError('ENOENT', 'an empty path');
    if (path.includes('\0')) throw new XenError('EINVAL', 'a path with a NUL');
    if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
      throw new XenError('ENAMETOOLONG', `a path of more than ${MAX_PATH_BYTES} bytes`);
    }
    const walk = new Walk(path, beneath ?? this.root, beneath !== undefined && beneath !== this.root);
    try {
      return this.walk(walk, follow);
    } catch (error) {
      walk.release();
      throw error;
    }
  }

  private walk(walk: Walk, follow: Follow): Located {
    for (;;) {
      const name = walk.next();
      if (name === undefined) return walk.end('', walk.directory.hold());
      if (name === '.') continue;
      if (name === '..') {
        walk.leave();
        continue;
      }
      const vnode = this.child(walk.directory, name);
      if (vnode?.type === 'symlink') {
        const followed = walk.hasMore || follow === 'always' || (follow === 'slash' && walk.wantsDirectory);
        if (followed) {
          walk.insert(targetOf(vnode));
          continue;
        }
      }
      if (!walk.hasMore) {
        if (walk.wantsDirectory && follow !== 'never' && vnode && vnode.type !== 'directory') {
          vnode.release();
          throw walk.error('ENOTDIR', `${name} is no directory`);
        }
        return walk.end(name, vnode);
      }
      if (!vnode) throw walk.error('ENOENT', 'no such directory');
      if (vnode.type !== 'directory') {
        vnode.release();
        throw walk.error('ENOTDIR', `${name} is no directory`);
      }
      walk.enter(vnode);
    }
  }
  /** Of that name, or what is mounted over it. */
  private child(directory: Vnode, name: string): Vnode | undefined {
    const provided = directory === this.root ? this.provided.get(name) : undefined;
    if (provided) return provided.hold();
    const vnode = directory.lookup(name);
    const mount = vnode && this.byCovered.get(vnode);
    if (!mount) return vnode;
    vnode.release();
    return mount.fs.root.hold();
  }
}

/** One walk: the names still to come, and the directories on the way, all in use. */
class Walk {
  wantsDirectory: boolean;
  private readonly path: string;
  private readonly confined: boolean;
  private readonly stack: Vnode[];
  /** The next one last. */
  private readonly names: string[] = [];
  private symlinks = 0;

  constructor(path: string, from: Vnode, confined: boolean) {
    this.path = path;
    this.confined = confined;
    if (from.type !== 'directory') throw this.error('ENOTDIR', 'not beneath a directory');
    if (confined && path.startsWith('/')) throw this.error('EPERM', 'an absolute path');
    this.wantsDirectory = path.endsWith('/');
    this.stack = [from.hold()];
    this.push(path);
  }

  get directory(): Vnode {
    return this.stack[this.stack.length - 1]!; // never empty
  }
  get hasMore(): boolean {
    return this.names.length > 0;
  }
  next(): string | undefined {
    return this.names.pop();
  }
  enter(directory: Vnode): void {
    this.stack.push(directory);
  }
  leave(): void {
    if (this.stack.length > 1) this.stack.pop()?.release();
    else if (this.confined) throw this.error('EPERM', 'it leads out of the directory');
  }
  /** The symlink's target in place of its name. */
  insert(target: string): void {
    if (++this.symlinks > MAX_SYMLINKS) throw this.error('ELOOP', 'too many symlinks');
    if (target.startsWith('/')) {
      if (this.confined) throw this.error('EPERM', 'a symlink leads out of the directory');
      while (this.stack.length > 1) this.leave();
    }
    if (this.names.length === 0 && target.endsWith('/')) this.wantsDirectory = true;
    this.push(target);
  }
  /** The walk gives its last directory, and `vnode`, to the caller. */
  end(name: string, vnode: Vnode | undefined): Located {
    const directory = this.directory.hold();
    this.release();
    let held = vnode;
    const letGo = (): void => {
      held?.release();
      held = undefined;
    };
    return {
      directory,
      name,
      vnode,
      wantsDirectory: this.wantsDirectory,
      letGo,
      release: () => {
        directory.release();
        letGo();
      },
    };
  }
  release(): void {
    for (const directory of this.stack) directory.release();
  }
  error(code: string, why: string): XenError {
    return new XenError(code, `${this.path}: ${why}`);
  }

  private push(path: string): void {
    const names = path.split('/');
    for (let i = names.length - 1; i >= 0; i--) {
      const name = names[i];
      if (name) this.names.push(name);
    }
  }
}

function targetOf(symlink: Vnode): string {
  try {
    return symlink.readlink();
  } finally {
    symlink.release();
  }
}

/** '/a/b' from '/a//b/'; '.' and '..' stay. */
const normalized = (path: string): string => `/${path.split('/').filter(Boolean).join('/')}`;
