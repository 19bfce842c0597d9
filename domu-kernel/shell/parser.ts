// Text to syntax: what POSIX's shell grammar has of words, quotes, expansions, redirections, lists, if, while and for.
import {
  type AndOr,
  type Command,
  type CompoundCommand,
  IncompleteInput,
  type List,
  type Pipeline,
  type Redirection,
  ShellError,
  type SimpleCommand,
  type Word,
  type WordPart,
} from './syntax.ts';

/** Parentheses, quotes and compounds in one another. */
const MAX_DEPTH = 100;
const RESERVED = new Set([
  'if',
  'then',
  'elif',
  'else',
  'fi',
  'while',
  'until',
  'do',
  'done',
  'for',
  'in',
  '{',
  '}',
  '!',
]);
const BLANK = /[ \t]/;
/** What ends a word that is not quoted. */
const META = /[ \t\n;&|<>()]/;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;

/** Throws ShellError, IncompleteInput where more text might help. */
export function parse(text: string): List {
  const parser = new Parser(text);
  const list = parser.list([]);
  parser.end();
  return list;
}

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }
  end(): void {
    if (this.#at < this.#text.length) throw this.#unexpected();
  }

  // ---- lists ----

  /** Up to one of the words `until`, ')' or the end; newlines and ';' are between commands. */
  list(until: readonly string[]): List {
    if (++this.#depth > MAX_DEPTH) throw new ShellError(`more than ${MAX_DEPTH} commands in one another`);
    const list: AndOr[] = [];
    for (;;) {
      this.#skip(true);
      if (this.#atEnd() || this.#peek() === ')' || until.includes(this.#reserved() ?? '')) break;
      list.push(this.#andOr());
      this.#skip(false);
      const next = this.#peek();
      if (next === ';' && this.#text[this.#at + 1] !== ';') this.#at++;
      else if (next !== '\n' && next !== undefined && next !== ')' && !list.at(-1)?.background)
        throw this.#unexpected();
    }
    this.#depth--;
    return list;
  }
  /** A list that is not empty, and the reserved word after it. */
  #body(...until: string[]): List {
    const list = this.list(until);
    if (this.#atEnd()) throw new IncompleteInput(`the end comes before ${until.join(' or ')}`);
    if (list.length === 0 || this.#peek() === ')') throw this.#unexpected();
    return list;
  }
  #andOr(): AndOr {
    const from = this.#at;
    const first = this.#pipeline();
    const rest: ['&&' | '||', Pipeline][] = [];
    for (;;) {
      this.#skip(false);
      const operator = this.#takes('&&') ?? this.#takes('||');
      if (operator === undefined) break;
      this.#more();
      rest.push([operator, this.#pipeline()]);
    }
    const text = this.#text.slice(from, this.#at).trim();
    const background = this.#takes('&') !== undefined;
    return { first, rest, background, text };
  }
  #pipeline(): Pipeline {
    let negated = false;
    while (this.#reserved() === '!') {
      this.#word();
      this.#skip(false);
      negated = !negated;
    }
    const commands = [this.#command()];
    for (;;) {
      this.#skip(false);
      if (this.#text.startsWith('||', this.#at) || this.#takes('|') === undefined) return { negated, commands };
      this.#more();
      commands.push(this.#command());
    }
  }
  /** After an operator that something has to follow. */
  #more(): void {
    this.#skip(true);
    if (this.#atEnd()) throw new IncompleteInput('a command is missing at the end');
  }

  // ---- commands ----

  #command(): Command {
    if (this.#takes('(') !== undefined) {
      const body = this.list([]);
      this.#expect(')');
      return this.#redirected({ kind: 'subshell', body });
    }
    const word = this.#reserved();
    if (word === undefined) return this.#simple();
    const compound = this.#compound(word);
    if (compound === undefined) throw this.#unexpected();
    return this.#redirected(compound);
  }
  #compound(word: string): Plain | undefined {
    if (word === '{') {
      this.#keyword();
      const body = this.#body('}');
      this.#keyword();
      return { kind: 'group', body };
    }
    if (word === 'if') return this.#if();
    if (word === 'while' || word === 'until') {
      this.#keyword();
      const condition = this.#body('do');
      return { kind: 'while', until: word === 'until', condition, body: this.#do() };
    }
    return word === 'for' ? this.#for() : undefined;
  }
  #if(): Plain {
    const branches: [List, List][] = [];
    for (;;) {
      this.#keyword();
      const condition = this.#body('then');
      this.#keyword();
      branches.push([condition, this.#body('elif', 'else', 'fi')]);
      const next = this.#reserved();
      if (next === 'elif') continue;
      this.#keyword();
      if (next === 'fi') return { kind: 'if', branches };
      const otherwise = this.#body('fi');
      this.#keyword();
      return { kind: 'if', branches, otherwise };
    }
  }
  #do(): List {
    this.#keyword();
    const body = this.#body('done');
    this.#keyword();
    return body;
  }
  #for(): Plain {
    this.#keyword();
    this.#skip(false);
    const name = this.#name();
    if (name === undefined) throw this.#unexpected();
    this.#skip(true);
    const words: Word[] = [];
    const listed = this.#reserved() === 'in';
    if (listed) {
      this.#keyword();
      for (this.#skip(false); this.#startsWord(); this.#skip(false)) words.push(this.#word());
    }
    this.#skip(false);
    if (this.#peek() === ';') this.#at++;
    this.#skip(true);
    if (this.#atEnd()) throw new IncompleteInput('the end comes before do');
    if (this.#reserved() !== 'do') throw this.#unexpected();
    const body = this.#do();
    return listed ? { kind: 'for', name, words, body } : { kind: 'for', name, body };
  }
  #redirected(command: Plain): CompoundCommand {
    const redirections: Redirection[] = [];
    for (;;) {
      this.#skip(false);
      const redirection = this.#redirection();
      if (redirection === undefined) return { ...command, redirections };
      redirections.push(redirection);
    }
  }
  #simple(): SimpleCommand {
    const assignments: [string, Word][] = [];
    const words: Word[] = [];
    const redirections: Redirection[] = [];
    for (;;) {
      this.#skip(false);
      const redirection = this.#redirection();
      if (redirection) {
        redirections.push(redirection);
        continue;
      }
      if (!this.#startsWord()) break;
      const name = words.length === 0 ? this.#assigned() : undefined;
      const word = this.#word();
      if (name === undefined) words.push(word);
      else assignments.push([name, word]);
    }
    if (assignments.length + words.length + redirections.length === 0) throw this.#unexpected();
    return { kind: 'simple', assignments, words, redirections };
  }
  /** The name and '=' of an assignment, taken. */
  #assigned(): string | undefined {
    const from = this.#at;
    const name = this.#name();
    if (name !== undefined && this.#takes('=') !== undefined) return name;
    this.#at = from;
    return undefined;
  }
  #redirection(): Redirection | undefined {
    const [match, digit, operator] = /^([0-9]?)(<&|>&|>>|[<>])/.exec(this.#text.slice(this.#at, this.#at + 3)) ?? [];
    if (match === undefined || operator === undefined) return undefined;
    this.#at += match.length;
    this.#skip(false);
    if (this.#atEnd()) throw new IncompleteInput(`a word is missing after ${match}`);
    if (!this.#startsWord()) throw this.#unexpected();
    const fd = digit ? Number(digit) : operator.startsWith('<') ? 0 : 1;
    if (fd > 2) throw new ShellError(`descriptor ${fd}: programs have 0, 1 and 2`);
    const kind = operator.endsWith('&') ? '&' : (operator as '<' | '>' | '>>'); // what the expression leaves
    return { fd, kind, target: this.#word() };
  }

  // ---- words ----

  #startsWord(): boolean {
    const c = this.#peek();
    return c !== undefined && !META.test(c);
  }
  /** Up to what ends it; '' parts are there where quotes were. */
  #word(): Word {
    const parts: WordPart[] = [];
    for (let c = this.#peek(); c !== undefined && !META.test(c); c = this.#peek()) this.#part(parts, c, false);
    return parts;
  }
  #part(parts: WordPart[], c: string, quoted: boolean): void {
    if (c === '\\') this.#escape(parts, quoted);
    else if (c === "'" && !quoted) this.#single(parts);
    else if (c === '"' && !quoted) this.#double(parts);
    else if (c === '$') this.#dollar(parts, quoted);
    else if (c === '`') throw new ShellError('no `command`: write $(command)');
    else {
      this.#at++;
      text(parts, c, quoted);
    }
  }
  #escape(parts: WordPart[], quoted: boolean): void {
    const next = this.#text[this.#at + 1];
    if (next === undefined) throw new IncompleteInput('the end comes after a \\');
    this.#at += 2;
    if (next === '\n') return;
    if (quoted && !/[$"\\`]/.test(next)) text(parts, `\\${next}`, true);
    else text(parts, next, true);
  }
  #single(parts: WordPart[]): void {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) throw new IncompleteInput("the end comes before a '");
    text(parts, this.#text.slice(this.#at + 1, end), true);
    this.#at = end + 1;
  }
  #double(parts: WordPart[]): void {
    this.#at++;
    text(parts, '', true);
    for (let c = this.#peek(); c !== '"'; c = this.#peek()) {
      if (c === undefined) throw new IncompleteInput('the end comes before a "');
      this.#part(parts, c, true);
    }
    this.#at++;
  }
  #dollar(parts: WordPart[], quoted: boolean): void {
    this.#at++;
    if (this.#takes('((') !== undefined) {
      parts.push({ kind: 'arithmetic', text: this.#arithmetic(), quoted });
    } else if (this.#takes('(') !== undefined) {
      const list = this.list([]);
      this.#expect(')');
      parts.push({ kind: 'command', list, quoted });
    } else if (this.#takes('{') !== undefined) {
      parts.push(this.#braced(quoted));
    } else {
      const name = this.#parameter();
      if (name === undefined) text(parts, '$', quoted);
      else parts.push({ kind: 'variable', name, quoted });
    }
  }
  #braced(quoted: boolean): WordPart {
    const name = this.#parameter();
    if (name === undefined) throw this.#unexpected();
    if (this.#takes(':-') === undefined) {
      this.#expect('}');
      return { kind: 'variable', name, quoted };
    }
    const otherwise = this.#until('}', quoted);
    this.#at++;
    return { kind: 'variable', name, otherwise, quoted };
  }
  /** Parts up to a character, whatever else is there. */
  #until(end: string, quoted: boolean): Word {
    if (++this.#depth > MAX_DEPTH) throw new ShellError(`more than ${MAX_DEPTH} commands in one another`);
    const parts: WordPart[] = [];
    for (let c = this.#peek(); c !== end; c = this.#peek()) {
      if (c === undefined) throw new IncompleteInput(`the end comes before ${end}`);
      this.#part(parts, c, quoted);
    }
    this.#depth--;
    return parts;
  }
  /** After '$((', up to and with '))'. */
  #arithmetic(): Word {
    const parts: WordPart[] = [];
    for (let open = 0; ; ) {
      const c = this.#peek();
      if (c === undefined) throw new IncompleteInput('the end comes before ))');
      if (c === ')' && open === 0) break;
      if (c === '(') open++;
      if (c === ')') open--;
      this.#part(parts, c, true);
    }
    this.#expect(')');
    this.#expect(')');
    return parts;
  }
  #parameter(): string | undefined {
    const special = this.#peek();
    if (special !== undefined && /[?$!#@*0-9]/.test(special)) {
      this.#at++;
      return special;
    }
    return this.#name();
  }
  #name(): string | undefined {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#text)?.[0];
    this.#at += name?.length ?? 0;
    return name;
  }

  // ---- characters ----

  #peek(): string | undefined {
    return this.#text[this.#at];
  }
  #atEnd(): boolean {
    return this.#at >= this.#text.length;
  }
  #takes<T extends string>(what: T): T | undefined {
    if (!this.#text.startsWith(what, this.#at)) return undefined;
    this.#at += what.length;
    return what;
  }
  #expect(what: string): void {
    if (this.#takes(what) !== undefined) return;
    if (this.#atEnd()) throw new IncompleteInput(`the end comes before ${what}`);
    throw this.#unexpected();
  }
  /** Blanks, lines that go on, comments; with `lines` newlines as well. */
  #skip(lines: boolean): void {
    for (;;) {
      const c = this.#peek();
      if (c === undefined) return;
      if (BLANK.test(c) || (lines && c === '\n')) this.#at++;
      else if (c === '\\' && this.#text[this.#at + 1] === '\n') this.#at += 2;
      else if (c === '#') {
        const end = this.#text.indexOf('\n', this.#at);
        this.#at = end < 0 ? this.#text.length : end;
      } else return;
    }
  }
  /** The reserved word that is next, not taken. */
  #reserved(): string | undefined {
    const [word] = /^(?:[a-z]+|[{}!])(?=[ \t\n;&|<>()]|$)/.exec(this.#text.slice(this.#at, this.#at + 8)) ?? [];
    return word !== undefined && RESERVED.has(word) ? word : undefined;
  }
  /** Takes it. */
  #keyword(): void {
    this.#at += this.#reserved()?.length ?? 0;
  }
  #unexpected(): ShellError {
    if (this.#atEnd()) return new IncompleteInput('the end comes too early');
    const [near] = /^[^\n]{0,20}/.exec(this.#text.slice(this.#at, this.#at + 20)) ?? [];
    return new ShellError(`syntax error near '${near || 'newline'}'`);
  }
}

type Without<T> = T extends unknown ? Omit<T, 'redirections'> : never;
type Plain = Without<CompoundCommand>;

/** Text that follows text of the same kind is one part with it. */
function text(parts: WordPart[], more: string, quoted: boolean): void {
  const last = parts.at(-1);
  if (last?.kind === 'text' && last.quoted === quoted)
    parts[parts.length - 1] = { kind: 'text', text: last.text + more, quoted };
  else parts.push({ kind: 'text', text: more, quoted });
}
