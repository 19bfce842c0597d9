// What the host's log says of trouble: warnings and errors of every process that writes there, heard as they come; and its bound.
import { closeSync, type FSWatcher, fstatSync, ftruncateSync, openSync, readSync, watch, writeFileSync } from 'node:fs';
import { type Log, logTail, runPaths } from '#pvbus';
import type { ToolstackParts } from './parts.ts';

/** A warning or an error. */
export interface Said {
  readonly who: string;
  readonly what: string;
}

/** A log that is longer is kept once, as NAME.1, and begins anew. */
const MAX_BYTES = 4 << 20;
/** At one look. */
const CHUNK = 1 << 16;
/** Who is further behind than this goes on near the end. */
const MAX_BEHIND = 1 << 20;
/** Kinds of lines that are counted. */
const MAX_KINDS = 1000;
/** So many of a kind are heard of, then every doubling. */
const HEARD = 32;

/** `who: warning: what`, behind the time. untrusted: what it quotes of guests has no line ends, see streamLog. */
const LINE = /^(\S+) ([a-z0-9-]+(?: [a-z0-9-]+)?): (?:warning|error): (.+)$/;

/**
 * What the hypervisor has said last that begins with `start`, without that: of some things its log alone knows why. What is
 * older than this toolstack may be of a host before, and of another domain of that number.
 */
export function lastSaid(
  { runDir, startedMs }: Pick<ToolstackParts, 'runDir' | 'startedMs'>,
  start: string,
): string | undefined {
  const lines = logTail(runPaths(runDir).hostLog).split('\n');
  for (const line of lines.reverse()) {
    const [, at, who, what] = LINE.exec(line) ?? [];
    if (who !== 'xen' || !what!.startsWith(start)) continue;
    return Date.parse(at!) < startedMs ? undefined : what!.slice(start.length);
  }
  return undefined;
}

interface HostLogOptions {
  /** What was said up to `at` is gone: it is 0 from here on. */
  readonly beginsAnew?: () => void;
  readonly maxBytes?: number;
}

export class HostLog {
  readonly #path: string;
  readonly #hear: (said: Said) => void;
  readonly #beginsAnew: () => void;
  readonly #maxBytes: number;
  /** It is cut when it is longer than this. */
  #cutAt: number;
  readonly #kinds = new Map<string, number>();
  /** Up to where it is read: the beginning of a line. */
  at: number;
  #fd: number | undefined;
  #watcher: FSWatcher | undefined;
  #partial = '';

