// Xen: io/netif.h, "Guest transmit". Acts 19 to 22 and 27 of the hostile ones.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  BackRing,
  FrontRing,
  NETIF_RSP_ERROR,
  NETIF_RSP_OKAY,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  NetifTxRequest,
  netif_tx_sring_entry,
  privatePage,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_HASH,
  XEN_NETIF_EXTRA_TYPE_MAX,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_NR_SLOTS_MIN,
} from '#pvbus';
import { TxPacket, TxReader } from '../../../../../dom0/backends/netback/request.ts';
import fc from '../../../../support/properties.ts';

let page = privatePage();
let front: FrontRing;
let reader: TxReader;
let back: BackRing;
const packet = new TxPacket();

beforeEach(() => {
  page = privatePage();
  front = FrontRing.init(page, netif_tx_sring_entry.size);
  back = new BackRing(page, netif_tx_sring_entry.size);
  reader = new TxReader(back, 1518);
});

interface Slot {
  readonly size: number;
  readonly flags?: number;
  readonly offset?: number;
  readonly gref?: number;
  readonly id?: number;
}
function put({ size, flags = 0, offset = 0, gref = 77, id = 5 }: Slot): void {
  const request = new NetifTxRequest(page.view, front.requestOffset());
  Object.assign(request, { size, flags, offset, gref, id });
  front.req_prod_pvt++;
}
function extra(type: number, flags = 0, ...rest: number[]): void {
  page.bytes.set([type, flags, ...rest], front.requestOffset());
  front.req_prod_pvt++;
}
function read(): number {
  front.pushRequests();
  return reader.read(back.unconsumedRequests(), packet);
}

describe('a packet', () => {
  it('of one slot', () => {
    put({ size: 60, offset: 100, gref: 9, id: 3, flags: NETTXF_csum_blank | NETTXF_data_validated });
    expect(read()).toBe(1);
    expect(packet).toMatchObject({ parts: 1, extras: 0, length: 60, status: NETIF_RSP_OKAY, multicast: 0 });
    expect(packet.rxFlags).toBe(NETRXF_csum_blank | NETRXF_data_validated);
    expect([packet.ids[0], packet.grefs[0], packet.offsets[0], packet.sizes[0]]).toEqual([3, 9, 100, 60]);
    expect(back.req_cons).toBe(1);
  });
  it('of several: the first slot has the size of the whole', () => {
    put({ size: 1500, flags: NETTXF_more_data, id: 1 });
    put({ size: 400, flags: NETTXF_more_data, id: 2, offset: 3696 });
    put({ size: 100, id: 3 });
    put({ size: 60, id: 4 });
    expect(read()).toBe(3);
    expect(packet).toMatchObject({ parts: 3, length: 1500, status: NETIF_RSP_OKAY });
    expect([...packet.sizes.subarray(0, 3)]).toEqual([1000, 400, 100]);
    expect([...packet.ids.subarray(0, 3)]).toEqual([1, 2, 3]);
    expect(reader.read(1, packet)).toBe(1);
    expect(packet.ids[0]).toBe(4);
  });
  it('with extra infos, which are counted', () => {
    put({ size: 60, flags: NETTXF_extra_info | NETTXF_more_data });
    extra(XEN_NETIF_EXTRA_TYPE_HASH, XEN_NETIF_EXTRA_FLAG_MORE);
    extra(XEN_NETIF_EXTRA_TYPE_HASH);
    put({ size: 20 });
    expect(read()).toBe(4);
    expect(packet).toMatchObject({ parts: 2, extras: 2, length: 60, status: NETIF_RSP_OKAY });
  });
  it('that only names a multicast group', () => {
    put({ size: 0, flags: NETTXF_extra_info });
    extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, 0, 1, 0, 0x5e, 0, 0, 0xfb);
    expect(read()).toBe(2);
    expect(packet.multicast).toBe(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
    expect([...packet.group]).toEqual([1, 0, 0x5e, 0, 0, 0xfb]);
    expect(packet.status).toBe(NETIF_RSP_OKAY);
  });
  it('of as many slots as every backend must take, and with empty slots among them', () => {
    for (let i = 0; i < XEN_NETIF_NR_SLOTS_MIN; i++) {
      put({ size: i === 0 ? 100 : i < 10 ? 0 : 5, flags: i < XEN_NETIF_NR_SLOTS_MIN - 1 ? NETTXF_more_data : 0 });
    }
    expect(read()).toBe(XEN_NETIF_NR_SLOTS_MIN);
    expect(packet).toMatchObject({ parts: XEN_NETIF_NR_SLOTS_MIN, length: 100, status: NETIF_RSP_OKAY });
  });
});

