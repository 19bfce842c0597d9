// Garbage on every hypercall: a result or DEFERRED, never a throw, never a bug shown; and the invariants hold.

import {
  __HYPERVISOR_domctl,
  __HYPERVISOR_sysctl,
  PAGE_SIZE,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_SYSCTL_INTERFACE_VERSION,
  xen_domctl,
  xen_sysctl,
} from '#pvbus';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';

/** Numbers a hostile guest would try. */
const number = fc.oneof(
  { weight: 6, arbitrary: fc.nat(40) },
  { weight: 2, arbitrary: fc.nat(2 ** 13) },
  { weight: 1, arbitrary: fc.integer() },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      -1,
      0x7ff0,
      0x7ff5,
      0xffff,
      0x7fffffff,
      0x80000000,
      0xffffffff,
      2 ** 32,
      2 ** 40,
      2 ** 52,
      2 ** 53 - 1,
      2 ** 53,
      2 ** 63,
      2 ** 64,
      1e300,
      -(2 ** 63),
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      0.5,
      -0,
    ),
  },
);
/** Words of an argument struct: small numbers are domids, ports, grefs, gfns and lengths. */
const word = fc.oneof(
  { weight: 5, arbitrary: fc.nat(8) },
  { weight: 2, arbitrary: fc.nat(70) },
  { weight: 2, arbitrary: fc.constantFrom(0x7ff0, 0x7ff5, 0xffff, 0x80000000, 0xffffffff, 0x10001, 0x20002) },
  { weight: 1, arbitrary: fc.nat(0xffffffff) },
);
const NUMBERS = [7, 12, 13, 15, 17, 18, 20, 24, 29, 32, 35, 36, 48];
/** One hypercall with all there is around it. */
export const trap = fc.record({
  nr: fc.oneof({ weight: 10, arbitrary: fc.constantFrom(...NUMBERS) }, { weight: 1, arbitrary: number }),
  args: fc.array(number, { minLength: 5, maxLength: 5 }),
  /** Which argument is a good address, if any. */
  pointer: fc.nat(5),
  /** Does the struct name a good interface version, for the calls that want one? */
  version: fc.boolean(),
  words: fc.array(word, { minLength: 0, maxLength: 40 }),
  /** Pointers inside the struct: words that become an address in good memory. */
  inner: fc.array(fc.nat(19), { maxLength: 3 }),
  byDom0: fc.boolean(),
});

export interface Trap {
  readonly nr: number;
  readonly args: readonly number[];
  readonly pointer: number;
  readonly version: boolean;
  readonly words: readonly number[];
  readonly inner: readonly number[];
  readonly byDom0: boolean;
}

export function perform(guest: Guest, t: Trap): void {
  const at = guest.reset().alloc(256);
  const list = guest.alloc(4096);
  t.words.forEach((w, i) => {
    guest.view.setUint32(at + 4 * i, w, true);
    guest.view.setUint32(list + 4 * i, w, true);
  });
  for (const i of t.inner) {
    guest.view.setUint32(at + 8 * i, list, true);
    guest.view.setUint32(at + 8 * i + 4, 0, true);
  }
  if (t.version && t.nr === __HYPERVISOR_domctl)
    guest.view.setUint32(at + xen_domctl.at.interface_version, XEN_DOMCTL_INTERFACE_VERSION, true);
  if (t.version && t.nr === __HYPERVISOR_sysctl)
    guest.view.setUint32(at + xen_sysctl.at.interface_version, XEN_SYSCTL_INTERFACE_VERSION, true);
  const args = t.args.map((arg, i) => (i === t.pointer ? at : arg));
  let done = false;
  guest.vcpu.complete = () => {
    done = true;
  };
  const result = guest.trap(t.nr, ...args);
  if (result === DEFERRED) {
    guest.rig.settle();
    // It sleeps, or its domain has stopped: as if an event had come.
    if (!done) guest.vcpu.finish(0);
    if (guest.vcpu.deferred) throw new Error('a hypercall that never returns');
  } else if (!Number.isSafeInteger(result)) throw new Error(`a result that is no number: ${String(result)}`);
}

/** Traps of one life of a host; every one of them is a case. */
export const TRAPS_PER_HOST = 100;

function live(rig: CoreRig, traps: readonly Trap[], byDom0: boolean): void {
  const guest = rig.guest({ pages: 32 });
  const witness = rig.guest({ pages: 16 });
  witness.bytes.fill(0x5a, 0, 16 * PAGE_SIZE);
  for (const [i, t] of traps.entries()) {
    if (guest.domain.dying || witness.domain.dying) return; // dom0 may destroy whom it likes
    if (guest.domain.isShutDown) rig.hypervisor.life.resume(guest.domain);
    perform(byDom0 && t.byDom0 ? rig.dom0 : guest, t);
    if (i % 10 === 9) checkInvariants(rig.hypervisor);
  }
  checkInvariants(rig.hypervisor);
  if (rig.internalErrors.length > 0) throw new Error(rig.internalErrors.join('\n'));
  if (!byDom0 && !witness.bytes.subarray(0, 16 * PAGE_SIZE).every(byte => byte === 0x5a))
    throw new Error("another domain's memory has changed");
}

const lives = (byDom0: boolean) =>
  fc.property(fc.array(trap, { minLength: TRAPS_PER_HOST, maxLength: TRAPS_PER_HOST }), traps => {
    const rig = new CoreRig({ dom0Pages: 64, dom0Vcpus: 2, hostPages: 2000 });
    try {
      live(rig, traps, byDom0);
    } finally {
      rig.close();
    }
  });

/** A case is a host's life of so many traps. */
export const byGuest = lives(false);
export const byBoth = lives(true);
