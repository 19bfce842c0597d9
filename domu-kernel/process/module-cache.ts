// Programs that were run lately, compiled: to start one again costs neither a read nor a compilation.
import type { Vnode } from '../fs/file-system.ts';
import type { Program } from './runtime.ts';

const MAX_PROGRAMS = 8;
/** Of the files they came from. */
const MAX_BYTES = 64 * 2 ** 20;

interface Entry {
  readonly key: string;
  readonly fs: object;
  readonly program: Program;
  readonly size: number;
}

export class ModuleCache {
  /** The last used last. */
  #entries: Entry[] = [];

  get(file: Vnode): Program | undefined {
    const entry = this.#find(file);
    if (entry === undefined) return undefined;
    this.#entries = [...this.#entries.filter(other => other !== entry), entry];
    return entry.program;
  }
  set(file: Vnode, program: Program): void {
    const { size } = file.attributes();
    if (size > MAX_BYTES) return;
    this.#entries.push({ key: keyOf(file), fs: file.fs, program, size });
    const total = (): number => this.#entries.reduce((sum, entry) => sum + entry.size, 0);
    while (this.#entries.length > MAX_PROGRAMS || total() > MAX_BYTES) this.#entries.shift();
  }
  #find(file: Vnode): Entry | undefined {
    const key = keyOf(file);
    return this.#entries.find(entry => entry.fs === file.fs && entry.key === key);
  }
}

/** Changes whenever the file does. */
function keyOf(file: Vnode): string {
  const { ino, size, mtimeNs, ctimeNs } = file.attributes();
  return `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}
