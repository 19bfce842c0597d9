// Garbage on every hypercall, by a guest and by dom0: a result or DEFERRED, never a throw, never a bug shown,
// and another domain is as it was.

import { expect, it } from 'vitest';
import { PAGE_SIZE, VIRQ_TIMER } from '#pvbus';
import { perform, trap } from '../../fuzz/hypercalls/traps.ts';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';

it('any trap of a guest or of dom0 has a result, and the hypervisor goes on', () => {
  let answered = 0;
  fc.assert(
    fc.property(fc.array(trap, { minLength: 50, maxLength: 150 }), traps => {
      const rig = new CoreRig({ dom0Pages: 64, dom0Vcpus: 2, hostPages: 2000 });
      const guest = rig.guest({ pages: 32 });
      const witness = rig.guest({ pages: 16 });
      witness.bytes.fill(0x5a, 0, 16 * PAGE_SIZE);
      const port = witness.bindVirq(VIRQ_TIMER);
      for (const t of traps) {
        if (guest.domain.dying || witness.domain.dying) break; // dom0 may destroy whom it likes
        // Nor is it news that a control domain can change a domain's vcpus and ports.
        if (guest.domain.isShutDown) rig.hypervisor.life.resume(guest.domain);
        perform(t.byDom0 ? rig.dom0 : guest, t);
        answered++;
        checkInvariants(rig.hypervisor);
      }
      expect(rig.internalErrors).toEqual([]);
      if (!witness.domain.dying && !traps.some(t => t.byDom0)) {
        expect(witness.bytes.subarray(0, 16 * PAGE_SIZE).every(byte => byte === 0x5a)).toBe(true);
        expect(witness.status(port).status).toBe(4);
      }
    }),
    { numRuns: 40 },
  );
  expect(answered).toBeGreaterThan(1000);
});

it('any trap of a guest leaves the memory and the ports of another as they were', () => {
  fc.assert(
    fc.property(fc.array(trap, { minLength: 50, maxLength: 150 }), traps => {
      const rig = new CoreRig({ dom0Pages: 64, dom0Vcpus: 2, hostPages: 2000 });
      const guest = rig.guest({ pages: 32 });
      const witness = rig.guest({ pages: 16 });
      witness.bytes.fill(0x5a, 0, 16 * PAGE_SIZE);
      const port = witness.bindVirq(VIRQ_TIMER);
      for (const t of traps) {
        if (guest.domain.isShutDown) rig.hypervisor.life.resume(guest.domain);
        perform(guest, t);
        checkInvariants(rig.hypervisor);
      }
      expect(rig.internalErrors).toEqual([]);
      expect(witness.bytes.subarray(0, 16 * PAGE_SIZE).every(byte => byte === 0x5a)).toBe(true);
      expect(witness.status(port).status).toBe(4);
      expect(witness.domain.ports.open).toBe(1);
      expect(rig.hypervisor.domains.size).toBe(3);
    }),
    { numRuns: 40 },
  );
});
