// Words to strings: variables, output of commands, arithmetic, splitting, names that match a pattern.
import type { Vnode } from '../fs/file-system.ts';
import { attempt, type Waiting } from '../process/transfer.ts';
import { evaluate, type Variables } from './arithmetic.ts';
import { split } from './fields.ts';
import { escaped, isPattern, matches } from './glob.ts';
import { fromCwd, joined } from './paths.ts';
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
  /** What is there, in use; undefined when nothing is. */
  find(path: string): Vnode | undefined;
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
  const addFields = (value: string): void => {
    const { pieces, before, after } = split(value, shell.ifs);
    if (before) close();
    pieces.forEach((piece, i) => {
      if (i > 0) close();
      add(piece, false);
    });
    if (after) close();
  };
  /** `nested`: in the word of an expansion, where what is written is split as well. */
  function* addAll(parts: Word, within: boolean, nested: boolean): Waiting<void> {
    for (const part of parts) {
      const quoted = part.quoted || within;
      if (part.kind === 'variable' && (part.name === '@' || (part.name === '*' && !quoted)) && !part.operator) {
        shell.parameters.forEach((parameter, i) => {
          if (i > 0) close();
          if (quoted) add(parameter, true);
          else addFields(parameter);
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

/** Whether a variable's word takes its place. */
function stands(shell: Surroundings, { name, operator }: Variable): boolean {
  const there = shell.isSet(name) && !(operator?.startsWith(':') && shell.variable(name) === '');
  if (operator === '+' || operator === ':+') return there;
  return (operator === '-' || operator === ':-') && !there;
}

function* expansionOf(shell: Surroundings, part: Exclude<WordPart, { kind: 'text' }>): Waiting<string> {
  if (part.kind === 'command') return (yield* shell.output(part.list)).replace(/\n+$/, '');
  if (part.kind === 'arithmetic') return evaluate(yield* expandText(shell, part.text), shell);
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
  const lengths = Array.from({ length: value.length + 1 }, (_, n) => n);
  if (operator.length === 2) lengths.reverse();
  for (const n of lengths) {
    if (operator.startsWith('#') && matches(pattern, value.slice(0, n))) return value.slice(n);
    if (operator.startsWith('%') && matches(pattern, value.slice(value.length - n)))
      return value.slice(0, value.length - n);
  }
  return value;
}

/** Sorted. What begins with a '.' only where the pattern says so. */
function namesLike(shell: Surroundings, pattern: string): string[] {
  let paths = [pattern.startsWith('/') ? '/' : ''];
  const parts = pattern.split('/').filter(part => part !== '');
  parts.forEach((part, i) => {
    const last = i === parts.length - 1;
    paths = paths.flatMap(path => children(shell, path, part, last));
  });
  return paths.sort();
}
function children(shell: Surroundings, path: string, pattern: string, last: boolean): string[] {
  const vnode = shell.find(fromCwd(shell.cwd, path || '.'));
  if (!vnode) return [];
  try {
    if (vnode.type !== 'directory') return [];
    const below = (name: string): string => (path === '' ? name : joined(path, name));
    if (!isPattern(pattern)) {
      const name = pattern.replace(/\\(.)/g, '$1');
      if (!last) return [below(name)];
      const there = shell.find(fromCwd(shell.cwd, below(name)));
      there?.release();
      return there ? [below(name)] : [];
    }
    return vnode
      .entries()
      .map(({ name }) => name)
      .filter(name => (pattern.startsWith('.') || !name.startsWith('.')) && matches(pattern, name))
      .map(below);
  } finally {
    vnode.release();
  }
}
