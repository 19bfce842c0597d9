// A fault of a plan that is on, as the toolstack has it.
import { type Fault, isOfDevice, type Planted, plantedName, type Trigger, triggerOf } from '#pvbus';

/** As it is written to xenstore: at the devices it is for, and where the toolstack finds it again. */
export interface FaultNode extends Planted {
  /** Its place in its plan, which decides between two that would befall the same. */
  readonly order: number;
  /** `RunningFault.killed` of the process before this one. */
  readonly killed?: readonly (readonly [string, number])[];
}

/** A process that another one serves in the place of, or a guest that another one was made in the place of. */
export interface Ended {
  readonly domid: number;
  /** Of domain 0: 0 is dom0's own process, 1 is xenstored. */
  readonly vcpu: number;
}
/** Whose process a fault by time kills. By number: the name may be another domain's when somebody asks. */
export const processOf = (domid: number, isXenstored = false): string => (isXenstored ? 'xenstored' : `dom${domid}`);

export class RunningFault {
  readonly node: FaultNode;
  /** Of a fault that the toolstack itself carries out. */
  readonly trigger: Trigger;
  /** Backends of the devices that it is planted at, or domains (`dom1`), and how often it has befallen something there. */
  readonly devices = new Map<string, number>();
  /** The same of guests that it has killed, whose devices are gone: who is restarted in their place is told why. */
  readonly gone = new Map<string, number>();
  /** Of `part: process`: whom it has killed, by `processOf`, and how often; the last one is the last. */
  readonly killed: Map<string, number>;
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
    this.killed = new Map(node.killed);
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
   * Where it has killed a process of that domain: at a device, by its backend; by time, by `processOf`; or ''. `answered`: how
   * many of its kills there are known to have ended one already.
   */
  killedAt({ domid, vcpu }: Ended, answered: (where: string) => number): string | undefined {
    const { fault, devices, gone, killed, trigger } = this;
    if (fault.kill === undefined) return undefined;
    if (isOfDevice(fault)) {
      const own = `/local/domain/${domid}/backend/`;
      const isKilled = (backend: string): boolean =>
        fault.process === 'guest' ? frontendOf(backend) === domid : vcpu === 0 && backend.startsWith(own);
      return [...devices, ...gone].find(([backend, n]) => n > answered(backend) && isKilled(backend))?.[0];
    }
    if (fault.part === 'process') {
      const ended = processOf(domid, domid === 0 && vcpu === XENSTORED_VCPU);
      return (killed.get(ended) ?? 0) > answered(ended) ? ended : undefined;
    }
    const isXenstored = fault.part === 'xenstore';
    const injected = isXenstored ? this.injected : trigger.counts.injected;
    return domid === 0 && vcpu === (isXenstored ? XENSTORED_VCPU : 0) && injected > answered('') ? '' : undefined;
  }
  /** The name of its nodes. */
  get name(): string {
    return plantedName(this.node);
  }
}

/** Of domain 0. */
const XENSTORED_VCPU = 1;
/** Of `/local/domain/0/backend/vbd/5/51712`. */
const frontendOf = (backend: string): number => Number(backend.split('/').at(-2));
