// Messages between vCPU 0 and another one, over the two byte rings they share: a length, then a value.
import type { Streams } from './area.ts';
import type { FromLodgers, ToLodgers } from './lodging.ts';
import { decode, encode, type Values } from './message.ts';

const HEAD = 4;

/** vCPU 0 to another one. */
export type ToSibling =
  | { readonly op: 'run'; readonly task: string; readonly args: readonly unknown[] }
  /** Go down; come back with `up`. */
  | { readonly op: 'down' }
  | ToLodgers;
/** Another one to vCPU 0. */
export type FromSibling =
  | { readonly op: 'up' }
  | { readonly op: 'result'; readonly value: unknown }
  | { readonly op: 'failed'; readonly error: CarriedError }
  /** It goes down in a moment. */
  | { readonly op: 'leaving' }
  | { readonly op: 'console'; readonly text: string }
  | FromLodgers;

export interface CarriedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
}
export function carry(error: unknown): CarriedError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), stack: undefined, code: undefined };
  const { name, message, stack } = error;
  const { code } = error as { code?: unknown };
  return { name, message, stack, code: typeof code === 'string' ? code : undefined };
}
export function carried({ name, message, stack, code }: CarriedError): Error {
  const error = new Error(message);
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return code === undefined ? error : Object.assign(error, { code });
}

export class Channel<In, Out> {
  private readonly streams: Streams;
  private readonly values: Values;
  private readonly notify: () => void;
  private readonly head = new Uint8Array(HEAD);
  private readonly length = new DataView(this.head.buffer);
  /** What had no room yet. A sender never waits: the other end may wait for it. */
  private readonly unsent: Uint8Array[] = [];
  private body: Uint8Array | undefined;
  private got = 0;

  /** `notify` tells the other end that there is something to take, or room again. */
  constructor(streams: Streams, values: Values, notify: () => void) {
    this.streams = streams;
    this.values = values;
    this.notify = notify;
  }
  /** Throws what cannot be sent, and sends nothing then. */
  send(message: Out): void {
    const body = encode(message, this.values);
    const bytes = new Uint8Array(HEAD + body.length);
    new DataView(bytes.buffer).setUint32(0, body.length, true);
    bytes.set(body, HEAD);
    this.unsent.push(bytes);
    this.flush();
  }
  /** Everything sent is in the ring. */
  get flushed(): boolean {
    return this.unsent.length === 0;
  }
  flush(): void {
    const { writer, waits } = this.streams;
    let moved = false;
    for (let waiting = false; this.unsent.length > 0; ) {
      const next = this.unsent[0]!;
      const n = writer.write(next);
      if (n > 0) moved = true;
      if (n === next.length) {
        this.unsent.shift();
        continue;
      }
      if (n > 0) this.unsent[0] = next.subarray(n);
      else if (waiting) break;
      // order: say so, then try again. The reader makes room, then looks whether it is waited for.
      waits.raise();
      waiting = true;
    }
    if (moved) this.notify();
  }
  /** Take what is there. True when anything was. */
  step(receive: (message: In) => void): boolean {
    if (!this.flushed) this.flush();
    let moved = false;
    while (this.fill()) {
      moved = true;
      if (this.body === undefined || this.got < this.body.length) continue;
      const { body } = this;
      this.body = undefined;
      this.got = 0;
      receive(decode(body, this.values) as In); // the other end is this very class
    }
    return moved;
  }
  /** Bytes for the head or the body. False when there are none. */
  private fill(): boolean {
    const { reader, awaited } = this.streams;
    const room = this.body ?? this.head;
    const n = room.length === 0 ? 0 : reader.read(room.subarray(this.got));
    if (n < 0) throw new Error('the indices of a ring between two vCPUs make no sense');
    if (n > 0 && awaited.take()) this.notify();
    this.got += n;
    if (this.body === undefined && this.got === HEAD) {
      this.body = new Uint8Array(this.length.getUint32(0, true));
      this.got = 0;
    }
    return n > 0;
  }
}
