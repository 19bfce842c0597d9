// A program of the kernel's own: how it is called, and how it says what is wrong.
import { messageOf, XenError } from '#pvbus';
import type { Body } from '../process/body.ts';
import type { Utility } from '../process/exec.ts';
import { brokenPipe, type Process } from '../process/process.ts';
import { tell, type Waiting } from '../process/transfer.ts';
import type { Stdio, Userland } from '../userland.ts';
import { type GivenOptions, type KnownOptions, parsedOptions } from './options.ts';
import { ShellError } from './syntax.ts';

export interface Call extends GivenOptions {
  readonly system: Userland;
  readonly self: Process;
  readonly io: Stdio;
}
export interface UtilityProgram extends KnownOptions {
  /** The status when it is called in a way that it does not know; 1. */
  readonly misuse?: number;
  readonly run: (call: Call) => Waiting<number | Body> | number;
}

export function asUtility(system: Userland, name: string, program: UtilityProgram): Utility {
  return function* (self) {
    const { fds } = self;
    const io: Stdio = [fds.file(0), fds.file(1), fds.file(2)];
    let status = program.misuse ?? 1;
    try {
      const parsed = parsedOptions(self.argv.slice(1), program);
      status = 1;
      const code = program.run({ system, self, io, ...parsed });
      return typeof code === 'number' ? code : yield* code;
    } catch (error) {
      yield* complain({ self, io }, error, name);
      return status;
    }
  };
}
/** Says what is wrong, if it is something that a user is to know. */
export function* complain(
  { self, io }: Pick<Call, 'self' | 'io'>,
  thrown: unknown,
  name = self.argv[0],
): Waiting<void> {
  const error = brokenPipe(self, thrown) ?? thrown;
  if (!(error instanceof XenError || error instanceof ShellError)) throw error;
  yield* tell(io[2], `${name}: ${messageOf(error)}`);
}
/** Each by itself: what is wrong with one of them is said, and the others are done. */
export function* each<T>(call: Call, all: Iterable<T>, act: (one: T) => Waiting<void>): Waiting<number> {
  let status = 0;
  for (const one of all) {
    try {
      yield* act(one);
    } catch (error) {
      yield* complain(call, error);
      status = 1;
    }
  }
  return status;
}
