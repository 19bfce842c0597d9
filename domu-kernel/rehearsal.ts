// A start of day that nobody sees, in memory of its own: no hypervisor, a xenstore that holds nothing, a program
// of one line. The engine compiles code when it first runs; what has run here is compiled when a domain needs it.
import {
  Arena,
  domain_control,
  domainLayout,
  domid,
  type Machine,
  PAGE_SIZE,
  type Page,
  setU64,
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
import { runProgram } from './run-program.ts';

const PROGRAM = "console.log('hello'); module.exports = () => new Promise(() => {});";
const PAGES = 16;
/** Frames. */
const KERNEL = 1;
const MODULE = 2;
const START_INFO = 3;
const STORE = 4;
const CONSOLE = 5;
const STORE_PORT = 1;
const CONSOLE_PORT = 2;

const encoder = new TextEncoder();

/** Every hypercall succeeds, and nothing ever comes. */
const NOBODY: Machine = { trap: () => 0, receive: () => undefined };

export class Rehearsal {
  private readonly memory: Arena;
  private readonly kernel: Kernel;
  private readonly store: EmptyStore;
  private started = false;
  private failure: unknown;

  /** `boot` makes the kernel of a vCPU, as a start does. */
  constructor(boot: (vcpu: Vcpu) => Kernel) {
    const layout = domainLayout(PAGES, 1);
    this.memory = Arena.create('rehearsal', layout.frames * PAGE_SIZE);
    this.build(layout.control * PAGE_SIZE);
    this.store = new EmptyStore(this.memory.page(STORE));
    this.kernel = boot(new Vcpu(NOBODY, this.memory, layout, domid(1), 0));
    void this.run();
  }
  /** What the domain builder does. */
  private build(control: number): void {
    const { view } = this.memory;
    this.image(KERNEL, '');
    this.image(MODULE, PROGRAM);
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
    setU64(view, info + at.mod_len, xenolith_image.size + PROGRAM.length);
    setU64(view, control + domain_control.at.entry, KERNEL * PAGE_SIZE);
    setU64(view, control + domain_control.at.start_info, info);
  }
  private image(frame: number, text: string): void {
    const at = frame * PAGE_SIZE;
    const { view, bytes } = this.memory;
    view.setUint32(at + xenolith_image.at.magic, XENOLITH_IMAGE_MAGIC, true);
    view.setUint32(at + xenolith_image.at.length, text.length, true);
    bytes.set(encoder.encode(text), at + xenolith_image.size);
  }
  private async run(): Promise<void> {
    try {
      await this.kernel.start();
      runProgram(this.kernel);
    } catch (error) {
      this.failure = error;
    }
    this.started = true;
  }

  /** A turn; promise jobs are due after each. True when the program has run. Throws what went wrong. */
  step(): boolean {
    let progress = true;
    while (progress) {
      progress = this.kernel.step() === 'progress';
      if (this.store.step()) progress = true;
    }
    this.kernel.arm();
    if (this.failure !== undefined) throw this.failure;
    return this.started;
  }
  release(): void {
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
