// A start of day that nobody sees, in memory of its own: no hypervisor, a dom0 whose xenstore holds nothing, a
// program of one line, or a root with a WASI program that says as much. The engine compiles code when it first runs; what has run here is compiled when a domain
// needs it.
import {
  type ArchiveEntry,
  Arena,
  bootMemory,
  type ControlMessage,
  closeFd,
  cpioArchive,
  DOORBELL_SLEEPING,
  Doorbell,
  domain_control,
  domainLayout,
  domid,
  dupFd,
  EVTCHNSTAT_interdomain,
  INIT_CONFIG_PATH,
  KIND_BOOT,
  KIND_DOORBELL,
  KIND_FORGET,
  KIND_OVERLAY,
  KIND_POOL,
  monotonicNow,
  PAGE_SIZE,
  type Page,
  POOL_SIZE,
  PortEntry,
  plainInit,
  port_entry,
  receiveControl,
  sendControl,
  setU64,
  socketPair,
  start_info,
  start_info_console,
  start_info_console_domU,
  Vcpu,
  XENOLITH_IMAGE_MAGIC,
  XENSTORE_RING_SIZE,
  XenstoreFrameReader,
  XS_DIRECTORY,
  XS_ERROR,
  XS_READ,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
  xenolith_image,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import type { Kernel } from './kernel.ts';
import { loadProgram } from './run-program.ts';

const PROGRAM = "console.log('hello'); module.exports = () => new Promise(() => {});";
/** Its `_start` calls fd_write once: hello, on descriptor 1. */
const WASI_PROGRAM =
  'AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVtb3J5AgAG' +
  'X3N0YXJ0AAEKDwENAEEBQQhBAUEAEAAaCwsUAQBBCAsOEAAAAAYAAABoZWxsbwo=';
const DOM0 = 0;
const SELF = 1;
/** Processes have memory of their own, file systems too. */
const PAGES = 1024;
/** Frames. */
const KERNEL = 1;
const MODULE = 2;
const START_INFO = 3;
const STORE = 4;
const CONSOLE = 5;
const STORE_PORT = 1;
const CONSOLE_PORT = 2;
/** Which of dom0's vCPUs hears each of them, and the doorbell's slot for it. */
const PEERS = [
  { port: STORE_PORT, vcpu: 1, slot: 0 },
  { port: CONSOLE_PORT, vcpu: 0, slot: 1 },
];
const POOL = 1;
const SLEEP_NS = 50_000;

const encoder = new TextEncoder();

/** What the domain builder puts beside the kernel: a program's text. */
export const TEXT = encoder.encode(PROGRAM);
/** Or a root. */
export function rootWithProgram(): Uint8Array {
  const plain = { mode: 0o755, mtime: 0, target: '' };
  const directory = (path: string): ArchiveEntry => ({ ...plain, path, type: 'directory', data: new Uint8Array(0) });
  const file = (path: string, data: Uint8Array): ArchiveEntry => ({ ...plain, path, type: 'file', data });
  const init = plainInit(['/hello']);
  return cpioArchive([
    file(
      'hello',
      Uint8Array.from(atob(WASI_PROGRAM), byte => byte.charCodeAt(0)),
    ),
    directory('etc'),
    file(INIT_CONFIG_PATH.slice(1), encoder.encode(JSON.stringify(init))),
  ]);
}

export class Rehearsal {
  private readonly layout = domainLayout(PAGES, 1);
  private readonly memory = Arena.create('rehearsal', this.layout.frames * PAGE_SIZE);
  private readonly bell = Arena.create('rehearsal doorbell', PAGE_SIZE);
  private readonly dom0 = new Doorbell(this.bell, DOM0, SELF);
  private readonly vcpu: Vcpu;
  private readonly kernel: Kernel;
  private readonly store: EmptyStore;
  private started = false;
  private failure: unknown;

  /** `boot` makes the kernel of a vCPU, as a start does; `module` is at most a page. */
  constructor(boot: (vcpu: Vcpu) => Kernel, module: Uint8Array = TEXT) {
    this.build(module);
    this.connect();
    for (const { vcpu } of PEERS) this.dom0.mine[DOORBELL_SLEEPING + vcpu] = 1;
    const { maxPages, maxVcpus } = this.layout;
    const b = maxPages + maxVcpus * 2 ** 32;
    const { memory, layout } = bootMemory({ kind: KIND_BOOT, a: SELF, b, fd: dupFd(this.memory.fd) });
    // Every hypercall succeeds, and nobody else wants the processor.
    const machine = { trap: () => 0, receive: this.messages(), note: () => {}, awaitGrant: () => {} };
    this.vcpu = new Vcpu(machine, memory, layout, domid(SELF), 0);
    this.store = new EmptyStore(memory.page(STORE));
    this.kernel = boot(this.vcpu);
    void this.run();
  }
  /** What the domain builder does. */
  private build(module: Uint8Array): void {
    const { view } = this.memory;
    this.image(KERNEL, new Uint8Array(0));
    this.image(MODULE, module);
    const info = START_INFO * PAGE_SIZE;
    const { at } = start_info;
    this.memory.bytes.set(encoder.encode('xen-'), info + at.magic);
    setU64(view, info + at.nr_pages, PAGES);
    setU64(view, info + at.store_mfn, STORE);
    view.setUint32(info + at.store_evtchn, STORE_PORT, true);
    const domU = info + at.console + start_info_console.at.domU;
    setU64(view, domU + start_info_console_domU.at.mfn, CONSOLE);
    view.setUint32(domU + start_info_console_domU.at.evtchn, CONSOLE_PORT, true);
    setU64(view, info + at.mod_start, MODULE * PAGE_SIZE);
    setU64(view, info + at.mod_len, xenolith_image.size + module.length);
    const control = this.layout.control * PAGE_SIZE;
    setU64(view, control + domain_control.at.entry, KERNEL * PAGE_SIZE);
    setU64(view, control + domain_control.at.start_info, info);
  }
  private image(frame: number, content: Uint8Array): void {
    const at = frame * PAGE_SIZE;
    const { view, bytes } = this.memory;
    view.setUint32(at + xenolith_image.at.magic, XENOLITH_IMAGE_MAGIC, true);
    view.setUint32(at + xenolith_image.at.length, content.length, true);
    bytes.set(content, at + xenolith_image.size);
  }
  /** What the hypervisor does when dom0 binds the domain's ports. */
  private connect(): void {
    const { view } = this.memory;
    view.setUint32(this.layout.control * PAGE_SIZE + domain_control.at.nr_ports, 1 + PEERS.length, true);
    const entry = new PortEntry(view);
    for (const { port, vcpu, slot } of PEERS) {
      entry.base = this.layout.portTable * PAGE_SIZE + port * port_entry.size;
      Object.assign(entry, { state: EVTCHNSTAT_interdomain, direct: 1, remote_domid: DOM0, remote_vcpu: vcpu, slot });
    }
  }
  /** What it sends: the doorbell page of dom0, and a pool in which the two rings are. */
  private messages(): () => ControlMessage | undefined {
    const [near, far] = socketPair();
    const pool = Arena.createUnseen('rehearsal pool', POOL_SIZE);
    sendControl(near, KIND_POOL, POOL, SELF | (DOM0 << 16), pool.fd);
    sendControl(near, KIND_OVERLAY, STORE + 2 * 2 ** 32, POOL * 2 ** 32, -1);
    sendControl(near, KIND_DOORBELL, DOM0, 0, this.bell.fd);
    pool.release();
    closeFd(near);
    let left = 3;
    return () => {
      if (left-- > 0) return receiveControl(far);
      if (left === -1) closeFd(far);
      return undefined;
    };
  }
  private async run(): Promise<void> {
    try {
      const program = loadProgram(this.kernel);
      await this.kernel.start();
      const { ended } = program();
      // A root's first program ends; a text's goes on for ever.
      if (this.kernel.userland) await ended;
    } catch (error) {
      this.failure = error;
    }
    this.started = true;
  }

  /** A turn; promise jobs are due after each. True when the program has run. Throws what went wrong. */
  step(): boolean {
    while (this.kernel.step() === 'progress' || this.answer());
    this.kernel.arm();
    this.vcpu.block(monotonicNow() + SLEEP_NS);
    if (this.failure !== undefined) throw this.failure;
    return this.started;
  }
  private answer(): boolean {
    if (!this.store.step()) return false;
    this.dom0.ring(PEERS[0]!.slot, 0);
    return true;
  }
  release(): void {
    const { events, grants, memory } = this.vcpu;
    const gone = { kind: KIND_FORGET, a: DOM0, b: 0, fd: -1 };
    events.control(gone);
    grants.control(gone);
    memory.release();
    this.dom0.release();
    this.memory.release();
  }
}

/** The daemon of a xenstore without a node: reads fail, everything else succeeds. */
class EmptyStore {
  private readonly ring;
  private readonly frames = new XenstoreFrameReader();
  private readonly chunk = new Uint8Array(XENSTORE_RING_SIZE);

  constructor(page: Page) {
    this.ring = xenstoreRing(page, 'back');
  }
  step(): boolean {
    const n = this.ring.reader.read(this.chunk);
    const bytes = this.chunk.subarray(0, n);
    for (let at = 0; at < n; ) {
      at += this.frames.take(bytes, at);
      if (this.frames.complete) this.answer();
    }
    return n > 0;
  }
  private answer(): void {
    const { type, req_id, payload } = this.frames.frame;
    if (type === XS_READ || type === XS_DIRECTORY) this.send(XS_ERROR, req_id, encoder.encode('ENOENT\0'));
    else this.send(type, req_id, encoder.encode(type === XS_TRANSACTION_START ? '1\0' : 'OK\0'));
    if (type === XS_WATCH) this.send(XS_WATCH_EVENT, 0, payload);
  }
  private send(type: number, req_id: number, payload: Uint8Array): void {
    this.ring.writer.write(xenstoreFrame(type, req_id, 0, payload));
  }
}
