/** A set of pCPUs: bit i is pCPU i. */
export class CpuSet {
  private readonly words: Uint32Array;

  /** Room for `nrCpus` pCPUs: ids from 0 up. */
  constructor(nrCpus: number) {
    this.words = new Uint32Array(Math.ceil(nrCpus / 32));
  }
  static from(map: readonly boolean[]): CpuSet {
    const set = new CpuSet(map.length);
    map.forEach((member, cpu) => {
      if (member) set.add(cpu);
    });
    return set;
  }
  static of(nrCpus: number, ...cpus: number[]): CpuSet {
    const set = new CpuSet(nrCpus);
    for (const cpu of cpus) set.add(cpu);
    return set;
  }
  static all(nrCpus: number): CpuSet {
    const set = new CpuSet(nrCpus);
    for (let cpu = 0; cpu < nrCpus; cpu++) set.add(cpu);
    return set;
  }

  copy(): CpuSet {
    const set = new CpuSet(this.words.length * 32);
    set.words.set(this.words);
    return set;
  }
  and(other: CpuSet): CpuSet {
    const set = this.copy();
    for (let i = 0; i < set.words.length; i++) set.words[i]! &= other.words[i] ?? 0;
    return set;
  }
  has(cpu: number): boolean {
    return (((this.words[cpu >>> 5] ?? 0) >>> (cpu & 31)) & 1) !== 0;
  }
  add(cpu: number): void {
    this.words[cpu >>> 5]! |= 1 << (cpu & 31);
  }
  delete(cpu: number): void {
    this.words[cpu >>> 5]! &= ~(1 << (cpu & 31));
  }
  clear(): void {
    this.words.fill(0);
  }
  get size(): number {
    let size = 0;
    for (let cpu = this.first(); cpu >= 0; cpu = this.nextIn(this, cpu + 1)) size++;
    return size;
  }
  get isEmpty(): boolean {
    for (let i = 0; i < this.words.length; i++) if (this.words[i] !== 0) return false;
    return true;
  }
  /** The lowest member, or -1. */
  first(): number {
    return this.nextIn(this, 0);
  }
  /** The lowest member of both sets that is `from` or above, or -1. */
  nextIn(other: CpuSet, from: number): number {
    for (let i = from >>> 5; i < this.words.length; i++) {
      let word = this.words[i]! & (other.words[i] ?? 0);
      if (i === from >>> 5) word &= -1 << (from & 31);
      if (word !== 0) return i * 32 + 31 - Math.clz32(word & -word);
    }
    return -1;
  }
  intersects(other: CpuSet): boolean {
    return this.nextIn(other, 0) >= 0;
  }
  /** Equal sets have equal names. */
  get name(): string {
    return Array.from(this.words, word => word.toString(16)).join(',');
  }
}
