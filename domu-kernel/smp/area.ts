// What a domain's vCPUs share of their kernel: a head, a slot for each vCPU, and two byte rings between vCPU 0 and each
// other one. It lies in frames of the domain's own RAM; nobody else knows of it.
import {
  type Arena,
  ByteRingReader,
  ByteRingWriter,
  type EvtchnPort,
  type Gfn,
  getU64,
  gfn,
  mapShared,
  PAGE_SIZE,
  type Page,
  port,
  setU64,
  struct,
  vcpu_info,
  vcpu_runstate_info,
  viewOf,
} from '#pvbus';

const smp_head = struct('smp_head', 16, {
  memory: 'u64', // where vCPU 0 has mapped the domain's memory, which the others' threads see through that mapping
  nr_vcpus: 'u32',
  fifo: 'u32', // gfn with which a vCPU begins to hear events by the FIFO ABI; 0: by the 2-level one
});
const smp_vcpu = struct('smp_vcpu', 256, {
  info: vcpu_info, // of a vCPU that has none in shared_info
  runstate: vcpu_runstate_info,
  call_port: 'u32', // an IPI to this vCPU: something is in a ring
  kick_port: 'u32', // an IPI to this vCPU that has no handler: it polls it
  pad0: { of: 'u8', count: 8 },
  to_prod: 'u32', // bytes from vCPU 0
  to_waits: 'u32', // not 0: vCPU 0 waits for room
  from_cons: 'u32',
  pad1: { of: 'u8', count: 52 },
  to_cons: 'u32',
  from_prod: 'u32', // bytes to vCPU 0
  from_waits: 'u32',
  pad2: { of: 'u8', count: 52 },
});
const RING_BYTES = 8192;
const SLOTS_PER_PAGE = PAGE_SIZE / smp_vcpu.size;
const RING_FRAMES = (2 * RING_BYTES) / PAGE_SIZE;

/** One end of the two streams between vCPU 0 and another one. */
export interface Streams {
  readonly reader: ByteRingReader;
  readonly writer: ByteRingWriter;
  /** Raised by this end when it waits for room. */
  readonly waits: Flag;
  /** Raised by the other one. */
  readonly awaited: Flag;
}
/** A word that one end raises and the other one takes down. */
export class Flag {
  private readonly words: Int32Array;
  private readonly index: number;

  constructor(page: Page, offset: number) {
    this.words = page.words;
    this.index = offset / 4;
  }
  raise(): void {
    Atomics.store(this.words, this.index, 1);
  }
  /** True when it was up. */
  take(): boolean {
    return Atomics.exchange(this.words, this.index, 0) !== 0;
  }
}

export class SmpArea {
  readonly address: number;
  readonly nrVcpus: number;
  private readonly memory: Arena;

  /** Frames in a row that it takes. */
  static frames(nrVcpus: number): number {
    return 1 + Math.ceil(nrVcpus / SLOTS_PER_PAGE) + nrVcpus * RING_FRAMES;
  }
  /** vCPU 0 makes it, at `address`. */
  static create(memory: Arena, address: number, nrVcpus: number, fifo: Gfn | undefined): SmpArea {
    memory.bytes.fill(0, address, address + SmpArea.frames(nrVcpus) * PAGE_SIZE);
    setU64(memory.view, address + smp_head.at.memory, memory.address);
    memory.view.setUint32(address + smp_head.at.nr_vcpus, nrVcpus, true);
    memory.view.setUint32(address + smp_head.at.fifo, fifo ?? 0, true);
    return new SmpArea(memory, address);
  }
  /** Where vCPU 0 has mapped the memory that `fd` is. */
  static mappedAt(fd: number, address: number): number {
    const head = new DataView(viewOf(mapShared(fd, PAGE_SIZE, address), PAGE_SIZE));
    return getU64(head, smp_head.at.memory);
  }
  constructor(memory: Arena, address: number) {
    this.memory = memory;
    this.address = address;
    this.nrVcpus = memory.view.getUint32(address + smp_head.at.nr_vcpus, true);
  }

  get fifo(): Gfn | undefined {
    const frame = this.memory.view.getUint32(this.address + smp_head.at.fifo, true);
    return frame === 0 ? undefined : gfn(frame);
  }

  private slot(vcpu: number): { page: Page; at: number; address: number } {
    const frame = this.address / PAGE_SIZE + 1 + Math.floor(vcpu / SLOTS_PER_PAGE);
    const at = (vcpu % SLOTS_PER_PAGE) * smp_vcpu.size;
    return { page: this.memory.page(frame), at, address: frame * PAGE_SIZE + at };
  }
  infoAddress(vcpu: number): number {
    return this.slot(vcpu).address + smp_vcpu.at.info;
  }
  runstateAddress(vcpu: number): number {
    return this.slot(vcpu).address + smp_vcpu.at.runstate;
  }
  setPorts(vcpu: number, call: EvtchnPort, kick: EvtchnPort): void {
    const { page, at } = this.slot(vcpu);
    page.view.setUint32(at + smp_vcpu.at.call_port, call, true);
    page.view.setUint32(at + smp_vcpu.at.kick_port, kick, true);
  }
  callPort(vcpu: number): EvtchnPort {
    const { page, at } = this.slot(vcpu);
    return port(page.view.getUint32(at + smp_vcpu.at.call_port, true));
  }
  kickPort(vcpu: number): EvtchnPort {
    const { page, at } = this.slot(vcpu);
    return port(page.view.getUint32(at + smp_vcpu.at.kick_port, true));
  }

  /** As vCPU 0 has them ('near') or the other one ('far'). */
  streams(vcpu: number, end: 'near' | 'far'): Streams {
    const { page, at } = this.slot(vcpu);
    const { to_prod, to_cons, to_waits, from_prod, from_cons, from_waits } = smp_vcpu.at;
    const rings = this.address + (1 + Math.ceil(this.nrVcpus / SLOTS_PER_PAGE) + vcpu * RING_FRAMES) * PAGE_SIZE;
    const data = this.memory.bytes.subarray(rings, rings + 2 * RING_BYTES);
    const to = [page, 0, RING_BYTES, at + to_cons, at + to_prod, data] as const;
    const from = [page, RING_BYTES, RING_BYTES, at + from_cons, at + from_prod, data] as const;
    const [toFlag, fromFlag] = [new Flag(page, at + to_waits), new Flag(page, at + from_waits)];
    return end === 'near'
      ? { reader: new ByteRingReader(...from), writer: new ByteRingWriter(...to), waits: toFlag, awaited: fromFlag }
      : { reader: new ByteRingReader(...to), writer: new ByteRingWriter(...from), waits: fromFlag, awaited: toFlag };
  }
}
