// What is in use of a volume on a disk, whichever file system that has: how often, and who is told of writes that failed.
import { XenError } from '#pvbus';
import type { FileType } from './file-system.ts';
import type { Volume } from './volume.ts';
import type { WriteErrors } from './write-errors.ts';

export abstract class VolumeNode<V extends Volume> {
  readonly fs: V;
  readonly type: FileType;
  readonly ino: number;
  /** It has no name any more. */
  protected removed = false;
  private readonly errors: WriteErrors;
  private uses = 0;

  constructor(fs: V, type: FileType, ino: number) {
    this.fs = fs;
    this.type = type;
    this.ino = ino;
    this.errors = fs.written.errorsOf(ino);
  }

  /** For messages. */
  protected abstract get title(): string;
  /** The volume is entered. */
  abstract dropIfUnused(): void;

  get inUse(): boolean {
    return this.uses > 0;
  }
  hold(): this {
    this.uses++;
    this.fs.used(1);
    return this;
  }
  release(): void {
    this.fs.used(-1);
    this.uses--;
    if (this.uses === 0) this.fs.enterLater(`close ${this.title}`, () => this.dropIfUnused());
  }

  /** A directory's are the volume's: a name may be lost with any of it. */
  get writeErrors(): WriteErrors {
    return this.type === 'directory' ? this.fs.writeErrors : this.errors;
  }
  sync(dataOnly: boolean): void {
    const what = `sync ${this.title}`;
    const only = dataOnly && this.type === 'file' ? this : undefined;
    this.fs.enter(what, () => this.fs.syncAll(what, only));
  }
  /** It was written to: the next sync has something to do. */
  protected unsynced(): void {
    this.fs.written.add(this.ino, this.errors);
  }

  protected checkDirectory(what: string): void {
    if (this.type !== 'directory') throw new XenError('ENOTDIR', `${what}: it is no directory`);
  }
  /** Names can be put into it. */
  protected checkLive(what: string): void {
    this.checkDirectory(what);
    if (this.removed) throw new XenError('ENOENT', `${what}: the directory has been removed`);
    this.fs.checkWritable(what);
  }
}
