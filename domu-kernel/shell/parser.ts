// Text to syntax: POSIX's shell grammar of lists, pipelines, compound commands, functions and redirections.
import { HereDocumentReader } from './here-documents.ts';
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
} from './syntax.ts';

export const RESERVED: ReadonlySet<string> = new Set([
  ...['if', 'then', 'elif', 'else', 'fi', 'while', 'until', 'do', 'done', 'for', 'in', 'case', 'esac', '{', '}', '!'],
]);
/** Commands whose arguments may be assignments. */
const DECLARATIONS = new Set(['export', 'readonly', 'local']);
const FUNCTION = /([A-Za-z_][A-Za-z0-9_]*)[ \t]*\([ \t]*\)/y;

/** Throws ShellError, IncompleteInput where more text might help; `more`: so it does for a here-document without its end. */
export function parse(text: string, more = false): List {
  const parser = new Parser(text, more);
  const list = parser.list([]);
  parser.end();
  return list;
}

/** Of lines that have been read so far: what is missing where the next one belongs to them; `more`: there may be one. Throws ShellError. */
export function parseLines(text: string, more: boolean): List | IncompleteInput {
  if (more && /(?<!\\)(?:\\\\)*\\\n$/.test(text)) return new IncompleteInput('the last line goes on');
  try {
    return parse(text, more);
  } catch (error) {
    if (more && error instanceof IncompleteInput) return error;
    throw error;
  }
}

/** A text line by line: what one of them begins is run before the next is looked at. */
export class Commands {
  readonly #parser: Parser;

  constructor(text: string) {
    this.#parser = new Parser(text, false);
  }
  /** Undefined at the end. Throws ShellError. */
  next(): List | undefined {
    return this.#parser.line();
  }
  /** Nothing comes after what was read. */
  atEnd(): boolean {
    return this.#parser.nothingMore();
  }
}

class Parser extends HereDocumentReader {
  end(): void {
    if (!this.atEnd()) throw this.unexpected();
    // The last line had no newline.
    this.lineEnded();
  }
  protected inner(text: string): List {
    return this.deeper(() => {
      const parser = new Parser(text, false, this.level);
      const list = parser.list([]);
      parser.end();
      return list;
    });
  }

  protected innerDocument(text: string): Word {
    return this.deeper(() => new Parser(text, false, this.level).hereDocument());
  }

  // ---- lists ----

