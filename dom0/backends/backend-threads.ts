// The threads of a process's backends: which vCPU each of them is, and those that have been started.
import { XenError } from '#pvbus';
import { type BackendName, type BackendThread, startBackendThread } from './backend-thread.ts';

export class BackendThreads<Name extends BackendName> {
  readonly #sockets: ReadonlyMap<number, number>;
  readonly #vcpus: Readonly<Record<Name, number>>;
  readonly #started = new Map<Name, BackendThread>();

  /** `sockets`: control sockets of this process's vCPUs, by vCPU. `vcpus`: which one each backend's thread is. */
  constructor(sockets: ReadonlyMap<number, number>, vcpus: Readonly<Record<Name, number>>) {
    this.#sockets = sockets;
    this.#vcpus = vcpus;
  }
  /** Start it, if nobody has. It waits until the hypervisor makes it its vCPU. */
  start(name: Name): BackendThread {
    const known = this.#started.get(name);
    if (known) return known;
    const vcpu = this.#vcpus[name];
    const fd = this.#sockets.get(vcpu);
    if (fd === undefined) throw new XenError('ENODEV', `${name}: this process was not given vCPU ${vcpu}`);
    const thread = startBackendThread(name, vcpu, fd);
    this.#started.set(name, thread);
    return thread;
  }
  /** Each finishes its turn and ends. */
  async stop(): Promise<void> {
    await Promise.all([...this.#started.values()].map(thread => thread.stop()));
  }
}
