// The backends' ring loops against whatever a frontend can write into its pages. It costs that frontend its device at
// most; nothing of it stays mapped or bound.
import { closeSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { blkif_sring_entry, consoleRing, domid, PAGE_SIZE, privatePage, sring, xencons_interface } from '#pvbus';
import { ConsoleStats } from '../../../dom0/backends/consoled/stats.ts';
import { ConsoleWorker } from '../../../dom0/backends/consoled/worker.ts';
import { BlkRig, ImageFile } from '../../support/blk-rig.ts';
import { HostileFrontend } from '../../support/hostile-frontend.ts';
import { HostileNetfront } from '../../support/hostile-netfront.ts';
import { NetRig } from '../../support/net-rig.ts';
import fc from '../../support/properties.ts';
import { StandingClock } from '../../support/xenstore-rig.ts';

const IMAGE = 1 << 16;
/** A rig is made anew now and then, so that nothing can pile up unseen for long. */
const CASES_PER_RIG = 500;

const byte = fc.oneof(fc.nat(6), fc.nat(255), fc.constantFrom(0, 11, 12, 255));
const request = fc.record({
  operation: byte,
  nr_segments: byte,
  /** Words of all that follows: small ones are grefs, sectors and counts. */
  words: fc.array(
    fc.oneof(fc.nat(20), fc.nat(0xffffffff), fc.constantFrom(0x0700, 0x07000000, 0x00070000, 0xffffffff, 127, 128)),
    { minLength: 27, maxLength: 27 },
  ),
});
const index = fc.oneof({ weight: 6, arbitrary: fc.nat(4) }, { weight: 1, arbitrary: fc.integer() });

class DiskUnderFire {
  readonly rig = new BlkRig();
  readonly image = new ImageFile(new Uint8Array(IMAGE).fill(7));
  readonly front: HostileFrontend;
  readonly port: number;
  cases = 0;

  constructor() {
    rmSync(dirname(this.image.path), { recursive: true }); // nothing is left, whenever this process ends
    this.front = new HostileFrontend(this.rig.core.guest({ pages: 128 }).kernel(), domid(0));
    this.port = this.front.port;
  }
  connect(persistent: boolean): void {
    const { front, rig, image } = this;
    front.ring.bytes.fill(0, 0, sring.size);
    front.prod = 0;
    front.cons = 0;
    const eventChannel = front.vcpu.events.allocUnbound(domid(0));
    rig.connect({ domid: front.vcpu.domid, rings: [{ ringRefs: [front.refs[0]!], eventChannel }] }, image, {
      persistent,
    });
    rig.run();
  }
}
let disk: DiskUnderFire | undefined;

export const diskRing = fc.property(
  fc.array(request, { maxLength: 6 }),
  index,
  fc.boolean(),
  (requests, ahead, persistent) => {
    disk ??= new DiskUnderFire();
    const { rig, front, image } = disk;
    const before = rig.vcpu.domid === 0 ? rig.core.dom0.domain.grants.mappings : 0;
    const ports = rig.core.dom0.domain.ports.open;
    disk.connect(persistent);
    const key = `dom${front.vcpu.domid}`;
    const { view } = front.ring;
    for (const [i, { operation, nr_segments, words }] of requests.entries()) {
      const at = sring.size + (i % 32) * blkif_sring_entry.size;
      for (const [w, word] of words.entries()) view.setUint32(at + 4 + 4 * w, word, true);
      view.setUint8(at, operation);
      view.setUint8(at + 1, nr_segments);
    }
    front.setReqProd(requests.length + (ahead === 0 ? 0 : ahead));
    rig.worker.step();
    rig.vcpu.events.poll();
    rig.run();
    const answered = front.rspProd();
    if (answered > 40) throw new Error(`${answered} responses of a ring of 32`);
    rig.disconnect(key);
    rig.run();
    rig.failures.length = 0;
    rig.log.lines.length = 0;
    if (rig.core.internalErrors.length > 0) throw new Error(rig.core.internalErrors.join('\n'));
    if (rig.core.dom0.domain.grants.mappings !== before) throw new Error('grants stay mapped');
    if (rig.core.dom0.domain.ports.open !== ports) throw new Error('ports stay bound');
    if (++disk.cases === CASES_PER_RIG) {
      closeSync(image.fd);
      disk = undefined;
    }
  },
);

let net: { readonly rig: NetRig; readonly front: HostileNetfront; cases: number } | undefined;
const scribbles = fc.array(fc.record({ at: fc.nat(200), value: fc.integer() }), { maxLength: 30 });
const indices = fc.array(fc.record({ at: fc.nat(3), value: fc.integer({ min: -2, max: 260 }) }), { maxLength: 3 });

export const interfaceRings = fc.property(
  scribbles,
  scribbles,
  scribbles,
  indices,
  fc.nat(2),
  (tx, rx, control, moves, which) => {
    if (net === undefined) {
      const rig = new NetRig();
      net = { rig, front: new HostileNetfront(rig), cases: 0 };
    }
    const { rig, front } = net;
    const port = front.vcpu.events.allocUnbound(rig.vcpu.domid);
    for (const [name, writes] of [
      ['tx', tx],
      ['rx', rx],
      ['control', control],
    ] as const) {
      front.words(name).fill(0);
      for (const { at, value } of writes) front.words(name)[at] = value;
    }
    const mappings = rig.core.dom0.domain.grants.mappings;
    front.connect({ control: { ringRef: front.refs[2]!, port } });
    for (const { at, value } of moves) {
      front.words((['tx', 'rx', 'control'] as const)[which]!)[at] = value;
      front.vcpu.events.notify(front.port);
      for (let turn = 0; turn < 200 && rig.worker.step() === 'progress'; turn++) rig.vcpu.events.poll();
    }
    front.disconnect();
    front.vcpu.events.close(port);
    if (rig.core.dom0.domain.grants.mappings !== mappings) throw new Error('grants stay mapped');
    if (rig.core.internalErrors.length > 0) throw new Error(rig.core.internalErrors.join('\n'));
    if (++net.cases === CASES_PER_RIG) net = undefined;
  },
);

export const consolePage = fc.property(
  fc.array(fc.tuple(fc.nat(PAGE_SIZE / 4 - 1), fc.integer()), { maxLength: 20 }),
  fc.array(fc.tuple(fc.nat(3), index), { maxLength: 6 }),
  fc.uint8Array({ maxLength: 64 }),
  (bytes, moves, typed) => {
    const page = privatePage();
    for (const [at, value] of bytes) page.words[at] = value;
    let taken = 0;
    const worker = new ConsoleWorker({
      ...{ page, clock: new StandingClock(), stats: new ConsoleStats(), notify: () => {}, inputWanted: () => {} },
      output: chunk => {
        taken += chunk.length;
      },
    });
    worker.type(typed);
    for (const [at, value] of moves) {
      page.words[xencons_interface.at.in_cons / 4 + at] = value;
      // A guest may lie for ever; each look takes a ring at most.
      const before = taken;
      worker.step();
      if (taken - before > 2048) throw new Error(`${taken - before} bytes of one look`);
    }
    const { broken } = worker;
    consoleRing(page, 'front');
    if (broken && worker.step() !== 'idle') throw new Error('a broken console is served');
  },
);
