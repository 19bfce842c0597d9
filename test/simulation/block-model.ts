// What a disk may hold, sector by sector, judged by what its guests were told. Every sector that is written says
// which disk, which sector and which write it is of.
import { SECTOR } from './sim-disk.ts';
import { Violation } from './violation.ts';

const WORDS = SECTOR / 4;
const MAGIC = 0x5ec70000;

export class BlockModel {
  readonly sectors: number;
  readonly #disk: number;
  /** The writes a reader may find, of each sector; 0 is the blank disk. */
  readonly #now: Set<number>[];
  /** Those that may be on the medium. */
  readonly #durable: Set<number>[];
  /** Under way, of each sector. */
  readonly #inFlight: Set<number>[];
  /** Sectors with more than one candidate on the medium: those a flush has something to say about. */
  readonly #unflushed = new Set<number>();
  #last = 0;

  constructor(disk: number, sectors: number) {
    this.#disk = disk;
    this.sectors = sectors;
    this.#now = Array.from({ length: sectors }, () => new Set([0]));
    this.#durable = Array.from({ length: sectors }, () => new Set([0]));
    this.#inFlight = Array.from({ length: sectors }, () => new Set());
  }

  // ---- writes ----

  /** A write begins: `into` is filled with what is to be written. Returns its number. */
  write(sector: number, count: number, into: Uint8Array): number {
    const version = ++this.#last;
    const words = new Int32Array(into.buffer, into.byteOffset, count * WORDS);
    for (let i = 0; i < count; i++) {
      stamp(words, i * WORDS, this.#disk, sector + i, version);
      this.#now[sector + i]!.add(version);
      this.#durable[sector + i]!.add(version);
      this.#inFlight[sector + i]!.add(version);
      this.#unflushed.add(sector + i);
    }
    return version;
  }
  /** It was answered: done, or not known how much of it. */
  written(sector: number, count: number, version: number, ok: boolean): void {
    for (let s = sector; s < sector + count; s++) {
      this.#inFlight[s]!.delete(version);
      if (!ok) continue;
      const now = this.#now[s]!;
      // Later ones may have been done as well; earlier ones were before it.
      for (const v of now) if (v < version) now.delete(v);
    }
  }
  /** Whoever wrote is gone; its writes may yet be done, or never. */
  writerGone(): void {
    for (const set of this.#inFlight) set.clear();
  }

  // ---- flushes ----

  /** A flush begins: what it promises when it succeeds. */
  flush(): FlushPromise {
    const sectors = [...this.#unflushed];
    return { last: this.#last, sectors, values: sectors.map(s => [...this.#now[s]!]) };
  }
  flushed({ last, sectors, values }: FlushPromise): void {
    sectors.forEach((s, i) => {
      const durable = this.#durable[s]!;
      for (const v of durable) if (v <= last && !values[i]!.includes(v)) durable.delete(v);
      if (durable.size === 1) this.#unflushed.delete(s);
    });
  }
  powerCut(): void {
    this.writerGone();
    for (let s = 0; s < this.sectors; s++) {
      this.#now[s] = new Set(this.#durable[s]!);
      if (this.#durable[s]!.size > 1) this.#unflushed.add(s);
    }
  }

  // ---- reads ----

  /** Is a write of one of these sectors under way? */
  busy(sector: number, count: number): boolean {
    for (let s = sector; s < sector + count; s++) if (this.#inFlight[s]!.size > 0) return true;
    return false;
  }
  /** `bytes` are what a read has brought. Throws a Violation. Returns a number of what was seen. */
  read(sector: number, count: number, bytes: Uint8Array): number {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, count * WORDS);
    let seen = 0;
    for (let i = 0; i < count; i++) {
      const s = sector + i;
      const version = versionOf(words, i * WORDS, this.#disk, s);
      if (version < 0) throw new Violation('I2', `sector ${s} of disk ${this.#disk} is torn or another's`);
      const now = this.#now[s]!;
      if (!now.has(version)) {
        const may = [...now].join(', ');
        throw new Violation('I1', `sector ${s} of disk ${this.#disk} holds write ${version}; it may hold ${may}`);
      }
      // Nothing of it is under way: what is seen once stays.
      if (now.size > 1 && this.#inFlight[s]!.size === 0) {
        now.clear();
        now.add(version);
      }
      seen = (Math.imul(seen, 31) + version) | 0;
    }
    return seen;
  }
}

export interface FlushPromise {
  readonly last: number;
  readonly sectors: readonly number[];
  readonly values: readonly (readonly number[])[];
}

const word = (disk: number, sector: number, version: number, i: number): number =>
  Math.imul(version + Math.imul(i, 0x9e3779b1), 0x85ebca6b) ^ Math.imul(sector + 1, 0xc2b2ae35) ^ disk;

function stamp(words: Int32Array, at: number, disk: number, sector: number, version: number): void {
  words[at] = MAGIC | disk;
  words[at + 1] = sector;
  words[at + 2] = version;
  for (let i = 3; i < WORDS; i++) words[at + i] = word(disk, sector, version, i);
}

/** Which write a sector is of, whole; -1 when it is of none of this sector. */
function versionOf(words: Int32Array, at: number, disk: number, sector: number): number {
  if (words[at] === 0) {
    for (let i = 1; i < WORDS; i++) if (words[at + i] !== 0) return -1;
    return 0;
  }
  if (words[at] !== (MAGIC | disk) || words[at + 1] !== sector) return -1;
  const version = words[at + 2]!;
  for (let i = 3; i < WORDS; i++) if (words[at + i] !== word(disk, sector, version, i)) return -1;
  return version;
}
