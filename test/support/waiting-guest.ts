// A guest whose program waits in a call for its disk, and a backend that lives and dies meanwhile: all in one thread
// in which no promise gets a turn until the call has returned. The hypervisor's core, xenstored, its ring and
// blkfront's whole driver are real.
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BlkifRequest,
  BlkifRequestSegment,
  BlkifResponse,
  blkif_request,
  blkif_request_segment,
  blkif_sring_entry,
  domid,
  type EvtchnPort,
  type GrantMapping,
  port,
  RingTransport,
  sring,
  type Vcpu,
  XenbusState,
  XenstoreClient,
  XS_ERROR,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_WRITE,
} from '#pvbus';
import { Blkfront } from '../../domu-kernel/drivers/blkfront/device.ts';
import type { Disk } from '../../domu-kernel/drivers/blkfront/disk.ts';
import { CoreRig, type Guest } from './core-rig.ts';
import { ListLog, type SocketClient, XenstoreRig } from './xenstore-rig.ts';

const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const SLOTS = 32;
const DEVID = 51712;
const SECTORS = 256;
/** Many more than anything takes. */
const TURNS = 5000;

/** Requests to xenstored whose replies are there when they return. */
export class PromptStore {
  private readonly client: SocketClient;
  constructor(rig: XenstoreRig) {
    this.client = rig.dom0();
  }
  private ask(type: number, payload: string): string | undefined {
    const id = this.client.send(type, payload);
    const reply = this.client.take().find(frame => frame.req_id === id);
    return reply === undefined || reply.type === XS_ERROR ? undefined : reply.payload.toString('latin1');
  }
  read(path: string): string | undefined {
    return this.ask(XS_READ, `${path}\0`);
  }
  write(path: string, value: string | number): void {
    if (this.ask(XS_WRITE, `${path}\0${value}`) === undefined) throw new Error(`${path} could not be written`);
  }
  remove(path: string): void {
    this.ask(XS_RM, `${path}\0`);
  }
  mkdir(path: string, owner: number, reader: number): void {
    this.ask(XS_MKDIR, `${path}\0`);
    this.ask(XS_SET_PERMS, `${path}\0n${owner}\0r${reader}\0`);
  }
}

export interface TakenRequest {
  readonly operation: number;
  readonly id_lo: number;
  readonly id_hi: number;
  readonly sector: number;
  readonly segments: readonly { gref: number; first: number; last: number }[];
}
/** `write 8+3`: what it does, at which sector, how many sectors. */
export function describeRequest({ operation, sector, segments }: TakenRequest): string {
  const verb = { [BLKIF_OP_READ]: 'read', [BLKIF_OP_WRITE]: 'write', [BLKIF_OP_FLUSH_DISKCACHE]: 'flush' }[operation];
  return `${verb} ${sector}+${segments.reduce((n, s) => n + s.last - s.first + 1, 0)}`;
}

/** One life of a backend. Its disk outlives it. */
export class MortalBackend {
  private readonly guest: WaitingGuest;
  private readonly vcpu: Vcpu;
  private ring: GrantMapping | undefined;
  private port: EvtchnPort | undefined;
  private cons = 0;
  private prod = 0;
  /** Taken and not answered, in their order. */
  readonly taken: TakenRequest[] = [];

  constructor(guest: WaitingGuest) {
    this.guest = guest;
    this.vcpu = guest.dom0;
  }
  get state(): XenbusState {
    return this.guest.state('backend');
  }
  set state(state: XenbusState) {
    this.guest.store.write(`${this.guest.backend}/state`, state);
  }
  /** Map what the frontend offers, say what the disk is, and be Connected. */
  connect(): void {
    const { store, frontend, backend } = this.guest;
    this.ring = this.vcpu.grants.map(this.domid, [Number(store.read(`${frontend}/ring-ref`))])[0]!;
    const remote = port(Number(store.read(`${frontend}/event-channel`)));
    this.port = this.vcpu.events.bindInterdomain(this.domid, remote);
    this.vcpu.events.on(this.port, () => {});
    const keys = { sectors: SECTORS, 'sector-size': 512, info: 0, 'feature-flush-cache': 1 };
    for (const [key, value] of Object.entries(keys)) store.write(`${backend}/${key}`, value);
    this.state = XenbusState.Connected;
  }
  private get domid() {
    return domid(this.guest.guest.domid);
  }
  /** The process is gone; what it said in xenstore stays. */
  die(): void {
    if (this.ring) this.vcpu.grants.unmap([this.ring]);
    if (this.port !== undefined) this.vcpu.events.close(this.port);
    this.ring = undefined;
    this.port = undefined;
    this.taken.length = 0;
  }

