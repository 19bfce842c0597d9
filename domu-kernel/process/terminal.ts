// The console as a terminal: lines while they are typed, the group of processes that has it, and the keys that are signals.
import { LineEditor } from '../drivers/hvc/line-editor.ts';
import { WaitQueue } from '../wait-queue.ts';
import type { OpenFile } from './open-file.ts';
import type { Processes } from './processes.ts';
import type { SignalName } from './signals.ts';
import { Wait, YIELD } from './wait.ts';

/** What carries its bytes. */
export interface TerminalDoor {
  /** Keeps what does not fit yet. */
  writeBytes(bytes: Uint8Array): void;
  /** Bytes kept so. */
  readonly waiting: number;
  takeInput(input: (bytes: Uint8Array) => void): void;
}

const KEYS: Readonly<Record<number, { readonly signal: SignalName; readonly echo: string }>> = {
  3: { signal: 'SIGINT', echo: '^C\r\n' },
  28: { signal: 'SIGQUIT', echo: '^\\\r\n' },
  26: { signal: 'SIGTSTP', echo: '^Z\r\n' },
};
/** Output kept for a console that is slow: who writes more waits. */
const MAX_WAITING = 32 * 1024;
/** Typed bytes kept for who does not read. */
const MAX_TYPED = 64 * 1024;
const RETURN = 13;
const NEWLINE = 10;
const encoder = new TextEncoder();

export class Terminal implements OpenFile {
  readonly kind = 'terminal';
  /** Wakes when something was typed, or there is room to write again. */
  readonly queue = new WaitQueue();
  /** The process group that the keys concern, and that may read. 0: any may. */
  foreground = 0;
  /** The group of the shell that hands the terminal out: signals come to it when the foreground has just ended. */
  leader = 0;
  /** Bytes are read as they are typed: no lines, no echo, no keys that are signals. */
  raw = false;
  readonly #door: TerminalDoor;
  readonly #processes: Processes;
  readonly #wait = new Wait([this.queue]);
  readonly #editor: LineEditor;
  /** What may be read, a line or more each; null is an end. */
  readonly #typed: (Uint8Array | null)[] = [];
  #typedBytes = 0;
  #last = 0;
  /** Somebody waits for room. */
  #full = false;
  /** Typed bytes that nobody read in time. */
  lost = 0;

  constructor(door: TerminalDoor, processes: Processes) {
    this.#door = door;
    this.#processes = processes;
    const lost = (bytes: number): void => {
      this.lost += bytes;
    };
    this.#editor = new LineEditor(text => door.writeBytes(encoder.encode(text)), lost);
    this.#editor.onLine = line => this.#deliver(line === null ? null : encoder.encode(`${line}\n`));
  }
  /** What is typed comes here from now on. */
  attach(): void {
    this.#door.takeInput(bytes => this.input(bytes));
  }

  input(bytes: Uint8Array): void {
    if (this.raw) {
      this.#deliver(bytes.slice());
      return;
    }
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      const key = KEYS[bytes[at]!];
      if (key === undefined) continue;
      this.#editor.input(bytes.subarray(from, at));
      this.#press(key);
      from = at + 1;
    }
    this.#editor.input(bytes.subarray(from));
  }
  #press({ signal, echo }: (typeof KEYS)[number]): void {
    this.#editor.discard();
    this.#typed.length = 0;
    this.#typedBytes = 0;
    this.#door.writeBytes(encoder.encode(echo));
    if (this.#signalled(this.foreground, signal) === 0) this.#signalled(this.leader, signal);
    this.queue.wakeAll();
  }
  #signalled(pgid: number, signal: SignalName): number {
    return pgid === 0 ? 0 : this.#processes.killGroup(pgid, signal);
  }
  #deliver(bytes: Uint8Array | null): void {
    const length = bytes?.length ?? 1;
    if (this.#typedBytes + length > MAX_TYPED) {
      this.lost += length;
      return;
    }
    this.#typed.push(bytes);
    this.#typedBytes += length;
    this.queue.wakeAll();
  }
  /** Whoever waits for room may have it. */
  step(): void {
    if (!this.queue.isEmpty && this.#door.waiting < MAX_WAITING / 2 && this.#full) {
      this.#full = false;
      this.queue.wakeAll();
    }
  }

  retain(): void {}
  release(): void {}
  read(into: Uint8Array): number | Wait {
    if (this.#isBackground()) return YIELD;
    const line = this.#typed[0];
    if (line === undefined) return this.#wait;
    const n = Math.min(into.length, line?.length ?? 0);
    if (line !== null) into.set(line.subarray(0, n));
    if (line === null || n === line.length) this.#typed.shift();
    else this.#typed[0] = line.subarray(n);
    this.#typedBytes -= line === null ? 1 : n;
    return n;
  }
  /** A process of another group that reads is stopped. */
  #isBackground(): boolean {
    const reader = this.#processes.current;
    if (reader === undefined || this.foreground === 0 || reader.pgid === this.foreground) return false;
    this.#processes.killGroup(reader.pgid, 'SIGTTIN');
    return true;
  }
  /** With a carriage return before each line feed, as terminals want it. */
  write(from: Uint8Array): number | Wait {
    const room = MAX_WAITING - this.#door.waiting;
    if (room <= 0) {
      this.#full = true;
      return this.#wait;
    }
    const part = from.subarray(0, room);
    this.#door.writeBytes(this.raw ? part.slice() : this.#withReturns(part));
    return part.length;
  }
  #withReturns(text: Uint8Array): Uint8Array {
    const out = new Uint8Array(2 * text.length);
    let length = 0;
    for (const byte of text) {
      if (byte === NEWLINE && this.#last !== RETURN) out[length++] = RETURN;
      out[length++] = byte;
      this.#last = byte;
    }
    return out.subarray(0, length);
  }
  readable(): number {
    const line = this.#typed[0];
    return line === undefined ? 0 : (line?.length ?? 1);
  }
  writable(): number {
    return Math.max(0, MAX_WAITING - this.#door.waiting);
  }
  hungUp(): boolean {
    return false;
  }
}
