// What a backend writes into xenstore, and when: states and keys of any kind, while the frontend negotiates.

import { XenbusState } from '#pvbus';
import fc from '../../support/properties.ts';
import { WaitingGuest } from '../../support/waiting-guest.ts';

const KEYS = [
  ...['state', 'sectors', 'sector-size', 'info', 'feature-flush-cache', 'feature-discard', 'online'],
  ...['feature-max-indirect-segments', 'hotplug-status', 'mode'],
];
const numberish = fc.oneof(
  fc.integer({ min: -2, max: 9 }).map(String),
  fc.bigInt({ min: 0n, max: 2n ** 66n }).map(String),
  fc.constantFrom('', ' 1', '1 ', '0x4', '1e3', 'NaN', '-0', '4\n', '00000000004', '٤', '512', '2048'),
  fc.string({ maxLength: 40, unit: 'grapheme' }).map(s => s.replaceAll('\0', '')),
);
/** Often a handshake that would do. */
const state = fc.constantFrom('2', '4', '2', '4', '5', '6', '1', '3', '0');
const write = fc.oneof(
  fc.record({ key: fc.constantFrom(...KEYS), value: numberish }),
  fc.record({ key: fc.constant('state'), value: state }),
);

let guest: WaitingGuest | undefined;
export const backendKeys = fc.property(
  fc.array(fc.record({ write, removed: fc.nat(29), steps: fc.nat(6) }), { minLength: 1, maxLength: 25 }),
  acts => {
    const made = guest ?? new WaitingGuest();
    guest = undefined; // after a failure there is a new one
    const { store, blkfront, frontend: path } = made;
    const { frontend } = blkfront;
    if (store.read(`/local/domain/${made.guest.domid}/device`) === undefined) {
      made.plug();
      void blkfront.start();
    } else made.plug();
    const { frames } = made.vcpu;
    for (const { write, removed, steps } of acts) {
      if (removed === 0) store.remove(made.backend);
      else store.write(`${made.backend}/${write.key}`, write.value);
      for (let i = 0; i < steps; i++) {
        if (!made.step() && frontend.deadline() !== undefined) made.second();
      }
      const own = Number(store.read(`${path}/state`));
      if (!(own >= XenbusState.Initialising && own <= XenbusState.Closed)) throw new Error(`our state is ${own}`);
      for (const disk of blkfront.disks()) {
        if (!Number.isSafeInteger(disk.sectors * 512)) throw new Error(`a disk of ${disk.sectors} sectors`);
      }
    }
    made.unplug();
    made.until(() => frontend.devices().length === 0);
    // The pages of the device are back, but for those of a table of grants that has grown.
    if (made.guest.domain.ports.open > 3) throw new Error(`${made.guest.domain.ports.open} ports are open`);
    if (frames.available < 1500) throw new Error(`${frames.available} frames are left`);
    if (made.guest.domain.grants.pinned !== 0) throw new Error('grants are in use');
    made.log.lines.length = 0;
    guest = made;
  },
);
