// A folder of the host as a guest may see it: what is below, and nothing else. Every file is reached by a descriptor of its
// own, got from that of its directory and one name, which is never followed; so no '..', no symlink and no rename that
// somebody makes meanwhile leads out. `/proc/self/fd/N/name` is what openat(2) and its like do with N and name.
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
} from 'node:fs';
import { linkFollowing, setFileTimes, XenError } from '#pvbus';

const { O_NOFOLLOW, O_DIRECTORY, O_CREAT, O_EXCL, O_NONBLOCK, S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = constants;
/** Linux: fcntl.h. A descriptor that names a file and opens nothing. */
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const MODE_BITS = 0o777;

const byDescriptor = (fd: number): string => `/proc/self/fd/${fd}`;

/** untrusted: a single name, which is in this directory or nowhere. */
function checked(name: string): string {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
    throw new XenError('EINVAL', `${JSON.stringify(name.slice(0, 40))} is no name of a file`);
  return name;
}

/** A file, directory or symlink below the folder, until `close`. */
export class SharedFile {
  readonly fd: number;
  /** Of what the descriptor names; that does not change. */
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  /** Of a symlink, for the guest to follow. */
  readonly target: string | undefined;

  private constructor(fd: number, name?: string) {
    this.fd = fd;
    this.kind = kindOf(fstatSync(fd, { bigint: true }));
    try {
      this.target = this.kind === 'symlink' && name !== undefined ? readlinkSync(name) : undefined;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
  /** The folder itself. Throws what open(2) does, ENOTDIR too. */
  static folder(path: string): SharedFile {
    return new SharedFile(openSync(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  /** Another descriptor of the same; ELOOP for a symlink. */
  again(): SharedFile {
    return new SharedFile(openSync(byDescriptor(this.fd), O_PATH | O_CLOEXEC));
  }
  close(): void {
    closeSync(this.fd);
  }
  /** Where on the host it is now; undefined when it is not known by that name any more. */
  get hostPath(): string | undefined {
    const path = readlinkSync(byDescriptor(this.fd));
    return path.endsWith(' (deleted)') ? undefined : path;
  }
  private at(name: string): string {
    return `${byDescriptor(this.fd)}/${checked(name)}`;
  }

  stat(): BigIntStats {
    return fstatSync(this.fd, { bigint: true });
  }
  lookup(name: string): SharedFile {
    const path = this.at(name);
    return new SharedFile(openSync(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), path);
  }
  /** A descriptor to read or write by. Neither a device nor a pipe of the host's is ever opened. */
  open(flags: number): number {
    if (this.kind !== 'file')
      throw new XenError(this.kind === 'directory' ? 'EISDIR' : 'EACCES', 'it is no plain file');
    // A lease or a FIFO in its place must not hold up the thread.
    return openSync(byDescriptor(this.fd), flags | O_NONBLOCK | O_CLOEXEC);
  }
  /** A new file, and the descriptor to read or write it by. EEXIST. */
  create(name: string, flags: number, mode: number): { file: SharedFile; opened: number } {
    const opened = openSync(this.at(name), flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & MODE_BITS);
    try {
      return { file: new SharedFile(openSync(byDescriptor(opened), O_PATH | O_CLOEXEC)), opened };
    } catch (error) {
      closeSync(opened);
      throw error;
    }
  }
  mkdir(name: string, mode: number): void {
    mkdirSync(this.at(name), mode & MODE_BITS);
  }
  /** Another name, in this directory, of what is there already: of a symlink itself too. */
  link(name: string, file: SharedFile): void {
    if (file.kind === 'other') throw new XenError('EPERM', 'only files and symlinks get other names');
    linkFollowing(byDescriptor(file.fd), this.at(name));
  }
  symlink(name: string, target: string): void {
    if (target.includes('\0')) throw new XenError('EINVAL', 'a symlink leads to no name');
    symlinkSync(target, this.at(name));
  }
  unlink(name: string, directory: boolean): void {
    if (directory) rmdirSync(this.at(name));
    else unlinkSync(this.at(name));
  }
  rename(name: string, to: SharedFile, newName: string): void {
    renameSync(this.at(name), to.at(newName));
  }
  names(): string[] {
    if (this.kind !== 'directory') throw new XenError('ENOTDIR', 'it is no directory');
    return readdirSync(byDescriptor(this.fd));
  }
  chmod(mode: number): void {
    this.changeable();
    chmodSync(byDescriptor(this.fd), mode & MODE_BITS);
  }
  truncate(size: number): void {
    if (this.kind !== 'file') throw new XenError('EINVAL', 'it is no plain file');
    truncateSync(byDescriptor(this.fd), size);
  }
  /** Of a symlink its own: nothing is followed from a descriptor on. */
  setTimes(atimeNs: bigint, mtimeNs: bigint): void {
    if (this.kind !== 'symlink') this.changeable();
    setFileTimes(byDescriptor(this.fd), atimeNs, mtimeNs);
  }
  private changeable(): void {
    if (this.kind !== 'file' && this.kind !== 'directory')
      throw new XenError('EPERM', 'only files and directories change');
  }
}

function kindOf({ mode }: BigIntStats): SharedFile['kind'] {
  const type = Number(mode) & S_IFMT;
  if (type === S_IFREG) return 'file';
  if (type === S_IFDIR) return 'directory';
  return type === S_IFLNK ? 'symlink' : 'other';
}
