import { expect, it } from 'vitest';
import { __HYPERVISOR_domctl, DOMID_SELF, EVTCHNOP_send, evtchn_send } from '#pvbus';
import { CoreRig } from '../../support/core-rig.ts';

it('a guest that goes on being refused is named, with the hypercall and the reason, once for each doubling', () => {
  const rig = new CoreRig();
  const guest = rig.guest();
  for (let n = 0; n < 63; n++) guest.send(9);
  expect(rig.log.lines.filter(line => line.includes('refused'))).toEqual([]);
  for (let n = 63; n < 1000; n++) guest.evtchn(EVTCHNOP_send, guest.reset().put(evtchn_send, { port: 9 }));
  expect(rig.log.lines.filter(line => line.includes('refused'))).toEqual(
    [64, 128, 256, 512].map(
      n => `dom${guest.domid}: event_channel_op ${EVTCHNOP_send} refused: EINVAL; ${n} refusals so far`,
    ),
  );
});

it('one that has refused grants, or asks what is no hypercall, is named as well; a control domain is not', () => {
  const rig = new CoreRig();
  const guest = rig.guest();
  for (let n = 0; n < 64; n++) {
    guest.unmap(4242);
    guest.trap(n % 2 === 0 ? 63 : 1e9);
    guest.trap(__HYPERVISOR_domctl, guest.reset().alloc(256));
    rig.dom0.close(4000);
    rig.dom0.map(DOMID_SELF, 4000);
  }
  expect(rig.log.lines.filter(line => line.includes('refused'))).toEqual([
    `dom${guest.domid}: grant_table_op refused: GNTST_bad_handle; 64 refusals so far`,
    `dom${guest.domid}: hypercall 1000000000 refused: ENOSYS; 64 refusals so far`,
    `dom${guest.domid}: domctl refused: EACCES; 64 refusals so far`,
  ]);
});
