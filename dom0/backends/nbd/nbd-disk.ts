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
import type { AskedOf, Deferred, LaterImage } from '../blkback/disk-image.ts';
import { SECTOR_SIZE } from '../blkback/request.ts';
import type { BlockTurn } from './block-turns.ts';
import type { Command, CommandSink } from './command.ts';
import type { NbdSession } from './session.ts';

type Mapped = Deferred['mapped'];

/** A command's length is 32 bits. */
const MAX_TRIM = 1 << 30;

/** A request on its way: its steps come one after the other, the commands of a step in any order. */
interface Job {
  readonly deferred: Deferred;
  steps: readonly Step[];
  next: number;
  /** Commands of the step that are not answered. */
  left: number;
  error: number;
  /** While it writes, where the server's blocks are larger than sectors. */
  turn: BlockTurn | undefined;
  /** All blocks of one that does not begin or end where blocks do. */
  whole: Blocks | undefined;
}
interface Blocks {
  readonly at: number;
  readonly bytes: Uint8Array;
}
type Step = 'read' | 'write' | 'write through' | 'flush' | 'trim' | 'fetch' | 'fetch ends' | 'give';

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
    const steps = this.#stepsOf(deferred);
    const job: Job = { deferred, steps, next: 0, left: 0, error: 0, turn: undefined, whole: undefined };
    const block = this.#block;
    if (block <= SECTOR_SIZE) {
      this.#go(job);
      return;
    }
    const { request } = deferred;
    const at = request.sector * SECTOR_SIZE;
    const end = at + request.sectors * SECTOR_SIZE;
    const first = Math.floor(at / block);
    const last = Math.ceil(end / block);
    const partial = at % block !== 0 || end % block !== 0;
    const moves = request.nr_segments > 0;
    if (partial && moves) {
      job.whole = { at: first * block, bytes: new Uint8Array((last - first) * block) };
      job.steps = steps.flatMap(step =>
        step === 'read' ? ['fetch', 'give'] : step.startsWith('write') ? ['fetch ends', step] : [step],
      );
    }
    if (request.operation === BLKIF_OP_READ || (!moves && request.operation !== BLKIF_OP_DISCARD)) {
      this.#go(job);
      return;
    }
    job.turn = { first, end: last, partial: partial && moves, begin: () => this.#go(job) };
    this.#session.turns.take(job.turn);
  }
  get #block(): number {
    return this.#session.export!.minBlock; // a vbd is connected when it is known
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
    const { request, mapped } = job.deferred;
    const at = request.sector * SECTOR_SIZE;
    const length = request.sectors * SECTOR_SIZE;
    const session = this.#session;
    const { whole } = job;
    const commands: Command[] = [];
    switch (step) {
      case 'flush':
        if (!session.export!.flush) {
          if (job.turn !== undefined) session.turns.end(job.turn);
          job.deferred.settle(BLKIF_RSP_EOPNOTSUPP, 'the server cannot flush');
          return;
        }
        commands.push(session.acquire(NBD_CMD_FLUSH, 0, 0, this));
        break;
      case 'trim':
        this.#trim(at, at + length, commands);
        break;
      case 'fetch':
        this.#move(whole!, NBD_CMD_READ, 0, commands); // it has one
        break;
      case 'fetch ends':
        this.#fetchEnds(whole!, at, at + length, commands); // it has one
        break;
      case 'give':
        spread(whole!.bytes, at - whole!.at, request, mapped); // it has one
        this.#go(job);
        return;
      case 'read':
        this.#transfer(job, NBD_CMD_READ, 0, commands);
        break;
      default: {
        const flags = step === 'write' ? 0 : NBD_CMD_FLAG_FUA;
        if (whole === undefined) {
          this.#transfer(job, NBD_CMD_WRITE, flags, commands);
          break;
        }
        gather(whole.bytes, at - whole.at, request, mapped);
        this.#move(whole, NBD_CMD_WRITE, flags, commands);
      }
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

  /** What is in whole blocks; of others a server keeps what it likes. */
  #trim(from: number, to: number, commands: Command[]): void {
    const block = this.#block;
    const end = Math.floor(to / block) * block;
    for (let at = Math.ceil(from / block) * block; at < end; at += MAX_TRIM)
      commands.push(this.#session.acquire(NBD_CMD_TRIM, at, Math.min(MAX_TRIM, end - at), this));
  }
  #move({ at, bytes }: Blocks, type: number, flags: number, commands: Command[]): void {
    for (let n = 0; n < bytes.length; n += this.#most) {
      const length = Math.min(this.#most, bytes.length - n);
      const command = this.#session.acquire(type, at + n, length, this, flags);
      command.addPiece(bytes, n, length);
      commands.push(command);
    }
  }
  /** The blocks that [from, to) has parts of. */
  #fetchEnds({ at, bytes }: Blocks, from: number, to: number, commands: Command[]): void {
    const block = this.#block;
    const last = bytes.length - block;
    const ends = [...(from > at ? [0] : []), ...(to < at + bytes.length && (last > 0 || from === at) ? [last] : [])];
    for (const n of ends) {
      const command = this.#session.acquire(NBD_CMD_READ, at + n, block, this);
      command.addPiece(bytes, n, block);
      commands.push(command);
    }
  }
  /** What the server takes at once: whole sectors, and whole blocks. */
  get #most(): number {
    const { maxBlock, minBlock } = this.#session.export!; // a vbd is connected when it is known
    return maxBlock - (maxBlock % Math.max(SECTOR_SIZE, minBlock)); // of 32 bits without a sign
  }

  /** The request's segments, in commands of what the server takes at once. */
  #transfer({ deferred: { request, mapped } }: Job, type: number, flags: number, commands: Command[]): void {
    const session = this.#session;
    const most = this.#most;
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

  #settle({ deferred, error, turn }: Job): void {
    if (turn !== undefined) this.#session.turns.end(turn);
    if (error === 0) deferred.settle(BLKIF_RSP_OKAY);
    else deferred.settle(BLKIF_RSP_ERROR, `NBD server: ${nameOf(error)}`);
    this.#wake();
  }
}

/** The request's bytes of `whole`, from `at` on, into its pages. */
function spread(whole: Uint8Array, at: number, { nr_segments, offsets, lengths }: AskedOf, mapped: Mapped): void {
  for (let i = 0, from = at; i < nr_segments; i++) {
    const { pool, offset } = mapped[i]!;
    pool.set(whole.subarray(from, from + lengths[i]!), offset + offsets[i]!);
    from += lengths[i]!;
  }
}
/** And the other way. untrusted: its pages are read once. */
function gather(whole: Uint8Array, at: number, { nr_segments, offsets, lengths }: AskedOf, mapped: Mapped): void {
  for (let i = 0, to = at; i < nr_segments; i++) {
    const { pool, offset } = mapped[i]!;
    const start = offset + offsets[i]!;
    whole.set(pool.subarray(start, start + lengths[i]!), to);
    to += lengths[i]!;
  }
}

const nameOf = (error: number): string =>
  error === Number.POSITIVE_INFINITY ? 'it was away for too long' : (NBD_ERRORS[error] ?? 'EINVAL');
