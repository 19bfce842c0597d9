// xl store write

import { XenError } from '#pvbus';
import { withStore } from '../../store/connect-store.ts';
import { unescapeValue } from '../../store/escape.ts';
import { about } from '../../store/failure.ts';
import { CommandFailure, type RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'R', [{ name: 'raw', as: 'R' }], 2);
  if (typeof line === 'number') return line;
  if (line.args.length % 2 !== 0) {
    context.err(`'xl store write': ${line.args.at(-1)} has no value.\n`);
    return context.usage(2);
  }
  const toBytes = line.options.has('R') ? (text: string): Uint8Array => Buffer.from(text) : meaning;
  const writes: { readonly path: string; readonly value: Uint8Array }[] = [];
  for (let i = 0; i < line.args.length; i += 2) {
    writes.push({ path: line.args[i]!, value: toBytes(line.args[i + 1]!) });
  }
  await withStore(context.io.env, store =>
    store.transaction(tx => Promise.all(writes.map(({ path, value }) => about(path, store.write(path, value, tx))))),
  );
  return 0;
};

function meaning(value: string): Uint8Array {
  try {
    return unescapeValue(value);
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
    throw new CommandFailure(`xl store: ${error.message} (-R takes a value as it is)`);
  }
}
