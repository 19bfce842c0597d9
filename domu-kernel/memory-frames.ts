// Which frames the domain builder has put something into, and which are free.
import { FrameAllocator, type GuestStartInfo, gfn, PAGE_SIZE } from '#pvbus';

type Range = readonly [first: number, end: number];

const frames = (address: number, length: number): Range => [
  Math.floor(address / PAGE_SIZE),
  Math.ceil((address + length) / PAGE_SIZE),
];

/** Frames that stay what they are as long as the domain lives. */
export function usedFrames(info: GuestStartInfo): Range[] {
  return [
    [0, 1], // no frame that someone may take for "none"
    [info.frame, info.frame + 1],
    [info.store.gfn, info.store.gfn + 1],
    [info.console.gfn, info.console.gfn + 1],
    frames(info.kernel.address, info.kernel.length),
    ...(info.module ? [frames(info.module.address, info.module.length)] : []),
  ];
}

/** Frames that stay free for the kernel's rings and buffers. */
const RESERVE = 64;

/** Free frames taken out of use for what lies outside of the domain's RAM: WebAssembly's pages, files in memory. */
export class FrameCharge {
  readonly #free: FrameAllocator;
  readonly #taken = new FrameAllocator(0, 0);

  constructor(free: FrameAllocator) {
    this.#free = free;
  }
  /** False, and nothing changes, when there are not so many. */
  take(count: number): boolean {
    return this.#free.available - RESERVE >= count && move(this.#free, this.#taken, count);
  }
  /** As take, of what nobody would have to let go of. */
  takeUnused(count: number): boolean {
    return this.#free.unused - RESERVE >= count && move(this.#free, this.#taken, count);
  }
  give(count: number): void {
    if (!move(this.#taken, this.#free, count)) throw new Error(`${count} frames that were not taken`);
  }
}
function move(from: FrameAllocator, to: FrameAllocator, count: number): boolean {
  for (let missing = count; missing > 0; ) {
    const run = from.takeLowest(missing);
    if (run === undefined) return false;
    to.free(run.first, run.count);
    missing -= run.count;
  }
  return true;
}

/** An allocator over all RAM that nothing above lies in. */
export function freeFrames(info: GuestStartInfo): FrameAllocator {
  const free = new FrameAllocator(0, 0);
  let from = 0;
  for (const [first, end] of usedFrames(info).sort((a, b) => a[0] - b[0])) {
    if (first > from) free.free(gfn(from), first - from);
    from = Math.max(from, end);
  }
  if (info.nr_pages > from) free.free(gfn(from), info.nr_pages - from);
  return free;
}

/** The ramdisk has been read: its frames are free too, unless something else lies in them. */
export function reclaimModule(info: GuestStartInfo, free: FrameAllocator): void {
  if (!info.module) return;
  const [first, end] = frames(info.module.address, info.module.length);
  const others = usedFrames({ ...info, module: undefined });
  if (others.every(([from, to]) => to <= first || from >= end)) free.free(gfn(first), end - first);
}
