import { expect, it } from 'vitest';
import { mayCall } from '../../../hypervisor/privilege.ts';
import { CoreRig } from '../../support/core-rig.ts';

it('each rule lets through whom it names', () => {
  const rig = new CoreRig();
  const dom0 = rig.dom0.domain;
  const [a, b, helper] = [rig.guest().domain, rig.guest().domain, rig.guest().domain];
  const store = rig.guest({ flags: 1 << 4 }).domain;
  helper.target = a;
  // target: oneself, one's target, or the control domain
  for (const [caller, subject, may] of [
    [a, a, true],
    [a, b, false],
    [helper, a, true],
    [helper, b, false],
    [store, a, false],
    [dom0, a, true],
  ] as const)
    expect(mayCall('evtchn_unbound', caller, subject)).toBe(may);
  // dm_priv: not oneself
  expect([mayCall('schedop_shutdown', a, a), mayCall('schedop_shutdown', helper, a)]).toEqual([false, true]);
  // xs_priv
  expect([mayCall('getdomaininfo', store, a), mayCall('getdomaininfo', a, a)]).toEqual([true, false]);
  // priv
  expect([mayCall('domctl', store, a), mayCall('domctl', helper, a), mayCall('domctl', dom0, a)]).toEqual([
    false,
    false,
    true,
  ]);
});
