// A number on the command line.

import { CommandFailure } from './command.ts';

/** null where there is none. */
export function wholeNumber(text: string | undefined, what: string): number | null {
  if (text === undefined) return null;
  if (/^[0-9]{1,10}$/.test(text) && Number(text) <= 0xffff_ffff) return Number(text);
  throw new CommandFailure(`Invalid ${what}: '${text}' is no number`);
}