  /** `from`: what is before that is known, or was said before there was anybody to hear it. */
  constructor(path: string, from: number | undefined, hear: (said: Said) => void, options: HostLogOptions = {}) {
    this.#path = path;
    this.#hear = hear;
    this.#beginsAnew = options.beginsAnew ?? (() => {});
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
    this.#cutAt = this.#maxBytes;
    this.at = from ?? 0;
    try {
      this.#fd = openSync(path, 'r+');
      if (from === undefined) this.at = fstatSync(this.#fd).size;
    } catch {
      // A host without a log has nothing to be heard.
    }
  }

  /** Look whenever something is written. Where Linux does not tell, at `look` alone. */
  follow(log: Log): void {
    if (this.#fd === undefined) return;
    const blind = (error: Error): void =>
      log.info(`${this.#path}: heard of only when it is asked for: ${error.message}`);
    try {
      this.#watcher = watch(this.#path, { persistent: false }, () => this.look());
      this.#watcher.on('error', blind);
    } catch (error) {
      blind(error as Error); // inotify's limits
    }
  }
  /** Hear what has come since the last time. */
  look(): void {
    if (this.#fd === undefined) return;
    const { size } = fstatSync(this.#fd);
    if (size < this.at || size - this.at > MAX_BEHIND) this.#skipTo(Math.max(0, size - CHUNK));
    const bytes = Buffer.allocUnsafe(CHUNK);
    // Up to there: what is written meanwhile has its own turn.
    for (let left = size - this.at - this.#ahead; left > 0; ) {
      const n = readSync(this.#fd, bytes, 0, Math.min(CHUNK, left), this.at + this.#ahead);
      if (n === 0) return;
      left -= n;
      this.#take(bytes.toString('latin1', 0, n));
    }
    if (this.at > this.#cutAt) this.#cut(this.#fd);
  }
  close(): void {
    this.#watcher?.close();
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Every process of the host has it open and appends: the file stays, and what it says goes. */
  #cut(fd: number): void {
    try {
      writeFileSync(`${this.#path}.1`, endOf(fd, 2 * this.#maxBytes), { mode: 0o600 });
    } catch {
      this.#cutAt = this.at + this.#maxBytes; // a full disk: better too long than nothing
      return;
    }
    if (fstatSync(fd).size !== this.at) return; // more has come: the next look hears it first
    ftruncateSync(fd);
    this.#cutAt = this.#maxBytes;
    this.#skipTo(0);
    this.#beginsAnew();
  }

  /** Of a line that is not whole yet. */
  get #ahead(): number {
    return this.#partial.length;
  }
  #skipTo(at: number): void {
    this.at = at;
    this.#partial = '';
  }
  #take(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) {
      this.at += line.length + 1;
      this.#line(Buffer.from(line, 'latin1').toString());
    }
    // No line of ours is so long.
    if (this.#partial.length > CHUNK) this.#skipTo(this.at + this.#partial.length);
  }
  #line(line: string): void {
    const [, , who, what] = LINE.exec(line) ?? [];
    if (who === undefined || what === undefined) return;
    const kind = `${who} ${domidIn(what)} ${what.replace(/\d+/g, '#').slice(0, 200)}`;
    if (this.#kinds.size >= MAX_KINDS && !this.#kinds.has(kind)) this.#kinds.clear();
    const n = (this.#kinds.get(kind) ?? 0) + 1;
    this.#kinds.set(kind, n);
    if (n <= HEARD) this.#hear({ who, what });
    else if ((n & (n - 1)) === 0) this.#hear({ who, what: `${what} (said ${n} times)` });
  }
}

/** The last `most` bytes of it, and no more, however long it has become. */
function endOf(fd: number, most: number): Buffer {
  const { size } = fstatSync(fd);
  const bytes = Buffer.allocUnsafe(Math.min(size, most));
  let length = 0;
  for (let n = -1; n !== 0 && length < bytes.length; length += n)
    n = readSync(fd, bytes, length, bytes.length - length, size - bytes.length + length);
  return bytes.subarray(0, length);
}

/** The first that it names. */
export function domidIn(text: string): number | null {
  const found = /\bdom(\d{1,5})\b|\bvif(\d{1,5})\.\d|\/domain\/\d+\/backend\/[a-z0-9]+\/(\d{1,5})\//.exec(text);
  const domid = found?.[1] ?? found?.[2] ?? found?.[3];
  return domid === undefined || Number(domid) > 0x7fff ? null : Number(domid);
}

export interface NamedDevice {
  readonly type: string;
  readonly domid: number;
  readonly devid: number;
}
/** The device it is about. */
export function deviceIn(text: string): NamedDevice | undefined {
  const label = /\b(vbd|vif|pvcalls|9pfs|console) (\d{1,9}) of dom(\d{1,5})\b/.exec(text);
  if (label) return { type: label[1]!, devid: Number(label[2]), domid: Number(label[3]) };
  const vif = /\bvif(\d{1,5})\.(\d{1,9})\b/.exec(text);
  if (vif) return { type: 'vif', domid: Number(vif[1]), devid: Number(vif[2]) };
  const path = /\/domain\/\d+\/backend\/([a-z0-9]+)\/(\d{1,5})\/(\d{1,9})\b/.exec(text);
  if (path) return { type: path[1]!, domid: Number(path[2]), devid: Number(path[3]) };
  const console_ = /\bconsole of dom(\d{1,5})\b/.exec(text);
  return console_ ? { type: 'console', domid: Number(console_[1]), devid: 0 } : undefined;
}
