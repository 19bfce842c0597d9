// The balloon: the toolstack says in memory/target how much memory this domain is to have, and here frames that
// nobody uses are given to the hypervisor, or asked of it. Xen: docs/misc/xenstore-paths, ~/memory/target.
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  FrameAllocator,
  gfn,
  type Log,
  readKey,
  setU64,
  type Vcpu,
  XENMEM_decrease_reservation,
  XENMEM_populate_physmap,
  type XenstoreClient,
  xen_memory_reservation,
} from '#pvbus';
import type { Timers } from './timers.ts';

const KIB_PER_PAGE = 4;
/** Frames that stay free for rings and buffers, whatever is asked for. */
const RESERVE = 64;
/** The largest extents Xen gives a guest. */
const BIG_ORDER = 9;
const BIG = 2 ** BIG_ORDER;
/** Extents of one hypercall: a turn of this is not to be felt. */
const BIG_EXTENTS = 8;
const SMALL_EXTENTS = 256;
/** How long it waits before it tries again what went wrong, at first and at most. */
const RETRY_MS = 1000;
const MAX_RETRY_MS = 32_000;

export interface BalloonParts {
  readonly vcpu: Vcpu;
  readonly xs: XenstoreClient;
  /** This domain's directory in xenstore. */
  readonly home: string;
  readonly log: Log;
  readonly timers: Timers;
  /** What the domain began with. */
  readonly nrPages: number;
}

export class Balloon {
  private readonly parts: BalloonParts;
  /** Pages the domain has, and is to have. */
  private pages: number;
  private target: number;
  /** Frames of the address space in which there is no memory. */
  private readonly empty: FrameAllocator;
  private waiting = false;
  private retryMs = RETRY_MS;
  /** Counts targets: a retry of an older one is nobody's. */
  private targets = 0;

  constructor(parts: BalloonParts) {
    this.parts = parts;
    this.pages = parts.nrPages;
    this.target = parts.nrPages;
    this.empty = new FrameAllocator(parts.nrPages, parts.vcpu.layout.maxPages);
  }

  /** Resolves when the target is watched. */
  async start(): Promise<void> {
    const { xs, home, log } = this.parts;
    const path = `${home}/memory/target`;
    await xs.watch(path, 'memory/target', () => {
      readKey(xs, path).then(
        kib => this.aim(kib),
        error => log.warn(`memory/target: ${error instanceof Error ? error.message : error}`),
      );
    });
  }
  private aim(kib: string | undefined): void {
    if (kib === undefined || !/^[0-9]{1,15}$/.test(kib)) return;
    this.target = Math.min(Math.floor(Number(kib) / KIB_PER_PAGE), this.parts.vcpu.layout.maxPages);
    this.targets++;
    this.waiting = false;
    this.retryMs = RETRY_MS;
  }

  /** One hypercall towards the target. */
  step(): 'progress' | 'idle' {
    if (this.pages === this.target || this.waiting) return 'idle';
    if (this.pages > this.target ? this.give(this.pages - this.target) : this.take(this.target - this.pages))
      this.retryMs = RETRY_MS;
    else this.retryLater();
    return 'progress';
  }
  /** False when there is nothing to give now: what is in use stays. */
  private give(most: number): boolean {
    const { frames } = this.parts.vcpu;
    const run = frames.takeLowest(Math.min(most, frames.available - RESERVE));
    if (run === undefined) return false;
    const done = this.call(XENMEM_decrease_reservation, run.first, run.count);
    this.pages -= done;
    this.empty.free(run.first, done);
    frames.free(gfn(run.first + done), run.count - done);
    return done > 0;
  }
  /** False when the hypervisor has nothing for us now. */
  private take(most: number): boolean {
    const run = this.empty.takeLowest(most);
    if (run === undefined) return false;
    const done = this.call(XENMEM_populate_physmap, run.first, run.count);
    this.pages += done;
    this.parts.vcpu.frames.free(run.first, done);
    this.empty.free(gfn(run.first + done), run.count - done);
    return done > 0;
  }
  /** How many of the frames from `first` on the hypervisor took or gave: at most one hypercall's worth. */
  private call(op: number, first: number, count: number): number {
    const big = first % BIG === 0 ? Math.min(Math.floor(count / BIG), BIG_EXTENTS) : 0;
    const done = this.extents(op, first, big, BIG_ORDER) * BIG;
    if (done > 0) return done;
    return this.extents(op, first, Math.min(count, SMALL_EXTENTS, BIG - (first % BIG)), 0);
  }
  private extents(op: number, first: number, count: number, order: number): number {
    if (count === 0) return 0;
    const { vcpu } = this.parts;
    const { at, size } = xen_memory_reservation;
    const scratch = vcpu.scratch.reset();
    const arg = scratch.alloc(size);
    const list = scratch.alloc(8 * count);
    for (let i = 0; i < count; i++) setU64(scratch.view, list + 8 * i, first + i * 2 ** order);
    setU64(scratch.view, arg + at.extent_start, list);
    setU64(scratch.view, arg + at.nr_extents, count);
    scratch.view.setUint32(arg + at.extent_order, order, true);
    scratch.view.setUint16(arg + at.domid, DOMID_SELF, true);
    return vcpu.hypercall(__HYPERVISOR_memory_op, op, arg);
  }
  private retryLater(): void {
    this.waiting = true;
    const { targets } = this;
    this.parts.timers.after(this.retryMs, () => {
      if (targets === this.targets) this.waiting = false;
    });
    this.retryMs = Math.min(2 * this.retryMs, MAX_RETRY_MS);
  }
}
