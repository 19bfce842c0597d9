// What breaks: power is lost, at a moment that a seed decides, while guests write behind a write cache: every process of
// the host ends at the same instant, and the cache with them. Of what was not flushed it has held a share that the seed
// decides too, the rest is on the image, whatever was written before it. What must survive: each write that was acknowledged
// and flushed, of the others each sector is old or new; every file that was synced, and a volume that its next guest can
// repair.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { installExt4 } from '../../../tools/ext4/build.ts';
import { ext4Volumes } from '../../reliability/ext4-volumes.ts';
import { Victim } from '../../reliability/file-kills.ts';
import { Guest } from '../../reliability/guests.ts';
import { ToolstackCalls } from '../../reliability/toolstack.ts';
import { fatVolumes } from '../../reliability/volumes.ts';
import { HostRig } from '../../support/host-rig.ts';
import { eventually, isAlive, signalAll } from '../../support/processes.ts';
import { ext4Wasm } from '../../support/programs/ext4.ts';
import { seededRandom } from '../../support/random.ts';

const PEACE_MS = 300;

it('fault 53: power is lost under a write cache; what was flushed is there, the rest is old or new', async () => {
  const { seed, random } = seededRandom();
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-power-'));
  // order: a host says when it starts what its domains' shells may read.
  if (ext4Volumes) installExt4(await ext4Wasm());
  const rig = await HostRig.start();
  try {
    const toolstack = new ToolstackCalls(rig.runDir);
    /** Before there is such a guest: from its first write on. */
    const cache = async (name: string, ...more: string[]): Promise<void> => {
      const fault = ['part=disk', `domain=${name}`, 'op=write', ...more];
      expect(await rig.xl('fault', 'add', '-p', name, '-s', String(seed), ...fault)).toMatchObject({ exitCode: 0 });
    };
    const share = (): string => `cache=${Math.ceil(random() * 100)}%`;
    const guests = [0, 1].map(n => new Guest(rig, toolstack, folder, n, null));
    // An ext4 superblock is two sectors: its disk has blocks that arrive whole, as disks of today have.
    const volumes = [
      { victim: new Victim(rig, folder, 0, fatVolumes), whole: [] },
      ...(ext4Volumes ? [{ victim: new Victim(rig, folder, 1, ext4Volumes), whole: ['atomic=4096'] }] : []),
    ];
    // The first keeps all of it.
    for (const [n, guest] of guests.entries()) {
      await cache(guest.name, n === 0 ? 'cache=true' : share());
      await guest.start();
    }
    for (const { victim, whole } of volumes) {
      await cache(victim.name, share(), ...whole);
      await victim.begin();
    }
    await Promise.all(guests.map(guest => guest.getsOn(60_000)));
    await eventually('all write into their caches', async () => {
      const faults = JSON.parse((await rig.xl('fault', 'list', '--json')).stdout) as { injected: number }[];
      return faults.length === guests.length + volumes.length && faults.every(({ injected }) => injected > 0);
    });
    await pause(random() * PEACE_MS);
    const all = rig.processes();
    signalAll(all, 'SIGSTOP'); // so that none of them does anything after another's end
    signalAll(all, 'SIGKILL');
    await eventually('nobody is left', () => !all.some(isAlive));
    const wrong = guests.flatMap(guest => [...guest.check(), ...guest.complaints]);
    for (const { victim } of volumes) {
      victim.listen();
      wrong.push(...victim.lookAtCopy(() => {}), ...victim.complaints);
    }
    expect(wrong, `XENOLITH_SEED=${seed}`).toEqual([]);
    expect(guests.every(({ acked }) => acked > 0)).toBe(true);
  } finally {
    await rig.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
