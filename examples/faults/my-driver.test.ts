import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { afterAll, test } from 'vitest';
import { expectInvariant, faultTrace, guestKernel, inject, withTopology } from 'xenolith';

const [image, ramdisk] = [`/tmp/my-driver-${process.pid}.img`, `${import.meta.dirname}/my-driver.ts`];
const disk = [`${image},raw,xvda,w,backend=storage`];
const topology = {
  images: [{ path: image, size: '1M' }],
  domains: {
    storage: { driver_domain: true, memory: 64 },
    mine: { kernel: guestKernel, ramdisk, disk, memory: 16, paused: true },
  },
};
afterAll(() => rmSync(image));

test('what is kept survives a backend that dies between a write and its answer', { timeout: 120_000 }, () =>
  withTopology(topology, { memory: '256M' }, async host => {
    const dying = await inject(host, { name: 'die', part: 'disk', op: 'write', nth: [10, 30], kill: 'after' });
    const console = await host.domain('mine').console();
    await host.domain('mine').unpause();
    const kept = [...(await console.waitFor('done')).matchAll(/kept (\d+)/g)].map(([, sector]) => Number(sector));
    await dying.happened(2);
    assert.deepEqual(kept, [...Array(64).keys()]);
    const acknowledged = kept.map(sector => ({ sector, data: new Uint8Array(512).fill(sector + 1) }));
    await expectInvariant(host, 'I1', { image, acknowledged });
    assert.deepEqual(await faultTrace(host), ['die 10 vbd 51712 of dom2', 'die 30 vbd 51712 of dom2']);
  }),
);
