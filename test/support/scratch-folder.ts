// A folder of this machine's in memory where that can be, emptied between cases whatever a guest has made of it.
import { chmodSync, lstatSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { memoryFolder, ownFolder } from './own-folders.ts';

const left = new Set<ScratchFolder>();
/** Those that nobody has removed: of properties that fail, or are not at the end of their rounds. */
export function removeScratchFolders(): void {
  for (const folder of left) folder.remove();
}
process.once('exit', removeScratchFolders);

export class ScratchFolder {
  readonly path = ownFolder(memoryFolder());

  constructor() {
    left.add(this);
  }
  /** A guest may have taken the rights to it away. */
  empty(directory = this.path): void {
    chmodSync(directory, 0o700);
    for (const name of readdirSync(directory)) {
      const path = join(directory, name);
      if (lstatSync(path).isDirectory()) this.empty(path);
      rmSync(path, { recursive: true });
    }
  }
  remove(): void {
    left.delete(this);
    this.empty();
    rmSync(this.path, { recursive: true });
  }
  /** Descriptors of this process that lead here. */
  get open(): number {
    let count = 0;
    for (const fd of readdirSync('/proc/self/fd')) {
      try {
        if (readlinkSync(`/proc/self/fd/${fd}`).startsWith(this.path)) count++;
      } catch {
        // the listing's own
      }
    }
    return count;
  }
}
