// `xl up topology.yaml` in CWD on the run directory DIR, with a FakeToolstack for a host.

import { join } from 'node:path';
import { findCommand } from '../../tools/commands/table.ts';
import { up } from '../../tools/commands/up.ts';
import { xlCommand } from './xl.ts';

const [dir, cwd] = process.argv.slice(2);
const program = ['--import', 'tsx', join(import.meta.dirname, 'fake-host.ts')];
let shown = 0;
const { code, stderr } = await xlCommand(
  findCommand('up')!,
  (args, context) => up(args, context, program),
  {
    dir: dir!,
    cwd: cwd!,
    env: process.env,
    onOutput: all => {
      process.stdout.write(all.slice(shown));
      shown = all.length;
    },
  },
  ['topology.yaml'],
);
process.stderr.write(stderr);
process.exitCode = code;
