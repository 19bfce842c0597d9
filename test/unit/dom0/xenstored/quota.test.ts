import { expect, test } from 'vitest';
import { Quotas } from '../../../../dom0/xenstored/quota.ts';

test('quotas that are taken as data and put back are the same', () => {
  const quotas = new Quotas();
  quotas.set('nodes', 7, 3);
  quotas.set('nodes', 8);
  quotas.admit(4);
  quotas.set('watches', 0);
  const again = new Quotas();
  again.set('memory', 5, 9);
  again.restore(JSON.parse(JSON.stringify(quotas.state())));
  expect([3, 4, undefined].map(domid => again.get('nodes', domid))).toEqual([7, 8, 8]);
  expect(again.get('memory', 9)).toBe(quotas.get('memory', 9));
  expect(again.limits(5, false).watches).toBe(Number.POSITIVE_INFINITY);
  expect(again.state()).toEqual(quotas.state());
});
