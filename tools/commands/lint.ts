// xl lint

import { lint } from '../config/lint.ts';
import { parseConfig } from '../config/parse.ts';
import { readConfigFile } from '../config/read-config.ts';
import { ConfigError } from '../config/settings.ts';
import type { RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  let exitCode = 0;
  for (const file of line.args) {
    for (const finding of findings(file, context.io.cwd)) {
      context.out(finding);
      exitCode = 1;
    }
  }
  return exitCode;
};

function findings(file: string, cwd: string): string[] {
  try {
    return lint(parseConfig(readConfigFile(file, cwd), file));
  } catch (error) {
    if (error instanceof ConfigError) return [error.message];
    throw error;
  }
}
