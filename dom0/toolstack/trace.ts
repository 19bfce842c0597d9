// `xl trace`: turns tracing on, reads every ring again and again and hands the bytes on as they are, until the tool goes
// away. One tool at a time.
import { fstatSync } from 'node:fs';
import {
  Arena,
  type Clock,
  closeFd,
  DOMID_XEN,
  PAGE_SIZE,
  TRC_XENOLITH_BRIEF,
  type TraceChunk,
  type TraceEvent,
  t_info,
  XenError,
} from '#pvbus';
import { CpuRing, VcpuRing } from './trace-rings.ts';
import type { Xc } from './xc.ts';
import { XcTrace } from './xc-trace.ts';

/** Of each pCPU's buffer: 1 MiB. */
const BUFFER_PAGES = 256;
/** Every round costs something, and what is brief takes 640 ms to fill a ring. */
const READ_EVERY_MS = { brief: 250, full: 10 } as const;
/** How often to look for domains that come and go; when it is brief, in each round. */
const LOOK_EVERY_MS = 100;
/** A message is sent when it has become so long. */
const MESSAGE_BYTES = 1 << 19;
/** While a tool has so much to read still, the rings are left to overflow, and count what they lose. */
const MAX_UNREAD = 4 << 20;

interface TracedDomain {
  readonly domid: number;
  readonly fd: number;
  readonly rings: readonly VcpuRing[];
}

export interface TraceReader {
  tell(event: TraceEvent): void;
  /** Bytes it has not taken yet. */
  unread(): number;
}

export class Tracing {
  readonly #xc: Xc;
  readonly #calls: XcTrace;
  readonly #clock: Clock;
  #buffers: Arena | undefined;
  #cpus: CpuRing[] = [];
  #domains = new Map<number, TracedDomain>();
  #reader: TraceReader | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looked = 0;
  #brief = false;

  constructor(xc: Xc, clock: Clock) {
    this.#xc = xc;
    this.#calls = new XcTrace(xc);
    this.#clock = clock;
  }

  /** Throws EBUSY while another one traces. Returns what ends it; `since`: nothing is older. */
  start(evtMask: number, reader: TraceReader): { cpus: number; since: number; stop: () => void } {
    if (this.#reader !== undefined) throw new XenError('EBUSY', 'this host is traced already');
    const calls = this.#calls;
    if (calls.info().mfn === 0) calls.setSize(BUFFER_PAGES);
    this.#buffers ??= this.#mapBuffers();
    const { mfn } = calls.info();
    this.#cpus = cpuBuffers(this.#buffers, mfn, this.#xc.physinfo().nr_cpus).map(bytes => new CpuRing(bytes));
    // order: the rings as they are, then what is to be recorded in them.
    this.#look('now');
    calls.setEventMask(evtMask);
    const since = this.#clock.now();
    calls.enable();
    this.#reader = reader;
    this.#brief = (evtMask & TRC_XENOLITH_BRIEF) !== 0;
    this.#timer = setInterval(() => this.#round(), READ_EVERY_MS[this.#brief ? 'brief' : 'full']);
    return { cpus: this.#cpus.length, since, stop: () => this.#stop() };
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#calls.disable();
    this.#reader = undefined;
    for (const domid of [...this.#domains.keys()]) this.#forget(domid);
  }

  #mapBuffers(): Arena {
    const { fd } = this.#calls.mapForeign(DOMID_XEN);
    return Arena.adopt(fd, fstatSync(fd).size);
  }

  /** End with domains that are gone, and begin with those that are new, which are given back. */
  #look(from: 'start' | 'now'): TracedDomain[] {
    const there = new Set(this.#xc.domainInfoList().map(({ domid }) => domid as number));
    for (const domid of [...this.#domains.keys()]) if (!there.has(domid)) this.#forget(domid);
    const fresh = [...there].filter(domid => !this.#domains.has(domid));
    for (const domid of fresh) this.#begin(domid, from);
    return fresh.flatMap(domid => this.#domains.get(domid) ?? []);
  }
  #begin(domid: number, from: 'start' | 'now'): void {
    try {
      const { fd, layout } = this.#calls.mapForeign(domid);
      const rings = Array.from({ length: layout.maxVcpus }, (_, vcpu) => new VcpuRing(fd, layout, vcpu, from));
      this.#domains.set(domid, { domid, fd, rings });
    } catch (error) {
      // It has no memory yet, or no longer.
      if (!(error instanceof XenError)) throw error;
    }
  }
  #forget(domid: number): void {
    closeFd(this.#domains.get(domid)!.fd);
    this.#domains.delete(domid);
  }

  #round(): void {
    const reader = this.#reader!;
    if (reader.unread() > MAX_UNREAD) return;
    // order: the time before the rings are read. What is recorded later is in a later round.
    const until = this.#clock.now();
    let chunks: TraceChunk[] = [];
    let bytes = 0;
    const add = (chunk: TraceChunk): void => {
      if (chunk.records.length === 0 && chunk.lost === 0) return;
      if (bytes + chunk.records.length > MESSAGE_BYTES && chunks.length > 0) {
        reader.tell({ event: 'trace', until: null, chunks });
        chunks = [];
        bytes = 0;
      }
      chunks.push(chunk);
      bytes += chunk.records.length;
    };
    this.#cpus.forEach((ring, cpu) => {
      add({ cpu, domid: null, vcpu: null, lost: 0, records: ring.take() });
    });
    const read = ({ domid, rings }: TracedDomain): void =>
      rings.forEach((ring, vcpu) => {
        const records = ring.take();
        add({ cpu: null, domid, vcpu, lost: ring.lost, records });
      });
    for (const domain of this.#domains.values()) read(domain);
    // The domains that are gone were read a last time.
    if (until - this.#looked >= LOOK_EVERY_MS * 1e6) {
      this.#looked = until;
      // order: who is new has no record from before the last look; but if there were rounds since, these have told of
      // what is newer.
      this.#look(this.#brief ? 'start' : 'now').forEach(read);
    }
    if (chunks.length > 0) reader.tell({ event: 'trace', until, chunks });
  }
}

/** All pages of each pCPU's buffer. Xen: t_info in public/trace.h; frame n of the memory is mfn n. */
function cpuBuffers(memory: Arena, infoMfn: number, nrCpus: number): Uint8Array[] {
  const { view, bytes } = memory;
  const info = infoMfn * PAGE_SIZE;
  const pages = view.getUint16(info + t_info.at.tbuf_size, true);
  return Array.from({ length: nrCpus }, (_, cpu) => {
    const list = info + 4 * view.getUint16(info + t_info.size + 2 * cpu, true);
    // This hypervisor's buffers are contiguous.
    const first = view.getUint32(list, true) * PAGE_SIZE;
    return bytes.subarray(first, first + pages * PAGE_SIZE);
  });
}
