// CPU maps: sets of physical CPUs, as guests pass them (xenctl_bitmap).
import { xenctl_bitmap } from '#pvbus';
import type { Domain } from './domain.ts';
import { readU64 } from './guest-memory.ts';

/** Bit i is CPU i. */
export type CpuMap = boolean[];

export const allCpus = (nrCpus: number): CpuMap => new Array<boolean>(nrCpus).fill(true);
export const intersect = (a: CpuMap, b: CpuMap): CpuMap => a.map((x, i) => x && b[i] === true);
export const isEmpty = (map: CpuMap): boolean => !map.includes(true);

/** A guest's bitmap: its pointer is read once, out of a private copy of the operation. */
export class GuestBitmap {
  private readonly domain: Domain;
  private readonly address: number;
  private readonly bits: number;

  constructor(domain: Domain, op: DataView, at: number) {
    this.domain = domain;
    this.address = readU64(op, at + xenctl_bitmap.at.bitmap);
    this.bits = op.getUint32(at + xenctl_bitmap.at.nr_bits, true);
  }
  get isNull(): boolean {
    return this.address === 0 || this.bits === 0;
  }
  get reachable(): boolean {
    return this.domain.physmap.reachable(this.address, Math.ceil(this.bits / 8));
  }
  /** CPUs that do not exist are ignored. */
  read(nrCpus: number): CpuMap {
    const map = new Array<boolean>(nrCpus).fill(false);
    for (let i = 0; i < Math.min(nrCpus, this.bits); i++)
      map[i] = (this.domain.memory.bytes[this.address + (i >> 3)]! & (1 << (i & 7))) !== 0;
    return map;
  }
  /** What the guest's bitmap has no room for is dropped, what the host does not have is cleared. */
  write(map: CpuMap): void {
    const { bytes } = this.domain.memory;
    bytes.fill(0, this.address, this.address + Math.ceil(this.bits / 8));
    for (let i = 0; i < Math.min(map.length, this.bits); i++)
      if (map[i]) bytes[this.address + (i >> 3)]! |= 1 << (i & 7);
  }
}
