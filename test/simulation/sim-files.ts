// The file system that xenstored keeps its journal in: what was written outlives the process, up to the system
// call it died in, and half of that.
import type { JournalCalls } from '../../dom0/journal-file.ts';
import type { Part } from './part.ts';
import type { SimProcess } from './sim-process.ts';

class SimFile {
  #memory = new Uint8Array(4096);
  length = 0;
  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.length);
  }
  write(from: Uint8Array, at: number): void {
    const end = at + from.length;
    if (end > this.#memory.length) {
      const more = new Uint8Array(2 * end);
      more.set(this.bytes);
      this.#memory = more;
    }
    this.#memory.set(from, at);
    this.length = Math.max(this.length, end);
  }
}

export class SimFiles implements Part {
  readonly name = 'journal-disk';
  readonly #files = new Map<string, SimFile>();
  readonly #open = new Map<number, SimFile>();
  readonly #syncing: { process: SimProcess; done: (error: Error | null) => void }[] = [];
  /** Bytes of the next write that are taken; the rest has to be written with another call. */
  shortWrites = 0;
  onRename: () => void = () => {};
  #nextFd = 3;

  /** The contents of a file; undefined when there is none. */
  contents(path: string): Uint8Array | undefined {
    return this.#files.get(path)?.bytes;
  }

  of(process: SimProcess): JournalCalls {
    const call = (part?: () => void): void => {
      process.call(part);
    };
    const file = (fd: number): SimFile => this.#open.get(fd)!;
    return {
      openSync: (path, flags) => {
        call();
        let found = this.#files.get(path);
        if (found === undefined || flags === 'w') {
          if (flags !== 'w') throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
          found = new SimFile();
          this.#files.set(path, found);
        }
        this.#open.set(this.#nextFd, found);
        return this.#nextFd++;
      },
      closeSync: fd => {
        call();
        this.#open.delete(fd);
      },
      fstatSync: fd => {
        call();
        return { size: file(fd).length };
      },
      ftruncateSync: (fd, length) => {
        call();
        file(fd).length = length;
      },
      readSync: (fd, into, offset, length, at) => {
        call();
        const bytes = file(fd).bytes.subarray(at, at + length);
        into.set(bytes, offset);
        return bytes.length;
      },
      writeSync: (fd, from, offset, length, at) => {
        const bytes = from.subarray(offset, offset + length);
        call(() => file(fd).write(bytes.subarray(0, length >> 1), at));
        const n = this.shortWrites > 0 ? Math.max(1, length >> 1) : length;
        if (this.shortWrites > 0) this.shortWrites--;
        file(fd).write(bytes.subarray(0, n), at);
        return n;
      },
      fdatasync: (_fd, done) => {
        call();
        this.#syncing.push({ process, done });
      },
      fdatasyncSync: () => call(),
      renameSync: (from, to) => {
        call();
        this.#files.set(to, this.#files.get(from)!);
        this.#files.delete(from);
        this.onRename();
      },
      rmSync: path => {
        call();
        this.#files.delete(path);
      },
    };
  }

  // ---- what comes when the device is done ----

  ready(): boolean {
    return this.#syncing.length > 0;
  }
  step(): boolean {
    const next = this.#syncing.shift();
    if (next?.process.alive) next.done(null);
    return next !== undefined;
  }
  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }
}
