// What a vbd asks, in the server's terms: one request becomes one command or some, and is answered when all of them are.
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_ERRORS,
} from '#pvbus';
import type { Deferred, LaterImage } from '../blkback/disk-image.ts';
import { SECTOR_SIZE } from '../blkback/request.ts';
import type { Command, CommandSink } from './command.ts';
import type { NbdSession } from './session.ts';

/** A command's length is 32 bits. */
const MAX_TRIM = 1 << 30;

/** A request on its way: its steps come one after the other, the commands of a step in any order. */
interface Job {
  readonly deferred: Deferred;
  readonly steps: readonly Step[];
  next: number;
  /** Commands of the step that are not answered. */
  left: number;
  error: number;
}
type Step = 'read' | 'write' | 'write through' | 'flush' | 'trim';

export class NbdDisk implements LaterImage, CommandSink {
  readonly sizeBytes: number;
  readonly #session: NbdSession;
  /** Requests have been answered: the vbd's turn is due. */
  readonly #wake: () => void;

  constructor(session: NbdSession, sizeBytes: number, wake: () => void) {
    this.#session = session;
    this.sizeBytes = sizeBytes;
    this.#wake = wake;
  }

  accepts(operation: number): boolean {
    return operation === BLKIF_OP_READ || operation === BLKIF_OP_FLUSH_DISKCACHE || !this.#session.full;
  }

  submit(deferred: Deferred): void {
    this.#go({ deferred, steps: this.#stepsOf(deferred), next: 0, left: 0, error: 0 });
  }

  #stepsOf({ request: { operation, nr_segments } }: Deferred): Step[] {
    const { flush, fua } = this.#session.export!; // a vbd is connected when it is known
    switch (operation) {
      case BLKIF_OP_READ:
        return ['read'];
      case BLKIF_OP_WRITE:
        return ['write'];
      case BLKIF_OP_DISCARD:
        return ['trim'];
      case BLKIF_OP_FLUSH_DISKCACHE:
        return nr_segments > 0 ? ['flush', 'write'] : ['flush'];
      case BLKIF_OP_WRITE_BARRIER:
        if (!flush) return nr_segments > 0 ? ['write'] : [];
        if (nr_segments === 0) return ['flush'];
        return fua ? ['flush', 'write through'] : ['flush', 'write', 'flush'];
      default:
        throw new Error(`operation ${operation} was decoded but is not served`);
    }
  }

  #go(job: Job): void {
    const step = job.error === 0 ? job.steps[job.next++] : undefined;
    if (step === undefined) {
      this.#settle(job);
      return;
    }
    const { request } = job.deferred;
    const at = request.sector * SECTOR_SIZE;
    const length = request.sectors * SECTOR_SIZE;
    const session = this.#session;
    const commands: Command[] = [];
    switch (step) {
      case 'flush':
        if (!session.export!.flush) {
          job.deferred.settle(BLKIF_RSP_EOPNOTSUPP, 'the server cannot flush');
          return;
        }
        commands.push(session.acquire(NBD_CMD_FLUSH, 0, 0, this));
        break;
      case 'trim':
        for (let n = 0; n < length; n += MAX_TRIM)
          commands.push(session.acquire(NBD_CMD_TRIM, at + n, Math.min(MAX_TRIM, length - n), this));
        break;
      case 'read':
        this.#transfer(job, NBD_CMD_READ, 0, commands);
        break;
      default:
        this.#transfer(job, NBD_CMD_WRITE, step === 'write' ? 0 : NBD_CMD_FLAG_FUA, commands);
    }
    job.left = commands.length;
    if (commands.length === 0) {
      // a discard of nothing
      this.#settle(job);
      return;
    }
    for (const command of commands) {
      command.job = job;
      session.send(command);
    }
  }

  /** The request's segments, in commands of what the server takes at once. */
  #transfer({ deferred: { request, mapped } }: Job, type: number, flags: number, commands: Command[]): void {
    const session = this.#session;
    const { maxBlock } = session.export!;
    const most = maxBlock - (maxBlock % SECTOR_SIZE); // of 32 bits without a sign
    let at = request.sector * SECTOR_SIZE;
    let left = request.sectors * SECTOR_SIZE;
    let command: Command | undefined;
    let room = 0;
    for (let i = 0; i < request.nr_segments; i++) {
      const { pool, offset } = mapped[i]!;
      let start = offset + request.offsets[i]!;
      for (let n = request.lengths[i]!; n > 0; ) {
        if (command === undefined || room === 0) {
          room = Math.min(most, left);
          command = session.acquire(type, at, room, this, flags);
          commands.push(command);
        }
        const part = Math.min(n, room);
        command.addPiece(pool, start, part);
        start += part;
        at += part;
        n -= part;
        room -= part;
        left -= part;
      }
    }
  }

  answered(command: Command, error: number): void {
    const job = command.job as Job; // set where it was sent
    job.error ||= error;
    if (--job.left === 0) this.#go(job);
  }

  #settle({ deferred, error }: Job): void {
    if (error === 0) deferred.settle(BLKIF_RSP_OKAY);
    else deferred.settle(BLKIF_RSP_ERROR, `NBD server: ${nameOf(error)}`);
    this.#wake();
  }
}

const nameOf = (error: number): string =>
  error === Number.POSITIVE_INFINITY ? 'it was away for too long' : (NBD_ERRORS[error] ?? 'EINVAL');
