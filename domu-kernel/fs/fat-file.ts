// One open file.
import { XenError } from '#pvbus';
import { type FatCore, TRANSFER } from './fat-core.ts';

const ZEROS = new Uint8Array(TRANSFER);
const MAX_SIZE = 0xffffffff;

/** Reads and writes at a position that moves along, or at one that is given. */
export class FatFile {
  readonly path: string;
  position = 0;
  private readonly core: FatCore;
  private readonly pointer: number;
  private readonly writable: boolean;
  private readonly onClose: () => void;
  private closed = false;

  constructor(core: FatCore, pointer: number, path: string, writable: boolean, onClose: () => void) {
    this.core = core;
    this.pointer = pointer;
    this.path = path;
    this.writable = writable;
    this.onClose = onClose;
  }

  get size(): number {
    this.check('size of');
    return this.core.x.ffw_f_size_low(this.pointer) >>> 0;
  }

  /** Fills `into` as far as the file goes; how many bytes that was. */
  read(into: Uint8Array, position = this.position): number {
    const what = this.check('read');
    this.checkPosition(what, position);
    const { core } = this;
    // FatFs would make the file longer to get there.
    const wanted = Math.min(into.length, Math.max(0, this.size - position));
    let done = 0;
    if (wanted > 0) this.seek(what, position);
    while (done < wanted) {
      const part = Math.min(TRANSFER, wanted - done);
      core.call(what, () => core.x.f_read(this.pointer, core.buffer, part, core.count));
      const got = core.view.getUint32(core.count, true);
      into.set(core.bytes.subarray(core.buffer, core.buffer + got), done);
      done += got;
      if (got < part) break;
    }
    this.position = position + done;
    return done;
  }

  /** Writes all of `data`, or throws: ENOSPC leaves what did fit. A gap before `position` becomes zeros. */
  write(data: Uint8Array, position = this.position): void {
    const what = this.checkWritable('write');
    this.checkPosition(what, position, data.length);
    for (let end = this.size; end < position; end = this.size) {
      this.put(what, end, ZEROS.subarray(0, Math.min(TRANSFER, position - end)));
    }
    this.put(what, position, data);
    this.position = position + data.length;
  }

  /** Cut off, or filled up with zeros. */
  truncate(size: number): void {
    const what = this.checkWritable('truncate');
    this.checkPosition(what, size);
    if (size > this.size) {
      this.write(new Uint8Array(0), size);
      return;
    }
    this.seek(what, size);
    this.core.call(what, () => this.core.x.f_truncate(this.pointer));
  }

  /** What was written is on the medium when this returns, with the directory entry that leads to it. */
  sync(): void {
    const what = this.check('sync');
    this.core.call(what, () => this.core.x.f_sync(this.pointer));
    this.core.device.flush();
  }

  /** Closing twice is no error. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    try {
      this.core.call(`close ${this.path}`, () => this.core.x.f_close(this.pointer));
    } finally {
      this.core.x.free(this.pointer);
      this.onClose();
    }
  }

  private put(what: string, position: number, data: Uint8Array): void {
    const { core } = this;
    this.seek(what, position);
    for (let done = 0; done < data.length; ) {
      const part = data.subarray(done, done + TRANSFER);
      core.bytes.set(part, core.buffer);
      core.call(what, () => core.x.f_write(this.pointer, core.buffer, part.length, core.count));
      const put = core.view.getUint32(core.count, true);
      done += put;
      if (put < part.length) throw new XenError('ENOSPC', `${what}: the volume is full`);
    }
  }

  private seek(what: string, position: number): void {
    const { core } = this;
    core.call(what, () => core.x.ffw_f_lseek(this.pointer, position, 0));
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
  private checkPosition(what: string, position: number, length = 0): void {
    if (!Number.isInteger(position) || position < 0) throw new XenError('EINVAL', `${what}: position ${position}`);
    if (position + length > MAX_SIZE) throw new XenError('EFBIG', `${what}: FAT files end at 4 GiB`);
  }
}

/** Where FatFs keeps a file's directory entry: the same for every name of the same file. */
export function fileIdentity(core: FatCore, pointer: number): string {
  // FIL: FFOBJID (16 bytes), flag, err, fptr, clust, sect, dir_sect, dir_ptr, then a sector of buffer.
  const DIR_SECT = 32;
  return `${core.view.getUint32(pointer + DIR_SECT, true)}:${core.view.getUint32(pointer + DIR_SECT + 4, true)}`;
}
