// What is typed, as lines: the part of a terminal driver a console needs.

const MAX_LINE = 4096;
const MAX_LINES = 256;

/** Enter ends a line, backspace takes back, ^U takes all back, ^D on an empty line is the end. */
export class LineEditor {
  /** Lines nobody has taken; null is ^D. */
  private readonly ready: (string | null)[] = [];
  private readonly waiting: ((line: string | null) => void)[] = [];
  private readonly echo: (text: string) => void;
  private readonly onLost: (bytes: number) => void;
  private readonly decoder = new TextDecoder();
  private line: string[] = [];
  private afterReturn = false;
  /** Takes lines in place of `read`. */
  onLine: ((line: string | null) => void) | undefined;

  constructor(echo: (text: string) => void, onLost: (bytes: number) => void) {
    this.echo = echo;
    this.onLost = onLost;
  }

  input(bytes: Uint8Array): void {
    for (const c of this.decoder.decode(bytes, { stream: true })) this.key(c);
  }
  /** The next line without its end; null for the end of input. */
  read(): Promise<string | null> {
    const line = this.ready.shift();
    if (line !== undefined) return Promise.resolve(line);
    return new Promise(resolve => {
      this.waiting.push(resolve);
    });
  }

  /** What was typed since the last Enter is forgotten. */
  discard(): void {
    this.line = [];
  }

  private key(c: string): void {
    const second = c === '\n' && this.afterReturn;
    this.afterReturn = c === '\r';
    if (second) return; // \r\n is one Enter
    if (c === '\r' || c === '\n') this.enter();
    else if (c === '\x7f' || c === '\b') this.erase(1);
    else if (c === '\x15') this.erase(this.line.length);
    else if (c === '\x04') {
      if (this.line.length === 0) this.deliver(null);
    } else if (c >= ' ' && this.line.length < MAX_LINE) {
      this.line.push(c);
      this.echo(c);
    } else if (c >= ' ') this.onLost(1);
  }
  private enter(): void {
    this.echo('\r\n');
    this.deliver(this.line.join(''));
    this.line = [];
  }
  private erase(n: number): void {
    const gone = Math.min(n, this.line.length);
    this.line.length -= gone;
    this.echo('\b \b'.repeat(gone));
  }
  private deliver(line: string | null): void {
    if (this.onLine) {
      this.onLine(line);
      return;
    }
    const resolve = this.waiting.shift();
    if (resolve) resolve(line);
    else if (this.ready.length < MAX_LINES) this.ready.push(line);
    else this.onLost(line?.length ?? 0);
  }
}
