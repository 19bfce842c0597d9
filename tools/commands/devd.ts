// xl devd

import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'Fp:', [{ name: 'pidfile', as: 'p', value: true }], 0);
  if (typeof line === 'number') return line;
  throw new CommandFailure(
    'xl devd: it is for driver domains that run Linux; a driver domain here (driver_domain=1) is a program that serves ' +
      'its backends itself, and those of domain 0 are always there',
  );
};
