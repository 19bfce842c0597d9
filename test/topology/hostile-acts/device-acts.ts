// Acts of a frontend against its backends, numbered as in docs/hostile-acts.md.
import {
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  domid,
  NETTXF_extra_info,
  NETTXF_more_data,
  readKey,
  readStartInfo,
  sring,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MAX,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  xencons_interface,
} from '#pvbus';
import type { HostileFrontend, RawRequest } from '../../support/hostile-frontend.ts';
import { DATA_PAGES, type RawNetfront } from '../../support/raw-netfront.ts';
import type { Acts, Mallory } from './performer.ts';
import { CLOSED, CLOSING, type Keys, RawDisk, RawVif } from './raw-devices.ts';

const DOM0 = domid(0);
const XVDA = 51712;
const XVDB = 51728;
const NEVER_GRANTED = 5000;
/** GTF_reading and GTF_writing: what a map sets and an unmap clears. */
const MAPPED = 24;
const STORM_NS = 200e6;
const STORM = 10_000;
const RSP_PROD = sring.at.rsp_prod / 4;
const RSP_EVENT = sring.at.rsp_event / 4;

export function deviceActs(mallory: Mallory): Acts {
  const disk = new RawDisk(mallory, XVDA);
  const readOnly = new RawDisk(mallory, XVDB);
  const vif = new RawVif(mallory, 0);
  const other = new RawVif(mallory, 1);

  /** Connect, do it, be given up for it, come back in order. */
  const losesDevice = (act: (front: HostileFrontend) => unknown) => async () => {
    await disk.connect();
    const honest = await disk.read();
    await act(disk.front);
    disk.front.notify();
    const state = await disk.handshake.awaitBackend(CLOSING);
    // Nothing is replayed, and nothing is answered any more.
    const answered = disk.front.response() !== undefined;
    await disk.leave();
    return { honest, state, answered };
  };
  /** Connect, ask for things that cannot be, then for one that can. */
  const answered =
    (on: RawDisk, acts: (front: HostileFrontend) => readonly ((index: number) => void)[]) => async () => {
      await on.connect();
      const statuses: number[] = [];
      for (const act of acts(on.front)) statuses.push(await on.ask(act));
      const honest = await on.read();
      await on.leave();
      return { statuses, honest };
    };
  const requests = (on: RawDisk, make: (front: HostileFrontend) => readonly RawRequest[]) =>
    answered(on, front => make(front).map(request => (index: number) => front.write(index, request)));
  /** Packets of one ring each; statuses of all slots. */
  const packets =
    (...makes: ((front: RawNetfront) => number)[]) =>
    async () => {
      await vif.connect();
      const statuses: number[][] = [];
      for (const make of makes) statuses.push(await vif.transmit(make(vif.front)));
      vif.front.write(0, vif.front.mac, 60);
      vif.front.putTx({ size: 60 });
      const [honest] = await vif.transmit(1);
      await vif.leave();
      return { statuses, honest };
    };
  const one = (_front: RawNetfront): number => 1;
  const losesVif =
    (...makes: ((front: RawNetfront) => void)[]) =>
    async () => {
      const states: unknown[] = [];
      for (const make of makes) {
        await vif.connect();
        make(vif.front);
        vif.front.publishTx();
        states.push(await vif.handshake.awaitBackend(CLOSING));
        await vif.leave();
      }
      return { states };
    };
  const refused = async (device: RawDisk | RawVif, ...lies: Keys[]) => {
    const states: unknown[] = [];
    for (const lie of lies) {
      states.push(await device.connect(lie));
      await device.leave();
    }
    return states;
  };

  return {
    /** Each device once, in order: from here on all there is of them is there. */
    warm: async () => {
      for (const device of [disk, readOnly, vif, other]) {
        await device.connect();
        await device.leave();
      }
      return { warm: true };
    },
    1: losesDevice(front => front.setReqProd(front.prod + 33)),
    2: losesDevice(front => front.setReqProd(front.prod + 2 ** 31)),
    3: losesDevice(front => front.setReqProd(0)),
    4: async () => {
      const start = 2 ** 32 - 5;
      await disk.connect({}, front => front.startAt(start));
      const statuses: number[] = [];
      for (let i = 0; i < 12; i++) statuses.push(await disk.read());
      const wrapped = disk.front.rspProd();
      await disk.leave();
      return { statuses, wrapped };
    },
    5: async () => {
      await disk.connect();
      await disk.read();
      Atomics.store(disk.front.ring.words, RSP_PROD, 12345);
      disk.front.send(index => disk.front.write(index, { segments: [{ gref: disk.front.refs[1]! }] }));
      await mallory.until('the backend has put its own index there', () => disk.front.rspProd() === 2);
      const status = disk.front.response()?.status;
      await disk.leave();
      return { status };
    },
    6: async () => {
      await disk.connect();
      Atomics.store(disk.front.ring.words, RSP_EVENT, 2 ** 31 - 1);
      const { events } = disk.front;
      const status = await disk.read();
      const told = disk.front.events - events;
      await disk.leave();
      return { status, told };
    },
    7: async () => {
      await disk.connect();
      const statuses = new Set<number>();
      // Until either has been found in the slot.
      await mallory.until('either gref is used', () => {
        disk.front.send(index => disk.front.write(index, { segments: [{ gref: disk.front.refs[1]! }] }));
        const at = disk.front.slot(disk.front.prod - 1) + 24;
        while (disk.front.rspProd() !== disk.front.prod) {
          disk.front.ring.view.setUint32(at, NEVER_GRANTED, true);
          disk.front.ring.view.setUint32(at, disk.front.refs[2]!, true);
        }
        statuses.add(disk.front.response()!.status);
        return statuses.has(0) && statuses.has(-1);
      });
      const honest = await disk.read();
      await disk.leave();
      return { statuses: [...statuses].sort(), honest };
    },
    8: requests(disk, ({ refs }) => [{ operation: 255, segments: [{ gref: refs[1]! }] }]),
    9: answered(disk, front => [
      index => front.write(index, { nr_segments: 0 }),
      index => front.write(index, { nr_segments: 12 }),
      index => front.writeIndirect(index, { op: BLKIF_OP_READ, nr_segments: 257, refs: [front.refs[1]!] }),
    ]),
    10: requests(disk, ({ refs }) => [
      { segments: [{ gref: refs[1]!, first_sect: 5, last_sect: 4 }] },
      { segments: [{ gref: refs[1]!, last_sect: 8 }] },
    ]),
    11: requests(disk, ({ refs }) => [
      { operation: BLKIF_OP_WRITE, sector_lo: 2 ** 20, segments: [{ gref: refs[1]! }] },
      { operation: BLKIF_OP_WRITE, sector_lo: 0xffffffff, sector_hi: 0xffffffff, segments: [{ gref: refs[1]! }] },
    ]),
    12: requests(readOnly, ({ refs }) => [{ operation: BLKIF_OP_WRITE, segments: [{ gref: refs[1]! }] }]),
    13: answered(disk, front => [
      index => front.writeDiscard(index, { lo: 8, hi: 0, countLo: 0xfffffff8, countHi: 0xffffffff }),
    ]),
    14: answered(disk, front => [
      index => front.writeIndirect(index, { op: 6, nr_segments: 1, refs: [front.refs[1]!] }),
      index => front.writeIndirect(index, { op: BLKIF_OP_FLUSH_DISKCACHE, nr_segments: 1, refs: [front.refs[1]!] }),
    ]),
    15: async () => {
      await disk.connect();
      const { grants } = mallory.vcpu;
      const { gfn } = disk.front.shared;
      const foreign = grants.grantAccess(domid(1), gfn + 1);
      const forReading = grants.grantAccess(DOM0, gfn + 2, true);
      const statuses: number[] = [];
      for (const gref of [NEVER_GRANTED, 2 ** 32 - 1, foreign, forReading])
        statuses.push(await disk.request({ operation: BLKIF_OP_READ, segments: [{ gref }] }));
      const honest = await disk.read();
      const leaked = [foreign, forReading].filter(gref => !grants.endAccess(gref)).length;
      await disk.leave();
      return { statuses, honest, leaked };
    },
    16: async () => {
      await disk.connect({ 'feature-persistent': 1 });
      const { grants } = mallory.vcpu;
      const { gfn } = disk.front.shared;
      const many = Array.from({ length: 3000 }, (_, i) => grants.grantAccess(DOM0, gfn + 1 + (i % 16)));
      let failed = 0;
      for (let i = 0; i < many.length; i += 10) {
        const segments = many.slice(i, i + 10).map(gref => ({ gref }));
        if ((await disk.request({ segments })) !== 0) failed++;
      }
      const held = many.filter(gref => !grants.endAccess(gref));
      await disk.handshake.close();
      const leaked = held.filter(gref => !grants.endAccess(gref)).length;
      disk.front.release();
      await disk.handshake.begin();
      return { failed, atMost: held.length <= 1056, some: held.length > 100, leaked };
    },
    17: async () => {
      await disk.connect({ 'feature-persistent': 1 });
      await disk.read();
      const ended = mallory.vcpu.grants.endAccess(disk.front.refs[1]!);
      const honest = await disk.read();
      await disk.leave();
      return { ended, honest };
    },
    /** Writes for ever, until it is killed. */
    18: async () => {
      await disk.connect();
      for (let n = 1; ; n++) {
        disk.front.page(1).bytes.fill(n & 255);
        const gref = disk.front.refs[1]!;
        await disk.request({ operation: BLKIF_OP_WRITE, sector_lo: 8 * (n % 64), segments: [{ gref }] });
        if (n === 20) mallory.kernel.console.write('writes and writes\n');
      }
    },

    19: packets(
      front => one(front.putTx({ size: 0 })),
      front => one(front.putTx({ size: 13 })),
      front => one(front.putTx({ size: 100, offset: 4000 })),
    ),
    20: packets(front => {
      front
        .putTx({ size: 100, flags: NETTXF_more_data })
        .putTx({ gref: front.ref(1), size: 90, flags: NETTXF_more_data });
      front.putTx({ gref: front.ref(2), size: 90 });
      return 3;
    }),
    21: packets(front => {
      front.putTx({ size: 60, flags: NETTXF_more_data });
      for (let i = 1; i < 16; i++)
        front.putTx({ gref: front.ref(i), size: i % 2, flags: i < 15 ? NETTXF_more_data : 0 });
      return 16;
    }),
    22: losesVif(
      front => front.putTx({ size: 60, flags: NETTXF_extra_info }).putExtra(0),
      front => front.putTx({ size: 60, flags: NETTXF_extra_info }).putExtra(XEN_NETIF_EXTRA_TYPE_MAX),
      front => front.putTx({ size: 60, flags: NETTXF_more_data }),
      front => front.putTx({ size: 60, flags: NETTXF_extra_info }).putExtra(XEN_NETIF_EXTRA_TYPE_GSO, 0, 0, 0, 1),
      front => front.putTx({ size: 60, flags: NETTXF_extra_info }).putExtra(XEN_NETIF_EXTRA_TYPE_GSO, 0, 100, 0, 3),
    ),
    23: async () => {
      await vif.connect({ 'request-multicast-control': 1 });
      let [taken, refused] = [0, 0];
      for (let n = 0; n < 2000; ) {
        const from = n;
        for (; n < from + 100; n++) {
          vif.front.putTx({ size: 0, flags: NETTXF_extra_info });
          vif.front.putExtra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, 0, 1, 0, 0x5e, 0, n >> 8, n & 255);
        }
        const statuses = await vif.transmit(200);
        taken += statuses.filter(status => status === 0).length;
        refused += statuses.filter(status => status === -1).length;
      }
      await vif.leave();
      return { taken, refused };
    },
    /** From one interface to another that takes nothing. */
    24: async () => {
      await vif.connect();
      await other.connect();
      vif.front.write(0, other.front.mac, 1000);
      let sent = 0;
      for (let round = 0; round < 100; round++) {
        for (let i = 0; i < 64; i++) vif.front.putTx({ gref: vif.front.ref(0), size: 1000 });
        sent += (await vif.transmit(64)).filter(status => status === 0).length;
      }
      const received = other.front.rxResponses().length;
      await vif.leave();
      await other.leave();
      return { sent, received };
    },

    /** Its own console: says nothing any more. */
    25: async () => {
      const { gfn, port } = mallory.kernel.info.console;
      const { words } = mallory.vcpu.memory.page(gfn);
      for (let round = 0; round < 1000; round++) {
        for (const field of ['out_prod', 'in_cons'] as const)
          Atomics.store(words, xencons_interface.at[field] / 4, 0x40000000 + round);
        mallory.vcpu.events.notify(port);
      }
      await new Promise(() => {});
      return {};
    },
    26: async () => {
      const line = `${'\x1b[31m\x00\x07'.repeat(200)}\nforged: dom0 says all is well\n`;
      for (;;) {
        for (let n = 0; n < 20; n++) mallory.kernel.console.write(line);
        await mallory.pause(1);
      }
    },
    27: async () => ({
      states: [
        ...(await refused(
          disk,
          { 'ring-page-order': 99 },
          { 'multi-queue-num-queues': 1_000_000 },
          { 'ring-ref': 'ring' },
          { 'ring-ref': '' },
        )),
        ...(await refused(
          vif,
          { 'multi-queue-num-queues': 1_000_000 },
          { 'tx-ring-ref': '-1' },
          { 'rx-ring-ref': '' },
        )),
      ],
    }),
    28: async () => {
      const bound = mallory.kernel.info.store.port;
      return {
        states: [
          ...(await refused(disk, { 'event-channel': 4095 }, { 'event-channel': bound })),
          ...(await refused(vif, { 'event-channel': 4095 }, { 'event-channel': bound })),
        ],
      };
    },
    /** Its device's node, under the backend's feet. */
    29: async () => {
      await disk.connect();
      const backend = await mallory.xs.read(`${disk.handshake.frontend}/backend`);
      await mallory.xs.rm(disk.handshake.frontend);
      await mallory.until('the backend has left', async () => {
        const state = await readKey(mallory.xs, `${backend}/state`);
        return state === CLOSED || state === undefined;
      });
      return { left: disk.front.refs.every(gref => mallory.vcpu.grants.endAccess(gref)) };
    },
    /** By one interface and one disk, the console and the ring to xenstored. */
    41: async () => {
      const { store, console } = readStartInfo(mallory.vcpu);
      await disk.connect();
      await vif.connect();
      const end = mallory.kernel.clock.now() + STORM_NS;
      let sent = 0;
      while (mallory.kernel.clock.now() < end || sent < STORM) {
        for (let i = 0; i < 100; i++) {
          disk.front.notify();
          mallory.vcpu.events.notify(vif.front.port);
          mallory.vcpu.events.notify(console.port);
          mallory.vcpu.events.notify(store.port);
        }
        sent += 400;
      }
      const honest = await disk.read();
      await disk.leave();
      await vif.leave();
      return { sent, honest };
    },
    /** Its grant table, while the ring and the console are mapped: what it reads there before they are let go, and after. */
    46: async () => {
      await disk.connect();
      const { memory, layout } = mallory.vcpu;
      const table = memory.words.subarray(layout.grantFrames * 1024, (layout.grantFrames + 1) * 1024);
      const ring = disk.front.refs[0]! * 2;
      for (let round = 0; round < 20; round++)
        for (let i = 0; i < table.length; i++) table[i] = Math.random() * 2 ** 32;
      // The flags say what a map sets: that it is taken back is to be seen.
      table[ring] = table[ring]! | MAPPED;
      const before = table.slice();
      await disk.handshake.close();
      const changed = [...before.keys()].filter(i => table[i] !== before[i]);
      return { scribbled: before.length, changed: changed.map(i => [i - ring, (before[i]! ^ table[i]!) >>> 0]) };
    },
    47: async () => {
      await disk.connect();
      const gref = disk.front.refs[1]!;
      const { memory, layout } = mallory.vcpu;
      const entry = layout.grantFrames * 1024 + gref * 2;
      const statuses = new Set<number>();
      const honestWord = memory.words[entry]!;
      await mallory.until('the map has gone well, and has not', () => {
        disk.front.send(index => disk.front.write(index, { segments: [{ gref }] }));
        while (disk.front.rspProd() !== disk.front.prod) {
          Atomics.xor(memory.words, entry, 4); // GTF_readonly
          Atomics.xor(memory.words, entry, 1); // GTF_permit_access
        }
        statuses.add(disk.front.response()!.status);
        Atomics.store(memory.words, entry, honestWord);
        return statuses.has(0) && statuses.has(-1);
      });
      const honest = await disk.read();
      await disk.leave();
      return { statuses: [...statuses].sort(), honest };
    },

    /** Of each disk: what it says that it has, its first bytes, and what comes of reading those, its last sector and the one behind. */
    71: async (_, ...devids) => {
      const disks: unknown[] = [];
      for (const devid of devids) {
        const one = new RawDisk(mallory, Number(devid));
        await one.connect();
        const backend = await mallory.xs.read(`${one.handshake.frontend}/backend`);
        const sectors = await mallory.xs.read(`${backend}/sectors`);
        const statuses: number[] = [];
        const read = async (sector: bigint): Promise<void> => {
          const [sector_lo, sector_hi] = [Number(sector & 0xffffffffn), Number(sector >> 32n)];
          const segments = [{ gref: one.front.refs[1]!, last_sect: 0 }];
          statuses.push(await one.request({ sector_lo, sector_hi, segments }));
        };
        await read(0n);
        const begins = Buffer.from(one.front.page(1).bytes.subarray(0, 8)).toString('latin1');
        await read(BigInt(sectors) - 1n);
        await read(BigInt(sectors));
        await one.leave();
        disks.push({ sectors, begins, statuses });
      }
      return { disks };
    },
    /** One disk, which is there while it is plugged in. */
    74: async (_, devid) => {
      const plugged = new RawDisk(mallory, Number(devid));
      await plugged.connect();
      const honest = await plugged.read();
      await plugged.leave();
      return { honest };
    },

    // ---- the same loads without the hostility: what the benchmark holds the acts against ----

    'honest disk': async () => {
      await disk.connect();
      for (let i = 0; i < 16; i++) await disk.read();
      await disk.leave();
      return {};
    },
    'honest vif': async () => {
      await vif.connect();
      await other.connect();
      for (let id = 0; id < DATA_PAGES; id++) other.front.putRx(id);
      other.front.post();
      vif.front.write(0, other.front.mac, 1000);
      let received = 0;
      for (let round = 0; round < 50; round++) {
        for (let i = 0; i < DATA_PAGES; i++) vif.front.putTx({ gref: vif.front.ref(0), size: 1000 });
        await vif.transmit(DATA_PAGES);
        for (const { id } of other.front.rxResponses()) {
          other.front.putRx(id);
          received++;
        }
        other.front.post();
        mallory.vcpu.events.notify(other.front.port);
      }
      await vif.leave();
      await other.leave();
      return { received };
    },
    'honest keys': async () => {
      for (const device of [disk, disk, disk, vif, vif]) {
        await device.connect();
        await device.leave();
      }
      return {};
    },
    /** Requests one after the other, without a sleep between them. */
    'honest events': async () => {
      await disk.connect();
      const end = mallory.kernel.clock.now() + 200e6;
      let reads = 0;
      for (; mallory.kernel.clock.now() < end; reads++) {
        disk.front.send(index => disk.front.write(index, { segments: [{ gref: disk.front.refs[1]! }] }));
        while (disk.front.rspProd() !== disk.front.prod);
        disk.front.response();
      }
      await disk.leave();
      return { reads };
    },
  };
}
