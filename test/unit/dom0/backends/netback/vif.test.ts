// netback against frontends that have no driver but a hand. Numbers of acts are those of the hostile acts that Xen's
// record knows; Xen: io/netif.h.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING as ADD,
  XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING as DEL,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE as GET_SIZE,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER as INVALID,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED as NOT_SUPPORTED,
  XEN_NETIF_CTRL_STATUS_SUCCESS as SUCCESS,
  XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM,
  XEN_NETIF_CTRLF_GREF_readonly,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_HASH,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
} from '#pvbus';
import type { VifConnection } from '../../../../../dom0/backends/netback/messages.ts';
import { MAX_STATIC_GRANTS } from '../../../../../dom0/backends/netback/static-grants.ts';
import { TURN_SLOTS } from '../../../../../dom0/backends/netback/tx-queue.ts';
import { MAX_QUEUES } from '../../../../../dom0/backends/netback/vif.ts';
import { addBytes, finish, verifies } from '../../../../../domu-kernel/net/checksum.ts';
import { writeIpv4 } from '../../../../../domu-kernel/net/ipv4.ts';
import { DATA_PAGES, HostileNetfront, type RawTx } from '../../../../support/hostile-netfront.ts';
import { type NetGuest, NetRig } from '../../../../support/net-rig.ts';
import fc from '../../../../support/properties.ts';
import { RX } from '../../../../support/raw-netfront.ts';
import { tcpFrame } from '../../../../support/tcp-packet.ts';

let rig: NetRig;
let base: { mappings: number; ports: number };
beforeEach(async () => {
  rig = await NetRig.start();
  base = rig.held();
});
afterEach(() => {
  expect(rig.core.internalErrors).toEqual([]);
});

const disabled = (): string[] => rig.log.lines.filter(line => line.includes('disabled'));

/** Does the network still work for two who have done nothing wrong? */
async function expectOthersServed(pair?: [NetGuest, NetGuest]): Promise<void> {
  const [a, b] = pair ?? [await rig.guest(), await rig.guest()];
  let got = 0;
  b.vif.onFrame(() => got++);
  const frame = new Uint8Array(100);
  frame.set(b.vif.mac);
  frame.set(a.vif.mac, 6);
  for (let i = 0; i < 100; i++) a.vif.send(frame, 100);
  rig.settle();
  expect(got).toBe(100);
}

/** Received frames, put together from their pages. */
function received(front: HostileNetfront): { bytes: Uint8Array; flags: number }[] {
  const frames: { bytes: Uint8Array; flags: number }[] = [];
  let parts: Uint8Array[] = [];
  let flags = 0;
  for (const { id, offset, flags: f, status } of front.rxResponses()) {
    if (parts.length === 0) flags = f;
    parts.push(front.page(id).bytes.slice(offset, offset + Math.max(0, status)));
    if (f & NETRXF_more_data) continue;
    frames.push({ bytes: Uint8Array.from(parts.flatMap(p => [...p])), flags: flags & ~NETRXF_more_data });
    parts = [];
  }
  return frames;
}

