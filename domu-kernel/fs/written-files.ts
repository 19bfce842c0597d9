// The files of a volume that were written to since its last sync, in use or not, and those of which nobody has been told yet
// that a write failed.
import type { XenError } from '#pvbus';
import { WriteErrors } from './write-errors.ts';

/** Files that nobody ever asks about: the first ones are forgotten. */
const MAX_UNTOLD = 1024;

export class WrittenFiles {
  /** By their inodes. */
  private readonly written = new Map<number, WriteErrors>();
  private readonly untold = new Map<number, WriteErrors>();

  /** Of a file that comes into use. */
  errorsOf(ino: number): WriteErrors {
    return this.written.get(ino) ?? this.untold.get(ino) ?? new WriteErrors();
  }
  add(ino: number, errors: WriteErrors): void {
    this.written.set(ino, errors);
  }
  /** There is no such file any more. */
  forget(ino: number): void {
    this.written.delete(ino);
    this.untold.delete(ino);
  }
  move(ino: number, to: number): void {
    if (ino === to) return;
    for (const files of [this.written, this.untold]) {
      const errors = files.get(ino);
      files.delete(ino);
      if (errors) files.set(to, errors);
    }
  }

  failed(error: XenError): void {
    for (const [ino, errors] of this.written) {
      errors.add(error);
      this.untold.set(ino, errors);
    }
    for (const ino of this.untold.keys()) {
      if (this.untold.size <= MAX_UNTOLD) return;
      this.untold.delete(ino);
    }
  }
  /** All of them are on the medium. */
  settled(): void {
    this.written.clear();
    for (const [ino, errors] of this.untold) if (!errors.isUntold) this.untold.delete(ino);
  }
}
