// What the toolstack says of a config names file and key; who has read the file knows the line as well.

import { XenError } from '#pvbus';

/** `FILE: disk xvda: /x does not exist` with `at('disk')` for FILE; any other error as it is. */
export function withLine(error: unknown, source: string, at: (key: string) => string): unknown {
  if (!(error instanceof XenError) || source === '' || !error.message.startsWith(`${source}: `)) return error;
  const rest = error.message.slice(source.length + 2);
  const [key] = /^[a-z_]+/.exec(rest) ?? [];
  return key === undefined ? error : new XenError(error.code, `${at(key)}: ${rest}`, error.cause);
}
