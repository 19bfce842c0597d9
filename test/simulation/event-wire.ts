// What lies between who notifies and the event channel: notifications that are dropped, doubled or delayed.
import { type EvtchnPort, type Vcpu, XenError } from '#pvbus';
import type { CoreRig } from '../support/core-rig.ts';
import type { Part } from './part.ts';
import type { SimProcess } from './sim-process.ts';

export type EventFault = 'drop' | 'double' | 'delay';
/** Where nobody looks for himself once a second, a lost notification is one that comes this late. */
const LOOK_NS = 1e9;

interface Late {
  readonly process: SimProcess;
  readonly send: () => void;
  readonly at: number;
}

export class EventWire implements Part {
  readonly name = 'events';
  fault: EventFault | undefined;
  left = 0;
  delayNs = 0;
  onFault: (fault: EventFault) => void = () => {};
  readonly #core: CoreRig;
  #late: Late[] = [];

  constructor(core: CoreRig) {
    this.#core = core;
  }

  /** Everything `vcpu` sends goes through here. `missed`: is it a port whose other end only hears? */
  install(process: SimProcess, vcpu: Vcpu, missed: (port: EvtchnPort) => boolean): void {
    const { events } = vcpu;
    const notify = events.notify.bind(events);
    events.notify = (port: EvtchnPort) => {
      if (!process.alive) return;
      if (this.left === 0) return notify(port);
      this.left--;
      const fault = this.fault!;
      this.onFault(fault);
      if (fault === 'double') {
        notify(port);
        notify(port);
        return;
      }
      if (fault === 'drop' && !missed(port)) return;
      const send = (): void => {
        try {
          notify(port);
        } catch (error) {
          if (!(error instanceof XenError)) throw error; // closed meanwhile
        }
      };
      const after = fault === 'drop' ? LOOK_NS : this.delayNs;
      this.#late.push({ process, send, at: this.#core.clock.now() + after });
    };
  }

  ready(): boolean {
    return this.#late.length > 0 && this.deadline() <= this.#core.clock.now();
  }
  step(): boolean {
    const now = this.#core.clock.now();
    const i = this.#late.findIndex(late => late.at <= now);
    if (i < 0) return false;
    const [late] = this.#late.splice(i, 1);
    if (late!.process.alive) late!.send();
    return true;
  }
  deadline(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { at } of this.#late) if (at < earliest) earliest = at;
    return earliest;
  }
}
