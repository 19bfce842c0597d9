// Which system call a filter has killed a process for. Nobody but Linux's log knows, which not everybody may read.
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { syscallName } from '#pvbus';

const KERNEL_LOG = '/dev/kmsg';
const KILLED = /type=1326 .* pid=([0-9]+) .* sig=31 .* syscall=([0-9]+) /;
/** No record of the kernel's log is longer. */
const RECORD_BYTES = 8192;

/** Its name; undefined when it cannot be known. The last one of that pid: earlier ones were others'. */
export function deniedCall(pid: number): string | undefined {
  let denied: string | undefined;
  for (const record of kernelLog()) {
    const [, of, call] = KILLED.exec(record) ?? [];
    if (Number(of) === pid) denied = syscallName(Number(call));
  }
  return denied;
}

function* kernelLog(): Generator<string> {
  let fd: number;
  try {
    fd = openSync(KERNEL_LOG, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return; // not for this user, or not in this container
  }
  const record = Buffer.alloc(RECORD_BYTES);
  try {
    for (;;) yield record.toString('latin1', 0, readSync(fd, record));
  } catch (error) {
    // EPIPE: overwritten meanwhile, the next read is of a later one. EAGAIN: that was all.
    if (!['EAGAIN', 'EPIPE', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    closeSync(fd);
  }
}
