// Run with a small file system of its own as TMPDIR: a host there, which it fills and empties. Prints JSON.
import { appendFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';

const host = await LifecycleHost.start();
try {
  const bystander = await host.create(host.config('bystander', 'echo'));
  await host.up('bystander');
  const nodes = await host.nodes();

  const filler = join(tmpdir(), 'filler');
  for (let size = 1 << 20; size >= 1; size /= 2) {
    try {
      for (;;) appendFileSync(filler, new Uint8Array(size));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  const attempt = (name: string): Promise<string> =>
    host.create(host.config(name, 'echo')).then(
      () => 'created',
      (error: Error) => error.message,
    );
  const full = await attempt('late');
  const list = (await host.list()).map(({ name }) => name);
  rmSync(filler);
  await host.up('late');
  const late = (await host.list()).find(({ name }) => name === 'late')!;
  await host.destroy(late.domid);
  const alive = (await host.info(bystander))?.shutdown === false;
  const left = (await host.nodes()).filter(path => !nodes.includes(path));
  console.log(JSON.stringify({ full, list, alive, left, log: host.rig.log().slice(-3000) }));
} finally {
  await host.stop();
}
