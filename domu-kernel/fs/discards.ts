// Clusters or blocks that became free, until the disk is told that it need not keep what was in them.
import { messageOf } from '#pvbus';
import type { SectorDevice } from './sector-device.ts';

/** A run goes on over what was free before, up to multiples of it: a qcow2 image gives back whole clusters, of 64 KiB. */
const WHOLE_BYTES = 64 << 10;
/** Runs that are remembered: of more than that the disk keeps what was there. */
const MOST_RUNS = 4096;
/** Of one request. */
const MOST_BYTES = 256 << 20;

/** What a file system counts its space in. */
export interface SpaceUnits {
  /** The sector that number 0 begins at, or would. */
  readonly origin: number;
  /** Of each. */
  readonly sectors: number;
  readonly first: number;
  readonly end: number;
  /** Who says, of the volume as it is now, which of them are free. */
  look(): (unit: number) => boolean;
}
interface Run {
  readonly first: number;
  end: number;
}

export class Discards {
  private readonly device: Required<Pick<SectorDevice, 'discard'>> & SectorDevice;
  private readonly granularity: number;
  private readonly units: SpaceUnits;
  private readonly log: (line: string) => void;
  private runs: Run[] = [];
  private refused = false;

  private constructor(device: Discards['device'], granularity: number, units: SpaceUnits, log: (line: string) => void) {
    this.device = device;
    this.granularity = granularity;
    this.units = units;
    this.log = log;
  }
  /** undefined: the disk does not take any. */
  static of(device: SectorDevice, units: SpaceUnits, log: (line: string) => void = () => {}): Discards | undefined {
    const { discardGranularity = 0 } = device;
    if (device.readOnly || discardGranularity === 0 || !takesDiscards(device)) return undefined;
    return new Discards(device, Math.ceil(discardGranularity / device.sectorSize), units, log);
  }

  get any(): boolean {
    return this.runs.length > 0;
  }
  /** These became free; they may be used again before `send`. */
  add(first: number, count = 1): void {
    const last = this.runs.at(-1);
    if (last?.end === first) last.end += count;
    else if (!this.refused && this.runs.length < MOST_RUNS) this.runs.push({ first, end: first + count });
  }
  /**
   * At most so many requests.
   *
   * order: what says that they are free is on the medium, and nothing is kept back that would be written to them.
   */
  send(most = Number.POSITIVE_INFINITY): void {
    const isFree = this.units.look();
    this.runs.sort((a, b) => a.first - b.first);
    let left = most;
    // Units below it were looked at.
    let reached = this.units.first;
    let done = 0;
    for (; done < this.runs.length && left > 0 && !this.refused; done++) {
      const run = this.runs[done]!; // below its length
      for (let unit = Math.max(run.first, reached); unit < run.end && !this.refused; unit++) {
        if (!isFree(unit)) continue;
        const from = this.begin(unit, reached, isFree);
        reached = this.end(unit, run.end, isFree);
        left -= this.discard(from, reached);
        unit = reached;
      }
    }
    this.runs = this.refused ? [] : this.runs.slice(done);
  }

  private begin(unit: number, least: number, isFree: (unit: number) => boolean): number {
    const { first } = this.units;
    const whole = Math.floor(this.sector(unit) / this.whole) * this.whole;
    let from = unit;
    while (from > Math.max(first, least) && this.sector(from) > whole && isFree(from - 1)) from--;
    return from;
  }
  private end(unit: number, end: number, isFree: (unit: number) => boolean): number {
    const whole = Math.ceil(this.sector(end) / this.whole) * this.whole;
    let to = unit + 1;
    while (to < this.units.end && (to < end || this.sector(to) < whole) && isFree(to)) to++;
    return to;
  }
  /** How many requests that was. */
  private discard(from: number, to: number): number {
    const { device, granularity } = this;
    const last = Math.floor(this.sector(to) / granularity) * granularity;
    const most = Math.max(granularity, Math.floor(MOST_BYTES / device.sectorSize / granularity) * granularity);
    let requests = 0;
    for (let at = Math.ceil(this.sector(from) / granularity) * granularity; at < last; at += most) {
      requests++;
      try {
        device.discard(at, Math.min(most, last - at));
      } catch (error) {
        // Nobody has lost anything.
        this.refused = true;
        this.log(`${device.name}: free space is not given back any more: ${messageOf(error)}`);
        break;
      }
    }
    return requests;
  }
  private get whole(): number {
    return WHOLE_BYTES / this.device.sectorSize;
  }
  private sector(unit: number): number {
    return this.units.origin + unit * this.units.sectors;
  }
}

const takesDiscards = (device: SectorDevice): device is Discards['device'] => device.discard !== undefined;
