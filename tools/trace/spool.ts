// What comes while tracing is kept as it is, in a file without a name, and looked at afterwards: the tool is to take
// little of the machine it watches.
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TraceChunk, TraceEvent } from '#pvbus';

interface Place {
  readonly chunk: Omit<TraceChunk, 'records'>;
  readonly at: number;
  readonly length: number;
}
interface Part {
  readonly until: number | null;
  readonly places: readonly Place[];
}

export class Spool {
  readonly #fd: number;
  readonly #parts: Part[] = [];
  #length = 0;

  constructor() {
    const folder = mkdtempSync(join(tmpdir(), 'xl-trace-'));
    this.#fd = openSync(join(folder, 'records'), 'w+', 0o600);
    rmSync(folder, { recursive: true });
  }
  add({ until, chunks }: TraceEvent): void {
    const places = chunks.map(({ records, ...chunk }) => {
      const at = this.#length;
      for (let done = 0; done < records.length; )
        done += writeSync(this.#fd, records, done, records.length - done, at + done);
      this.#length += records.length;
      return { chunk, at, length: records.length };
    });
    this.#parts.push({ until, places });
  }
  get bytes(): number {
    return this.#length;
  }
  /** Everything again, in its order. */
  *events(): Generator<TraceEvent> {
    for (const { until, places } of this.#parts) {
      const chunks = places.map(({ chunk, at, length }) => {
        const records = new Uint8Array(length);
        readSync(this.#fd, records, 0, length, at);
        return { ...chunk, records };
      });
      yield { event: 'trace', until, chunks };
    }
  }
  close(): void {
    closeSync(this.#fd);
  }
}
