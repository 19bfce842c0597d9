import { expect, it } from 'vitest';
import { ShellLauncher } from '../../../../hypervisor/confinement/shell-launcher.ts';

it('a launcher whose thread has failed has nobody left to kill: the host can end', async () => {
  const failures: Error[] = [];
  const nothing = (): void => {};
  const launcher = new ShellLauncher(
    { bits: 0, missing: new Map(), engineBytes: 0, tools: undefined },
    { spawned: nothing, fit: nothing, said: nothing, exited: nothing, failed: error => failures.push(error) },
  );
  launcher.spawn(1, 0x7fff_ffff); // what is no descriptor can be handed to nobody
  await launcher.killAll();
  expect(failures).toHaveLength(1);
  await launcher.killAll();
});
