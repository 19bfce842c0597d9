// A fault of a plan that is on, as the toolstack has it.
import { type Fault, isOfDevice, type Planted, plantedName, type Trigger, triggerOf } from '#pvbus';

/** As it is written to xenstore: at the devices it is for, and where the toolstack finds it again. */
export interface FaultNode extends Planted {
  /** Its place in its plan, which decides between two that would befall the same. */
  readonly order: number;
}

/** A process that another one serves in the place of, or a guest that another one was made in the place of. */
export interface Ended {
  readonly domid: number;
  /** Of domain 0: 0 is dom0's own process, 1 is xenstored. */
  readonly vcpu: number;
  readonly name: string | undefined;
}

export class RunningFault {
  readonly node: FaultNode;
  /** Of a fault that the toolstack itself carries out. */
  readonly trigger: Trigger;
  /** Backends of the devices that it is planted at, and how often it has befallen something there. */
  readonly devices = new Map<string, number>();
  /** The same of guests that it has killed, whose devices are gone: who is restarted in their place is told why. */
  readonly gone = new Map<string, number>();
  /** Of all its devices, as last heard; of the toolstack's own, the trigger knows. */
  injected = 0;
  seen = 0;
  /** Its condition holds, or it has none. */
  met: boolean;
  timer: NodeJS.Timeout | undefined;
  /** Of `exhaust`: its time is over. */
  isRelieved = false;

  constructor(node: FaultNode) {
    this.node = node;
    this.trigger = triggerOf(node);
    this.met = node.fault.while === undefined;
    this.seen = node.counts?.seen ?? 0;
    this.injected = node.counts?.injected ?? 0;
  }
  get fault(): Fault {
    return this.node.fault;
  }
  /** A process has nothing left for as long as this is there. */
  get isExhausted(): boolean {
    return this.fault.exhaust !== undefined && this.trigger.counts.injected > 0;
  }
  /**
   * Where it has killed a process of that domain: at a device, by its backend, or ''. `answered`: how many of its kills there
   * are known to have ended one already.
   */
  killedAt({ domid, vcpu, name }: Ended, answered: (where: string) => number): string | undefined {
    const { fault, devices, gone, trigger } = this;
    if (fault.kill === undefined) return undefined;
    if (isOfDevice(fault)) {
      const own = `/local/domain/${domid}/backend/`;
      const isKilled = (backend: string): boolean =>
        fault.process === 'guest' ? frontendOf(backend) === domid : vcpu === 0 && backend.startsWith(own);
      return [...devices, ...gone].find(([backend, n]) => n > answered(backend) && isKilled(backend))?.[0];
    }
    const isXenstored = fault.part === 'xenstore' || fault.process === 'xenstored';
    const isNamed = fault.domain === domid || fault.domain === name;
    const isKilled =
      fault.domain !== undefined && fault.part === 'process' ? isNamed : domid === 0 && vcpu === (isXenstored ? 1 : 0);
    const injected = fault.part === 'xenstore' ? this.injected : trigger.counts.injected;
    return isKilled && injected > answered('') ? '' : undefined;
  }
  /** The name of its nodes. */
  get name(): string {
    return plantedName(this.node);
  }
}

/** Of `/local/domain/0/backend/vbd/5/51712`. */
const frontendOf = (backend: string): number => Number(backend.split('/').at(-2));