describe('a packet that is taken whole and answered with an error', () => {
  const bad = (slots: Slot[]): void => {
    for (const [i, slot] of slots.entries()) {
      put({ ...slot, id: i, flags: (slot.flags ?? 0) | (i < slots.length - 1 ? NETTXF_more_data : 0) });
    }
    expect(read()).toBe(slots.length);
    expect(packet.status).toBe(NETIF_RSP_ERROR);
    expect(packet.parts).toBe(slots.length);
    expect([...packet.ids.subarray(0, slots.length)]).toEqual(slots.map((_, i) => i));
    expect(reader.fault).toBeUndefined();
  };
  it('empty', () => bad([{ size: 0 }]));
  it('shorter than an Ethernet header', () => bad([{ size: 13 }]));
  it('longer than MTU, header and tag', () => bad([{ size: 1519 }]));
  it('beyond the end of its page', () => bad([{ size: 100, offset: 3997 }]));
  it('with an offset outside any page', () => bad([{ size: 60, offset: 65535 }]));
  it('whose second slot crosses its page', () => bad([{ size: 100 }, { size: 50, offset: 4090 }]));
  it('whose slots have more than the whole', () => bad([{ size: 100 }, { size: 60 }, { size: 41 }]));
  it('of more slots than a backend must take', () =>
    bad(Array.from({ length: XEN_NETIF_NR_SLOTS_MIN + 1 }, (_, i) => ({ size: i === 0 ? 1000 : 10 }))));
  it('of a whole ring of slots', () => bad(Array.from({ length: 256 }, (_, i) => ({ size: i === 0 ? 1000 : 1 }))));
  const gso = (length: number, segment: number): number => {
    put({ size: length, flags: NETTXF_extra_info | NETTXF_more_data });
    extra(XEN_NETIF_EXTRA_TYPE_GSO, 0, segment & 255, segment >> 8, XEN_NETIF_GSO_TYPE_TCPV4);
    const slots = Math.ceil(length / 4096);
    for (let i = 1; i < slots; i++)
      put({ size: i < slots - 1 ? 4096 : length - 4096 * (slots - 1), flags: i < slots - 1 ? NETTXF_more_data : 0 });
    expect(read()).toBe(slots + 1);
    return packet.status;
  };
  it('to be cut into segments that are longer than a frame', () => expect(gso(9000, 1519)).toBe(NETIF_RSP_ERROR));
  it('to be cut into more segments than there may be', () => expect(gso(12_801, 100)).toBe(NETIF_RSP_ERROR));
  it('but not one that is to be cut into as many as there may be, longer than a frame', () => {
    expect(gso(12_800, 100)).toBe(NETIF_RSP_OKAY);
    expect([packet.gsoSize, packet.gsoType]).toEqual([100, XEN_NETIF_GSO_TYPE_TCPV4]);
    expect(gso(65_535, 1448)).toBe(NETIF_RSP_OKAY);
    put({ size: 60 });
    expect(read()).toBe(1);
    expect(packet.gsoSize).toBe(0);
  });
});

describe('a packet that ends its ring', () => {
  const GSO = XEN_NETIF_EXTRA_TYPE_GSO;
  const HASH = XEN_NETIF_EXTRA_TYPE_HASH;
  const MORE = XEN_NETIF_EXTRA_FLAG_MORE;
  it.each<[fault: string, flags: number, extras: number[][]]>([
    ['a packet whose last slot announces another', NETTXF_more_data, []],
    ['an extra info that never comes', NETTXF_extra_info, []],
    ['an extra info that never comes', NETTXF_extra_info, [[HASH, MORE]]],
    ['an extra info of an unknown type', NETTXF_extra_info, [[0, 0]]],
    ['an extra info of an unknown type', NETTXF_extra_info, [[XEN_NETIF_EXTRA_TYPE_MAX, 0]]],
    ['an extra info of an unknown type', NETTXF_extra_info, [[255, 255]]],
    ['a GSO extra info without a segment size', NETTXF_extra_info, [[GSO, 0, 0, 0, XEN_NETIF_GSO_TYPE_TCPV4]]],
    ['a GSO extra info of an unknown type', NETTXF_extra_info, [[GSO, 0, 100, 0, 3]]],
    [
      'a packet with two GSO extra infos',
      NETTXF_extra_info,
      [
        [GSO, MORE, 100, 0, XEN_NETIF_GSO_TYPE_TCPV4],
        [GSO, 0, 100, 0, XEN_NETIF_GSO_TYPE_TCPV4],
      ],
    ],
  ])('%s', (fault, flags, extras) => {
    put({ size: 60, flags });
    for (const [type = 0, more = 0, ...rest] of extras) extra(type, more, ...rest);
    expect(read()).toBe(0);
    expect(reader.fault).toBe(fault);
  });
});

describe('fuzz', () => {
  it('any ring contents are taken within what is there, and every accepted part lies inside its page', () => {
    const slots = fc.uint8Array({ minLength: 12 * 64, maxLength: 12 * 64 });
    fc.assert(
      fc.property(slots, fc.integer({ min: 1, max: 64 }), (bytes, n) => {
        const fresh = privatePage();
        const ring = FrontRing.init(fresh, netif_tx_sring_entry.size);
        fresh.bytes.set(bytes, 64);
        ring.req_prod_pvt = n;
        ring.pushRequests();
        const taking = new BackRing(fresh, netif_tx_sring_entry.size);
        const fuzzed = new TxReader(taking, 1518);
        for (let left = n; left > 0; ) {
          const taken = fuzzed.read(left, packet);
          expect(taken).toBeLessThanOrEqual(left);
          if (taken === 0) {
            expect(fuzzed.fault).toBeDefined();
            break;
          }
          expect(packet.parts + packet.extras).toBe(taken);
          left -= taken;
          expect(taking.req_cons).toBe(n - left);
          if (packet.status !== NETIF_RSP_OKAY || packet.multicast !== 0) continue;
          let sum = 0;
          for (let i = 0; i < packet.parts; i++) {
            expect(packet.offsets[i]! + packet.sizes[i]!).toBeLessThanOrEqual(4096);
            sum += packet.sizes[i]!;
          }
          expect(sum).toBe(packet.length);
          expect(packet.length).toBeGreaterThanOrEqual(14);
          expect(packet.length).toBeLessThanOrEqual(1518);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
