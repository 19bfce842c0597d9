// An image with faults, and the requests that it is told of. It takes the place of the plain one while a plan has a
// fault for the disk, and is made of it: what no fault befalls is done by the plain one.
import { BLKIF_OP_WRITE, BLKIF_RSP_OKAY, type Clock, type Fault, type Trigger, XenError } from '#pvbus';
import type { DeviceFaults } from '../../faults/device-faults.ts';
import { diskFault } from './disk-fault.ts';
import { type DiskImage, type FileCalls, Later, SYSTEM_CALLS } from './disk-image.ts';
import { BlkbackRequest, type DiskLimits, SECTOR_SIZE } from './request.ts';
import { WriteCache } from './write-cache.ts';

/** A request that the image hears of before its bytes. */
class AnnouncedRequest extends BlkbackRequest {
  readonly #begin: (operation: number, sector: number, sectors: number) => void;

  constructor(limits: DiskLimits, begin: (operation: number, sector: number, sectors: number) => void) {
    super(limits);
    this.#begin = begin;
  }
  override decode(): number {
    const status = super.decode();
    if (status === BLKIF_RSP_OKAY && this.nrIndirectPages === 0) this.#announce();
    return status;
  }
  override addSegments(words: Int32Array): number {
    const before = this.sectors;
    const status = super.addSegments(words);
    // The last of its pages: what it asks for is known.
    if (status === BLKIF_RSP_OKAY && this.sectors > before && this.isWhole) this.#announce();
    return status;
  }
  #announce(): void {
    this.#begin(this.operation, this.sector, this.sectors);
  }
}

export interface FaultyDiskParts {
  readonly plain: DiskImage;
  /** The same bytes by other system calls. */
  readonly by: (calls: FileCalls) => DiskImage;
  readonly faults: DeviceFaults;
  readonly clock: Clock;
}

export class FaultyDisk implements DiskImage {
  readonly sizeBytes: number;
  readonly #parts: FaultyDiskParts;
  readonly #cache: WriteCache;
  /** What befalls the request at hand. */
  #hit: Trigger | undefined;
  /** What has it written to the cache, and which of its sectors that keeps. */
  #cached: Trigger | undefined;
  readonly #keeps = (sector: number): boolean => this.#isKept(sector);
  #first = 0;
  /** Bytes of it that are done, and how many it has. */
  #done = 0;
  #length = 0;
  /** The request at hand was put off, and will be begun again. */
  #putOff = false;
  /** Not before then. */
  #untilNs = 0;

  constructor(parts: FaultyDiskParts) {
    this.#parts = parts;
    this.sizeBytes = parts.plain.sizeBytes;
    this.#cache = new WriteCache(parts.plain);
  }

  newRequest(limits: DiskLimits): BlkbackRequest {
    return new AnnouncedRequest(limits, (...asked) => this.announce(...asked));
  }

