// xl prepare

import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastWordsOf } from '#pvbus';
import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

/** Built beside us. A process of its own, which ends when the program is written: ours would wait for the engine's compilers. */
const PROGRAM = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../dist/prepare-program.js' : './prepare-program.js', import.meta.url),
);

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [from, to] = line.args.map(path => resolve(context.io.cwd, path));
  const { status, signal, stderr, error } = spawnSync(process.execPath, [PROGRAM, String(process.pid), from!, to!], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  if (status === 0) return 0;
  const why = error?.message ?? lastWordsOf(stderr) ?? `preparing it failed: ${signal ?? status}`;
  throw new CommandFailure(`xl prepare: ${line.args[0]}: ${why}`);
};
