// xl store chmod

import { parseDecimal } from '#pvbus';
import { withStore } from '../../store/connect-store.ts';
import { about } from '../../store/failure.ts';
import { readBelow } from '../../store/tree.ts';
import { CommandFailure, type RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'r', [{ name: 'recursive', as: 'r' }], 2);
  if (typeof line === 'number') return line;
  const [path, ...modes] = line.args;
  for (const mode of modes) {
    if (/^[nrwb]/.test(mode) && parseDecimal(mode.slice(1), 0xffff) !== undefined) continue;
    throw new CommandFailure(`xl store: ${mode}: not a permission, which is one of n, r, w, b and a domid`);
  }
  await withStore(context.io.env, store =>
    store.transaction(async tx => {
      const set = (node: string): Promise<void> => store.setPerms(node, modes, tx);
      await about(path!, set(path!));
      if (line.options.has('r')) await readBelow(store, path!, tx, set);
    }),
  );
  return 0;
};
