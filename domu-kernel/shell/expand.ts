// Words to strings: variables, output of commands, arithmetic, splitting, names that match a pattern.
import type { Vnode } from '../fs/file-system.ts';
import { attempt, type Waiting } from '../process/transfer.ts';
import { evaluate, type Variables } from './arithmetic.ts';
import { split } from './fields.ts';
import { escaped, isPattern, Pattern } from './glob.ts';
import { fromCwd } from './paths.ts';
import { type List, ShellError, type Word, type WordPart } from './syntax.ts';

/** What an expansion asks of its shell. */
export interface Surroundings extends Variables {
  readonly cwd: string;
  /** '' where it is not set; throws where that is an error. */
  variable(name: string): string;
  isSet(name: string): boolean;
  readonly parameters: readonly string[];
  readonly ifs: string;
  /** Names of files are matched. */
  readonly globs: boolean;
  /** What a list writes. */
  output(list: List): Waiting<string>;
  /** What is there, in use; undefined when nothing is. `follow`: symlinks in the last place. */
  find(path: string, follow?: boolean): Vnode | undefined;
}

/** A word to be: what it says, and the same as a pattern. */
interface Field {
  text: string;
  pattern: string;
}

/** Each of `words` is none, one or several. */
export function* expandWords(shell: Surroundings, words: readonly Word[]): Waiting<string[]> {
  const expanded: string[] = [];
  for (const word of words) {
    for (const { text, pattern } of yield* fieldsOf(shell, word)) {
      const names = shell.globs && isPattern(pattern) ? yield* attempt(() => namesLike(shell, pattern)) : [];
      expanded.push(...(names.length > 0 ? names : [text]));
    }
  }
  return expanded;
}
/** The word as one, whatever is in it. */
export function* expandText(shell: Surroundings, word: Word): Waiting<string> {
  let text = '';
  for (const part of word) text += part.kind === 'text' ? part.text : yield* expansionOf(shell, part);
  return text;
}
/** The word as one pattern: what is quoted stands for itself. */
export function* expandPattern(shell: Surroundings, word: Word): Waiting<string> {
  let pattern = '';
  for (const part of word) {
    const text = part.kind === 'text' ? part.text : yield* expansionOf(shell, part);
    pattern += part.quoted ? escaped(text) : part.kind === 'text' ? text.replaceAll('\\', '\\\\') : text;
  }
  return pattern;
}

function* fieldsOf(shell: Surroundings, word: Word): Waiting<Field[]> {
  const fields: Field[] = [];
  let open: Field | undefined;
  const add = (text: string, quoted: boolean): void => {
    open ??= { text: '', pattern: '' };
    open.text += text;
    open.pattern += quoted ? escaped(text) : text.replaceAll('\\', '\\\\');
  };
  const close = (): void => {
    if (open) fields.push(open);
    open = undefined;
  };
  let separated = false;
  const addFields = (value: string, next = false): void => {
    const { pieces, before, after } = split(value, shell.ifs);
    if (before) close();
    // Between two parameters there are blanks, as it were: a separator that comes first is one with them.
    if (next && pieces[0] === '' && fields.length > 0 && !separated) pieces.shift();
    separated = after === 'separator';
    pieces.forEach((piece, i) => {
      if (i > 0) close();
      add(piece, false);
    });
    if (after !== undefined) close();
  };
  /** `nested`: in the word of an expansion, where what is written is split as well. */
  function* addAll(parts: Word, within: boolean, nested: boolean): Waiting<void> {
    for (const part of parts) {
      const quoted = part.quoted || within;
      if (part.kind === 'variable' && isEach(shell, part, quoted)) {
        shell.parameters.forEach((parameter, i) => {
          if (i > 0) close();
          if (quoted) add(parameter, true);
          else addFields(parameter, i > 0);
        });
        continue;
      }
      if (part.kind === 'variable' && part.operand && stands(shell, part)) {
        yield* addAll(part.operand, quoted, true);
        continue;
      }
      const value = part.kind === 'text' ? part.text : yield* expansionOf(shell, part);
      if (quoted || (part.kind === 'text' && !nested)) add(value, quoted);
      else addFields(value);
    }
  }
  yield* addAll(word, false, false);
  close();
  // "$@" without parameters is no word at all.
  const nothing = shell.parameters.length === 0 && word.some(part => part.kind === 'variable' && part.name === '@');
  return nothing && fields.length === 1 && fields[0]?.text === '' ? [] : fields;
}

type Variable = WordPart & { readonly kind: 'variable' };

