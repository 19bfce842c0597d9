// xl store rm

import { withStore } from '../../store/connect-store.ts';
import { about } from '../../store/failure.ts';
import type { RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  await withStore(context.io.env, store =>
    store.transaction(tx => Promise.all(line.args.map(path => about(path, store.rm(path, tx))))),
  );
  return 0;
};
