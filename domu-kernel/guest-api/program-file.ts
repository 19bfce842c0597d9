// An open file as guest programs have it, and which files they have open.
import { XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import { Hearer } from '../fs/write-errors.ts';

/** Reads and writes at a position that moves along, or at one that is given. */
export class ProgramFile {
  readonly path: string;
  position = 0;
  private readonly vnode: Vnode;
  private readonly hearer: Hearer;
  private readonly openings: Openings;
  private readonly writable: boolean;
  private closed = false;

  /** `vnode` is in use for this until `close`. */
  constructor(path: string, vnode: Vnode, openings: Openings, writable: boolean) {
    this.path = path;
    this.vnode = vnode;
    this.hearer = new Hearer(vnode.writeErrors);
    this.openings = openings;
    this.writable = writable;
    openings.add(vnode, writable);
  }

  get size(): number {
    this.check('size of');
    return this.vnode.attributes().size;
  }

  /** Fills `into` as far as the file goes; how many bytes that was. */
  read(into: Uint8Array, position = this.position): number {
    this.check('read');
    const got = this.vnode.read(position, into);
    this.position = position + got;
    return got;
  }

  /** Writes all of `data`, or throws: ENOSPC leaves what did fit. A gap before `position` becomes zeros. */
  write(data: Uint8Array, position = this.position): void {
    const what = this.checkWritable('write');
    if (position > this.size) this.vnode.truncate(position);
    const done = this.vnode.write(position, data);
    this.position = position + done;
    if (done < data.length) throw new XenError('ENOSPC', `${what}: the volume is full`);
  }

  /** Cut off, or filled up with zeros. */
  truncate(size: number): void {
    this.checkWritable('truncate');
    this.vnode.truncate(size);
  }

  /** What was written is on the medium when this returns, with the directory entry that leads to it; or an earlier failure is thrown. */
  sync(): void {
    this.check('sync');
    this.hearer.sync(() => this.vnode.sync(false));
  }

  /** Closing twice is no error. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.openings.remove(this.vnode, this.writable);
    this.vnode.release();
  }

  private check(verb: string): string {
    if (this.closed) throw new XenError('EBADF', `${verb} ${this.path}: the file is closed`);
    return `${verb} ${this.path}`;
  }
  private checkWritable(verb: string): string {
    const what = this.check(verb);
    if (!this.writable) throw new XenError('EBADF', `${what}: it was opened for reading`);
    return what;
  }
}

/** Of a file that is open: how many read it, or that one writes it. */
export class Openings {
  private readonly readers = new Map<Vnode, number>();
  private readonly written = new Set<Vnode>();

  isOpen(vnode: Vnode): boolean {
    return this.readers.has(vnode) || this.written.has(vnode);
  }
  /** EBUSY unless it can be opened once more. */
  check(what: string, vnode: Vnode, writing: boolean): void {
    if (this.written.has(vnode) || (writing && this.readers.has(vnode))) {
      throw new XenError('EBUSY', `${what}: the file is open already`);
    }
  }
  add(vnode: Vnode, writing: boolean): void {
    if (writing) this.written.add(vnode);
    else this.readers.set(vnode, (this.readers.get(vnode) ?? 0) + 1);
  }
  remove(vnode: Vnode, writing: boolean): void {
    const others = (this.readers.get(vnode) ?? 0) - 1;
    if (writing) this.written.delete(vnode);
    else if (others > 0) this.readers.set(vnode, others);
    else this.readers.delete(vnode);
  }
}
