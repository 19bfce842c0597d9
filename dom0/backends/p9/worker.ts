// Every connected shared folder, in a thread of its own: what the host's file system does takes as long as it takes.
import { type Clock, domid, earlier, type Injected, type Planted, type Vcpu, type XenError } from '#pvbus';
import { plainEvents } from '../../faults/faulty-notifier.ts';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import { P9Connection, type RingKeys } from './connection.ts';
import { FolderFaults } from './folder-faults.ts';

/** `device` names one device: its backend path. */
export type P9Call =
  | {
      op: 'connect';
      device: string;
      label: string;
      frontend: number;
      path: string;
      readOnly: boolean;
      rings: readonly RingKeys[];
    }
  | { op: 'disconnect'; device: string }
  /** These faults befall the device from now on, connected or not; none of others. */
  | { op: 'faults'; device: string; label: string; planted: readonly Planted[] };

export type P9Event =
  | { readonly event: 'failed'; readonly device: string; readonly code: string; readonly message: string }
  | { readonly event: 'injected'; readonly device: string; readonly injected: Injected };

export class P9Worker implements BackendWorker {
  readonly #vcpu: Vcpu;
  readonly #clock: Clock;
  readonly #tell: (event: P9Event) => void;
  readonly #connections = new Map<string, P9Connection>();
  readonly #faults = new Map<string, FolderFaults>();

  constructor({ vcpu, clock, tell }: BackendContext) {
    this.#vcpu = vcpu;
    this.#clock = clock;
    this.#tell = tell;
  }

  handle(message: unknown): unknown {
    const call = message as P9Call; // from dom0's own main thread
    if (call.op === 'faults') return this.#plant(call);
    this.#connections.get(call.device)?.close();
    this.#connections.delete(call.device);
    this.#faults.get(call.device)?.gone();
    if (call.op === 'connect') this.#connect(call);
    return null;
  }

  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    if (this.#faults.size > 0)
      for (const [device, faults] of this.#faults) if (faults.isDue) this.#connections.get(device)?.look();
    for (const connection of this.#connections.values()) if (connection.step() === 'progress') result = 'progress';
    if (this.#faults.size > 0) for (const faults of this.#faults.values()) if (faults.step()) result = 'progress';
    return result;
  }
  /** What a fault holds back goes on then. */
  deadline(): number | undefined {
    let first: number | undefined;
    if (this.#faults.size > 0) for (const { deadline } of this.#faults.values()) first = earlier(first, deadline);
    return first;
  }

  #plant({ device, label, planted }: Extract<P9Call, { op: 'faults' }>): null {
    const tell = (injected: Injected): void => this.#tell({ event: 'injected', device, injected });
    const known = this.#faults.get(device);
    const faults = known ?? new FolderFaults(label, this.#clock, this.#vcpu.events, tell);
    faults.plant(planted);
    if (planted.length > 0) this.#faults.set(device, faults);
    else this.#faults.delete(device);
    // What is held back is answered by who holds it: it may be done already.
    if (known !== undefined && planted.length === 0) {
      this.#connections.get(device)?.look();
      this.#connections.get(device)?.step();
    }
    const connection = this.#connections.get(device);
    if (known !== undefined && planted.length > 0) connection?.look();
    else if (connection !== undefined) this.#befall(device, connection);
    return null;
  }
  /** What is planted at the device stands before its server, or nothing does. */
  #befall(device: string, connection: P9Connection): void {
    const faults = this.#faults.get(device);
    connection.use(server => faults?.before(server) ?? server, faults?.events ?? plainEvents(this.#vcpu.events));
  }

  #connect({ device, label, frontend, path, readOnly, rings }: Extract<P9Call, { op: 'connect' }>): void {
    const connection = new P9Connection({
      vcpu: this.#vcpu,
      frontend: domid(frontend),
      label,
      path,
      readOnly,
      rings,
      onFatal: (error: XenError) => {
        this.#connections.delete(device);
        this.#faults.get(device)?.gone();
        this.#tell({ event: 'failed', device, code: error.code, message: error.message });
      },
    });
    if (this.#faults.has(device)) this.#befall(device, connection);
    this.#connections.set(device, connection);
  }
}
