// One request to the server, from when it is made until it is answered, over as many connections as that takes.
import type { Awaited } from './replies.ts';

/** Hears of answers. `error` is the protocol's number, or 0; Infinity: no server has answered in time. */
export interface CommandSink {
  answered(command: Command, error: number): void;
}

export class Command implements Awaited {
  type = 0;
  flags = 0;
  at = 0;
  length = 0;
  received = 0;
  error = 0;
  sink: CommandSink | undefined;
  /** What it is a part of; the sink's. */
  job: unknown;
  /** Its place in a session's table, and which of those that had the place it is. */
  readonly slot: number;
  generation = 0;
  /** When it was made, among all of its session. */
  order = 0;
  /** Of a flush: the first write that was not acknowledged when it was sent. */
  covers = 0;
  /** Its bytes: pieces of memory one after the other. */
  readonly memory: Uint8Array[] = [];
  readonly starts: number[] = [];
  readonly lengths: number[] = [];

  constructor(slot: number) {
    this.slot = slot;
  }

  reset(type: number, at: number, length: number, sink: CommandSink, flags = 0): this {
    this.type = type;
    this.flags = flags;
    this.at = at;
    this.length = length;
    this.sink = sink;
    this.job = undefined;
    this.memory.length = 0;
    this.starts.length = 0;
    this.lengths.length = 0;
    return this;
  }
  addPiece(memory: Uint8Array, start: number, length: number): void {
    const last = this.memory.length - 1;
    if (last >= 0 && this.memory[last] === memory && this.starts[last]! + this.lengths[last]! === start) {
      this.lengths[last]! += length;
      return;
    }
    this.memory.push(memory);
    this.starts.push(start);
    this.lengths.push(length);
  }
  pieces(): Uint8Array[] {
    return this.memory.map((memory, i) => memory.subarray(this.starts[i]!, this.starts[i]! + this.lengths[i]!));
  }
  copyTo(into: Uint8Array): void {
    let at = 0;
    for (const piece of this.pieces()) {
      into.set(piece, at);
      at += piece.length;
    }
  }

  put(offset: number, bytes: Uint8Array, from: number, length: number): void {
    this.#spread(offset, length, (memory, start, n, done) =>
      memory.set(bytes.subarray(from + done, from + done + n), start),
    );
  }
  zero(offset: number, length: number): void {
    this.#spread(offset, length, (memory, start, n) => memory.fill(0, start, start + n));
  }
  #spread(
    offset: number,
    length: number,
    each: (memory: Uint8Array, start: number, n: number, done: number) => void,
  ): void {
    let skip = offset;
    let done = 0;
    for (let i = 0; done < length; i++) {
      const size = this.lengths[i]!; // the parser keeps within the request's length, which is that of its pieces
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const n = Math.min(size - skip, length - done);
      each(this.memory[i]!, this.starts[i]! + skip, n, done);
      done += n;
      skip = 0;
    }
  }
}
