// The tokens of an xl.cfg, as libxlutil cuts them, one at a time: an error of the grammar may stop the
// reading before a later lexical error is seen, so nothing is read ahead.

export type TokenType = 'IDENT' | 'STRING' | 'NUMBER' | 'NEWLINE' | '+=' | '=' | ',' | '[' | ']' | ';' | '$end';

export interface Token {
  readonly type: TokenType;
  /** As it stands in the file. */
  readonly text: string;
  /** The value of a STRING or NUMBER. */
  readonly value: string;
  readonly line: number;
}

/** Collects error lines, in libxlutil's words and with its rule of what is worth saying. */
export class Report {
  readonly source: string;
  text = '';
  failed = false;
  /** The config looks like the Python that xend once read. */
  #python = false;
  /** One line may hold one lexical error; what the grammar makes of its remains is noise. */
  #lexicalErrorLine = -1;

  constructor(source: string) {
    this.source = source;
  }

  /** `text` is the token at fault; a token that ends in a newline belongs to the line before. */
  error(text: string, line: number, message: string): void {
    if (this.failed && this.#lexicalErrorLine === line) return;
    const newline = text.endsWith('\n');
    const bare = (newline ? text.slice(0, -1) : text).replace(/[ \t]+$/, '');
    const end = bare.indexOf('\0'); // printed by C
    const shown = text === '' || bare !== '' ? `\`${end < 0 ? bare : bare.slice(0, end)}'` : '<newline>';
    this.text += `${this.source}:${newline ? line - 1 : line}: config parsing error near ${shown}: ${message}\n`;
    this.failed = true;
  }

  lexicalError(text: string, line: number, message: string): void {
    this.error(text, line, message);
    this.#lexicalErrorLine = line;
  }

  /** A byte that begins no token; some of them are how Python would go on. */
  stray(byte: string): void {
    if ('+-.():'.includes(byte)) this.#python = true;
  }

  finish(): void {
    if (!this.#python || !this.failed) return;
    this.text +=
      'warning: Config file looks like it contains Python code.\n' +
      'warning:  Arbitrary Python is no longer supported.\n' +
      'warning:  See https://wiki.xen.org/wiki/PythonInXlConfig\n';
  }
}

const RULES: readonly (readonly [TokenType | 'blank' | 'lexerr', RegExp])[] = [
  ['blank', /[ \t]+/y],
  ['NEWLINE', /(?:#[^\n]*)?\n/y],
  ['IDENT', /[a-z][._0-9a-z]*/y],
  ['NUMBER', /[0-9][0-9a-fx]*/y],
  ['STRING', /"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'/y],
  ['+=', /\+=/y],
  ['=', /=/y],
  [',', /,/y],
  ['[', /\[/y],
  [']', /\]/y],
  [';', /;/y],
  // One byte that begins no token, with what follows up to a blank or newline, or else that blank or
  // newline. At the very end of the file libxlutil has nothing to match and takes it for the end.
  ['lexerr', /[\s\S](?:[^ \t\n]+|[ \t\n])/y],
];

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
};

export class Lexer {
  readonly #bytes: string;
  readonly #report: Report;
  #at = 0;
  #line = 1;
  /** Line of the last token; the end of the file has none of its own. */
  #lastLine = 1;

  /** `bytes` is the file as latin1, so that the grammar sees bytes, as the real one does. */
  constructor(bytes: string, report: Report) {
    this.#bytes = bytes;
    this.#report = report;
  }

  next(): Token {
    for (;;) {
      if (this.#at >= this.#bytes.length) return this.#token('$end', '', this.#lastLine);
      const [type, text] = this.#match();
      if (type === 'blank') continue;
      if (type === 'lexerr' || type === '$end') this.#report.stray(text[0]!);
      if (type === '$end') return this.#token('$end', text, this.#lastLine);
      if (type === 'NEWLINE') return this.#token('NEWLINE', text, this.#line++);
      if (type === 'lexerr') {
        const newline = text.endsWith('\n');
        if (newline) this.#line++;
        this.#report.lexicalError(text, this.#line, 'lexical error');
        if (!newline) continue;
        return this.#token('NEWLINE', text, this.#line);
      }
      return this.#token(type, text, this.#line);
    }
  }

  #match(): [TokenType | 'blank' | 'lexerr', string] {
    for (const [type, rule] of RULES) {
      rule.lastIndex = this.#at;
      const text = rule.exec(this.#bytes)?.[0];
      if (text === undefined) continue;
      this.#at += text.length;
      return [type, text];
    }
    const rest = this.#bytes.slice(this.#at);
    this.#at = this.#bytes.length;
    return ['$end', rest];
  }

  #token(type: TokenType, text: string, line: number): Token {
    this.#lastLine = line;
    const raw = type === 'STRING' ? this.#unquote(text, line) : text;
    return { type, text, line, value: Buffer.from(raw, 'latin1').toString('utf8') };
  }

  #unquote(text: string, line: number): string {
    if (this.#report.failed) return ''; // nothing will be stored any more
    const bad = (message: string): string => {
      this.#report.lexicalError(text, line, message);
      return '';
    };
    // Xen: libxlutil ends the whole process over one of these.
    if (text.includes('\0')) return bad('NUL character in quoted string');
    let value = '';
    for (let i = 1; i < text.length - 1; i++) {
      if (text[i] !== '\\') {
        value += text[i];
        continue;
      }
      const c = text[++i]!;
      if (ESCAPES[c] !== undefined) value += ESCAPES[c];
      // Xen: libxlutil takes no hexadecimal escape, though it has an error message for bad ones.
      else if (c === 'x') return bad('invalid digit after backslash hexnumerical character escape in quoted string');
      else if (c >= '0' && c <= '7') {
        if (!/^[0-7]{2}$/.test(text.slice(i + 1, i + 3))) {
          return bad('invalid digit after backslash octalnumerical character escape in quoted string');
        }
        i += 2; // Xen: an octal escape is read and stands for nothing
      } else return bad('invalid character after backlash in quoted string');
    }
    return value;
  }
}
