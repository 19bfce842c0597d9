// What breaks: a test's own process, while it waits on its host for a fault that never comes. What must be: nothing of the
// host is left, its directory neither, as it was when the process was killed.
import { existsSync } from 'node:fs';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { dist } from '../../support/host-view.ts';
import { eventually, family, isAlive } from '../../support/processes.ts';

const TEST = `
import { Host, inject } from ${JSON.stringify(dist('library.mjs'))};
const host = await Host.start({ memory: '64M' });
const never = await inject(host, { part: 'disk', error: 'EIO' });
process.on('message', () => process.exit(3));
process.send({ runDir: host.runDir, pid: host.pid });
await never.happened();
`;

it.each(['SIGTERM', 'SIGKILL', 'exit'] as const)('leaves nothing of its host: %s', async how => {
  const test = execa(process.execPath, ['--input-type=module', '-e', TEST], { ipc: true, reject: false });
  const { runDir, pid } = (await test.getOneMessage()) as { runDir: string; pid: number };
  const processes = family(pid);
  expect([existsSync(runDir), processes.length > 2]).toEqual([true, true]);
  if (how === 'exit') await test.sendMessage('end');
  else test.kill(how);
  await test;
  await eventually('its processes have ended', () => !processes.some(isAlive));
  expect(existsSync(runDir)).toBe(false);
});