describe.each([
  ['by GNTTABOP_copy', false],
  ['from page to page when both are mapped', true],
])('frames go %s', (_how, mapped) => {
  const pair = (mtu = 1500): [HostileNetfront, HostileNetfront] => {
    const fronts = [0, 1].map(() => new HostileNetfront(rig).connectWithControl({ mtu, bridge: `lan${mtu}` }));
    const [a, b] = fronts as [HostileNetfront, HostileNetfront];
    if (mapped) {
      for (const front of fronts) {
        const refs = Array.from({ length: DATA_PAGES }, (_, i) => front.ref(i));
        expect(front.ask(ADD, 0, front.list(refs), refs.length).status).toBe(SUCCESS);
      }
    }
    for (let i = 0; i < DATA_PAGES; i++) b.putRx(i);
    b.post();
    return [a, b];
  };

  it('of any size and at any offset, unchanged', () => {
    const [a, b] = pair();
    for (const [size, offset] of [
      [14, 0],
      [60, 4036],
      [1514, 1],
      [1518, 2578],
    ] as const) {
      const frame = a.write(0, b.mac, size);
      a.page(1).bytes.set(frame, offset);
      expect(a.putTx({ gref: a.ref(1), offset, size, id: size }).transmit()).toEqual([
        { id: size, status: NETIF_RSP_OKAY },
      ]);
      expect(received(b)).toEqual([{ bytes: frame, flags: 0 }]);
    }
    const counted = rig.statsOf(a.guest)!;
    expect([counted.stats.txCopied, counted.staticGrants]).toEqual(mapped ? [0, DATA_PAGES] : [4, 0]);
  });

  it('of several slots, with extra infos and empty slots between them', () => {
    const [a, b] = pair();
    const frame = a.write(0, b.mac, 1000);
    // 6 bytes, 2 bytes: the header is split over three slots (XSA-423).
    a.page(1).bytes.set(frame.subarray(6, 8), 4094);
    a.page(2).bytes.set(frame.subarray(8), 100);
    a.putTx({ gref: a.ref(0), size: 1000, id: 1, flags: NETTXF_more_data | NETTXF_extra_info });
    a.putExtra(XEN_NETIF_EXTRA_TYPE_HASH, XEN_NETIF_EXTRA_FLAG_MORE).putExtra(XEN_NETIF_EXTRA_TYPE_HASH);
    a.putTx({ gref: 0xffffffff, size: 0, id: 2, flags: NETTXF_more_data });
    a.putTx({ gref: a.ref(1), offset: 4094, size: 2, id: 3, flags: NETTXF_more_data });
    a.putTx({ gref: a.ref(2), offset: 100, size: 992, id: 4 });
    const responses = a.transmit();
    expect(responses.filter(r => r.status === NETIF_RSP_NULL)).toHaveLength(2);
    expect(responses.filter(r => r.status === NETIF_RSP_OKAY).map(r => r.id)).toEqual([1, 2, 3, 4]);
    expect(received(b).map(f => f.bytes)).toEqual([frame]);
  });

  it('longer than a page, into several pages of the receiver', () => {
    const [a, b] = pair(9000);
    const frame = a.write(0, b.mac, 9018);
    for (let page = 0; page < 3; page++) a.page(page).bytes.set(frame.subarray(page * 4096, (page + 1) * 4096));
    a.putTx({ gref: a.ref(0), size: 9018, flags: NETTXF_more_data });
    a.putTx({ gref: a.ref(1), size: 4096, flags: NETTXF_more_data });
    a.putTx({ gref: a.ref(2), size: 826 }).transmit();
    expect(received(b).map(f => f.bytes)).toEqual([frame]);
  });

  it('with a blank checksum, filled in where the receiver does not take it so', () => {
    const [a, b] = pair();
    const c = new HostileNetfront(rig).connect({ checksumOffload: false, bridge: 'lan1500' });
    c.putRx(0).post();
    const frame = a.write(0, new Uint8Array(6).fill(255), 200);
    const view = new DataView(frame.buffer);
    frame.set([8, 0], 12);
    writeIpv4(view, 14, 166, 1, 64, 17, 0x0a000001, 0x0a000002);
    const sum = 0x0a000001 + 0x0a000002 + 17 + 166;
    view.setUint16(38, 166);
    view.setUint16(40, ~finish(sum) & 0xffff);
    a.page(0).bytes.set(frame);
    a.putTx({ size: 200, flags: NETTXF_csum_blank | NETTXF_data_validated }).transmit();
    expect(received(b)).toEqual([{ bytes: frame, flags: NETRXF_csum_blank | NETRXF_data_validated }]);
    const [filled] = received(c);
    expect(filled!.flags).toBe(NETRXF_data_validated);
    const got = new DataView(filled!.bytes.buffer);
    expect(verifies(got, 34, 166, sum)).toBe(true);
    expect(addBytes(got, 14, 20)).toBe(addBytes(view, 14, 20));
  });
});

