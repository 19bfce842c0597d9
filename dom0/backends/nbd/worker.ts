// Every vbd whose disk an NBD server has, in a thread with an event loop: the rings are blkback's, the disks are far away.
import { type NbdTarget, type Planted, XenError } from '#pvbus';
import type { BackendContext, BackendWorker } from '../backend-thread.ts';
import type { VbdConnection } from '../blkback/connection.ts';
import { SECTOR_SIZE } from '../blkback/request.ts';
import { Vbd, type VbdParts } from '../blkback/vbd.ts';
import { VbdFaults } from '../blkback/vbd-faults.ts';
import type { BlkbackEvent, BlkbackMessage } from '../blkback/worker.ts';
import { NbdDisk } from './nbd-disk.ts';
import type { NbdExport } from './negotiation.ts';
import { type Connect, NbdSession } from './session.ts';
import { SpareChunks } from './unflushed.ts';

/** What blkback is told, and which disks there are: `key` is the device's. */
export type NbdMessage =
  | BlkbackMessage
  /** Answered with an NbdExport. A server that is not there is tried for `openMs`. */
  | {
      readonly op: 'open';
      readonly key: string;
      readonly label: string;
      readonly target: NbdTarget;
      readonly openMs: number;
    }
  | { readonly op: 'close'; readonly key: string }
  /** Answered when the server is let go of, until `renew`, after which its disk may be larger: nothing asked meanwhile is lost. */
  | { readonly op: 'hold'; readonly key: string }
  | { readonly op: 'renew'; readonly key: string };

/** Requests under way when a frontend goes are waited for so long. */
const LEAVE_NS = 2e9;

interface Device {
  readonly key: string;
  readonly session: NbdSession;
  vbd: Vbd | undefined;
  /** The frontend goes: what was asked is still answered. */
  leaving: { readonly untilNs: number; readonly done: () => void } | undefined;
}

export class NbdWorker implements BackendWorker {
  readonly #context: BackendContext;
  readonly #connectTo: Connect;
  readonly #devices = new Map<string, Device>();
  readonly #faults: VbdFaults;
  readonly #spare = new SpareChunks();

  constructor(context: BackendContext, connectTo: Connect) {
    this.#context = context;
    this.#connectTo = connectTo;
    this.#faults = new VbdFaults(context);
  }

