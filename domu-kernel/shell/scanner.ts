// The characters of a script, one after the other: blanks, comments, lines that go on, and what the lines behind a
// command hold that has a here-document.
import { IncompleteInput, ShellError } from './syntax.ts';

/** Parentheses, quotes and compounds in one another. */
const MAX_DEPTH = 100;
const BLANK = /[ \t]/;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;

export class Scanner {
  protected readonly text: string;
  protected at = 0;
  private depth: number;

  constructor(text: string, depth = 0) {
    this.text = text;
    this.depth = depth;
  }

  /** For what may be in one another without an end. */
  protected deeper<T>(read: () => T): T {
    if (++this.depth > MAX_DEPTH) throw new ShellError(`more than ${MAX_DEPTH} commands in one another`);
    const result = read();
    this.depth--;
    return result;
  }
  protected get level(): number {
    return this.depth;
  }

  protected peek(): string | undefined {
    return this.text[this.at];
  }
  protected atEnd(): boolean {
    return this.at >= this.text.length;
  }
  protected takes<T extends string>(what: T): T | undefined {
    if (!this.text.startsWith(what, this.at)) return undefined;
    this.at += what.length;
    return what;
  }
  protected expect(what: string): void {
    if (this.takes(what) !== undefined) return;
    if (this.atEnd()) throw new IncompleteInput(`the end comes before ${what}`);
    throw this.unexpected();
  }
  /** Blanks, lines that go on, comments; with `lines` newlines as well. */
  protected skip(lines: boolean): void {
    for (;;) {
      const c = this.peek();
      if (c === undefined) return;
      if (BLANK.test(c)) this.at++;
      else if (c === '\n' && lines) {
        this.at++;
        this.lineEnded();
      } else if (c === '\\' && this.text[this.at + 1] === '\n') this.at += 2;
      else if (c === '#') {
        const end = this.text.indexOf('\n', this.at);
        this.at = end < 0 ? this.text.length : end;
      } else return;
    }
  }
  /** Here-documents begin behind the newline. */
  protected lineEnded(): void {}

  protected name(): string | undefined {
    NAME.lastIndex = this.at;
    const name = NAME.exec(this.text)?.[0];
    this.at += name?.length ?? 0;
    return name;
  }
  protected unexpected(): ShellError {
    if (this.atEnd()) return new IncompleteInput('the end comes too early');
    const [near] = /^[^\n]{0,20}/.exec(this.text.slice(this.at, this.at + 20)) ?? [];
    return new ShellError(`syntax error near '${near || 'newline'}'`);
  }
}