  /** Take the requests that have come; returns those. */
  take(): TakenRequest[] {
    const { page } = this.ring!;
    const fresh: TakenRequest[] = [];
    for (; this.cons !== Atomics.load(page.words, REQ_PROD); this.cons = (this.cons + 1) | 0) {
      const at = sring.size + (this.cons & (SLOTS - 1)) * blkif_sring_entry.size;
      const r = new BlkifRequest(page.view, at);
      const segments = Array.from({ length: r.nr_segments }, (_, i) => {
        const s = new BlkifRequestSegment(page.view, at + blkif_request.at.seg + i * blkif_request_segment.size);
        return { gref: s.gref, first: s.first_sect, last: s.last_sect };
      });
      fresh.push({ operation: r.operation, id_lo: r.id_lo, id_hi: r.id_hi, sector: r.sector_number_lo, segments });
    }
    this.taken.push(...fresh);
    return fresh;
  }
  /** Do what a request asks for, without saying so. */
  perform({ operation, sector, segments }: TakenRequest): void {
    let at = sector * 512;
    for (const { gref, first, last } of segments) {
      const [mapping] = this.vcpu.grants.map(this.domid, [gref]);
      const part = mapping!.page.bytes.subarray(first * 512, (last + 1) * 512);
      const disk = this.guest.medium.subarray(at, at + part.length);
      if (operation === BLKIF_OP_WRITE) disk.set(part);
      else part.set(disk);
      at += part.length;
      this.vcpu.grants.unmap([mapping!]);
    }
  }
  answer(r: TakenRequest, status = 0): void {
    const { page } = this.ring!;
    const slot = sring.size + (this.prod & (SLOTS - 1)) * blkif_sring_entry.size;
    const response = new BlkifResponse(page.view, slot);
    Object.assign(response, { id_lo: r.id_lo, id_hi: r.id_hi, operation: r.operation, status });
    this.prod = (this.prod + 1) | 0;
    Atomics.store(page.words, RSP_PROD, this.prod);
    this.taken.splice(this.taken.indexOf(r), 1);
    this.notify();
  }
  notify(): void {
    this.vcpu.events.notify(this.port!);
  }
  /** Everything that there is, done and answered. */
  serve(): void {
    this.take();
    for (const r of [...this.taken]) {
      this.perform(r);
      this.answer(r);
    }
  }
}

export class WaitingGuest {
  readonly core = new CoreRig();
  readonly xenstore = new XenstoreRig();
  readonly store = new PromptStore(this.xenstore);
  readonly log = new ListLog();
  readonly dom0: Vcpu;
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  readonly blkfront: Blkfront;
  readonly frontend: string;
  readonly backend: string;
  /** What is on the disk. */
  readonly medium = new Uint8Array(SECTORS * 512);
  /** What others do while the program waits: called again and again. */
  meanwhile: () => void = () => {};
  private readonly transport: RingTransport;

  constructor() {
    this.dom0 = this.core.dom0.kernel(2);
    this.guest = this.core.guest({ pages: 2048 });
    const id = this.guest.domid;
    const { page } = this.xenstore.domain(id);
    this.vcpu = this.guest.kernel();
    this.transport = new RingTransport(page, () => this.xenstore.door.fromDomain(id));
    this.frontend = `/local/domain/${id}/device/vbd/${DEVID}`;
    this.backend = `/local/domain/0/backend/vbd/${id}/${DEVID}`;
    const { vcpu, log } = this;
    this.blkfront = new Blkfront({
      xs: new XenstoreClient(this.transport, log),
      vcpu,
      log,
      clock: this.core.clock,
      blocking: { waitUntil: condition => this.until(condition) },
    });
  }
  /** A disk that a first backend serves. */
  static async withDisk(): Promise<{ guest: WaitingGuest; backend: MortalBackend }> {
    const guest = new WaitingGuest();
    guest.plug();
    const backend = new MortalBackend(guest);
    backend.state = XenbusState.InitWait;
    const started = guest.blkfront.start();
    let over = false;
    void started.finally(() => {
      over = true;
    });
    for (let i = 0; i < TURNS && !over; i++) {
      guest.step();
      if (guest.state('frontend') === XenbusState.Initialised && backend.state === XenbusState.InitWait) {
        backend.connect();
      }
      await new Promise(resolve => setImmediate(resolve)); // the start of a guest is a promise's; from then on there is none
    }
    await started;
    return { guest, backend };
  }
  plug(): void {
    const { store, frontend, backend } = this;
    store.mkdir(`/local/domain/${this.guest.domid}`, this.guest.domid, 0);
    store.mkdir(frontend, this.guest.domid, 0);
    store.mkdir(backend, 0, this.guest.domid);
    store.write(`${backend}/state`, XenbusState.Initialising);
    store.write(`${backend}/online`, 1);
    store.write(`${frontend}/backend-id`, 0);
    store.write(`${frontend}/backend`, backend);
    store.write(`${frontend}/state`, XenbusState.Initialising);
  }
  unplug(): void {
    this.store.remove(this.frontend);
    this.store.remove(this.backend);
  }
  state(end: 'frontend' | 'backend'): XenbusState {
    return Number(this.store.read(`${this[end]}/state`) ?? 0) as XenbusState; // our own ends wrote it
  }
  get disk(): Disk {
    return this.blkfront.disks()[0]!;
  }

  /** One turn of the kernel's drivers, and one of xenstored. */
  step(): boolean {
    let moved = this.vcpu.events.poll();
    if (this.transport.step() === 'progress') moved = true;
    if (this.blkfront.step() === 'progress') moved = true;
    this.xenstore.run();
    return moved;
  }
  /** As the kernel waits: steps, and no promises. */
  until(condition: () => boolean): void {
    for (let i = 0; !condition(); i++) {
      if (i > TURNS) throw new Error('what the program waits for does not come');
      if (this.step()) continue;
      if (this.blkfront.frontend.deadline() !== undefined) this.second();
      this.meanwhile();
    }
  }
  /** A second passes, as the kernel notices it. */
  second(): void {
    this.core.clock.ns += 1e9;
    this.blkfront.frontend.tick(this.core.clock.now());
  }
}