  /** `message` is an NbdMessage of dom0's own main thread. */
  handle(message: unknown): unknown {
    const m = message as NbdMessage;
    switch (m.op) {
      case 'open':
        return this.#open(m.key, m.label, m.target, m.openMs);
      case 'close':
        return this.#close(m.key);
      case 'hold':
        return new Promise<void>(resolve => this.#sessionOf(m.key).hold(resolve));
      case 'renew':
        return this.#devices.get(m.key)?.session.renew(); // it may be closed meanwhile
      case 'connect':
        return this.#connect(m.connection);
      case 'disconnect':
        return this.#disconnect(m.key);
      case 'resize':
        return undefined; // a server says itself how large its disk is
      case 'faults':
        return this.#plant(m.key, m.label, m.planted);
      case 'stats':
        return Object.fromEntries(
          [...this.#devices].flatMap(([key, { vbd }]) => (vbd === undefined ? [] : [[key, { ...vbd.stats }]])),
        );
    }
  }

  step(): 'progress' | 'idle' {
    let progress = this.#faults.step();
    for (const device of this.#devices.values()) {
      const { vbd, session, leaving } = device;
      session.tick();
      if (vbd === undefined) continue;
      if (leaving !== undefined && this.#mayLeave(device)) {
        this.#part(device);
        progress = true;
        continue;
      }
      if (!vbd.pending) continue;
      progress = true;
      this.#turn(device, vbd);
    }
    this.#faults.flush();
    return progress ? 'progress' : 'idle';
  }
  #turn({ key, session }: Device, vbd: Vbd): void {
    session.cork();
    try {
      vbd.turn();
    } catch (error) {
      if (!(error instanceof XenError)) return; // Later: an answer has it go on
      this.#part(this.#devices.get(key)!);
      this.#tell({ op: 'failed', key, code: error.code, message: error.message });
    } finally {
      session.uncork();
    }
  }

  deadline(): number | undefined {
    let first = this.#faults.deadline;
    for (const { session, leaving } of this.#devices.values()) {
      for (const at of [session.deadline, leaving?.untilNs])
        if (at !== undefined && (first === undefined || at < first)) first = at;
    }
    return first;
  }

  async #open(key: string, label: string, target: NbdTarget, openMs: number): Promise<NbdExport> {
    await this.#close(key);
    const { clock, log, wake } = this.#context;
    return new Promise((resolve, reject) => {
      const session = new NbdSession({
        ...{ target, label, connect: this.#connectTo, clock, log, spare: this.#spare, wake, openMs },
        onOpen: result => {
          if (result instanceof XenError) {
            this.#devices.delete(key);
            reject(result);
          } else resolve(result);
        },
        onAway: away => this.#tell({ op: 'away', key, away }),
        onRoom: () => {
          this.#devices.get(key)?.vbd?.look();
          wake();
        },
        onGrown: sizeBytes => this.#grown(key, sizeBytes),
        onBroken: ({ code, message }) => this.#tell({ op: 'failed', key, code, message }),
      });
      this.#devices.set(key, { key, session, vbd: undefined, leaving: undefined });
      wake();
    });
  }

  #sessionOf(key: string): NbdSession {
    const device = this.#devices.get(key);
    if (device === undefined) throw new XenError('ENODEV', 'its disk is not open');
    return device.session;
  }
  #grown(key: string, sizeBytes: number): void {
    this.#devices.get(key)?.vbd?.grow(sizeBytes);
    this.#tell({ op: 'grown', key, sizeBytes });
  }

  #close(key: string): Promise<void> | undefined {
    const device = this.#devices.get(key);
    if (device === undefined) return undefined;
    this.#part(device);
    return new Promise(resolve => {
      device.session.flushAndClose(() => {
        if (this.#devices.get(key) === device) this.#devices.delete(key);
        if (this.#devices.size === 0) this.#spare.clear();
        resolve();
      });
    });
  }

  #connect(connection: VbdConnection): void {
    const device = this.#devices.get(connection.key);
    if (device === undefined) throw new XenError('ENODEV', `${connection.label}: its disk is not open`);
    this.#part(device);
    const { vcpu, log, clock, wake } = this.#context;
    device.vbd = new Vbd(vcpu, log, clock, connection, this.#parts(device));
    wake();
  }
  #parts({ key, session }: Device): VbdParts {
    const { sizeBytes } = session.export!; // a vbd is connected when it is known
    return this.#faults.partsOf(key, new NbdDisk(session, sizeBytes - (sizeBytes % SECTOR_SIZE), this.#context.wake));
  }

  #plant(key: string, label: string, planted: readonly Planted[]): void {
    const device = this.#devices.get(key);
    const vbd = device?.vbd;
    const same = this.#faults.plant(key, label, planted);
    if (device !== undefined && vbd !== undefined && !same) vbd.use(this.#parts(device));
    this.#context.wake();
  }

  #disconnect(key: string): Promise<void> | undefined {
    const device = this.#devices.get(key);
    if (device?.vbd === undefined) return undefined;
    const { clock, wake } = this.#context;
    device.vbd.look();
    return new Promise(resolve => {
      device.leaving?.done();
      device.leaving = { untilNs: clock.now() + LEAVE_NS, done: resolve };
      wake();
    });
  }
  #mayLeave({ session, vbd, leaving }: Device): boolean {
    const drained = vbd!.deferred === 0 && !vbd!.pending;
    return drained || !session.serving || this.#context.clock.now() >= leaving!.untilNs;
  }

  #part(device: Device): void {
    const { vbd, session } = device;
    device.vbd = undefined;
    device.leaving?.done();
    device.leaving = undefined;
    if (vbd === undefined) return;
    this.#faults.gone(device.key);
    // order: the session's stream is to have no page of the frontend any more when they are unmapped.
    session.abandon();
    vbd.close(false);
  }

  #tell(event: BlkbackEvent): void {
    this.#context.tell(event);
  }
}
