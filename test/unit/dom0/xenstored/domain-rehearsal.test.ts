import { expect, test } from 'vitest';
import { systemClock } from '#pvbus';
import { DomainRehearsal } from '../../../../dom0/xenstored/domain-rehearsal.ts';
import { find } from '../../../../dom0/xenstored/store.ts';

test('domains are made, use their rings, and go', () => {
  const rehearsal = new DomainRehearsal(systemClock);
  const { server } = rehearsal;
  const seen = new Set<string>();
  let watches = 0;
  for (let steps = 0; rehearsal.step() === 'progress'; steps++) {
    expect(steps).toBeLessThan(100_000); // it comes to an end
    for (const domid of server.domains.domids()) {
      const home = find(server.store.tree, `/local/domain/${domid}`);
      if (home?.children.get('data')?.children.get('key') !== undefined) seen.add(`dom${domid} wrote`);
      if (domid !== 0) watches = Math.max(watches, ...server.clientsOf(domid).map(c => server.watches.count(c)));
    }
  }
  expect(seen.size).toBe(30);
  expect(watches).toBe(1);
  expect(server.domains.domids()).toEqual([0]);
  for (const gone of ['/vm', '/libxl']) expect(find(server.store.tree, gone)?.children.size).toBe(0);
  expect(find(server.store.tree, '/local/domain')?.children.size).toBe(1); // dom0's backends
  expect(server.check()).toBeUndefined();
});
