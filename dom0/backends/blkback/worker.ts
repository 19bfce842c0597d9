// Every vbd of a backend thread has its turn. Nothing in it waits.
import { XenError } from '#pvbus';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import { type DiskImage, RawFile } from './disk-image.ts';
import { Vbd, type VbdConnection } from './vbd.ts';

export type BlkbackMessage =
  | { readonly op: 'connect'; readonly connection: VbdConnection }
  | { readonly op: 'disconnect'; readonly key: string }
  | { readonly op: 'stats' };

/** A ring the worker has given up by itself. */
export interface VbdFailure {
  readonly op: 'failed';
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

/** The vbds of one backend thread. */
export class BlkbackWorker implements BackendWorker {
  readonly #context: BackendContext;
  readonly #openImage: (connection: VbdConnection) => DiskImage;
  readonly #vbds = new Map<string, Vbd>();
  /** The same, in an order that turns can be taken in. */
  #order: Vbd[] = [];

  constructor(
    context: BackendContext,
    openImage: (connection: VbdConnection) => DiskImage = c => new RawFile(c.fd, c.sizeBytes),
  ) {
    this.#context = context;
    this.#openImage = openImage;
  }

  /** `message` is a BlkbackMessage of this domain's own device.ts. */
  handle(message: unknown): unknown {
    const m = message as BlkbackMessage; // the other end of a link inside this process, not a peer
    switch (m.op) {
      case 'connect':
        return this.#connect(m.connection);
      case 'disconnect':
        return this.#disconnect(m.key, true);
      case 'stats':
        return Object.fromEntries([...this.#vbds].map(([key, vbd]) => [key, { ...vbd.stats }]));
    }
  }

  step(): 'progress' | 'idle' {
    const vbds = this.#order;
    let progress = false;
    for (let i = 0; i < vbds.length; i++) {
      const vbd = vbds[i]!;
      if (!vbd.pending) continue;
      progress = true;
      try {
        vbd.turn();
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
        this.#fail(vbd, error);
      }
    }
    return progress ? 'progress' : 'idle';
  }

  #connect(connection: VbdConnection): void {
    this.#disconnect(connection.key, false);
    const { vcpu, log, clock } = this.#context;
    const vbd = new Vbd(vcpu, log, clock, connection, this.#openImage(connection));
    this.#vbds.set(connection.key, vbd);
    this.#order = [...this.#vbds.values()];
  }

  #disconnect(key: string, finish: boolean): void {
    const vbd = this.#vbds.get(key);
    if (!vbd) return;
    this.#vbds.delete(key);
    this.#order = [...this.#vbds.values()];
    vbd.close(finish);
  }

  /** The frontend broke its ring: it is served no more, everybody else is. */
  #fail(vbd: Vbd, error: XenError): void {
    const { key } = vbd.connection;
    this.#disconnect(key, false);
    const failure: VbdFailure = { op: 'failed', key, code: error.code, message: error.message };
    this.#context.tell(failure);
  }
}
