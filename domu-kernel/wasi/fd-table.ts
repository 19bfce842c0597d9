// What a process has open, by number.
import { XenError } from '#pvbus';
import { closedFile } from '../process/closed-file.ts';
import type { OpenFile } from '../process/open-file.ts';
import { ALL_RIGHTS, includes, RIGHTS_OF } from './rights.ts';

/** As in Linux by default. */
export const OPEN_MAX = 1024;

/** One number's entry. What several may share, such as the offset of a file, is the open file's. */
export class Descriptor {
  readonly file: OpenFile;
  rights: number;
  /** What descriptors that are opened through this one may have. */
  inheriting: number;
  /** Fail with EAGAIN where others wait. */
  nonblock = false;
  /** Of a directory that a program is given at its start: the path it goes by; of a socket, nothing but that it was. */
  readonly preopen: string | undefined;

  /** Takes over a reference to `file`. Rights that mean nothing for it are left out. */
  constructor(file: OpenFile, rights = ALL_RIGHTS, inheriting = 0, preopen?: string) {
    this.file = file;
    this.rights = rights & RIGHTS_OF[file.kind];
    this.inheriting = inheriting;
    this.preopen = preopen;
  }
  /** ENOTCAPABLE without all of `rights`. */
  need(rights: number): this {
    if (!includes(this.rights, rights)) throw new XenError('ENOTCAPABLE', 'the descriptor has not that right');
    return this;
  }
}

export class FdTable {
  private readonly entries: (Descriptor | undefined)[] = [];

  /** EBADF when it is not open. */
  get(fd: number): Descriptor {
    // untrusted: any i32.
    const descriptor = fd >= 0 && fd < this.entries.length ? this.entries[fd] : undefined;
    if (!descriptor) throw new XenError('EBADF', `descriptor ${fd}`);
    return descriptor;
  }
  /** What is open there, or what fails with EBADF. */
  file(fd: number): OpenFile {
    return this.entries[fd]?.file ?? closedFile;
  }
  /** EMFILE when `add` could not. */
  checkRoom(): void {
    if (this.free() >= OPEN_MAX) throw new XenError('EMFILE', `${OPEN_MAX} descriptors are open`);
  }
  /** At the lowest number that is free; EMFILE when none is, and the descriptor is still the caller's. */
  add(descriptor: Descriptor): number {
    this.checkRoom();
    const fd = this.free();
    this.entries[fd] = descriptor;
    return fd;
  }
  private free(from = 0): number {
    const fd = this.entries.indexOf(undefined, from);
    return fd < 0 ? this.entries.length : fd;
  }
  /** At that number; what was there is closed. For whoever starts a program. */
  set(fd: number, descriptor: Descriptor): void {
    const old = this.entries[fd];
    while (this.entries.length < fd) this.entries.push(undefined);
    this.entries[fd] = descriptor;
    old?.file.release();
  }
  /** A directory of that name, or a socket, with all rights, at the lowest number from 3. */
  preopen(name: string, file: OpenFile): number {
    while (this.entries.length < 3) this.entries.push(undefined);
    const fd = this.free(3);
    this.set(fd, new Descriptor(file, ALL_RIGHTS, ALL_RIGHTS, name));
    return fd;
  }
  close(fd: number): void {
    const { file } = this.get(fd);
    this.entries[fd] = undefined;
    file.release();
  }
  /** What `from` refers to is at `to` instead, which was open too and is closed. */
  renumber(from: number, to: number): void {
    const moved = this.get(from);
    const old = this.get(to);
    if (from === to) return;
    this.entries[to] = moved;
    this.entries[from] = undefined;
    old.file.release();
  }
  closeAll(): void {
    for (const [fd, descriptor] of this.entries.entries()) {
      this.entries[fd] = undefined;
      descriptor?.file.release();
    }
    this.entries.length = 0;
  }
  /** What is open, in the order of its numbers. */
  *[Symbol.iterator](): IterableIterator<[number, Descriptor]> {
    for (const [fd, descriptor] of this.entries.entries()) if (descriptor) yield [fd, descriptor];
  }
}
