// Every vbd of a backend thread has its turn. Nothing in it waits.
import { type Injected, type Planted, XenError } from '#pvbus';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import type { VbdConnection } from './connection.ts';
import { type DiskImage, type FileCalls, Later, RawFile } from './disk-image.ts';
import { Vbd, type VbdParts } from './vbd.ts';
import { VbdFaults } from './vbd-faults.ts';

export type BlkbackMessage =
  | { readonly op: 'connect'; readonly connection: VbdConnection }
  | { readonly op: 'disconnect'; readonly key: string }
  /** Its image has grown. */
  | { readonly op: 'resize'; readonly key: string; readonly sizeBytes: number }
  /** These faults befall the device from now on, connected or not; none of others. */
  | { readonly op: 'faults'; readonly key: string; readonly label: string; readonly planted: readonly Planted[] }
  | { readonly op: 'stats' };

/** A ring the worker has given up by itself. */
export interface VbdFailure {
  readonly op: 'failed';
  readonly key: string;
  readonly code: string;
  readonly message: string;
}

/** What it tells unasked. */
export type BlkbackEvent =
  | VbdFailure
  /** It has kept everybody else waiting: it had better have another thread. */
  | { readonly op: 'slow'; readonly key: string }
  /** The server of its disk cannot be reached, or can again. */
  | { readonly op: 'away'; readonly key: string; readonly away: boolean }
  | { readonly op: 'grown'; readonly key: string; readonly sizeBytes: number }
  | { readonly op: 'injected'; readonly key: string; readonly injected: Injected };

/** A turn that takes so long has waited for a file. Page cache has its worth in 0.1 ms, and in 45 on a machine under load 29: ADR 12. */
const SLOW_TURN_NS = 100e6;
/** So many of them, with less than that between them, and the vbd is slow: it is its image, not the machine's bad moments. */
const SLOW_TURNS = 3;
const SLOW_TOGETHER_NS = 10e9;

type OpenImage = (connection: VbdConnection, calls?: FileCalls) => DiskImage;

/** The vbds of one backend thread. */
export class BlkbackWorker implements BackendWorker {
  readonly #context: BackendContext;
  readonly #openImage: OpenImage;
  readonly #vbds = new Map<string, Vbd>();
  /** The same, in an order that turns can be taken in. */
  #order: Vbd[] = [];
  readonly #faults: VbdFaults;

  constructor(context: BackendContext, openImage: OpenImage = (c, calls) => new RawFile(c.fd, c.sizeBytes, calls)) {
    this.#context = context;
    this.#faults = new VbdFaults(context);
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
      case 'resize':
        return this.#resize(m.key, m.sizeBytes);
      case 'faults':
        return this.#plant(m.key, m.label, m.planted);
      case 'stats':
        return Object.fromEntries([...this.#vbds].map(([key, vbd]) => [key, { ...vbd.stats }]));
    }
  }

  step(): 'progress' | 'idle' {
    const vbds = this.#order;
    let progress = this.#faults.step();
    for (let i = 0; i < vbds.length; i++) {
      const vbd = vbds[i]!;
      if (!vbd.pending) continue;
      progress = true;
      const began = this.#context.clock.now();
      try {
        vbd.turn();
      } catch (error) {
        if (error instanceof Later) this.#putOff(vbd, error.atNs);
        else if (error instanceof XenError) this.#fail(vbd, error);
        else throw error;
      }
      const ended = this.#context.clock.now();
      if (ended - began > SLOW_TURN_NS) this.#wasSlow(vbd, began, ended);
    }
    this.#faults.flush();
    return progress ? 'progress' : 'idle';
  }

  #wasSlow(vbd: Vbd, began: number, ended: number): void {
    if (began - vbd.slowUntilNs > SLOW_TOGETHER_NS) vbd.slowTurns = 0;
    vbd.slowUntilNs = ended;
    if (++vbd.slowTurns === SLOW_TURNS)
      this.#context.tell({ op: 'slow', key: vbd.connection.key } satisfies BlkbackEvent);
  }

  /** Of what was put off. */
  deadline(): number | undefined {
    return this.#faults.deadline;
  }
  #putOff(vbd: Vbd, atNs: number): void {
    if (atNs === Number.POSITIVE_INFINITY) return; // until something changes
    this.#faults.late.add(atNs, () => {
      vbd.pending = true;
    });
  }

  #connect(connection: VbdConnection): void {
    this.#disconnect(connection.key, false);
    const { vcpu, log, clock } = this.#context;
    const vbd = new Vbd(vcpu, log, clock, connection, this.#parts(connection));
    this.#vbds.set(connection.key, vbd);
    this.#order = [...this.#vbds.values()];
  }

  #disconnect(key: string, finish: boolean): void {
    const vbd = this.#vbds.get(key);
    if (!vbd) return;
    this.#vbds.delete(key);
    this.#order = [...this.#vbds.values()];
    vbd.close(finish);
    this.#faults.gone(key);
  }

  #resize(key: string, sizeBytes: number): void {
    const vbd = this.#vbds.get(key);
    if (!vbd) return;
    vbd.connection = { ...vbd.connection, sizeBytes };
    vbd.use(this.#parts(vbd.connection));
  }

  #parts(connection: VbdConnection): VbdParts {
    const by = (calls?: FileCalls): DiskImage => this.#openImage(connection, calls);
    return this.#faults.partsOf(connection.key, by(), by);
  }

  #plant(key: string, label: string, planted: readonly Planted[]): void {
    const vbd = this.#vbds.get(key);
    const same = this.#faults.plant(key, label, planted);
    if (vbd === undefined) return;
    if (same) vbd.pending = true;
    else vbd.use(this.#parts(vbd.connection));
  }

  /** The frontend broke its ring: it is served no more, everybody else is. */
  #fail(vbd: Vbd, error: XenError): void {
    const { key } = vbd.connection;
    this.#disconnect(key, false);
    const failure: VbdFailure = { op: 'failed', key, code: error.code, message: error.message };
    this.#context.tell(failure);
  }
}
