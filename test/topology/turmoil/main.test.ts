// Domains with disks, interfaces and contended locks, of up to four vCPUs, and some that never yield, while at random
// vCPUs are plugged, memory is ballooned, pCPUs and domains change their pool, and domains are pinned, weighed, capped,
// paused, created and destroyed. Nothing that they read back is wrong, and every account is exact.
//   XENOLITH_TEST_OPERATIONS=1000 npm test -- test/topology/turmoil     a thousand of each kind
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { inventoryAtRest, settled } from '../../support/inventory.ts';
import { seededRandom } from '../../support/random.ts';
import { KINDS, Turmoil } from './turmoil.ts';

const OF_EACH = Number(process.env.XENOLITH_TEST_OPERATIONS ?? 15);
const CHECK_EVERY = 10;
let host: HostRig;
beforeAll(async () => {
  host = await HostRig.start();
});
afterAll(() => host?.stop());

it(`fault 40: ${OF_EACH} operations of each kind: no error, exact accounting, nothing left`, {
  timeout: 120_000 + OF_EACH * 4000,
}, async () => {
  const { seed, random } = seededRandom();
  const turmoil = await Turmoil.start(host, seed);
  const before = await inventoryAtRest(host);
  try {
    await turmoil.create('echo', 1, 1);
    await turmoil.create('work', 2, 4);
    await turmoil.create('work', 3, 3);
    await turmoil.create('work', 1, 2);
    await turmoil.create('spin', 1, 1);
    const left: number[] = KINDS.map(() => OF_EACH);
    for (let i = 0; left.some(n => n > 0); i++) {
      const kind = Math.floor(random() * KINDS.length);
      if (left[kind] === 0) continue;
      left[kind]!--;
      await turmoil.next(KINDS[kind]!);
      if (i % CHECK_EVERY === 0) await turmoil.check();
    }
    await turmoil.settles();
    const results = await turmoil.results();
    console.log(`seed ${seed}:`, JSON.stringify(results));
    await turmoil.destroyAll();
    expect(await settled(host, before)).toEqual(before);
  } catch (error) {
    const log = host
      .log()
      .split('\n')
      .slice(-40)
      .join('\n')
      .replaceAll(/^ +at .*\n/gm, '');
    throw new Error(`XENOLITH_SEED=${seed}, after ${turmoil.done.join('; ')}\nThe log ends:\n${log}`, { cause: error });
  } finally {
    turmoil.close();
  }
});
