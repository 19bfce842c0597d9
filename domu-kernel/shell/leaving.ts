// What is thrown to leave what runs.
import type { OpenFiles } from './open-files.ts';

/** The shell ends. */
export class ExitShell extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}
/** `break` and `continue`, of so many loops. */
export class LeaveLoop extends Error {
  levels: number;
  readonly again: boolean;
  constructor(levels: number, again: boolean) {
    super('not in a loop');
    this.levels = levels;
    this.again = again;
  }
}
/** `return`, of a function or a file that is read in. */
export class ReturnFrom extends Error {
  readonly code: number;
  constructor(code: number) {
    super('not in a function');
    this.code = code;
  }
}
/** ^C: back to the prompt. */
export class Interrupted extends Error {}
/** The shell's process runs a program from here on. */
export class Replaced extends Error {
  readonly argv: readonly string[];
  readonly env: ReadonlyMap<string, string>;
  /** Its own. */
  readonly files: OpenFiles;
  constructor(argv: readonly string[], env: ReadonlyMap<string, string>, files: OpenFiles) {
    super(`exec ${argv[0]}`);
    this.argv = argv;
    this.env = env;
    this.files = files;
  }
}