describe('a packet that is to be cut into segments', () => {
  const TYPES = [XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6] as const;
  const takes = {
    scatterGather: true,
    checksumOffload: true,
    ipv6ChecksumOffload: true,
    gsoTcpv4: true,
    gsoTcpv6: true,
  };
  const front = (changes: Partial<VifConnection> = {}): HostileNetfront => {
    const one = new HostileNetfront(rig).connect({ bridge: 'lan', ...changes });
    for (let i = 0; i < DATA_PAGES; i++) one.putRx(i);
    return one.post();
  };
  const send = (from: HostileNetfront, frame: Uint8Array, type: number): void => {
    const slots = Math.ceil(frame.length / 4096);
    for (let i = 0; i < slots; i++) {
      from.page(i).bytes.set(frame.subarray(i * 4096, (i + 1) * 4096));
      const flags = (i < slots - 1 ? NETTXF_more_data : 0) | (i === 0 ? NETTXF_extra_info | NETTXF_csum_blank : 0);
      from.putTx({ gref: from.ref(i), size: i === 0 ? frame.length : Math.min(4096, frame.length - i * 4096), flags });
      if (i === 0) from.putExtra(XEN_NETIF_EXTRA_TYPE_GSO, 0, 1400 & 255, 1400 >> 8, type);
    }
    const answers = from.transmit();
    expect(answers.map(({ status }) => status)).toEqual(
      Array.from({ length: slots + 1 }, (_, i) => (i === 1 ? NETIF_RSP_NULL : NETIF_RSP_OKAY)),
    );
  };
  it.each(TYPES)(
    'is whole for who takes it, with an extra info behind its first slot, and segments for others (%i)',
    type => {
      const [a, b, c] = [front(), front(takes), front()] as const;
      const ipv6 = type === XEN_NETIF_GSO_TYPE_TCPV6;
      const frame = tcpFrame({ to: new Uint8Array(6).fill(255), from: a.mac, payload: 10_000, ipv6 });
      send(a, frame, type);
      // Of the taker: data, extra info, data, data.
      const slots = b.rxResponses();
      expect(slots).toHaveLength(4);
      const { flags } = slots[0]!;
      expect(flags).toBe(NETRXF_csum_blank | NETRXF_data_validated | NETRXF_more_data | NETRXF_extra_info);
      const extra = new Uint8Array(b.pages.page(RX).bytes.buffer, b.pages.page(RX).bytes.byteOffset + 64 + 8, 8);
      expect([...extra]).toEqual([XEN_NETIF_EXTRA_TYPE_GSO, 0, 1400 & 255, 1400 >> 8, type, 0, 0, 0]);
      const data = [slots[0]!, slots[2]!, slots[3]!];
      expect(Buffer.concat(data.map(({ id, status }) => b.page(id).bytes.slice(0, status)))).toEqual(
        Buffer.from(frame),
      );
      // Of the other: segments with their checksums.
      const segments = received(c);
      const headers = ipv6 ? 74 : 54;
      expect(segments.map(({ bytes }) => bytes.length - headers)).toEqual([
        1400, 1400, 1400, 1400, 1400, 1400, 1400, 200,
      ]);
      expect(segments.every(({ flags }) => flags === NETRXF_data_validated)).toBe(true);
      expect(Buffer.concat(segments.map(({ bytes }) => bytes.subarray(headers)))).toEqual(
        Buffer.from(frame.subarray(headers)),
      );
      expect(rig.statsOf(a.guest)!.stats).toMatchObject({ txFrames: 1, txErrors: 0 });
      expect(rig.statsOf(c.guest)!.stats).toMatchObject({ rxFrames: 8, rxDropped: 0 });
    },
  );
  it('reaches nobody who does not take it whole when it is none, and costs nobody anything', () => {
    const [a, b, c] = [front(), front(takes), front()] as const;
    const frame = tcpFrame({ to: new Uint8Array(6).fill(255), from: a.mac, payload: 10_000 });
    frame[23] = 17;
    send(a, frame, XEN_NETIF_GSO_TYPE_TCPV4);
    expect(received(c)).toEqual([]);
    expect(rig.statsOf(c.guest)!.stats).toMatchObject({ rxFrames: 0, rxTooBig: 1 });
    expect(rig.statsOf(b.guest)!.stats).toMatchObject({ rxFrames: 1 });
    expect(disabled()).toEqual([]);
  });
  it('takes a slot more than its pages: a ring that has only those loses it whole', () => {
    const a = front();
    const b = new HostileNetfront(rig).connect({ bridge: 'lan', ...takes });
    for (let i = 0; i < 3; i++) b.putRx(i);
    b.post();
    const frame = tcpFrame({ to: b.mac, from: a.mac, payload: 10_000 });
    send(a, frame, XEN_NETIF_GSO_TYPE_TCPV4);
    expect(b.rxResponses()).toEqual([]);
    b.putRx(3).post();
    send(a, frame, XEN_NETIF_GSO_TYPE_TCPV4);
    expect(b.rxResponses()).toHaveLength(4);
    expect(rig.statsOf(b.guest)!.stats).toMatchObject({ rxFrames: 1, rxDropped: 1 });
  });
});

describe('a packet with wrong contents is answered with an error and the ring goes on (acts 15, 19 to 21)', () => {
  const foreign = (): number => {
    // A page granted to somebody else, and one that was never granted.
    const { vcpu } = new HostileNetfront(rig);
    const other = rig.core.guest();
    const page = vcpu.grants.allocShared(other.vcpu.domain.domid as never, 1);
    return vcpu.grants.grantAccess(other.vcpu.domain.domid as never, page.gfn);
  };
  const MORE = NETTXF_more_data;
  const fragments = (n: number): RawTx[] =>
    Array.from({ length: n }, (_, i) => ({ size: i === 0 ? 100 : 1, flags: i < n - 1 ? MORE : 0 }));
  it.each<[string, () => RawTx[]]>([
    ['size 0', () => [{ size: 0 }]],
    ['size 13', () => [{ size: 13 }]],
    ['more than the MTU', () => [{ size: 1519 }]],
    ['beyond its page', () => [{ size: 100, offset: 4000 }]],
    ['a gref that was never granted', () => [{ size: 100, gref: 400 }]],
    ['a gref beyond the grant table', () => [{ size: 100, gref: 0xffffffff }]],
    ['a gref of another domain', () => [{ size: 100, gref: foreign() }]],
    ['slots that hold more than the whole', () => [{ size: 100, flags: MORE }, { size: 101 }]],
    ['19 slots', () => fragments(19)],
    [
      'a second slot that cannot be read',
      () => [
        { size: 100, flags: MORE },
        { size: 50, gref: 401 },
      ],
    ],
  ])('%s', (_what, makeSlots) => {
    const a = new HostileNetfront(rig).connect();
    const b = new HostileNetfront(rig).connect();
    b.putRx(0).post();
    a.write(0, b.mac, 100);
    const slots = makeSlots();
    for (const slot of slots) a.putTx(slot);
    expect(a.transmit()).toEqual(slots.map(() => ({ id: 0, status: NETIF_RSP_ERROR })));
    expect(received(b)).toEqual([]);
    expect(a.putTx({ size: 100, id: 7 }).transmit()).toEqual([{ id: 7, status: NETIF_RSP_OKAY }]);
    expect(received(b)).toHaveLength(1);
    expect(disabled()).toEqual([]);
    expect(rig.statsOf(a.guest)!.stats.txErrors).toBe(1);
  });
});

