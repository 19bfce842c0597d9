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
