// xl fault: a command that is a family of them.

import type { CommandSpec, RunCommand } from './command.ts';
import { commandHelp } from './help.ts';
import { commandLine } from './options.ts';

const JSON_OPTION = `--json                  Print JSON.`;

const VERBS: readonly CommandSpec[] = [
  {
    name: 'fault add',
    modifies: true,
    usage: '[options] <File|Key=Value ...>',
    description: 'Begin a plan: that of a YAML file, or of one fault that is described here',
    options: `-p NAME, --plan=NAME    What the plan is called; without, as the file says, or xl.
-s NUMBER, --seed=NUMBER
                        The seed of what is left to chance; without, as the file says, or 0.`,
    load: () => import('./fault/add.ts'),
  },
  {
    name: 'fault list',
    modifies: false,
    usage: '[options]',
    description: 'List the faults of all plans that are on, and how often they have happened',
    options: JSON_OPTION,
    load: () => import('./fault/list.ts'),
  },
  {
    name: 'fault remove',
    modifies: true,
    usage: '<all|Plan|Plan:Fault ...>',
    description: 'End a plan, or one of its faults',
    load: () => import('./fault/remove.ts'),
  },
  {
    name: 'fault run',
    modifies: true,
    usage: '[options] <File>',
    description: 'Begin a plan, print what happens for its duration or until Ctrl-C, end it and report',
    options: `-s NUMBER, --seed=NUMBER
                        In place of the seed in the file.
${JSON_OPTION} Each event is a line of its own, the report is the last.
Exit code 1: a fault of the plan has never happened.`,
    load: () => import('./fault/run.ts'),
  },
];

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const [verb, ...rest] = line.args;
  const spec = VERBS.find(({ name }) => name === `fault ${verb}`);
  if (spec === undefined) {
    context.err(`'xl fault' has no command '${verb}'.\n`);
    return context.usage(2);
  }
  const usage = (exitCode: number): number => {
    context.io.stdout.write(commandHelp(spec));
    return exitCode;
  };
  return (await spec.load()).run(rest, { ...context, spec, usage });
};
