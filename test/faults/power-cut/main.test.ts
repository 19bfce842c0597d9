// What breaks: power is lost, at a moment that a seed decides, while two guests write behind a write cache that holds
// whatever was not flushed: every process of the host ends at the same instant, and the cache with them. What must survive:
// each write that was acknowledged and flushed; of the others each sector is old or new.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Guest } from '../../reliability/guests.ts';
import { ToolstackCalls } from '../../reliability/toolstack.ts';
import { HostRig } from '../../support/host-rig.ts';
import { eventually, isAlive, signalAll } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';

const PEACE_MS = 300;

it('fault 53: power is lost under a write cache; what was flushed is there, the rest is old or new', async () => {
  const { seed, random } = seededRandom();
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-power-'));
  const rig = await HostRig.start();
  try {
    const toolstack = new ToolstackCalls(rig.runDir);
    const guests = [0, 1].map(n => new Guest(rig, toolstack, folder, n, null));
    for (const guest of guests) {
      await guest.start();
      const fault = ['part=disk', `domain=${guest.name}`, 'op=write', 'cache=true'];
      expect(await rig.xl('fault', 'add', '-p', guest.name, ...fault)).toMatchObject({ exitCode: 0 });
    }
    await Promise.all(guests.map(guest => guest.getsOn(60_000)));
    await eventually('both write into the cache', async () => {
      const faults = JSON.parse((await rig.xl('fault', 'list', '--json')).stdout) as { injected: number }[];
      return faults.length === 2 && faults.every(({ injected }) => injected > 0);
    });
    await pause(random() * PEACE_MS);
    const all = rig.processes();
    signalAll(all, 'SIGSTOP'); // so that none of them does anything after another's end
    signalAll(all, 'SIGKILL');
    await eventually('nobody is left', () => !all.some(isAlive));
    expect(
      guests.flatMap(guest => [...guest.check(), ...guest.complaints]),
      `seed ${seed}`,
    ).toEqual([]);
    expect(guests.every(({ acked }) => acked > 0)).toBe(true);
  } finally {
    await rig.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
