// What breaks: a process of dom0 is killed, and what it has left for the next one cannot be read by that, be it of another
// version of xenolith or no journal at all. What must be: the host ends at once with the file and the reason in one line.
// Before, one process after the other failed in the same way, for ever.
import { closeSync, openSync, writeSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { commandLine, eventually, isAlive } from '../../support/processes.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';

let host: LifecycleHost;
beforeEach(async () => {
  host = await LifecycleHost.start();
  host.ending();
});
afterEach(() => host.stop());

it.each([
  ['dom0.js', 'toolstackJournal', 8, 'a journal of version 99; the toolstack reads version 1'],
  ['xenstored.js', 'xenstoredJournal', 0, 'this is not a journal of xenstored'],
] as const)('what %s has left', async (program, journal, at, why) => {
  const path = runPaths(host.rig.runDir)[journal];
  const all = host.rig.processes();
  const pid = all.find(one => commandLine(one).includes(`/${program}`))!;
  // It writes no more, and has not ended.
  process.kill(pid, 'SIGSTOP');
  const fd = openSync(path, 'r+');
  writeSync(fd, Uint8Array.of(99), 0, 1, at);
  closeSync(fd);
  process.kill(pid, 'SIGKILL');
  expect(await host.rig.ended).toBe(1);
  const line = host.rig
    .log()
    .split('\n')
    .find(text => text.includes('host ends: '));
  expect(line).toContain(`host ends: a process of dom0 ended: vcpu${program === 'dom0.js' ? 0 : 1}: ${path}: ${why}`);
  await eventually('nothing of the host is left', () => !all.some(isAlive));
});