/** Whether it is all parameters, each by itself. */
function isEach(shell: Surroundings, part: Variable, quoted: boolean): boolean {
  const { name, operator } = part;
  if (name !== '@' && (name !== '*' || quoted)) return false;
  return operator === undefined || (/^:?[-=?]$/.test(operator) && !stands(shell, part) && shell.variable(name) !== '');
}
/** Whether a variable's word takes its place. */
function stands(shell: Surroundings, { name, operator }: Variable): boolean {
  const there = shell.isSet(name) && !(operator?.startsWith(':') && shell.variable(name) === '');
  if (operator === '+' || operator === ':+') return there;
  return (operator === '-' || operator === ':-') && !there;
}

function* expansionOf(shell: Surroundings, part: Exclude<WordPart, { kind: 'text' }>): Waiting<string> {
  if (part.kind === 'command') return (yield* shell.output(part.list)).replace(/\n+$/, '');
  if (part.kind === 'arithmetic') return evaluate(yield* expandText(shell, part.text), shell);
  if (part.kind === 'tilde') return shell.isSet('HOME') ? shell.variable('HOME') : '~';
  if (part.kind === 'assignment') return `${part.name}=${yield* expandText(shell, part.value)}`;
  return yield* expandedParameter(shell, part);
}
function* expandedParameter(shell: Surroundings, part: Variable): Waiting<string> {
  const { name, operator, operand = [] } = part;
  if (operator === undefined) return shell.variable(name);
  if (operator === 'length') return String([...shell.variable(name)].length);
  if (operator === '#' || operator === '##' || operator === '%' || operator === '%%') {
    const value = shell.variable(name);
    return trimmed(value, yield* expandPattern(shell, operand), operator);
  }
  if (stands(shell, part)) return yield* expandText(shell, operand);
  if (operator === '+' || operator === ':+') return '';
  const there = shell.isSet(name) && !(operator.startsWith(':') && shell.variable(name) === '');
  if (there || operator === '-' || operator === ':-') return shell.variable(name);
  const word = yield* expandText(shell, operand);
  if (operator.endsWith('?')) throw new ShellError(`${name}: ${word || 'parameter not set'}`);
  if (!/^[A-Za-z_]/.test(name)) throw new ShellError(`${name}: it cannot be assigned to`);
  shell.assign(name, word);
  return word;
}
/** Without the shortest or longest beginning or end that matches. */
function trimmed(value: string, pattern: string, operator: '#' | '##' | '%' | '%%'): string {
  const characters = [...value];
  const compiled = new Pattern(pattern);
  const lengths = Array.from({ length: characters.length + 1 }, (_, n) => n);
  if (operator.length === 2) lengths.reverse();
  for (const n of lengths) {
    const split = operator.startsWith('#') ? n : characters.length - n;
    const [start, end] = [characters.slice(0, split), characters.slice(split)];
    if (compiled.matchesAll(operator.startsWith('#') ? start : end)) {
      return (operator.startsWith('#') ? end : start).join('');
    }
  }
  return value;
}

/** Sorted. What begins with a '.' only where the pattern says so. */
function namesLike(shell: Surroundings, pattern: string): string[] {
  let paths = [''];
  const parts = pattern.match(/[^/]+|\/+/g) ?? [];
  for (const part of parts) {
    // A '/' stays as it was written, and stands behind directories only.
    if (part.startsWith('/')) paths = paths.filter(path => isDirectory(shell, path || '/')).map(path => path + part);
    else paths = paths.flatMap(path => namesIn(shell, path, part).map(name => path + name));
  }
  return paths.sort();
}
function isDirectory(shell: Surroundings, path: string): boolean {
  const vnode = shell.find(fromCwd(shell.cwd, path));
  vnode?.release();
  return vnode?.type === 'directory';
}
/** `path` is nothing, or ends with a '/'. */
function namesIn(shell: Surroundings, path: string, pattern: string): string[] {
  if (!isPattern(pattern)) {
    const name = pattern.replace(/\\(.)/g, '$1');
    const there = shell.find(fromCwd(shell.cwd, path + name), false);
    there?.release();
    return there ? [name] : [];
  }
  const directory = shell.find(fromCwd(shell.cwd, path || '.'));
  try {
    if (directory?.type !== 'directory') return [];
    const like = new Pattern(pattern);
    const names = directory.entries().map(({ name }) => name);
    return names.filter(name => (/^\\?\./.test(pattern) || !name.startsWith('.')) && like.matches(name));
  } finally {
    directory?.release();
  }
}
