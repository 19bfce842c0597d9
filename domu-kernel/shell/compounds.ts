// Compound commands: what they run, and how often.

import type { Waiting } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import { expandPattern, expandText, expandWords } from './expand.ts';
import { Pattern } from './glob.ts';
import type { Interpreter } from './interpreter.ts';
import { LeaveLoop } from './leaving.ts';
import type { CompoundCommand } from './syntax.ts';

type Of<K extends CompoundCommand['kind']> = CompoundCommand & { readonly kind: K };

/** `exits`: as Interpreter#list has it. */
export function* runCompound(shell: Interpreter, command: CompoundCommand, exits: boolean): Waiting<unknown> {
  switch (command.kind) {
    case 'if':
      return yield* runIf(shell, command, exits);
    case 'while':
      return yield* runWhile(shell, command);
    case 'for':
      return yield* runFor(shell, command);
    case 'case':
      return yield* runCase(shell, command, exits);
    case 'function':
      shell.functions.set(command.name, command.body);
      shell.status = 0;
      return undefined;
    default:
      return yield* shell.list(command.body, exits);
  }
}
function* runIf(shell: Interpreter, { branches, otherwise }: Of<'if'>, exits: boolean): Waiting<unknown> {
  for (const [condition, body] of branches)
    if ((yield* shell.asTest(shell.list(condition))) === 0) return yield* shell.list(body, exits);
  if (otherwise) return yield* shell.list(otherwise, exits);
  shell.status = 0;
  return undefined;
}
function* runWhile(shell: Interpreter, { until, condition, body }: Of<'while'>): Waiting<void> {
  let status = 0;
  // The condition is of the loop as well: break leaves it from there.
  const goesOn = function* (): Waiting<boolean> {
    return ((yield* shell.asTest(shell.list(condition))) === 0) !== until;
  };
  for (;;) {
    const turn = yield* oneTurn(shell, goesOn());
    if (turn === 'leave') return;
    if (turn === 'again') continue;
    if (!turn) break;
    if ((yield* oneTurn(shell, shell.list(body))) === 'leave') return;
    status = shell.status;
  }
  shell.status = status;
}
function* runFor(shell: Interpreter, { name, words, body }: Of<'for'>): Waiting<void> {
  const values = words ? yield* expandWords(shell, words) : shell.parameters;
  shell.status = 0;
  for (const value of values) {
    shell.assign(name, value);
    if ((yield* oneTurn(shell, shell.list(body))) === 'leave') return;
  }
}
function* runCase(shell: Interpreter, { word, branches }: Of<'case'>, exits: boolean): Waiting<void> {
  const text = yield* expandText(shell, word);
  for (const [patterns, body] of branches) {
    for (const pattern of patterns) {
      if (!new Pattern(yield* expandPattern(shell, pattern)).matches(text)) continue;
      if (body.length > 0) yield* shell.list(body, exits);
      else shell.status = 0;
      return;
    }
  }
  shell.status = 0;
}
/** Of a loop: what it comes to, or how the loop goes on. */
function* oneTurn<T>(shell: Interpreter, part: Waiting<T>): Waiting<T | 'leave' | 'again'> {
  // A loop of builtins is like any other hog.
  yield YIELD;
  shell.loops++;
  try {
    return yield* part;
  } catch (error) {
    if (!(error instanceof LeaveLoop)) throw error;
    if (--error.levels > 0) throw error;
    return error.again ? 'again' : 'leave';
  } finally {
    shell.loops--;
  }
}
