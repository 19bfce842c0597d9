// A disk that is far away with faults: each befalls a request when it is asked for, and holds up no other.
import { BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_RSP_ERROR, type Clock, type GrantMapping, type Trigger } from '#pvbus';
import type { DeviceFaults } from '../../faults/device-faults.ts';
import type { LateWork } from '../../faults/late-work.ts';
import { diskFault } from './disk-fault.ts';
import type { Deferred, LaterImage } from './disk-image.ts';
import { SECTOR_SIZE } from './request.ts';

export interface FaultyLaterDiskParts {
  readonly faults: DeviceFaults;
  readonly late: LateWork;
  readonly clock: Clock;
}

/** A request that is not asked for yet. */
interface Held {
  readonly hit: Trigger;
  readonly submit: () => void;
}

export class FaultyLaterDisk implements LaterImage {
  readonly sizeBytes: number;
  readonly #plain: LaterImage;
  readonly #parts: FaultyLaterDiskParts;
  readonly #held = new Set<Held>();

  constructor(plain: LaterImage, parts: FaultyLaterDiskParts) {
    this.#plain = plain;
    this.#parts = parts;
    this.sizeBytes = plain.sizeBytes;
  }

  accepts(operation: number): boolean {
    return this.#plain.accepts(operation);
  }

  submit(deferred: Deferred): void {
    const { faults, late, clock } = this.#parts;
    const { operation, sector, sectors } = deferred.request;
    // There is no cache of ours that could be lost: the server's is the server's.
    const { dying } = faults;
    const hit = dying ?? diskFault(faults, operation, sector, sectors, fault => !fault.cache && !fault.lose);
    if (hit === undefined) {
      this.#plain.submit(deferred);
      return;
    }
    const { error, truncate, delay, stall, stop, kill, name } = hit.fault;
    if (dying === undefined && (stop !== undefined || kill === 'before')) faults.strike(hit);
    // EINTR and EAGAIN are of a system call, and here is none that would be made again.
    if (error !== undefined && error !== 'EINTR' && error !== 'EAGAIN') {
      deferred.settle(BLKIF_RSP_ERROR, `injected: ${error} (fault ${name})`);
      return;
    }
    if (truncate !== undefined && (sector + sectors) * SECTOR_SIZE > truncate) {
      deferred.settle(BLKIF_RSP_ERROR, `injected: the image ends at ${truncate}, it had ${this.sizeBytes} bytes`);
      return;
    }
    const held: Held = {
      hit,
      submit: () => {
        if (this.#held.delete(held)) this.#befall(hit, deferred);
      },
    };
    this.#held.add(held);
    const ms = delay ?? stop;
    if (stall || kill === 'before' || dying !== undefined) return;
    if (ms === undefined) held.submit();
    else late.add(clock.now() + ms * 1e6, held.submit);
  }

  /** Ask for it; its bytes or its answer are as the fault has them. */
  #befall(hit: Trigger, deferred: Deferred): void {
    const { corrupt, torn, kill, name } = hit.fault;
    const { request, mapped } = deferred;
    const reads = request.operation === BLKIF_OP_READ;
    const writes = request.operation === BLKIF_OP_WRITE;
    if (kill === 'after') {
      // Done, and nobody hears of it: the process is about to end.
      this.#plain.submit({ ...pick(deferred), settle: () => this.#parts.faults.strike(hit) });
    } else if (torn !== undefined && writes) {
      const part = firstSectors(deferred, Math.floor(torn / SECTOR_SIZE));
      const why = `injected: ${part.request.sectors * SECTOR_SIZE} of ${request.sectors * SECTOR_SIZE} bytes were written`;
      const settle = (): void => deferred.settle(BLKIF_RSP_ERROR, `${why} (fault ${name})`);
      if (part.request.sectors === 0) settle();
      else this.#plain.submit({ ...part, settle });
    } else if (corrupt !== undefined && writes) {
      const copy = copied(deferred);
      flip(hit, copy);
      this.#plain.submit({ ...copy, settle: (status, why) => deferred.settle(status, why) });
    } else if (corrupt !== undefined && reads) {
      const settle = (status: number, why?: string): void => {
        if (status !== BLKIF_RSP_ERROR) flip(hit, { request, mapped });
        deferred.settle(status, why);
      };
      this.#plain.submit({ request, mapped, settle });
    } else this.#plain.submit(deferred);
  }

  /** The faults are others now: a request that one of those that are gone has held back waits no more. */
  reconsider(): void {
    for (const { hit, submit } of [...this.#held]) if (!this.#parts.faults.isPlanted(hit)) submit();
  }
  /** The plain disk has everything from now on. */
  end(): void {
    for (const { submit } of [...this.#held]) submit();
  }
  /** Whoever asked has gone: what is held back is not asked for any more. */
  gone(): void {
    this.#held.clear();
  }
}

type Bytes = Pick<Deferred, 'request' | 'mapped'>;
const pick = ({ request, mapped }: Deferred): Bytes => ({ request, mapped });

/** The same request of fewer sectors. */
function firstSectors({ request, mapped }: Deferred, most: number): Bytes {
  let nr_segments = 0;
  let sectors = 0;
  const lengths = request.lengths.slice();
  for (; nr_segments < request.nr_segments && sectors < most; nr_segments++) {
    lengths[nr_segments] = Math.min(lengths[nr_segments]!, (most - sectors) * SECTOR_SIZE);
    sectors += lengths[nr_segments]! / SECTOR_SIZE;
  }
  const { operation, sector, grefs, offsets } = request;
  return { request: { operation, sector, sectors, nr_segments, grefs, offsets, lengths }, mapped };
}

/** The same request with a copy of its bytes: the guest's own page stays as it is. */
function copied({ request, mapped }: Deferred): Bytes {
  const copies: GrantMapping[] = [];
  for (let i = 0; i < request.nr_segments; i++) {
    const mapping = mapped[i]!; // a segment's
    const { pool, offset } = mapping;
    const end = offset + request.offsets[i]! + request.lengths[i]!;
    copies.push({ ...mapping, pool: pool.slice(offset, end), offset: 0 });
  }
  return { request, mapped: copies };
}

/** One bit of the request's bytes is another. */
function flip(hit: Trigger, { request, mapped }: Bytes): void {
  const { corrupt } = hit.fault;
  const length = request.sectors * SECTOR_SIZE;
  let byte = typeof corrupt === 'number' ? corrupt % length : hit.random(0, length);
  for (let i = 0; i < request.nr_segments; i++) {
    if (byte < request.lengths[i]!) {
      const { pool, offset } = mapped[i]!; // a segment's
      pool[offset + request.offsets[i]! + byte]! ^= 1 << hit.random(1, 8);
      return;
    }
    byte -= request.lengths[i]!;
  }
}
