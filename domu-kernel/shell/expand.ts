// Words to strings: variables, output of commands, arithmetic, splitting at blanks, names that match a pattern.
import type { Vnode } from '../fs/file-system.ts';
import { attempt, type Waiting } from '../process/transfer.ts';
import { evaluate } from './arithmetic.ts';
import { escaped, isPattern, matches } from './glob.ts';
import { fromCwd, joined } from './paths.ts';
import type { List, Word, WordPart } from './syntax.ts';

/** What an expansion asks of its shell. */
export interface Surroundings {
  readonly cwd: string;
  variable(name: string): string;
  readonly parameters: readonly string[];
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
      const names = isPattern(pattern) ? yield* attempt(() => namesLike(shell, pattern)) : [];
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
  for (const part of word) {
    if (part.kind === 'variable' && part.name === '@' && part.quoted) {
      shell.parameters.forEach((parameter, i) => {
        if (i > 0) close();
        add(parameter, true);
      });
      continue;
    }
    const value = part.kind === 'text' ? part.text : yield* expansionOf(shell, part);
    if (part.kind === 'text' || part.quoted) {
      add(value, part.quoted);
      continue;
    }
    value.split(/([ \t\n]+)/).forEach((piece, i) => {
      if (i % 2 === 1) close();
      else if (piece !== '') add(piece, false);
    });
  }
  close();
  // "$@" without parameters is no word at all.
  const nothing = shell.parameters.length === 0 && word.some(part => part.kind === 'variable' && part.name === '@');
  return nothing && fields.length === 1 && fields[0]?.text === '' ? [] : fields;
}

function* expansionOf(shell: Surroundings, part: Exclude<WordPart, { kind: 'text' }>): Waiting<string> {
  if (part.kind === 'command') return (yield* shell.output(part.list)).replace(/\n+$/, '');
  if (part.kind === 'arithmetic') {
    const text = yield* expandText(shell, part.text);
    return String(evaluate(text, name => shell.variable(name)));
  }
  const value = shell.variable(part.name);
  return value === '' && part.otherwise ? yield* expandText(shell, part.otherwise) : value;
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
