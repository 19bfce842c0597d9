// Processes of the host that cannot be started as they should be.
import { join, relative } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ChildProcesses } from '../../../hypervisor/child-processes.ts';
import { withoutCapabilities } from '../../../hypervisor/confinement/host-capabilities.ts';
import { removeScratchFolders, ScratchFolder } from '../../support/scratch-folder.ts';

afterAll(removeScratchFolders);

it('xenstored of a host whose run directory is gone has not come to be, and the host goes on', async () => {
  const runDir = join(new ScratchFolder().path, 'gone');
  const exited = new Promise<number>(resolve => {
    const children = new ChildProcesses(
      { runDir, logFd: 2, tools: undefined },
      { spawned: () => {}, exited: resolve, serves: () => {}, said: () => {} },
    );
    // Where its user has no capability to lose, it ends by itself.
    children.spawn({
      op: 'spawn',
      id: 7,
      program: 'xenstored.js',
      sockets: [],
      vcpus: '',
      start: 'first',
      failures: 0,
    });
  });
  expect(await exited).toBe(7);
});

it('what a run directory is called by has no part in what its xenstored may do', () => {
  const { path } = new ScratchFolder();
  const command = { file: 'node', args: [] };
  for (const dir of [process.cwd(), path])
    expect(withoutCapabilities(command, relative('', dir) || '.')).toEqual(withoutCapabilities(command, dir));
});
