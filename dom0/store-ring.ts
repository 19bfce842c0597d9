// dom0's own connection to xenstore. Xen: as of any kernel a ring, not a socket, so that what is under way on it
// outlives the daemon.
import {
  type Clock,
  domid,
  dropInherited,
  type EvtchnPort,
  inherited,
  type Page,
  RingTransport,
  requestReconnect,
  socketTransport,
  type Vcpu,
  VIRQ_XENOLITH_replacement,
  XenError,
  XenstoreClient,
  type XenstoreTransport,
} from '#pvbus';

/** A ring that moves whenever there is something to move. */
export class EagerRing implements XenstoreTransport {
  readonly #ring: RingTransport;
  #scheduled = false;

  constructor(ring: RingTransport) {
    this.#ring = ring;
  }
  send(bytes: Uint8Array): void {
    this.#ring.send(bytes);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // All that this turn of the event loop asks goes with one notification.
    queueMicrotask(() => {
      this.#scheduled = false;
      this.step();
    });
  }
  onData(cb: (bytes: Uint8Array) => void): void {
    this.#ring.onData(cb);
  }
  onClose(cb: (reason: string) => void): void {
    this.#ring.onClose(cb);
  }
  close(): void {
    this.#ring.close();
  }
  /** One ringful each way, the others later: the event loop has its turn in between. */
  step(): void {
    if (this.#ring.step() === 'progress') setImmediate(() => this.step());
  }
}

/**
 * The ring of the process whose place this one takes, begun anew: its requests, watches and transactions are
 * forgotten. The vCPU keeps nothing else of it but the port of VIRQ_XENOLITH_replacement. Undefined when it had none.
 */
export function goOnWithStoreRing(vcpu: Vcpu): XenstoreTransport | undefined {
  const { ports } = inherited(vcpu);
  const own = ports.find(port => port.kind === 'interdomain' && port.remote === vcpu.domid);
  const kept = ports.filter(port => port === own || (port.kind === 'virq' && port.virq === VIRQ_XENOLITH_replacement));
  dropInherited(
    vcpu,
    kept.map(({ port }) => port),
  );
  if (own === undefined) return undefined;
  // invariant: in every process of dom0 this is the first frame that vCPU 0 takes.
  const page = vcpu.memory.page(vcpu.frames.alloc(1));
  requestReconnect(page, () => vcpu.events.notify(own.port));
  return ringAt(vcpu, page, own.port);
}
function ringAt(vcpu: Vcpu, page: Page, port: EvtchnPort): XenstoreTransport {
  const ring = new EagerRing(new RingTransport(page, () => vcpu.events.notify(port)));
  vcpu.events.on(port, () => ring.step());
  return ring;
}

/**
 * Give the daemon behind the socket at `path` a page of `vcpu`'s memory and a port for the ring. Until
 * `deadlineNs` the daemon may not be there yet. The vCPU's events are polled by the caller.
 */
export async function connectStoreRing(
  vcpu: Vcpu,
  path: string,
  clock: Clock,
  deadlineNs: number,
): Promise<XenstoreTransport> {
  const own = vcpu.domid;
  const frame = vcpu.frames.alloc(1);
  const page = vcpu.memory.page(frame);
  page.bytes.fill(0);
  const port = vcpu.events.allocUnbound(domid(own));
  const ring = ringAt(vcpu, page, port);
  for (let pause = 2; ; pause = Math.min(pause * 2, 50)) {
    try {
      const socket = new XenstoreClient(await socketTransport(path));
      await socket.introduce(own, frame, port).finally(() => socket.close());
      return ring;
    } catch (error) {
      const refused = error instanceof XenError && !UNREACHED.has(error.code);
      if (refused) throw error;
      if (clock.now() > deadlineNs) throw new XenError('ETIMEDOUT', `xenstored does not listen at ${path}`, error);
      // It is starting: its socket appears when it does.
      await new Promise(resolve => setTimeout(resolve, pause));
    }
  }
}
/** Nobody was there, or nobody any more. */
const UNREACHED = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']);
