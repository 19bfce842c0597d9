// An open file as the guest API has it: a position that moves along.
import { XenError } from '#pvbus';
import { type FatNode, MAX_FILE } from './fat-node.ts';
import { checkRange } from './file-system.ts';

/** Reads and writes at a position that moves along, or at one that is given. */
export class FatFile {
  readonly path: string;
  position = 0;
  private readonly node: FatNode;
  private readonly writable: boolean;
  private closed = false;

  /** `node` is in use for this until `close`. */
  constructor(node: FatNode, writable: boolean) {
    this.node = node;
    this.path = node.path;
    this.writable = writable;
    if (writable) node.writers++;
    else node.readers++;
  }

  get size(): number {
    this.check('size of');
    return this.node.size;
  }

  /** Fills `into` as far as the file goes; how many bytes that was. */
  read(into: Uint8Array, position = this.position): number {
    checkRange(this.check('read'), position, 0, MAX_FILE);
    const got = this.node.read(position, into);
    this.position = position + got;
    return got;
  }

  /** Writes all of `data`, or throws: ENOSPC leaves what did fit. A gap before `position` becomes zeros. */
  write(data: Uint8Array, position = this.position): void {
    const what = this.checkWritable('write');
    checkRange(what, position, data.length, MAX_FILE);
    if (position > this.size) this.node.truncate(position);
    const done = this.node.write(position, data);
    this.position = position + done;
    if (done < data.length) throw new XenError('ENOSPC', `${what}: the volume is full`);
  }

  /** Cut off, or filled up with zeros. */
  truncate(size: number): void {
    checkRange(this.checkWritable('truncate'), size, 0, MAX_FILE);
    this.node.truncate(size);
  }

  /** What was written is on the medium when this returns, with the directory entry that leads to it. */
  sync(): void {
    this.check('sync');
    this.node.sync(false);
  }

  /** Closing twice is no error. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.writable) this.node.writers--;
    else this.node.readers--;
    this.node.release();
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