describe('a vif that breaks the protocol is disabled, named in one line, and nobody else notices (acts 1 to 3, 22)', () => {
  const acts: [string, string, (a: HostileNetfront) => void][] = [
    ['a ring and one more', 'its tx ring claims', a => a.set('tx', 'req_prod', 257)],
    ['2^31 more', 'its tx ring claims', a => a.set('tx', 'req_prod', 2 ** 31)],
    [
      'an index that moves backwards',
      'its tx ring claims',
      a => {
        for (let i = 0; i < 10; i++) a.putTx({ size: 60, id: i });
        a.transmit();
        a.set('tx', 'req_prod', 5);
      },
    ],
    [
      'slots that never end',
      'a packet whose last slot',
      a => void a.putTx({ size: 60, flags: NETTXF_more_data }).transmit(),
    ],
    [
      'extra info that never comes',
      'an extra info that',
      a => void a.putTx({ size: 60, flags: NETTXF_extra_info }).transmit(),
    ],
    [
      'an extra info of type 0',
      'an extra info of an unknown type',
      a => void a.putTx({ size: 60, flags: NETTXF_extra_info }).putExtra(0).transmit(),
    ],
    ['a control ring and one more', 'its control ring claims', a => a.set('control', 'req_prod', 257)],
    [
      'a rx ring and one more',
      'its rx ring claims',
      a => {
        const b = new HostileNetfront(rig).connect();
        a.set('rx', 'req_prod', 257);
        b.write(0, a.mac, 60);
        b.putTx({ size: 60 }).transmit();
      },
    ],
  ];
  it.each(acts)('%s', async (_what, reason, act) => {
    const others: [NetGuest, NetGuest] = [await rig.guest(), await rig.guest()];
    const held = rig.held();
    const a = new HostileNetfront(rig).connectWithControl();
    a.write(0, others[0].vif.mac, 60);
    act(a);
    rig.settle(rig);
    for (let i = 0; i < 3; i++) a.set('tx', 'req_prod', 1000 * i);
    rig.settle(rig);
    expect(disabled()).toHaveLength(1);
    expect(disabled()[0]).toContain(`${a.name}: disabled: dom${a.guest.domid} broke the protocol: `);
    expect(disabled()[0]).toContain(reason);
    await expectOthersServed(others);
    a.disconnect();
    rig.worker.handle({ op: 'disconnect', domid: a.guest.domid + 1, handle: 0 });
    expect(rig.held()).toEqual(held);
  });
});

describe('ring indices', () => {
  it('that wrap past 2^32 are legal (act 4)', () => {
    const from = 0xfffffff0;
    const a = new HostileNetfront(rig, undefined, from).connectWithControl();
    const b = new HostileNetfront(rig, undefined, from).connectWithControl();
    for (let round = 0; round < 40; round++) {
      b.putRx(round % DATA_PAGES).post();
      const frame = a.write(0, b.mac, 60 + round);
      expect(a.putTx({ size: frame.length, id: round }).transmit()).toEqual([{ id: round, status: NETIF_RSP_OKAY }]);
      expect(received(b).map(f => f.bytes)).toEqual([frame]);
      expect(a.ask(GET_SIZE).data).toBe(MAX_STATIC_GRANTS);
    }
    expect(disabled()).toEqual([]);
  });
  it('of the backend that the frontend overwrites change nothing (acts 5, 6)', () => {
    const a = new HostileNetfront(rig).connect();
    const b = new HostileNetfront(rig).connect();
    for (let i = 0; i < 4; i++) b.putRx(i);
    b.post();
    a.write(0, b.mac, 60);
    a.putTx({ size: 60, id: 1 }).transmit();
    a.set('tx', 'rsp_prod', 77);
    a.set('tx', 'rsp_event', 0x7fffffff);
    a.set('tx', 'req_event', 0x7fffffff);
    b.set('rx', 'rsp_prod', 0x80000000);
    expect(a.putTx({ size: 60, id: 2 }).transmit()).toEqual([{ id: 2, status: NETIF_RSP_OKAY }]);
    expect(a.words('tx')[2]).toBe(2);
    expect(received(b)).toHaveLength(2);
    expect(disabled()).toEqual([]);
  });
});

