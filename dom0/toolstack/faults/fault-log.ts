// What is told of faults and of the reactions to them.
import { type Clock, type FaultEvent, MAX_FAULT_TEXT } from '#pvbus';
import type { RunningFault } from './running-fault.ts';

export type TellFault = (event: FaultEvent) => void;

type Told = Partial<Pick<FaultEvent, 'occurrences' | 'count' | 'total' | 'domid'>>;

export class FaultLog {
  readonly #clock: Clock;
  readonly #tell: TellFault;

  constructor(clock: Clock, tell: TellFault) {
    this.#clock = clock;
    this.#tell = tell;
  }

  of({ node }: RunningFault, what: FaultEvent['what'], text: string, told: Told = {}): void {
    const { plan, seed, fault } = node;
    this.#write({ what, plan, fault: fault.name, seed, text, ...told });
  }
  /** `cause`: the fault that it answers to. */
  reaction(domid: number | null, text: string, cause?: RunningFault): void {
    const { plan = null, seed = null, fault } = cause?.node ?? {};
    this.#write({ what: 'reaction', plan, fault: fault?.name ?? null, seed, text, domid });
  }
  #write(event: Pick<FaultEvent, 'what' | 'plan' | 'fault' | 'seed' | 'text'> & Told): void {
    const at = Math.floor(this.#clock.wallMs());
    // untrusted: a driver domain, or a plan's own words, may be in it.
    const text = event.text.slice(0, MAX_FAULT_TEXT).replace(/\p{Cc}/gu, '?');
    this.#tell({ event: 'fault', at, occurrences: [], count: 0, total: 0, domid: null, ...event, text });
  }
}
