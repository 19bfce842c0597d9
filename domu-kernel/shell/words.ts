// Words of a script: quotes, and what is expanded in them.
import { Scanner } from './scanner.ts';
import { IncompleteInput, type List, type ParameterOperator, ShellError, type Word, type WordPart } from './syntax.ts';

/** What ends a word that is not quoted. */
const META = /[ \t\n;&|<>()]/;

export abstract class WordReader extends Scanner {
  /** Of commands, up to a ')' or the end. */
  abstract list(until: readonly string[]): List;
  /** All of a text of its own as commands. */
  protected abstract inner(text: string): List;

  protected startsWord(): boolean {
    const c = this.peek();
    return c !== undefined && !META.test(c);
  }
  /** Up to what ends it; '' parts are there where quotes were. `value`: of an assignment, where a '~' may follow a ':'. */
  protected word(value = false): Word {
    const parts: WordPart[] = [];
    let begins = true;
    for (let c = this.peek(); c !== undefined && !META.test(c); c = this.peek()) {
      if (!(begins && this.tilde(parts, value ? ':' : ''))) this.part(parts, c, false);
      begins = value && c === ':';
    }
    return parts;
  }
  /** Takes a '~' that is HOME; `ends`: characters that may follow it besides what ends a word and '/'. */
  private tilde(parts: WordPart[], ends: string): boolean {
    const next = this.text[this.at + 1];
    if (this.peek() !== '~' || !(next === undefined || next === '/' || META.test(next) || ends.includes(next)))
      return false;
    this.at++;
    parts.push({ kind: 'tilde', quoted: true });
    return true;
  }
  /** What is in a here-document: no quotes, but expansions. */
  hereDocument(): Word {
    const parts: WordPart[] = [];
    for (let c = this.peek(); c !== undefined; c = this.peek()) {
      const next = this.text[this.at + 1];
      if (c === '\\' && next !== undefined && /[$`\\\n]/.test(next)) {
        this.at += 2;
        if (next !== '\n') text(parts, next, true);
      } else if (c === '$' || c === '`') this.part(parts, c, true);
      else {
        this.at++;
        text(parts, c, true);
      }
    }
    return parts;
  }

  private part(parts: WordPart[], c: string, quoted: boolean): void {
    if (c === '\\') this.escape(parts, quoted);
    else if (c === "'" && !quoted) this.single(parts);
    else if (c === '"' && !quoted) this.double(parts);
    else if (c === '$') this.dollar(parts, quoted);
    else if (c === '`') parts.push({ kind: 'command', list: this.backquoted(quoted), quoted });
    else {
      this.at++;
      text(parts, c, quoted);
    }
  }
  private escape(parts: WordPart[], quoted: boolean): void {
    const next = this.text[this.at + 1];
    if (next === undefined) throw new IncompleteInput('the end comes after a \\');
    this.at += 2;
    if (next === '\n') return;
    if (quoted && !/[$"\\`]/.test(next)) text(parts, `\\${next}`, true);
    else text(parts, next, true);
  }
  private single(parts: WordPart[]): void {
    const end = this.text.indexOf("'", this.at + 1);
    if (end < 0) throw new IncompleteInput("the end comes before a '");
    text(parts, this.text.slice(this.at + 1, end), true);
    this.at = end + 1;
  }
  private double(parts: WordPart[]): void {
    this.at++;
    text(parts, '', true);
    for (let c = this.peek(); c !== '"'; c = this.peek()) {
      if (c === undefined) throw new IncompleteInput('the end comes before a "');
      this.part(parts, c, true);
    }
    this.at++;
  }
  /** `command`: a backslash in it keeps $, ` and itself from what they mean there; in quotes also ". */
  private backquoted(quoted: boolean): List {
    const special = quoted ? /[$`\\"]/ : /[$`\\]/;
    let command = '';
    for (this.at++; ; this.at++) {
      const c = this.peek();
      if (c === undefined) throw new IncompleteInput('the end comes before a `');
      if (c === '`') break;
      const next = this.text[this.at + 1];
      if (c === '\\' && next !== undefined && special.test(next)) {
        command += next;
        this.at++;
      } else command += c;
    }
    this.at++;
    return this.inner(command);
  }
  private dollar(parts: WordPart[], quoted: boolean): void {
    this.at++;
    if (this.takes('((') !== undefined) {
      parts.push({ kind: 'arithmetic', text: this.arithmetic(), quoted });
    } else if (this.takes('(') !== undefined) {
      const list = this.list([]);
      this.expect(')');
      parts.push({ kind: 'command', list, quoted });
    } else if (this.takes('{') !== undefined) {
      parts.push(this.braced(quoted));
    } else {
      const name = this.parameter(false);
      if (name === undefined) text(parts, '$', quoted);
      else parts.push({ kind: 'variable', name, quoted });
    }
  }
  private braced(quoted: boolean): WordPart {
    // ${#} is the number of parameters, ${#x} a length.
    if (this.peek() === '#' && this.text[this.at + 1] !== '}') {
      this.at++;
      const name = this.parameter(true);
      if (name === undefined) throw this.unexpected();
      this.expect('}');
      return { kind: 'variable', name, operator: 'length', quoted };
    }
    const name = this.parameter(true);
    if (name === undefined) throw this.unexpected();
    if (this.takes('}') !== undefined) return { kind: 'variable', name, quoted };
    const [operator] = /^(?::?[-=?+]|##?|%%?)/.exec(this.text.slice(this.at, this.at + 2)) ?? [];
    if (operator === undefined) throw this.unexpected();
    this.at += operator.length;
    // A pattern's own quotes count, also within quotes.
    const operand = this.until('}', quoted && !/[#%]/.test(operator));
    this.at++;
    return { kind: 'variable', name, operator: operator as ParameterOperator, operand, quoted }; // what the expression leaves
  }
  /** Parts up to a character, whatever else is there. */
  private until(end: string, quoted: boolean): Word {
    return this.deeper(() => {
      const parts: WordPart[] = [];
      if (!quoted) this.tilde(parts, end);
      for (let c = this.peek(); c !== end; c = this.peek()) {
        if (c === undefined) throw new IncompleteInput(`the end comes before ${end}`);
        if (c === '\\' && quoted && this.text[this.at + 1] === end) {
          this.at += 2;
          text(parts, end, true);
        } else if (c === '"' && quoted) this.double(parts);
        else this.part(parts, c, quoted);
      }
      return parts;
    });
  }
  /** After '$((', up to and with '))'. */
  private arithmetic(): Word {
    const parts: WordPart[] = [];
    for (let open = 0; ; ) {
      const c = this.peek();
      if (c === undefined) throw new IncompleteInput('the end comes before ))');
      if (c === ')' && open === 0) break;
      if (c === '(') open++;
      if (c === ')') open--;
      this.part(parts, c, true);
    }
    this.expect(')');
    this.expect(')');
    return parts;
  }
  private parameter(braced: boolean): string | undefined {
    const special = this.peek();
    if (special !== undefined && /[?$!#@*0-9-]/.test(special)) {
      const [digits] = /^[0-9]+/.exec(this.text.slice(this.at, this.at + 9)) ?? [];
      const name = braced && digits !== undefined ? digits : special;
      this.at += name.length;
      return name;
    }
    return this.name();
  }
}

/** Whether any of it was quoted, and what it says without its quotes; of a here-document's end. */
export function plainWord(word: Word): { readonly text: string; readonly quoted: boolean } {
  let plain = '';
  let quoted = false;
  for (const part of word) {
    if (part.kind === 'tilde') plain += '~';
    else if (part.kind === 'text') {
      plain += part.text;
      quoted ||= part.quoted;
    } else throw new ShellError('the end of a here-document is a plain word');
  }
  return { text: plain, quoted };
}

/** Text that follows text of the same kind is one part with it. */
function text(parts: WordPart[], more: string, quoted: boolean): void {
  const last = parts.at(-1);
  if (last?.kind === 'text' && last.quoted === quoted)
    parts[parts.length - 1] = { kind: 'text', text: last.text + more, quoted };
  else parts.push({ kind: 'text', text: more, quoted });
}