describe('receiving', () => {
  it('into a page that cannot be written is an error of that page alone', () => {
    const a = new HostileNetfront(rig).connect();
    const b = new HostileNetfront(rig).connectWithControl();
    const readonly = b.vcpu.grants.grantAccess(rig.vcpu.domid, b.pages.gfn + 4 + 9, true);
    expect(b.ask(ADD, 0, b.list([b.ref(8)], XEN_NETIF_CTRLF_GREF_readonly), 1).status).toBe(SUCCESS);
    b.putRx(0, 4242).putRx(9, readonly).putRx(8, b.ref(8)).putRx(1).post();
    a.write(0, b.mac, 60);
    for (let i = 0; i < 4; i++) a.putTx({ size: 60 });
    expect(a.transmit().map(r => r.status)).toEqual([0, 0, 0, 0]);
    expect(b.rxResponses().map(r => [r.id, r.status])).toEqual([
      [0, NETIF_RSP_ERROR],
      [9, NETIF_RSP_ERROR],
      [8, NETIF_RSP_ERROR],
      [1, 60],
    ]);
    expect(rig.statsOf(b.guest)!.stats.rxErrors).toBe(3);
    expect(b.page(9).bytes.every(byte => byte === 0)).toBe(true);
  });
  it('nothing longer than the MTU, nothing of several pages unless asked for, nothing back to the sender', () => {
    rig.worker.handle({ op: 'createBridge', name: 'xenbr0', mtu: 1500 });
    const a = new HostileNetfront(rig).connect({ mtu: 9000 });
    const small = new HostileNetfront(rig).connect();
    const onePage = new HostileNetfront(rig).connect({ mtu: 9000, scatterGather: false });
    rig.worker.handle({ op: 'createBridge', name: 'big', mtu: 9000 });
    for (const front of [small, onePage, a]) for (let i = 0; i < 8; i++) front.putRx(i);
    for (const front of [small, onePage, a]) front.post();
    const frame = a.write(0, new Uint8Array(6).fill(255), 5000);
    a.page(1).bytes.set(frame.subarray(4096));
    a.putTx({ size: 5000, flags: NETTXF_more_data }).putTx({ gref: a.ref(1), size: 904 });
    a.putTx({ size: 2000 }).transmit();
    // The bridge's own MTU is 1500.
    expect(rig.report().bridges.find(b => b.name === 'xenbr0')!.stats.dropped.tooBig).toBe(2);
    for (const front of [small, onePage, a]) front.disconnect();
    for (const front of [small, onePage, a])
      front.connect({
        ...front.connection(),
        bridge: 'big',
        mtu: front === small ? 1500 : 9000,
        scatterGather: front !== onePage,
      });
    a.putTx({ size: 5000, flags: NETTXF_more_data }).putTx({ gref: a.ref(1), size: 904 });
    a.putTx({ size: 2000 }).transmit();
    expect(received(small)).toEqual([]);
    expect(received(onePage).map(f => f.bytes.length)).toEqual([2000]);
    expect(received(a)).toEqual([]);
    expect(rig.statsOf(small.guest)!.stats.rxTooBig).toBe(2);
    expect(rig.statsOf(onePage.guest)!.stats.rxTooBig).toBe(1);
  });
  it('only the multicast groups that were asked for, with feature-multicast-control (act 23)', () => {
    const a = new HostileNetfront(rig).connect();
    const b = new HostileNetfront(rig).connect({ multicastControl: true });
    for (let i = 0; i < 8; i++) b.putRx(i);
    b.post();
    const group = [1, 0, 0x5e, 0, 0, 0xfb];
    const send = (): number => {
      a.write(0, Uint8Array.from(group), 60);
      a.putTx({ size: 60 }).transmit();
      return received(b).length;
    };
    const change = (type: number, address: number[]): number[] =>
      b
        .putTx({ size: 0, flags: NETTXF_extra_info })
        .putExtra(type, 0, ...address)
        .transmit()
        .map(r => r.status);
    expect(send()).toBe(0);
    expect(change(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, group)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_NULL]);
    expect(send()).toBe(1);
    expect(change(XEN_NETIF_EXTRA_TYPE_MCAST_DEL, group)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_NULL]);
    expect(send()).toBe(0);
    let errors = 0;
    for (let i = 0; i < 1000; i++) {
      const [status] = change(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, [1, 0, 0x5e, 1, i >> 8, i & 255]);
      if (status === NETIF_RSP_ERROR) errors++;
    }
    expect(errors).toBe(1000 - 64);
  });
});

