// Processes of the host that cannot be started as they should be.
import { mkdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { nodeCommand } from '../../../hypervisor/child-processes.ts';
import { withoutCapabilities } from '../../../hypervisor/confinement/host-capabilities.ts';
import { StoreLauncher } from '../../../hypervisor/confinement/store-launcher.ts';
import { removeScratchFolders, ScratchFolder } from '../../support/scratch-folder.ts';

afterAll(removeScratchFolders);

// Another user's has no capability to lose: it is started and ends by itself, by a thread that only the build has.
const why = process.getuid?.() === 0 ? '' : ': not root';
it.skipIf(why)(
  `xenstored of a host whose run directory is gone has not come to be, and the host goes on${why}`,
  async () => {
    const runDir = join(new ScratchFolder().path, 'gone');
    mkdirSync(runDir);
    let exits: (id: number) => void = () => {};
    let failed: (error: Error) => void = () => {};
    const exited = new Promise<number>((resolve, reject) => {
      exits = resolve;
      failed = reject;
    });
    const nothing = (): void => {};
    const stores = new StoreLauncher(
      { layers: 0, runDir, logFd: 2 },
      { spawned: nothing, exited: exits, serves: nothing, failed },
    );
    rmSync(runDir, { recursive: true });
    stores.spawn(7, nodeCommand({ program: 'xenstored.js', start: 'first', failures: 0 }, runDir), '', []);
    expect(await exited).toBe(7);
    await stores.killAll();
  },
);

it('what a run directory is called by has no part in what its xenstored may do', () => {
  const { path } = new ScratchFolder();
  const command = { file: 'node', args: [] };
  for (const dir of [process.cwd(), path])
    expect(withoutCapabilities(command, relative('', dir) || '.')).toEqual(withoutCapabilities(command, dir));
});
