// Writes to a file that failed after their calls had returned, counted as Linux does (errseq_t): who has the file open then is
// told by its next sync, once; who opens it later only where nobody has been told yet.
import type { XenError } from '#pvbus';
import { FileSystemBusy } from './file-system.ts';

export class WriteErrors {
  private latest: XenError | undefined;
  private count = 0;
  private told = true;

  /** Nobody has been told of the last one. */
  get isUntold(): boolean {
    return !this.told;
  }
  add(error: XenError): void {
    if (this.told) this.count++;
    this.told = false;
    this.latest = error;
  }
  /** How many there have been, for who has not heard of any after the first `known`. */
  tell(known: number): [count: number, error: XenError | undefined] {
    if (known === this.count) return [known, undefined];
    this.told = true;
    return [this.count, this.latest];
  }
  /** What somebody need not be told who begins to listen now. */
  get past(): number {
    return this.told ? this.count : this.count - 1;
  }
}

/** Who syncs: one opening of a file. */
export class Hearer {
  private readonly errors: WriteErrors | undefined;
  private known: number;

  /** None: what it syncs keeps nothing back. */
  constructor(errors: WriteErrors | undefined) {
    this.errors = errors;
    this.known = errors?.past ?? 0;
  }
  /** Throws what `sync` throws, or what has failed since the last one. */
  sync(sync: () => void): void {
    try {
      sync();
    } catch (error) {
      // Who has to wait is told later.
      if (!(error instanceof FileSystemBusy)) this.hear();
      throw error;
    }
    const failure = this.hear();
    if (failure) throw failure;
  }
  private hear(): XenError | undefined {
    if (!this.errors) return undefined;
    const [known, failure] = this.errors.tell(this.known);
    this.known = known;
    return failure;
  }
}