describe('static grants', () => {
  it('are offered by number, per queue, and everything else on the control ring is not supported', () => {
    const a = new HostileNetfront(rig).connectWithControl();
    expect(a.ask(GET_SIZE)).toEqual({ status: SUCCESS, data: MAX_STATIC_GRANTS });
    expect(a.ask(GET_SIZE, 1)).toEqual({ status: INVALID, data: 0 });
    for (const type of [0, XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, 11, 0xffff]) {
      expect(a.ask(type)).toEqual({ status: NOT_SUPPORTED, data: 0 });
    }
  });
  it('are added all or none', () => {
    const a = new HostileNetfront(rig).connectWithControl();
    const before = rig.held();
    const ref = (i: number): number => a.ref(i);
    const list = (refs: number[], flags = 0): number => a.list(refs, flags);
    expect(a.ask(ADD, 0, list([ref(0), ref(1), 4000]), 3).status).toBe(INVALID);
    expect(a.ask(ADD, 0, list([ref(0), ref(1), ref(0)]), 3).status).toBe(INVALID);
    expect(a.ask(ADD, 1, list([ref(0)]), 1).status).toBe(INVALID);
    expect(a.ask(ADD, 0, list([ref(0)]), 0).status).toBe(INVALID);
    expect(a.ask(ADD, 0, list([ref(0)]), 513).status).toBe(INVALID);
    expect(a.ask(ADD, 0, list([ref(0)]), 0xffffffff).status).toBe(INVALID);
    expect(a.ask(ADD, 0, 4000, 1).status).toBe(INVALID);
    expect(rig.held()).toEqual(before);
    expect(a.ask(ADD, 0, list([ref(0), ref(1)]), 2).status).toBe(SUCCESS);
    expect(a.ask(ADD, 0, list([ref(2), ref(1)]), 2).status).toBe(INVALID);
    expect(rig.held().mappings).toBe(before.mappings + 2);
  });
  it('are removed one by one, each with its own status', () => {
    const a = new HostileNetfront(rig).connectWithControl();
    const before = rig.held();
    expect(a.ask(ADD, 0, a.list([a.ref(0), a.ref(1), a.ref(2)]), 3).status).toBe(SUCCESS);
    expect(a.ask(DEL, 0, a.list([a.ref(0), a.ref(5), a.ref(2), a.ref(0)]), 4)).toEqual({ status: SUCCESS, data: 2 });
    expect([0, 1, 2, 3].map(i => a.listStatus(i))).toEqual([SUCCESS, INVALID, SUCCESS, SUCCESS]);
    expect(rig.held().mappings).toBe(before.mappings + 1);
    expect(a.vcpu.grants.endAccess(a.ref(0))).toBe(true);
    expect(a.vcpu.grants.endAccess(a.ref(1))).toBe(false);
    a.disconnect();
    expect(a.vcpu.grants.endAccess(a.ref(1))).toBe(true);
    expect(rig.held()).toEqual(base);
  });
  it('end with the connection', () => {
    for (let i = 0; i < 20; i++) {
      const a = new HostileNetfront(rig).connectWithControl();
      const refs = Array.from({ length: DATA_PAGES }, (_, n) => a.ref(n));
      expect(a.ask(ADD, 0, a.list(refs), refs.length).status).toBe(SUCCESS);
      a.disconnect();
      expect(rig.held()).toEqual(base);
    }
  });
});

