// `watchdog=SECONDS` on the command line: the hypervisor ends a domain whose kernel gets no turn for so long, with
// reason watchdog; on_watchdog of its config says what follows. Xen: SCHEDOP_watchdog, as Linux's xen_wdt uses it.
import {
  __HYPERVISOR_sched_op,
  type Clock,
  checked,
  SCHEDOP_watchdog,
  sched_watchdog,
  type Vcpu,
  XenError,
} from '#pvbus';

export class Watchdog {
  readonly #vcpu: Vcpu;
  readonly #clock: Clock;
  readonly #seconds: number;
  readonly #id: number;
  /** When it is to be poked next, ns. */
  deadline: number;

  /** Throws EINVAL for what is no number of seconds. */
  constructor(vcpu: Vcpu, clock: Clock, seconds: string | true) {
    this.#vcpu = vcpu;
    this.#clock = clock;
    this.#seconds = Number(seconds);
    if (!Number.isInteger(this.#seconds) || this.#seconds < 1 || this.#seconds > 0xffff_ffff || seconds === true)
      throw new XenError('EINVAL', `watchdog=${seconds}: not a number of seconds`);
    this.#id = this.#set(0);
    this.deadline = this.#next();
  }
  step(): void {
    if (this.#clock.now() < this.deadline) return;
    this.#set(this.#id);
    this.deadline = this.#next();
  }
  #next(): number {
    return this.#clock.now() + (this.#seconds * 1e9) / 3;
  }
  /** Returns the id; of 0 a new one. */
  #set(id: number): number {
    const { scratch } = this.#vcpu;
    const at = scratch.reset().alloc(sched_watchdog.size);
    scratch.view.setUint32(at + sched_watchdog.at.id, id, true);
    scratch.view.setUint32(at + sched_watchdog.at.timeout, this.#seconds, true);
    return checked(this.#vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_watchdog, at), 'watchdog');
  }
}
