// What a long run must have met at least once, or it has not tested what it says.
export const SOMETIMES = [
  'guest made',
  'guest buried',
  'guest killed',
  'guest destroyed alive',
  'guest attacked',
  'guest lost its disk for an attack',
  'guest lost its vif for an attack',
  'dom0 died',
  'dom0 died in a system call',
  'dom0 came back',
  'xenstored died',
  'xenstored died in a system call',
  'xenstored came back',
  'requests replayed',
  'notification drop',
  'notification double',
  'notification delay',
  'packet drop',
  'packet double',
  'packet damage',
  'packet delay',
  'packet delivered',
  'disk error',
  'disk error told to a guest',
  'power cut',
  'map failed',
  'write answered',
  'read answered',
  'flush answered',
  'counter counted',
  'journal compacted',
  'wall clock stepped',
  'host stopped',
  'woken for nothing',
] as const;
export type Sometimes = (typeof SOMETIMES)[number];

export class Coverage {
  readonly #counts = new Map<string, number>();

  saw(what: Sometimes, times = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + times);
  }
  add(other: Coverage): void {
    for (const [what, count] of other.#counts) this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }
  count(what: Sometimes): number {
    return this.#counts.get(what) ?? 0;
  }
  get never(): readonly Sometimes[] {
    return SOMETIMES.filter(what => this.count(what) === 0);
  }
}
