// fd_read, fd_write, fd_pread, fd_pwrite.
import { XenError } from '#pvbus';
import { FileSystemBusy } from '../fs/file-system.ts';
import type { OpenFile } from '../process/open-file.ts';
import type { Process } from '../process/process.ts';
import { Wait } from '../process/wait.ts';
import { RIGHTS_FD_READ, RIGHTS_FD_SEEK, RIGHTS_FD_WRITE } from './abi.ts';
import { receiveDatagram, sendDatagram } from './datagrams.ts';
import { descriptorOf, diskFileOf, mayNotWait, offsetOf } from './fd.ts';
import type { Descriptor } from './fd-table.ts';
import type { Outcome } from './kernel.ts';
import { at, Buffers } from './memory.ts';
import { OpenDatagrams } from './open-socket.ts';
import { OpenDiskFile } from './open-vnode.ts';

type Transfer = (bytes: Uint8Array, done: number) => number | Wait;

/** Buffers that are this small together are written as one. */
const GATHER = 65536;

/** What a call has written before it had to wait. */
class Written {
  bytes = 0;
}

/** A failure after something was done is left for the next call to find. */
function isLater(error: unknown, done: number): boolean {
  return done > 0 && error instanceof XenError;
}

/** Fills the buffers as far as it goes without waiting, but for their first byte: how many bytes there were. */
export function readInto(nonblock: boolean, buffers: Buffers, read: Transfer): number | Wait {
  let done = 0;
  for (let i = 0; i < buffers.count; i++) {
    const into = buffers.at(i);
    if (into.length === 0) continue;
    let n: number | Wait;
    try {
      n = read(into, done);
    } catch (error) {
      if (isLater(error, done)) break;
      throw error;
    }
    if (n instanceof Wait) {
      if (done > 0) break;
      if (nonblock) throw new XenError('EAGAIN', 'nothing is there yet');
      return n;
    }
    done += n;
    if (n < into.length) break;
  }
  return done;
}

/** Writes all of the buffers, however long that takes; `nonblock`: what is possible now. */
export function writeFrom(
  process: Process,
  nonblock: boolean,
  buffers: Buffers,
  resultAt: number,
  write: Transfer,
  afterwards?: () => void,
): Outcome {
  const written = process.call instanceof Written ? process.call : new Written();
  const outcome = writeRest(nonblock, buffers, written, write);
  if (outcome === undefined && afterwards) {
    // What was written is not written again, should this have to wait.
    process.call = written;
    afterwards();
  }
  if (outcome instanceof Wait) {
    process.call = written;
    return outcome;
  }
  process.view.setUint32(resultAt, written.bytes, true);
  return 0;
}
function writeRest(nonblock: boolean, buffers: Buffers, written: Written, write: Transfer): Wait | undefined {
  for (const bytes of buffers.gathered(written.bytes, GATHER)) {
    let rest = bytes;
    while (rest.length > 0) {
      let n: number | Wait;
      try {
        n = write(rest, written.bytes);
      } catch (error) {
        if (error instanceof FileSystemBusy) return new Wait([error.idle]);
        if (isLater(error, written.bytes)) return undefined;
        throw error;
      }
      if (n instanceof Wait) {
        if (!nonblock) return n;
        if (written.bytes === 0) throw new XenError('EAGAIN', 'there is no room yet');
        return undefined;
      }
      written.bytes += n;
      rest = rest.subarray(n);
    }
  }
  return undefined;
}

/**
 * The descriptor, for reading or writing: EISDIR for a directory, whatever rights it has. Without the right EBADF, as POSIX
 * has it for a descriptor that was not opened for that.
 */
function streamOf(process: Process, fd: number, right: number): Descriptor {
  const descriptor = descriptorOf(process, fd);
  if (descriptor.file.kind === 'directory') throw new XenError('EISDIR', `descriptor ${fd} is a directory`);
  if ((descriptor.rights & right) === 0) throw new XenError('EBADF', `descriptor ${fd} is not open for that`);
  return descriptor;
}
/** What a call has done, where it is done. */
export function stored(process: Process, resultAt: number, outcome: number | Wait): Outcome {
  if (outcome instanceof Wait) return outcome;
  process.view.setUint32(resultAt, outcome, true);
  return 0;
}
const synced = (file: OpenFile): (() => void) | undefined =>
  file instanceof OpenDiskFile && file.flags !== 0 ? () => file.syncAsFlagged() : undefined;

export const readWriteCalls = {
  fd_read(process: Process, fd: number, iovs: number, count: number, result: number): Outcome {
    const descriptor = streamOf(process, fd, RIGHTS_FD_READ);
    const { file } = descriptor;
    const nonblock = mayNotWait(process, descriptor);
    const buffers = new Buffers(process, iovs, count);
    const resultAt = at(process, result, 4);
    // No room: as in Linux, whatever waits stays.
    if (file instanceof OpenDatagrams && buffers.total > 0) {
      const received = receiveDatagram(file, nonblock, buffers, false);
      return stored(process, resultAt, received instanceof Wait ? received : received.bytes);
    }
    return stored(
      process,
      resultAt,
      readInto(nonblock, buffers, into => file.read(into)),
    );
  },
  fd_write(process: Process, fd: number, iovs: number, count: number, result: number): Outcome {
    const descriptor = streamOf(process, fd, RIGHTS_FD_WRITE);
    const { file } = descriptor;
    const nonblock = mayNotWait(process, descriptor);
    const buffers = new Buffers(process, iovs, count);
    const resultAt = at(process, result, 4);
    if (file instanceof OpenDatagrams) return stored(process, resultAt, sendDatagram(file, nonblock, buffers));
    return writeFrom(process, nonblock, buffers, resultAt, from => file.write(from), synced(file));
  },
  fd_pread(process: Process, fd: number, iovs: number, count: number, offset: bigint, result: number): Outcome {
    const { file, nonblock } = streamOf(process, fd, RIGHTS_FD_READ);
    const { vnode } = diskFileOf(file, 'ESPIPE');
    descriptorOf(process, fd).need(RIGHTS_FD_SEEK);
    const from = offsetOf(offset);
    const buffers = new Buffers(process, iovs, count);
    const resultAt = at(process, result, 4);
    return stored(
      process,
      resultAt,
      readInto(nonblock, buffers, (into, done) => vnode.read(from + done, into)),
    );
  },
  /** POSIX, unlike Linux: APPEND does not move it. */
  fd_pwrite(process: Process, fd: number, iovs: number, count: number, offset: bigint, result: number): Outcome {
    const { file, nonblock } = streamOf(process, fd, RIGHTS_FD_WRITE);
    const { vnode } = diskFileOf(file, 'ESPIPE');
    descriptorOf(process, fd).need(RIGHTS_FD_SEEK);
    const to = offsetOf(offset);
    const buffers = new Buffers(process, iovs, count);
    const resultAt = at(process, result, 4);
    const write: Transfer = (bytes, done) => vnode.write(to + done, bytes);
    return writeFrom(process, nonblock, buffers, resultAt, write, synced(file));
  },
};
