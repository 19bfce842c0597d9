// What a file system on a disk is mounted with, whichever it is.
import type { WasmModule } from '../process/web-assembly.ts';
import type { CacheFrames } from './cache-frames.ts';
import type { Volume } from './volume.ts';

export interface VolumeOptions {
  /** Its code, compiled. */
  readonly module: WasmModule;
  /** What may be kept of the disk. */
  readonly cacheBytes?: number;
  /** And beyond that, while memory is free. */
  readonly cacheFrames?: CacheFrames;
  /** There is something to write now: `writeBack` is wanted before long. */
  readonly onDirty?: (volume: Volume) => void;
  /** What was the matter with a volume that nobody had left in order, in a line. */
  readonly log?: (line: string) => void;
}