  nothingMore(): boolean {
    this.skip(true);
    return this.atEnd();
  }
  /** To the end of a line that ends a command. */
  line(): List | undefined {
    if (this.nothingMore()) return undefined;
    const list = this.list([], true);
    if (this.atEnd()) this.lineEnded();
    else if (list.length === 0 || this.text[this.at - 1] !== '\n') throw this.unexpected();
    return list;
  }
  /** Up to one of the words `until`, ')', ';;' or the end; newlines and ';' are between commands. */
  list(until: readonly string[], oneLine = false): List {
    return this.deeper(() => {
      const list: AndOr[] = [];
      for (;;) {
        this.skip(true);
        if (this.atEnd() || this.peek() === ')' || until.includes(this.#reserved() ?? '')) return list;
        if (this.text.startsWith(';;', this.at)) return list;
        list.push(this.#andOr());
        this.skip(false);
        const next = this.peek();
        if (oneLine && next === '\n') {
          this.at++;
          this.lineEnded();
          return list;
        }
        if (next === ';' && this.text[this.at + 1] !== ';') this.at++;
        else if (next === ';' || next === '\n' || next === undefined || next === ')') continue;
        else if (!list.at(-1)?.background && !(endsInCompound(list) && until.includes(this.#reserved() ?? '')))
          throw this.unexpected();
      }
    });
  }
  /** A list that is not empty, and the reserved word after it. */
  #body(...until: string[]): List {
    const list = this.list(until);
    if (this.atEnd()) throw new IncompleteInput(`the end comes before ${until.join(' or ')}`);
    if (list.length === 0 || this.peek() === ')' || this.peek() === ';') throw this.unexpected();
    return list;
  }
  #andOr(): AndOr {
    const from = this.at;
    const first = this.#pipeline();
    const rest: ['&&' | '||', Pipeline][] = [];
    for (;;) {
      this.skip(false);
      const operator = this.takes('&&') ?? this.takes('||');
      if (operator === undefined) break;
      this.#follows();
      rest.push([operator, this.#pipeline()]);
    }
    const text = this.text.slice(from, this.at).trim();
    const background = this.takes('&') !== undefined;
    return { first, rest, background, text };
  }
  #pipeline(): Pipeline {
    let negated = false;
    while (this.#reserved() === '!') {
      this.#keyword();
      this.skip(false);
      negated = !negated;
    }
    const commands = [this.#command()];
    for (;;) {
      this.skip(false);
      if (this.text.startsWith('||', this.at) || this.takes('|') === undefined) return { negated, commands };
      this.#follows();
      commands.push(this.#command());
    }
  }
  /** After an operator that something has to follow. */
  #follows(): void {
    this.skip(true);
    if (this.atEnd()) throw new IncompleteInput('a command is missing at the end');
  }

  // ---- commands ----

  #command(): Command {
    if (this.takes('(') !== undefined) {
      const body = this.list([]);
      if (body.length === 0 && !this.atEnd()) throw this.unexpected();
      this.expect(')');
      return this.#redirected({ kind: 'subshell', body });
    }
    const word = this.#reserved();
    if (word === undefined) return this.#function() ?? this.#simple();
    const compound = this.#compound(word);
    if (compound === undefined) throw this.unexpected();
    return this.#redirected(compound);
  }
  #function(): CompoundCommand | undefined {
    FUNCTION.lastIndex = this.at;
    const [head, name] = FUNCTION.exec(this.text) ?? [];
    if (head === undefined || name === undefined) return undefined;
    this.at += head.length;
    this.#follows();
    const body = this.deeper(() => this.#command());
    if (body.kind === 'simple') throw new ShellError(`${name}(): a compound command is its body`);
    return { kind: 'function', name, body, redirections: [] };
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
    if (word === 'case') return this.#case();
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
    this.skip(false);
    const name = this.name();
    if (name === undefined) throw this.unexpected();
    this.skip(true);
    const words: Word[] = [];
    const listed = this.#reserved() === 'in';
    if (listed) {
      this.#keyword();
      for (this.skip(false); this.startsWord(); this.skip(false)) words.push(this.word());
    }
    this.skip(false);
    if (this.peek() === ';') this.at++;
    this.skip(true);
    if (this.atEnd()) throw new IncompleteInput('the end comes before do');
    if (this.#reserved() !== 'do') throw this.unexpected();
    const body = this.#do();
    return listed ? { kind: 'for', name, words, body } : { kind: 'for', name, body };
  }
  #case(): Plain {
    this.#keyword();
    this.skip(false);
    const word = this.#needed();
    this.#follows();
    if (this.#reserved() !== 'in') throw this.unexpected();
    this.#keyword();
    const branches: [Word[], List][] = [];
    for (;;) {
      this.skip(true);
      if (this.atEnd()) throw new IncompleteInput('the end comes before esac');
      if (this.#reserved() === 'esac') break;
      this.takes('(');
      const patterns: Word[] = [];
      do {
        this.skip(false);
        patterns.push(this.#needed());
        this.skip(false);
      } while (this.takes('|') !== undefined);
      this.expect(')');
      branches.push([patterns, this.list(['esac'])]);
      if (this.takes(';;') === undefined && !this.atEnd() && this.#reserved() !== 'esac') throw this.unexpected();
    }
    this.#keyword();
    return { kind: 'case', word, branches };
  }
  #needed(): Word {
    if (!this.startsWord()) throw this.unexpected();
    return this.word();
  }
  #redirected(command: Plain): CompoundCommand {
    const redirections: Redirection[] = [];
    for (;;) {
      this.skip(false);
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
      this.skip(false);
      const redirection = this.#redirection();
      if (redirection) {
        redirections.push(redirection);
        continue;
      }
      if (!this.startsWord()) break;
      const name = words.length === 0 || declares(words) ? this.#assigned() : undefined;
      const word = this.word(name !== undefined);
      if (name === undefined) words.push(word);
      else if (words.length === 0) assignments.push([name, word]);
      else words.push([{ kind: 'assignment', name, value: word, quoted: true }]);
    }
    if (assignments.length + words.length + redirections.length === 0) throw this.unexpected();
    return { kind: 'simple', assignments, words, redirections };
  }
  /** The name and '=' of an assignment, taken. */
  #assigned(): string | undefined {
    const from = this.at;
    const name = this.name();
    if (name !== undefined && this.takes('=') !== undefined) return name;
    this.at = from;
    return undefined;
  }
  #redirection(): Redirection | undefined {
    const [match, digit, operator] =
      /^([0-9]?)(<<-?|<&|>&|>>|>\||[<>])/.exec(this.text.slice(this.at, this.at + 4)) ?? [];
    if (match === undefined || operator === undefined) return undefined;
    this.at += match.length;
    this.skip(false);
    if (this.atEnd()) throw new IncompleteInput(`a word is missing after ${match}`);
    if (!this.startsWord()) throw this.unexpected();
    const fd = digit ? Number(digit) : operator.startsWith('<') ? 0 : 1;
    const target = this.word();
    if (operator.startsWith('<<')) return this.readLater(fd, target, operator === '<<-');
    const kind = operator.endsWith('&') ? '&' : operator === '>|' ? '>' : (operator as '<' | '>' | '>>'); // what is left
    return { fd, kind, target };
  }

  /** The reserved word that is next, not taken. */
  #reserved(): string | undefined {
    const [word] = /^(?:[a-z]+|[{}!])(?=[ \t\n;&|<>()]|$)/.exec(this.text.slice(this.at, this.at + 8)) ?? [];
    return word !== undefined && RESERVED.has(word) ? word : undefined;
  }
  /** Takes it. */
  #keyword(): void {
    this.at += this.#reserved()?.length ?? 0;
  }
}

/** Behind such a one a reserved word is one also without a ';' between them. */
function endsInCompound(list: List): boolean {
  const last = list.at(-1);
  return (last?.rest.at(-1)?.[1] ?? last?.first)?.commands.at(-1)?.kind !== 'simple';
}
function declares(words: readonly Word[]): boolean {
  const plain = words.map(word => word.map(part => (part.kind === 'text' ? part.text : ' ')).join(''));
  return DECLARATIONS.has(plain.find(word => word !== 'command') ?? '');
}

type Without<T> = T extends unknown ? Omit<T, 'redirections'> : never;
type Plain = Without<CompoundCommand>;
