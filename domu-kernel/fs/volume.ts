// A volume of a disk as a file system of vnodes, whichever it is: one call at a time, what of it is in use, when it is to be
// written back, and who is told of what could not be written.
import { XenError } from '#pvbus';
import type { Discards } from './discards.ts';
import type { FileSystem, Vnode } from './file-system.ts';
import { OneCall } from './one-call.ts';
import type { VolumeOptions } from './volume-options.ts';
import { Hearer, WriteErrors } from './write-errors.ts';
import { WrittenFiles } from './written-files.ts';

/** Directories whose names are kept although nobody uses them. */
const KEPT_DIRECTORIES = 16;
/** Discards at a time, while a guest has other things to do. */
const DISCARD_BATCH = 64;

interface DiskNode extends Vnode {
  readonly ino: number;
  /** What is kept of it need not be any more. */
  drop(): void;
}

export abstract class Volume<Node extends DiskNode = DiskNode> implements FileSystem {
  readonly name: string;
  whyReadOnly: string | undefined;
  abstract readonly root: Node;
  readonly written = new WrittenFiles();
  /** What failed when nobody was there to be told. */
  readonly writeErrors = new WriteErrors();
  protected readonly nodes = new Map<number, Node>();
  protected readonly discards: Discards | undefined;
  private readonly hearer = new Hearer(this.writeErrors);
  private readonly calls = new OneCall(() => this.callEnded());
  private readonly onDirty: ((volume: Volume) => void) | undefined;
  /** Something is dirty, and was said to be. */
  private announced = false;
  private readonly kept = new Set<Node>();
  private uses = 0;

  constructor(name: string, discards: Discards | undefined, { onDirty }: VolumeOptions) {
    this.name = name;
    this.discards = discards;
    this.onDirty = onDirty;
  }

  abstract get readOnly(): boolean;
  /** Bytes. */
  abstract space(): { free: number; total: number };
  abstract label(): string;
  abstract checkWritable(what: string): void;
  /** With `only`, no more than what that file's data needs, where that is less. The volume is entered. */
  abstract syncAll(what: string, only?: unknown): void;
  /** Everything, and that it is free to be used again what was given free. The volume is entered. */
  protected abstract syncWhole(what: string): void;
  /** It says that it is in order, if it can; all else is on the medium. The volume is entered. */
  protected abstract markInOrder(): void;
  /** There is something that `writeBack` would do. */
  protected abstract get isDirty(): boolean;

  get inUse(): boolean {
    return this.uses > 0;
  }
  /** Everything written so far is on the medium when this returns, or an earlier failure is thrown. */
  sync(): void {
    const what = `sync ${this.name}`;
    this.hearer.sync(() => this.enter(what, () => this.syncWhole(what)));
  }
  /** As sync; and the volume says that it is in order, until it changes. */
  settle(): void {
    this.hearer.sync(() => this.settleNow());
  }
  private settleNow(discards?: number): void {
    const what = `settle ${this.name}`;
    this.enter(what, () => {
      this.syncWhole(what);
      this.markInOrder();
      if (this.discards?.any) this.discards.send(discards);
    });
  }
  close(): void {
    if (!this.readOnly) this.settle();
  }
  /** As settle, and who is told of a failure is the next sync, of each file. */
  writeBack(): void {
    this.announced = false;
    // The end of a call that is under way announces it again.
    if (!this.readOnly && !this.calls.isBusy) this.carefully(`sync ${this.name}`, () => this.settleNow(DISCARD_BATCH));
  }

  // ---- one call at a time ----

  /** The driver and what is kept of it here belong to one call until that ends, also while it waits for the disk. */
  enter<T>(what: string, act: () => T): T {
    return this.calls.enter(what, act);
  }
  /** Now, or when the call under way has ended. Nobody is told of a failure but the next sync. */
  enterLater(what: string, act: () => void): void {
    this.calls.enterLater(what, () => this.carefully(what, act));
  }
  private carefully(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.writeErrors.add(failureOf(what, error));
    }
  }
  /** The volume is whole. */
  protected callEnded(): void {
    if (this.announced || !this.onDirty || !this.isDirty) return;
    this.announced = true;
    this.onDirty(this);
  }

  // ---- for the nodes; the volume is entered ----

  used(more: 1 | -1): void {
    this.uses += more;
  }
  gone(node: Node): void {
    this.nodes.delete(node.ino);
    this.kept.delete(node);
  }
  /** Until others have been in use since. */
  keep(directory: Node): void {
    const { kept } = this;
    kept.delete(directory);
    kept.add(directory);
    if (kept.size <= KEPT_DIRECTORIES) return;
    for (const oldest of kept) {
      kept.delete(oldest);
      oldest.drop();
      return;
    }
  }
}

export const failureOf = (what: string, error: unknown): XenError =>
  error instanceof XenError ? error : new XenError('EIO', `${what}: ${error}`);
