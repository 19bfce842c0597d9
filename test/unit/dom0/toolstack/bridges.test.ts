// Bridges that the toolstack cannot keep in mind for who comes after it.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { XenError } from '#pvbus';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { SimulatedHost } from '../../../support/simulated-host.ts';

let host: SimulatedHost;
const journal = new MemoryDisk();
beforeEach(async () => {
  host = await SimulatedHost.start({ journal });
});
afterEach(async () => {
  journal.beforeAppend = () => {};
  await host.stop();
});
const names = async (): Promise<string[]> => (await host.run(host.toolstack.bridges())).map(({ name }) => name);
const create = (name: string): Promise<void> => host.run(host.toolstack.createBridge(name, 1500));

it('a bridge that cannot be kept is not there, one that was there stays', async () => {
  await create('kept');
  journal.beforeAppend = () => {
    throw new XenError('ENOSPC', 'no space left');
  };
  await expect(create('lan')).rejects.toMatchObject({ code: 'ENOSPC' });
  await expect(create('xenbr0')).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(await names()).toEqual(['xenbr0', 'kept']);
  journal.beforeAppend = () => {};
  await create('lan');
  expect(await names()).toEqual(['xenbr0', 'kept', 'lan']);
});