describe('a frontend of several queues', () => {
  /** The first one speaks for all. */
  const queues = (count: number, changes: Partial<VifConnection> = {}): HostileNetfront[] => {
    const first = new HostileNetfront(rig);
    const all = [first, ...Array.from({ length: count - 1 }, () => first.another())];
    for (const one of all) for (let i = 0; i < DATA_PAGES; i++) one.putRx(i);
    for (const one of all) one.post();
    first.connectWithControl({ queues: all.map(one => one.queue), ...changes });
    return all;
  };
  /** A datagram from port `from`, in page 0. */
  const datagram = (front: HostileNetfront, to: Uint8Array, from: number): Uint8Array => {
    const frame = front.write(0, to, 200);
    const view = new DataView(frame.buffer);
    frame.set([8, 0], 12);
    writeIpv4(view, 14, 166, 1, 64, 17, 0x0a000001, 0x0a000002);
    view.setUint16(34, from);
    view.setUint16(36, 53);
    front.page(0).bytes.set(frame);
    return frame;
  };

  it('may send by any of them, and each is answered on its own ring', () => {
    const all = queues(MAX_QUEUES);
    const b = new HostileNetfront(rig).connect();
    for (let i = 0; i < MAX_QUEUES; i++) b.putRx(i);
    b.post();
    for (const [i, one] of all.entries()) {
      const frame = one.write(0, b.mac, 100 + i);
      expect(one.putTx({ size: 100 + i, id: 7 + i }).transmit()).toEqual([{ id: 7 + i, status: NETIF_RSP_OKAY }]);
      expect(received(b).map(({ bytes }) => bytes)).toEqual([frame]);
    }
    expect(rig.report().vifs).toHaveLength(2);
    expect(rig.statsOf(all[0]!.guest)).toMatchObject({ queues: MAX_QUEUES, stats: { txFrames: MAX_QUEUES } });
  });
  it('gets each flow by one of them, in its order, and different flows by all', () => {
    const all = queues(MAX_QUEUES);
    const a = new HostileNetfront(rig).connect();
    const used = new Set<number>();
    for (let flow = 0; flow < 24; flow++) {
      const frames = [0, 1, 2].map(() => {
        const frame = datagram(a, all[0]!.mac, 1000 + flow);
        a.putTx({ size: frame.length }).transmit();
        return frame;
      });
      const got = all.map(one => received(one).map(({ bytes }) => bytes));
      const by = got.findIndex(list => list.length > 0);
      expect(got[by]).toEqual(frames);
      expect(got.filter(list => list.length > 0)).toHaveLength(1);
      used.add(by);
      for (let i = 0; i < 3; i++) all[by]!.putRx(i);
      all[by]!.post();
    }
    expect(used.size).toBe(MAX_QUEUES);
  });
  it('has static grants in each, which are not those of another', () => {
    const [a, b] = queues(2) as [HostileNetfront, HostileNetfront];
    expect(a.ask(GET_SIZE, 1)).toEqual({ status: SUCCESS, data: MAX_STATIC_GRANTS });
    expect(a.ask(GET_SIZE, 2).status).toBe(INVALID);
    expect(a.ask(ADD, 1, a.list([b.ref(0)]), 1).status).toBe(SUCCESS);
    expect(a.ask(ADD, 2, a.list([b.ref(1)]), 1).status).toBe(INVALID);
    b.write(0, a.mac, 60);
    b.putTx({ size: 60 }).transmit();
    expect(rig.statsOf(a.guest)!.stats.txCopied).toBe(0);
    a.putTx({ size: 60, gref: b.ref(0) }).transmit();
    expect(rig.statsOf(a.guest)!.stats.txCopied).toBe(1);
    expect(a.ask(DEL, 0, a.list([b.ref(0)]), 1)).toEqual({ status: SUCCESS, data: 0 });
    expect(a.ask(DEL, 1, a.list([b.ref(0)]), 1)).toEqual({ status: SUCCESS, data: 1 });
  });
  it('has no more turns than one of one queue', () => {
    const all = queues(MAX_QUEUES);
    const b = new HostileNetfront(rig).connect();
    for (const one of [...all, b]) one.write(0, all[0]!.mac, 60);
    for (const one of all) for (let i = 0; i < 256; i++) one.putTx({ size: 60, id: i });
    for (const one of all) one.tx.pushRequests();
    b.putTx({ size: 60 });
    b.tx.pushRequests();
    rig.vcpu.events.poll();
    rig.worker.step();
    const first = all.map(one => one.txResponses().length);
    expect(first).toEqual([TURN_SLOTS, 0, 0, 0]);
    expect(b.txResponses()).toHaveLength(1);
    rig.worker.step();
    expect(all.map(one => one.txResponses().length)).toEqual([0, TURN_SLOTS, 0, 0]);
    rig.settle(rig);
    const all256 = all.map((one, i) => one.txResponses().length + (i < 2 ? TURN_SLOTS : 0));
    expect(all256).toEqual([256, 256, 256, 256]);
  });
  it.each(['tx', 'rx'] as const)('that breaks the protocol on its last %s ring loses all of them', ring => {
    const held = rig.held();
    const all = queues(3);
    const b = new HostileNetfront(rig).connect();
    all[2]!.set(ring, 'req_prod', 1000);
    for (let from = 0; from < 20; from++) {
      datagram(b, all[0]!.mac, from);
      b.putTx({ size: 200 }).transmit();
    }
    expect(disabled()).toHaveLength(1);
    all[0]!.putTx({ size: 60 }).publishTx();
    rig.settle(rig);
    expect(all[0]!.txResponses()).toEqual([]);
    all[0]!.disconnect();
    b.disconnect();
    expect(rig.held()).toEqual(held);
  });
});

describe('connecting', () => {
  it.each<[string, (a: HostileNetfront) => Parameters<HostileNetfront['connect']>[0]]>([
    ['a ring gref that was never granted', a => ({ queues: [{ ...a.queue, txRingRef: 4000 }] })],
    ['a port that was never allocated', a => ({ queues: [{ ...a.queue, rxPort: 3000 }] })],
    ['one page for both rings', a => ({ queues: [{ ...a.queue, rxRingRef: a.queue.txRingRef }] })],
    [
      'a ring of the first queue in the second',
      a => ({ queues: [a.queue, { ...a.another().queue, txRingRef: a.queue.txRingRef }] }),
    ],
    [
      'a port of the first queue in the second',
      a => ({ queues: [a.queue, { ...a.another().queue, txPort: a.queue.txPort }] }),
    ],
    ['a ring of a queue as control ring', a => ({ control: { ringRef: a.queue.rxRingRef, port: a.another().port } })],
    ['a second queue that was never granted', a => ({ queues: [a.queue, { ...a.another().queue, rxRingRef: 4001 }] })],
    ['a control port of nobody', a => ({ control: { ringRef: a.refs[2]!, port: 999 } })],
  ])('with %s fails and leaves nothing behind (act 28)', (_what, change) => {
    const a = new HostileNetfront(rig);
    expect(() => a.connect(change(a))).toThrow();
    expect(rig.held()).toEqual(base);
    expect(rig.report().vifs).toEqual([]);
  });
  it('a second time under the same name is refused', () => {
    const a = new HostileNetfront(rig).connect();
    expect(() => a.connect()).toThrow(/connected already/);
  });
});

