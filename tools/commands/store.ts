// xl store: a command that is a family of them.

import type { CommandSpec, RunCommand } from './command.ts';
import { commandHelp } from './help.ts';
import { commandLine } from './options.ts';

const JSON_OPTION = `--json                  Print JSON; a value that is not UTF-8 as base64.`;

const VERBS: readonly CommandSpec[] = [
  {
    name: 'store ls',
    modifies: false,
    usage: '[options] [Path ...]',
    description: 'List all nodes below each path (the root, when none is given) at one moment',
    options: `-f, --full              Paths instead of a tree; values are never cut.
-p, --perms             Permissions: the owner first, then what others may (n, r, w, b).
${JSON_OPTION}`,
    load: () => import('./store/ls.ts'),
  },
  {
    name: 'store read',
    modifies: false,
    usage: '[options] <Path ...>',
    description: 'Print the values of nodes at one moment',
    options: `${JSON_OPTION}
On a terminal as xenstore-read prints them. Elsewhere the bytes as they are: those of one value and nothing else,
those of several each followed by a newline.`,
    load: () => import('./store/read.ts'),
  },
  {
    name: 'store write',
    modifies: true,
    usage: '[options] <Path Value ...>',
    description: 'Set the values of nodes, all of them or none, making what is missing of the paths',
    options: `-R, --raw               Take a value as it is. Otherwise \\t \\n \\r \\\\ \\" \\' \\xHH and \\OOO are what \`xl store ls'
                        prints them for.`,
    load: () => import('./store/write.ts'),
  },
  {
    name: 'store watch',
    modifies: false,
    usage: '[options] <Path ...>',
    description: 'Print each path, and then each change at it or below, with the new value',
    options: `-n COUNT                Stop after so many lines.
${JSON_OPTION}
Until Ctrl-C. @introduceDomain and @releaseDomain are watched like paths.`,
    load: () => import('./store/watch.ts'),
  },
  {
    name: 'store rm',
    modifies: true,
    usage: '<Path ...>',
    description: 'Remove nodes and all below them, all of them or none',
    load: () => import('./store/rm.ts'),
  },
  {
    name: 'store chmod',
    modifies: true,
    usage: '[options] <Path> <Mode ...>',
    description: 'Set the permissions of a node',
    options: `-r, --recursive         Of everything below it too, all of it or none.
A mode is n (nothing), r (read), w (write) or b (both) and a domid. The first one is the owner and what those
may who are not named.`,
    load: () => import('./store/chmod.ts'),
  },
];

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const [verb, ...rest] = line.args;
  const spec = VERBS.find(({ name }) => name === `store ${verb}`);
  if (spec === undefined) {
    context.err(`'xl store' has no command '${verb}'.\n`);
    return context.usage(2);
  }
  const usage = (exitCode: number): number => {
    context.io.stdout.write(commandHelp(spec));
    return exitCode;
  };
  return (await spec.load()).run(rest, { ...context, spec, usage });
};
