// A small write-through cache: FAT reads its tables a sector at a time, a ring round trip each.
import type { SectorDevice } from './sector-device.ts';

const LINE = 4096;
/** Lines fetched at once when misses follow one another. */
const READ_AHEAD = 8;

/** Never holds what the device does not: a write is on its way to the device before it is here. */
export class SectorCache implements SectorDevice {
  readonly name: string;
  readonly sectorSize: number;
  readonly sectors: number;
  readonly readOnly: boolean;
  private readonly device: SectorDevice;
  private readonly perLine: number;
  private readonly capacity: number;
  /** Least recently used first. */
  private readonly lines = new Map<number, Uint8Array>();
  private lastMiss = -2;

  constructor(device: SectorDevice, bytes = 1 << 20) {
    this.device = device;
    this.name = device.name;
    this.sectorSize = device.sectorSize;
    this.sectors = device.sectors;
    this.readOnly = device.readOnly;
    this.perLine = Math.max(1, LINE / device.sectorSize);
    this.capacity = Math.max(READ_AHEAD, Math.floor(bytes / LINE));
  }

  read(sector: number, into: Uint8Array): void {
    const count = into.length / this.sectorSize;
    // A whole file's worth would only push the tables out.
    if (count > this.perLine) {
      this.device.read(sector, into);
      return;
    }
    for (let done = 0; done < count; ) {
      const at = sector + done;
      const line = this.line(Math.floor(at / this.perLine));
      const from = at % this.perLine;
      const take = Math.min(count - done, this.perLine - from);
      into.set(line.subarray(from * this.sectorSize, (from + take) * this.sectorSize), done * this.sectorSize);
      done += take;
    }
  }

  write(sector: number, from: Uint8Array): void {
    const count = from.length / this.sectorSize;
    try {
      this.device.write(sector, from);
    } catch (error) {
      // Nobody knows which of it arrived.
      this.forget(sector, count);
      throw error;
    }
    for (let done = 0; done < count; ) {
      const at = sector + done;
      const offset = at % this.perLine;
      const take = Math.min(count - done, this.perLine - offset);
      const line = this.lines.get(Math.floor(at / this.perLine));
      line?.set(from.subarray(done * this.sectorSize, (done + take) * this.sectorSize), offset * this.sectorSize);
      done += take;
    }
  }

  flush(): void {
    this.device.flush();
  }

  private forget(sector: number, count: number): void {
    for (let n = Math.floor(sector / this.perLine); n * this.perLine < sector + count; n++) this.lines.delete(n);
  }

  private line(n: number): Uint8Array {
    const held = this.lines.get(n);
    if (held) {
      this.lines.delete(n);
      this.lines.set(n, held);
      return held;
    }
    let ahead = n === this.lastMiss + 1 ? READ_AHEAD : 1;
    while (ahead > 1 && this.lines.has(n + ahead - 1)) ahead--;
    const first = n * this.perLine;
    const bytes = new Uint8Array(Math.min(ahead * this.perLine, this.sectors - first) * this.sectorSize);
    this.device.read(first, bytes);
    const lineBytes = this.perLine * this.sectorSize;
    for (let i = ahead - 1; i >= 0; i--) {
      // invariant: a line that is held may be newer than nothing; it is never replaced by an older read.
      const part = bytes.slice(i * lineBytes, (i + 1) * lineBytes);
      if (part.length > 0 && !this.lines.has(n + i)) this.lines.set(n + i, part);
    }
    this.lastMiss = n + ahead - 1;
    for (const oldest of this.lines.keys()) {
      if (this.lines.size <= this.capacity) break;
      if (oldest !== n) this.lines.delete(oldest);
    }
    return this.lines.get(n) ?? bytes;
  }
}