describe('bridges', () => {
  const bridge = (op: 'createBridge' | 'deleteBridge', name: string, mtu = 1500): unknown =>
    rig.worker.handle({ op, name, mtu });
  it('are made once, and deleted when nobody is attached', () => {
    bridge('createBridge', 'lan');
    bridge('createBridge', 'lan');
    expect(() => bridge('createBridge', 'lan', 9000)).toThrow(/its MTU is 1500/);
    const a = new HostileNetfront(rig).connect({ bridge: 'lan' });
    expect(() => bridge('deleteBridge', 'lan')).toThrow(`in use by ${a.name}`);
    a.disconnect();
    bridge('deleteBridge', 'lan');
    expect(() => bridge('deleteBridge', 'lan')).toThrow(/no bridge lan/);
  });
  it('do not mix their frames', () => {
    const a = new HostileNetfront(rig).connect({ bridge: 'red' });
    const b = new HostileNetfront(rig).connect({ bridge: 'blue' });
    b.putRx(0).post();
    a.write(0, b.mac, 60);
    a.putTx({ size: 60 }).transmit();
    expect(received(b)).toEqual([]);
  });
});

describe('turns', () => {
  it('are bounded: a full ring does not keep the next vif waiting', () => {
    const a = new HostileNetfront(rig).connect();
    const b = new HostileNetfront(rig).connect();
    a.write(0, b.mac, 60);
    b.write(0, a.mac, 60);
    for (let i = 0; i < 256; i++) a.putTx({ size: 60, id: i });
    a.tx.pushRequests();
    b.putTx({ size: 60 });
    b.tx.pushRequests();
    rig.vcpu.events.poll();
    rig.worker.step();
    expect(a.txResponses()).toHaveLength(TURN_SLOTS);
    expect(b.txResponses()).toHaveLength(1);
    rig.settle(rig);
    expect(a.txResponses()).toHaveLength(256 - TURN_SLOTS);
  });
  it('of one who floods a large bridge get shorter', () => {
    const fronts = Array.from({ length: 20 }, () => new HostileNetfront(rig).connect());
    const a = fronts[0]!;
    a.write(0, new Uint8Array(6).fill(255), 60);
    for (let i = 0; i < 200; i++) a.putTx({ size: 60, id: i });
    a.tx.pushRequests();
    rig.vcpu.events.poll();
    rig.worker.step();
    expect(a.txResponses()).toHaveLength(TURN_SLOTS);
    rig.worker.step();
    expect(a.txResponses().length).toBeLessThan(16);
    rig.settle(rig);
    expect(rig.statsOf(a.guest)!.stats.txFrames).toBe(200);
  });
  it('wait for credit when the toolstack has set a rate, and come by the clock alone', () => {
    const a = new HostileNetfront(rig).connect({ rate: { bytes: 6000, intervalUs: 1000 } });
    a.write(0, new Uint8Array(6).fill(255), 1500);
    for (let i = 0; i < 200; i++) a.putTx({ size: 1500, id: i });
    let done = a.transmit().length;
    expect(done).toBe(TURN_SLOTS);
    while (done < 200) {
      const deadline = rig.worker.deadline();
      expect(deadline).toBeGreaterThan(rig.core.clock.now());
      rig.core.clock.ns = deadline!;
      rig.settle(rig);
      done += a.txResponses().length;
    }
    // 200 frames of 1500 bytes at 6000 bytes a millisecond, in whole turns.
    expect(rig.core.clock.now()).toBeGreaterThanOrEqual(1e9 + 32e6);
    expect(rig.worker.deadline()).toBeUndefined();
  });
});

describe('fuzz', () => {
  it('rings full of any bytes cost their owner its vif at most; a ping beside them is answered every time', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    const na = a.configure('10.0.0.1');
    b.configure('10.0.0.2');
    const front = new HostileNetfront(rig);
    const port = front.vcpu.events.allocUnbound(rig.vcpu.domid);
    const rings = fc.array(fc.record({ at: fc.nat(200), value: fc.integer() }), { maxLength: 40 });
    const small = fc.array(fc.record({ at: fc.constantFrom(0, 1, 2, 3), value: fc.integer({ min: -2, max: 260 }) }));
    let disabledOnce = false;
    await fc.assert(
      fc.asyncProperty(rings, rings, rings, small, fc.nat(2), async (tx, rx, control, indices, which) => {
        for (const [name, writes] of [
          ['tx', tx],
          ['rx', rx],
          ['control', control],
        ] as const) {
          front.words(name).fill(0);
          for (const { at, value } of writes) front.words(name)[at] = value;
        }
        const held = rig.held();
        front.connect({ control: { ringRef: front.refs[2]!, port } });
        for (const { at, value } of indices) {
          front.words((['tx', 'rx', 'control'] as const)[which]!)[at] = value;
          front.vcpu.events.notify(front.port);
          rig.settle();
        }
        na.arp.announce();
        const reply = na.ping('10.0.0.2');
        rig.settle();
        await reply;
        disabledOnce ||= disabled().length > 0;
        front.disconnect();
        expect(rig.held()).toEqual(held);
      }),
      { numRuns: 200 },
    );
    expect(disabledOnce).toBe(true);
  });
});
