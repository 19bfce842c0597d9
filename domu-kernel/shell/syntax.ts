// A script, as the parser leaves it.

export class ShellError extends Error {
  override readonly name: string = 'ShellError';
}
/** The text ends in the middle of something: more of it may make it whole. */
export class IncompleteInput extends ShellError {
  override readonly name = 'IncompleteInput';
  /** The line that a here-document waits for. */
  readonly end: string | undefined;

  constructor(message: string, end?: string) {
    super(message);
    this.end = end;
  }
}

/** Of `${name-word}`: with a ':' before it, what is empty counts as not set. `${#name}` is 'length'. */
export type ParameterOperator = '-' | ':-' | '=' | ':=' | '?' | ':?' | '+' | ':+' | '#' | '##' | '%' | '%%' | 'length';

export type WordPart =
  | { readonly kind: 'text'; readonly text: string; readonly quoted: boolean }
  | {
      readonly kind: 'variable';
      readonly name: string;
      readonly operator?: ParameterOperator;
      readonly operand?: Word;
      readonly quoted: boolean;
    }
  | { readonly kind: 'command'; readonly list: List; readonly quoted: boolean }
  | { readonly kind: 'arithmetic'; readonly text: Word; readonly quoted: boolean }
  /** '~' where it is HOME. What it says is neither split nor a pattern, as if it were quoted. */
  | { readonly kind: 'tilde'; readonly quoted: true }
  /** NAME=VALUE after `export` and the like: as one, as it would be before a command. */
  | { readonly kind: 'assignment'; readonly name: string; readonly value: Word; readonly quoted: true };
export type Word = readonly WordPart[];

export interface Redirection {
  readonly fd: number;
  /** '&': a copy of descriptor `target`, or none where that is '-'; '<<': `target` is what is read. */
  readonly kind: '<' | '>' | '>>' | '&' | '<<';
  readonly target: Word;
}

export interface SimpleCommand {
  readonly kind: 'simple';
  readonly assignments: readonly (readonly [name: string, value: Word])[];
  readonly words: readonly Word[];
  readonly redirections: readonly Redirection[];
}
interface Compound {
  readonly redirections: readonly Redirection[];
}
export type CompoundCommand = Compound &
  (
    | { readonly kind: 'subshell' | 'group'; readonly body: List }
    | {
        readonly kind: 'if';
        readonly branches: readonly (readonly [condition: List, body: List])[];
        readonly otherwise?: List;
      }
    | { readonly kind: 'while'; readonly until: boolean; readonly condition: List; readonly body: List }
    | { readonly kind: 'for'; readonly name: string; readonly words?: readonly Word[]; readonly body: List }
    | {
        readonly kind: 'case';
        readonly word: Word;
        readonly branches: readonly (readonly [patterns: readonly Word[], body: List])[];
      }
    | { readonly kind: 'function'; readonly name: string; readonly body: CompoundCommand }
  );
export type Command = SimpleCommand | CompoundCommand;

export interface Pipeline {
  readonly negated: boolean;
  readonly commands: readonly Command[];
}
export interface AndOr {
  readonly first: Pipeline;
  readonly rest: readonly (readonly [operator: '&&' | '||', pipeline: Pipeline])[];
  readonly background: boolean;
  /** As it was written. */
  readonly text: string;
}
export type List = readonly AndOr[];
