// The hypervisor's message ring: what `xl dmesg` reads.

const NEWLINE = 10;
const TAB = 9;

/**
 * A fixed ring of bytes whose producer index never stops growing. A reader names the index it wants to
 * go on from; what has been overwritten or cleared in the meantime is skipped.
 */
export class ConsoleRing {
  private readonly bytes: Uint8Array;
  /** Free-running; the slot of index i is i modulo the size. */
  private produced = 0;
  private cleared = 0;

  constructor(size = 32 * 1024) {
    this.bytes = new Uint8Array(size);
  }

  append(text: string): void {
    for (const byte of Buffer.from(text, 'utf8')) this.bytes[this.produced++ % this.bytes.length] = byte;
  }

  /** Copy at most `into.length` bytes, from index `from` on. Returns how many, and the index after them. */
  read(into: Uint8Array, from: number): { count: number; next: number } {
    const size = this.bytes.length;
    // untrusted: the index is the caller's; it only chooses between bytes still in the ring.
    const at = Math.min(Math.max(from, this.cleared, this.produced - size), this.produced);
    const count = Math.min(into.length, this.produced - at);
    for (let i = 0; i < count; i++) into[i] = this.bytes[(at + i) % size]!;
    return { count, next: at + count };
  }

  /** Everything written so far is not read again. */
  clear(): void {
    this.cleared = this.produced;
  }
}

/**
 * One domain's console writes, gathered into lines.
 * Xen: drivers/char/console.c buffers what a domain writes until a newline or until the buffer is full,
 * and drops what is not printable, so that a guest cannot drive the host's terminal.
 */
export class ConsoleLines {
  private line = '';
  private readonly emit: (line: string) => void;
  private readonly limit: number;

  constructor(emit: (line: string) => void, limit = 1022) {
    this.emit = emit;
    this.limit = limit;
  }

  write(byte: number): void {
    if (byte === NEWLINE) this.flush();
    else if ((byte >= 0x20 && byte < 0x7f) || byte === TAB) {
      this.line += String.fromCharCode(byte);
      if (this.line.length >= this.limit) this.flush();
    }
  }

  /** Emit an unfinished line, e.g. when its domain ends. */
  finish(): void {
    if (this.line !== '') this.flush();
  }

  private flush(): void {
    const { line } = this;
    this.line = '';
    this.emit(line);
  }
}
