// Memory that a program's vCPUs share: chunks of the domain's RAM, each seen by a thread through one buffer of its own.
import { type Arena, FrameAllocator, gfn, PAGE_SIZE, viewOf, XenError } from '#pvbus';

export interface Place {
  /** Of the chunk: guest address and bytes. */
  readonly chunk: number;
  readonly size: number;
  /** In the chunk. */
  readonly offset: number;
}

export class SharedViews {
  private readonly memory: Arena;
  private readonly buffers = new Map<number, ArrayBuffer>();
  private readonly chunks = new Map<ArrayBufferLike, { chunk: number; size: number }>();

  constructor(memory: Arena) {
    this.memory = memory;
  }
  /** This thread's buffer over a chunk. */
  buffer(chunk: number, size: number): ArrayBuffer {
    let buffer = this.buffers.get(chunk);
    if (buffer === undefined) {
      buffer = viewOf(this.memory.address + chunk, size);
      this.buffers.set(chunk, buffer);
      this.chunks.set(buffer, { chunk, size });
    }
    return buffer;
  }
  /** Where a view lies; undefined when that is not shared. */
  placeOf({ buffer, byteOffset }: ArrayBufferView): Place | undefined {
    const found = this.chunks.get(buffer);
    return found && { ...found, offset: byteOffset };
  }
}

/** Cache lines: two things that are given out never share one. */
const UNIT = 64;
const CHUNK_FRAMES = 16;

/** Gives out shared memory. vCPU 0 has it, as it has the domain's free frames. */
export class SharedHeap {
  private readonly memory: Arena;
  private readonly views: SharedViews;
  private readonly frames: FrameAllocator;
  private readonly chunks: { readonly chunk: number; readonly size: number }[] = [];
  /** By address / UNIT. The last unit of a chunk is never free: no run crosses from one into another. */
  private readonly units = new FrameAllocator(0, 0);

  constructor(memory: Arena, views: SharedViews, frames: FrameAllocator) {
    this.memory = memory;
    this.views = views;
    this.frames = frames;
  }
  /** Zeroed. Throws ENOMEM. */
  alloc(bytes: number): { buffer: ArrayBuffer; offset: number } {
    const count = Math.max(1, Math.ceil(bytes / UNIT));
    const address = UNIT * (this.take(count) ?? this.grow(count));
    this.memory.bytes.fill(0, address, address + count * UNIT);
    const { chunk, size } = this.chunks.find(({ chunk, size }) => address >= chunk && address < chunk + size)!;
    return { buffer: this.views.buffer(chunk, size), offset: address - chunk };
  }
  /** `view` as it was given out. */
  free(view: ArrayBufferView): void {
    const place = this.views.placeOf(view);
    if (place === undefined || place.offset % UNIT !== 0)
      throw new XenError('EINVAL', 'free: this is no shared memory');
    this.units.free(gfn((place.chunk + place.offset) / UNIT), Math.max(1, Math.ceil(view.byteLength / UNIT)));
  }
  private take(count: number): number | undefined {
    try {
      return this.units.alloc(count);
    } catch (error) {
      if (error instanceof XenError && error.code === 'ENOMEM') return undefined;
      throw error;
    }
  }
  private grow(count: number): number {
    const frames = Math.max(CHUNK_FRAMES, Math.ceil(((count + 1) * UNIT) / PAGE_SIZE));
    const chunk = this.frames.alloc(frames) * PAGE_SIZE;
    const size = frames * PAGE_SIZE;
    this.chunks.push({ chunk, size });
    this.units.free(gfn(chunk / UNIT), size / UNIT - 1);
    return this.units.alloc(count);
  }
}
