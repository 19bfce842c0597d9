// A process that can be killed at any of its system calls. A dead one touches nothing any more: whatever its code
// still does before it returns, its memory is not the domain's, and its calls throw.
import { type ControlMessage, KIND_FORGET, type Machine, type Vcpu } from '#pvbus';
import type { CoreRig, Guest } from '../support/core-rig.ts';

export class Killed extends Error {}

export class SimProcess {
  readonly name: string;
  alive = true;
  /** Between its traps and the hypervisor; returns a result to have the hypervisor not asked at all. */
  onTrap: (nr: number, a0: number, a1: number, a2: number) => number | undefined = () => undefined;
  onTrapped: (nr: number, a0: number, a1: number, result: number) => void = () => {};
  onDeath: (inCall: boolean) => void = () => {};
  readonly #core: CoreRig;
  readonly #vcpus: Vcpu[] = [];
  #callsLeft = Number.POSITIVE_INFINITY;

  constructor(core: CoreRig, name: string) {
    this.#core = core;
    this.name = name;
  }

  /** One of its threads. */
  thread(guest: Guest, id: number): Vcpu {
    const vcpu = guest.kernel(id, machine => this.#door(machine));
    this.#vcpus.push(vcpu);
    return vcpu;
  }
  #door(machine: Machine): Machine {
    return {
      ...machine,
      trap: (nr, a0, a1, a2, a3, a4) => {
        this.call();
        const result = this.onTrap(nr, a0, a1, a2) ?? machine.trap(nr, a0, a1, a2, a3, a4);
        this.onTrapped(nr, a0, a1, result);
        return result;
      },
      receive: () => (this.alive ? machine.receive() : undefined),
    };
  }

  /** It makes a system call. `part`: what of it has happened when it is killed in its midst. */
  call(part: () => void = () => {}): void {
    if (!this.alive) throw new Killed();
    if (this.#callsLeft-- > 0) return;
    part();
    this.#die(true);
    throw new Killed();
  }
  /** It will make so many system calls more, and die in the next. */
  killAfter(calls: number): void {
    this.#callsLeft = calls;
  }
  /** It will not. */
  spare(): void {
    this.#callsLeft = Number.POSITIVE_INFINITY;
  }
  kill(): void {
    this.#die(false);
  }
  #die(inCall: boolean): void {
    if (!this.alive) return;
    this.alive = false;
    for (const vcpu of this.#vcpus) {
      for (const { domid } of this.#core.hypervisor.domains.list()) {
        const forget: ControlMessage = { kind: KIND_FORGET, a: domid, b: 0, fd: -1 };
        vcpu.grants.control(forget);
        vcpu.events.control(forget);
      }
      vcpu.memory.release();
    }
    this.onDeath(inCall);
  }
}