  /** The plain image has everything from now on. */
  end(): void {
    this.#cache.writeThrough();
  }
  /** As a disk that is taken off in order. */
  gone(): void {
    this.end();
  }
  /** The faults are others now: a request that one of those that are gone has put off waits no more. */
  reconsider(): void {
    if (this.#hit === undefined || this.#parts.faults.isPlanted(this.#hit)) return;
    this.#hit = undefined;
    this.#untilNs = 0;
  }

  /** A request is about to be done. */
  announce(operation: number, sector: number, sectors: number): void {
    this.#done = 0;
    this.#length = sectors * SECTOR_SIZE;
    this.#first = sector;
    if (this.#putOff) {
      this.#putOff = false;
      return; // as it was decided
    }
    const { faults, clock } = this.#parts;
    const befalls = (matches: (fault: Fault) => boolean): Trigger | undefined =>
      diskFault(faults, operation, sector, sectors, matches);
    this.#hit = befalls(fault => fault.cache === undefined);
    this.#cached = operation === BLKIF_OP_WRITE ? befalls(fault => fault.cache !== undefined) : undefined;
    const { delay, stall, stop, kill } = this.#hit?.fault ?? {};
    this.#untilNs = 0;
    if (delay !== undefined || stop !== undefined) this.#untilNs = clock.now() + (delay ?? stop ?? 0) * 1e6;
    if (stall || kill === 'before') this.#untilNs = Number.POSITIVE_INFINITY;
    if (this.#hit !== undefined && (stop !== undefined || kill === 'before')) faults.strike(this.#hit);
    if (this.#hit?.fault.lose) this.#cache.lose();
  }

  read(into: Uint8Array, offset: number, length: number, at: number): void {
    this.#start(at, length);
    const { corrupt } = this.#hit?.fault ?? {};
    this.#image().read(into, offset, length, at);
    this.#cache.over(into, offset, length, at);
    if (corrupt !== undefined) this.#flip(into, offset, length);
    this.#finish(length);
  }

  write(from: Uint8Array, offset: number, length: number, at: number): void {
    this.#start(at, length);
    const { corrupt, torn } = this.#hit?.fault ?? {};
    const left = torn === undefined ? length : Math.max(0, Math.min(length, torn - this.#done));
    let bytes = from;
    let start = offset;
    if (corrupt !== undefined) {
      bytes = from.slice(offset, offset + length); // the guest's own page stays as it is
      start = 0;
      this.#flip(bytes, 0, length);
    }
    if (this.#cached) this.#cache.write(bytes, start, left, at, this.#keeps);
    else {
      this.#cache.forget(at, left);
      this.#image().write(bytes, start, left, at);
    }
    if (left < length)
      throw new XenError('EIO', `injected: ${this.#done + left} of ${this.#length} bytes were written`);
    this.#finish(length);
  }

  flush(): void {
    this.#start(0, 0);
    this.#cache.writeThrough();
    this.#parts.plain.flush();
    this.#finish(0);
  }

  discard(at: number, length: number): void {
    this.#start(at, length);
    this.#cache.forget(at, length);
    this.#parts.plain.discard(at, length);
    this.#finish(length);
  }

  /** What this call acts on. */
  #image(): DiskImage {
    const { short, error } = this.#hit?.fault ?? {};
    if (short !== undefined) return this.#parts.by(inPieces(short));
    return error === undefined ? this.#parts.plain : this.#parts.by(interrupted(error));
  }

  #start(at: number, length: number): void {
    const { clock } = this.#parts;
    if (this.#untilNs > clock.now()) {
      this.#putOff = true;
      throw new Later(this.#untilNs);
    }
    const { error, truncate } = this.#hit?.fault ?? {};
    // EINTR and EAGAIN are not the end of a request: whoever makes the system call makes it again.
    if (error !== undefined && error !== 'EINTR' && error !== 'EAGAIN')
      throw new XenError(error, `injected: ${error} (fault ${this.#hit!.fault.name})`);
    if (truncate !== undefined && at + length > truncate)
      throw new XenError('EIO', `injected: the image ends at ${truncate}, it had ${this.sizeBytes} bytes`);
  }

  /** By chance, for each block of the request that arrives whole or not at all. */
  #isKept(sector: number): boolean {
    const { fault } = this.#cached!; // asked of what is cached only
    const { cache, atomic = SECTOR_SIZE } = fault;
    if (typeof cache !== 'number') return true;
    const block = (n: number): number => Math.floor((n * SECTOR_SIZE) / atomic);
    return this.#cached!.random(block(sector) - block(this.#first), 2 ** 32) < cache * 2 ** 32;
  }

  #finish(length: number): void {
    this.#done += length;
    if (this.#done < this.#length || this.#hit?.fault.kill !== 'after') return;
    this.#parts.faults.strike(this.#hit);
    this.#untilNs = Number.POSITIVE_INFINITY;
    this.#putOff = true;
    throw new Later(this.#untilNs);
  }

  /** One bit, if it lies in this part of the request. */
  #flip(bytes: Uint8Array, offset: number, length: number): void {
    const hit = this.#hit!; // only called for one that corrupts
    const { corrupt } = hit.fault;
    const byte = (typeof corrupt === 'number' ? corrupt % this.#length : hit.random(0, this.#length)) - this.#done;
    if (byte >= 0 && byte < length) bytes[offset + byte]! ^= 1 << hit.random(1, 8);
  }
}

/** At most so many bytes by each call. */
const inPieces = (bytes: number): FileCalls => ({
  read: (fd, address, length, at) => SYSTEM_CALLS.read(fd, address, Math.min(bytes, length), at),
  write: (fd, address, length, at) => SYSTEM_CALLS.write(fd, address, Math.min(bytes, length), at),
});

/** The first call fails so, those that follow do not. */
function interrupted(code: string): FileCalls {
  let first = true;
  const call =
    (plain: FileCalls['read']): FileCalls['read'] =>
    (...args) => {
      if (!first) return plain(...args);
      first = false;
      throw new XenError(code, `injected: ${code}`);
    };
  return { read: call(SYSTEM_CALLS.read), write: call(SYSTEM_CALLS.write) };
}
