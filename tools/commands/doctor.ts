// xl doctor: is this machine one to run a host on? No host is needed.

import { release } from 'node:os';
import { runDir } from '#pvbus';
import { runChecks } from '../doctor/checks.ts';
import { thisMachine } from '../doctor/machine.ts';
import type { RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

const MARKS = { ok: ' ok ', warn: 'warn', fail: 'FAIL' } as const;

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  const { env } = context.io;
  const checks = await runChecks(thisMachine(env, release()), runDir(env));
  const healthy = checks.every(({ status }) => status !== 'fail');
  if (line.options.has('json')) printJson(context, { ok: healthy, checks });
  else {
    for (const { name, status, found, lost, advice } of checks) {
      context.out(`${MARKS[status]}  ${name.padEnd(16)} ${found}`);
      if (lost !== null) context.out(`${' '.repeat(23)}lost: ${lost}`);
      if (advice !== null) context.out(`${' '.repeat(23)}do:   ${advice}`);
    }
    const warnings = checks.filter(({ status }) => status === 'warn').length;
    const more = warnings === 0 ? '' : `, without what is marked (${warnings})`;
    context.out(healthy ? `\nA host can run here${more}.` : '\nA host cannot run here.');
  }
  return healthy ? 0 : 1;
};
