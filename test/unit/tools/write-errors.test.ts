// What xl says when nobody can take what it prints.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { dist } from '../../support/host-view.ts';

/** Every write to it is ENOSPC. */
async function onFull(program: string, args: readonly string[], stderr: 'pipe' | 'full') {
  const full = openSync('/dev/full', 'w');
  try {
    const child = spawn(process.execPath, [dist(program), ...args], {
      stdio: ['ignore', full, stderr === 'full' ? full : 'pipe'],
    });
    const [said, [code]] = await Promise.all([child.stderr ? text(child.stderr) : '', once(child, 'close')]);
    return { said, code };
  } finally {
    closeSync(full);
  }
}

it('that it cannot be written, and why, is a line and a failure', async () => {
  const ENOSPC = 'write error: ENOSPC: no space left on device, write';
  expect(await onFull('xl.js', ['help'], 'pipe')).toEqual({ code: 1, said: `xl: ${ENOSPC}\n` });
  expect(await onFull('xentop.js', ['--help'], 'pipe')).toEqual({ code: 1, said: `xentop: ${ENOSPC}\n` });
});
it('is a failure too where there is nobody to tell', async () => {
  expect(await onFull('xl.js', ['help'], 'full')).toEqual({ code: 1, said: '' });
});
