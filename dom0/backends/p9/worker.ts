// Every connected shared folder, in a thread of its own: what the host's file system does takes as long as it takes.
import { domid, type Vcpu, type XenError } from '#pvbus';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import { P9Connection, type RingKeys } from './connection.ts';

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
  | { op: 'disconnect'; device: string };

export interface P9Event {
  readonly event: 'failed';
  readonly device: string;
  readonly code: string;
  readonly message: string;
}

export class P9Worker implements BackendWorker {
  readonly #vcpu: Vcpu;
  readonly #tell: (event: P9Event) => void;
  readonly #connections = new Map<string, P9Connection>();

  constructor({ vcpu, tell }: BackendContext) {
    this.#vcpu = vcpu;
    this.#tell = tell;
  }

  handle(message: unknown): unknown {
    const call = message as P9Call; // from dom0's own main thread
    this.#connections.get(call.device)?.close();
    this.#connections.delete(call.device);
    if (call.op === 'connect') this.#connect(call);
    return null;
  }

  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    for (const connection of this.#connections.values()) if (connection.step() === 'progress') result = 'progress';
    return result;
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
        this.#tell({ event: 'failed', device, code: error.code, message: error.message });
      },
    });
    this.#connections.set(device, connection);
  }
}
