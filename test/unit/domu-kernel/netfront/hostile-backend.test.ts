// netfront against a backend that has no driver but a hand. Numbers of acts are those of the hostile acts that Xen's
// record knows; Xen: io/netif.h.

import { describe, expect, it } from 'vitest';
import {
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
  XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED,
  XEN_NETIF_CTRL_STATUS_SUCCESS,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  XenbusState,
} from '#pvbus';
import {
  FRAME_CHECKSUM_BLANK,
  FRAME_CHECKSUM_GOOD,
  segmentOf,
  withSegment,
} from '../../../../domu-kernel/net-device.ts';
import { GOOD_FEATURES, HostileNetback } from '../../../support/hostile-netback.ts';
import fc from '../../../support/properties.ts';
import { tcpFrame } from '../../../support/tcp-packet.ts';

const frame = Uint8Array.from({ length: 60 }, (_, i) => i);

describe('a backend that keeps to the protocol', () => {
  it('gets frames, gives frames, and every page goes round for ever', async () => {
    const back = await HostileNetback.connect();
    const { vif } = back.guest;
    const got: { bytes: Uint8Array; flags: number }[] = [];
    vif.onFrame((bytes, offset, length, flags) => got.push({ bytes: bytes.slice(offset, offset + length), flags }));
    for (let i = 0; i < 1000; i++) {
      expect(vif.send(frame, 60)).toBe(true);
      const [request] = back.sent();
      expect(request).toMatchObject({ offset: 0, flags: 0, size: 60 });
      const page = back.map(request!.gref);
      expect(page.page.bytes.subarray(0, 60)).toEqual(frame);
      back.rig.vcpu.grants.unmap([page]);
      back.answerTx(request!.id);
      back.deliver(frame, i % 2 === 0 ? NETRXF_data_validated : 0);
      back.go();
      expect(back.postedCount()).toBe(256);
    }
    expect(got).toHaveLength(1000);
    expect(got.every(g => Buffer.from(g.bytes).equals(frame))).toBe(true);
    expect([got[0]!.flags, got[1]!.flags]).toEqual([FRAME_CHECKSUM_GOOD, 0]);
    expect(vif.stats).toMatchObject({ txFrames: 1000, rxFrames: 1000, txErrors: 0, rxErrors: 0 });
  });
  it('act 36: a net backend that never answers: the ring fills, then send says so, and whoever waits for room hears of it', async () => {
    const back = await HostileNetback.connect();
    const { vif } = back.guest;
    let sent = 0;
    while (vif.send(frame, 60)) sent++;
    expect(sent).toBe(256);
    expect(vif.txBuffer()).toBeUndefined();
    let ready = 0;
    vif.whenWritable(() => ready++);
    back.go();
    expect(ready).toBe(0);
    const [first, second] = back.sent();
    back.answerTx(first!.id);
    back.go();
    expect(ready).toBe(1);
    expect(vif.send(frame, 60)).toBe(true);
    expect(back.wantsTxEvent()).toBe(false);
    // Whoever found no room need not ask to be woken.
    expect(vif.send(frame, 60)).toBe(false);
    back.go();
    expect(back.wantsTxEvent()).toBe(true);
    back.answerTx(second!.id);
    back.go();
    expect(vif.send(frame, 60)).toBe(true);
  });
  it('act 40: a net backend finds zeros in its pages, and the frames it was sent', async () => {
    const back = await HostileNetback.connect();
    expect(back.guest.vif.send(new Uint8Array(60).fill(0x55), 60)).toBe(true);
    const [request] = back.sent();
    const { bytes } = back.map(request!.gref).page;
    expect(bytes.subarray(0, 60).every(b => b === 0x55)).toBe(true);
    expect(bytes.subarray(60).every(b => b === 0)).toBe(true);
    expect(back.map(back.posted().gref).page.bytes.every(b => b === 0)).toBe(true);
  });
  it('and answers with errors is counted, nothing else', async () => {
    const back = await HostileNetback.connect();
    const { vif } = back.guest;
    vif.send(frame, 60);
    vif.send(frame, 60);
    for (const [i, { id }] of back.sent().entries()) back.answerTx(id, i === 0 ? NETIF_RSP_ERROR : NETIF_RSP_DROPPED);
    back.answerRx({ id: back.posted().id, status: NETIF_RSP_ERROR });
    back.answerRx({ id: back.posted().id, status: 0 });
    back.go();
    expect(vif.stats).toMatchObject({ txErrors: 2, rxErrors: 2, rxFrames: 0 });
    expect(vif.send(frame, 60)).toBe(true);
    expect(back.postedCount()).toBe(256);
  });
  it('frames of several pages are put together; one it cannot hold is dropped whole', async () => {
    const back = await HostileNetback.connect();
    const got: number[] = [];
    back.guest.vif.onFrame((bytes, offset, length) => {
      got.push(length);
      expect([bytes[offset], bytes[offset + length - 1]]).toEqual([0, 59]);
    });
    back.deliver(frame, NETRXF_more_data);
    back.deliver(frame);
    for (let i = 0; i < 17; i++)
      back.answerRx({ id: back.posted().id, status: 4096, flags: i < 16 ? NETRXF_more_data : 0 });
    back.deliver(frame);
    back.go();
    expect(got).toEqual([120, 60]);
    expect(back.guest.vif.stats).toMatchObject({ rxFrames: 2, rxErrors: 1 });
    expect(back.postedCount()).toBe(256);
  });
  it('frames longer than a page go out in several slots, only to a backend that takes them', async () => {
    const back = await HostileNetback.connect();
    const { vif } = back.guest;
    const large = new Uint8Array(6000);
    // The MTU is 1500: they are lost.
    expect([vif.send(large, 6000), vif.send(large, 1515)]).toEqual([true, true]);
    expect([back.sent(), vif.stats.txErrors]).toEqual([[], 2]);
    await back.rig.toolstack.xs.write(`${back.guest.nodes.frontend}/mtu`, '9000');
    for (const [sg, sent] of [
      [1, true],
      [0, false],
    ] as const) {
      back.detach();
      await back.setState(XenbusState.Closed);
      await back.rig.until(async () => (await back.frontendState()) < XenbusState.Connected);
      await back.offer({ 'feature-sg': sg });
      await back.attach();
      expect(vif.send(large, 6000)).toBe(true);
      const requests = back.sent();
      expect(requests.map(r => [r.size, r.flags])).toEqual(
        sent
          ? [
              [6000, NETTXF_more_data],
              [1904, 0],
            ]
          : [],
      );
    }
  });
});

describe('TCP packets that are to be cut into segments', () => {
  const OFFERS = { ...GOOD_FEATURES, 'feature-gso-tcpv4': 1, 'feature-gso-tcpv6': 1, 'feature-ipv6-csum-offload': 1 };
  const packet = (payload: number, ipv6 = false): Uint8Array =>
    tcpFrame({ to: new Uint8Array(6).fill(2), from: new Uint8Array(6).fill(4), payload, ipv6 });
  const flags = withSegment(FRAME_CHECKSUM_BLANK, 1400);

  it('are asked for in xenstore, and said to be taken', async () => {
    const back = await HostileNetback.connect(OFFERS);
    const { xs } = back.rig.toolstack;
    for (const key of ['feature-sg', 'feature-gso-tcpv4', 'feature-gso-tcpv6', 'feature-ipv6-csum-offload']) {
      expect(await xs.read(`${back.guest.nodes.frontend}/${key}`)).toBe('1');
    }
    const { vif } = back.guest;
    expect([vif.gsoTcpv4, vif.gsoTcpv6, vif.ipv6ChecksumOffload]).toEqual([true, true, true]);
  });
  it.each([
    ['no pages', { 'feature-sg': 0 }, [false, false]],
    ['no checksums of IPv6', { 'feature-ipv6-csum-offload': 0 }, [true, false]],
    ['nothing of IPv4', { 'feature-gso-tcpv4': 0 }, [false, true]],
    ['something that is no number', { 'feature-gso-tcpv4': '1e9', 'feature-gso-tcpv6': '-1' }, [false, false]],
  ])('are not sent to a backend that takes %s', async (_what, changes, taken) => {
    const back = await HostileNetback.connect({ ...OFFERS, ...changes });
    const { vif } = back.guest;
    expect([vif.gsoTcpv4, vif.gsoTcpv6]).toEqual(taken);
    for (const ipv6 of [false, true]) {
      const frame = packet(6000, ipv6);
      expect(vif.send(frame, frame.length, flags)).toBe(true);
      expect(back.sent().length > 0).toBe(taken[ipv6 ? 1 : 0]);
    }
  });
  it.each([
    [false, 1],
    [true, 2],
  ])('go out with an extra info behind their first slot, whose answer has any id (IPv6: %s)', async (ipv6, type) => {
    const back = await HostileNetback.connect(OFFERS);
    const { vif } = back.guest;
    const frame = packet(10_000, ipv6);
    // Round and round: what the extra infos take of the ring comes back.
    for (let round = 0; round < 60; round++) {
      expect(vif.send(frame, frame.length, flags)).toBe(true);
      const extra = back.txBytes(1);
      const slots = back.sent();
      expect(slots.map(({ size }, i) => (i === 1 ? undefined : size))).toEqual([
        frame.length,
        undefined,
        4096,
        frame.length - 8192,
      ]);
      expect(slots[0]!.flags).toBe(NETTXF_csum_blank | NETTXF_data_validated | NETTXF_more_data | NETTXF_extra_info);
      expect(slots[2]!.flags).toBe(NETTXF_more_data);
      expect(slots[3]!.flags).toBe(0);
      expect([...extra]).toEqual([1, 0, 1400 & 255, 1400 >> 8, type, 0, 0, 0, 0, 0, 0, 0]);
      if (round === 0) {
        const pages = [slots[0]!, slots[2]!, slots[3]!].map(({ gref }) => back.map(gref));
        const bytes = Buffer.concat(pages.map(({ page }) => page.bytes)).subarray(0, frame.length);
        expect(Buffer.compare(bytes, frame)).toBe(0);
        back.rig.vcpu.grants.unmap(pages);
      }
      for (const [i, { id }] of slots.entries()) back.answerTx(i === 1 ? 0xffff : id, i === 1 ? NETIF_RSP_NULL : 0);
      back.go();
    }
    expect(vif.stats).toMatchObject({ txFrames: 60, txErrors: 0 });
    let room = 0;
    while (vif.send(new Uint8Array(60), 60)) room++;
    expect(room).toBe(256);
  });
  it('fill the ring with their extra infos too: no slot is used twice', async () => {
    const back = await HostileNetback.connect(OFFERS);
    const { vif } = back.guest;
    const frame = packet(65_000);
    let sent = 0;
    while (vif.send(frame, frame.length, flags)) sent++;
    expect(sent).toBe(Math.floor(256 / 17));
    expect(back.sent()).toHaveLength(sent * 17);
    while (vif.send(new Uint8Array(60), 60)) sent++;
    expect(back.sent()).toHaveLength(256 % 17);
    expect(vif.send(packet(65_536 - 54), 65_536, flags)).toBe(true); // and lost
    expect([back.sent(), vif.stats.txErrors]).toEqual([[], 1]);
  });
  it.each([1, 2])('come in as one frame that says how long its segments are (type %i)', async type => {
    const back = await HostileNetback.connect(OFFERS);
    const got: { bytes: Uint8Array; flags: number }[] = [];
    back.guest.vif.onFrame((bytes, offset, length, flags) =>
      got.push({ bytes: bytes.slice(offset, offset + length), flags }),
    );
    const frame = packet(10_000, type === 2);
    for (let round = 0; round < 60; round++) {
      const blank = NETRXF_csum_blank | NETRXF_data_validated;
      back.deliver(frame.subarray(0, 4096), blank | NETRXF_extra_info | NETRXF_more_data);
      back.posted();
      back.putRxExtra([1, 0, 1400 & 255, 1400 >> 8, type, 0, 0, 0]);
      back.deliver(frame.subarray(4096, 8192), NETRXF_more_data);
      back.deliver(frame.subarray(8192));
      // One that fits into a page.
      back.deliver(frame.subarray(0, 4000), blank | NETRXF_extra_info);
      back.posted();
      back.putRxExtra([1, 0, 1400 & 255, 1400 >> 8, type, 0, 0, 0]).publishRx();
      back.go();
      expect(back.postedCount()).toBe(256);
    }
    expect(got).toHaveLength(120);
    for (const [i, { bytes, flags }] of got.entries()) {
      expect(segmentOf(flags)).toBe(1400);
      expect(flags & 0xffff).toBe(FRAME_CHECKSUM_BLANK | FRAME_CHECKSUM_GOOD);
      expect(Buffer.compare(bytes, i % 2 === 0 ? frame : frame.subarray(0, 4000))).toBe(0);
    }
  });
  it('of which a page is missing are dropped whole, with their extra info', async () => {
    const back = await HostileNetback.connect(OFFERS);
    const got: number[] = [];
    back.guest.vif.onFrame((_bytes, _offset, length) => got.push(length));
    const { id } = back.posted();
    back.answerRx({ id, status: NETIF_RSP_ERROR, flags: NETRXF_extra_info | NETRXF_more_data });
    back.posted();
    back.putRxExtra([1, 0, 1, 0, 1]);
    back.deliver(frame);
    back.deliver(frame);
    back.go();
    expect(got).toEqual([60]);
    expect(back.guest.vif.stats).toMatchObject({ rxFrames: 1, rxErrors: 1 });
    expect(back.postedCount()).toBe(256);
  });
});

describe('a net backend that breaks the protocol loses the device, is named once, and the guest lives', () => {
  const acts: [string, string, (back: HostileNetback) => void][] = [
    ['act 30: tx responses to nothing', 'more tx responses', b => b.setTxProd(1)],
    ['act 30: tx responses 2^31 ahead', 'more tx responses', b => b.setTxProd(2 ** 31)],
    [
      'act 31: a tx id out of range',
      'request 256, which is not in flight',
      b => {
        b.guest.vif.send(frame, 60);
        b.answerTx(256);
      },
    ],
    [
      'act 31: a tx id twice',
      'which is not in flight',
      b => {
        b.guest.vif.send(frame, 60);
        b.guest.vif.send(frame, 60);
        const [first] = b.sent();
        b.answerTx(first!.id).answerTx(first!.id);
      },
    ],
    [
      'act 35: a tx status of 7',
      'status 7',
      b => {
        b.guest.vif.send(frame, 60);
        b.answerTx(b.sent()[0]!.id, 7);
      },
    ],
    ['act 30: rx responses beyond the ring', 'more rx responses', b => b.setRxProd(257)],
    ['act 30: rx responses moved backwards', 'more rx responses', b => b.setRxProd(-1)],
    [
      'act 31: a rx id of another page',
      'a rx response to page 9 in the slot of page 0',
      b => b.answerRx({ id: 9, status: 60 }),
    ],
    ['act 31: a rx id out of range', 'a rx response to page 65535', b => b.answerRx({ id: 0xffff, status: 60 })],
    ['act 35: a frame longer than its page', '4097 bytes', b => b.answerRx({ id: 0, status: 4097 })],
    ['act 35: a frame beyond its page', 'from offset 4095', b => b.answerRx({ id: 0, offset: 4095, status: 60 })],
    ['act 35: a rx status of -3', 'status -3', b => b.answerRx({ id: 0, status: -3 })],
    ['act 35: a rx status of -32768', 'status -32768', b => b.answerRx({ id: 0, status: -32768 })],
    [
      'act 35: an extra info that never comes',
      'an extra info that never comes',
      b => b.answerRx({ id: 0, status: 60, flags: NETRXF_extra_info }),
    ],
    ...(
      [
        ['of type 0', [0, 0, 0, 0, 0], 'an extra info of type 0'],
        ['of a multicast group', [2, 0, 1, 0, 94, 0, 0, 1], 'an extra info of type 2'],
        ['of a hash', [4, 0, 1, 1, 0, 0, 0, 0], 'an extra info of type 4'],
        ['beyond all types', [255, 0, 1, 0, 1], 'an extra info of type 255'],
        ['that announces another', [1, 1, 1, 0, 1], 'a second extra info'],
        ['with segments of nothing', [1, 0, 0, 0, 1], 'without a segment size'],
        ['of no protocol', [1, 0, 1, 0, 0], 'a GSO extra info of type 0'],
        ['of an unknown protocol', [1, 0, 1, 0, 3], 'a GSO extra info of type 3'],
      ] as const
    ).map(([what, bytes, reason]): [string, string, (back: HostileNetback) => void] => [
      `act 35: an extra info ${what}`,
      reason,
      b => b.answerRx({ id: 0, status: 60, flags: NETRXF_extra_info }).putRxExtra(bytes).publishRx(),
    ]),
    [
      'act 35: an extra info behind the second page',
      'behind another slot than the first',
      b => {
        b.answerRx({ id: 0, status: 60, flags: NETRXF_more_data });
        b.answerRx({ id: 1, status: 60, flags: NETRXF_extra_info }).putRxExtra([1, 0, 1, 0, 1]).publishRx();
      },
    ],
    [
      'act 35: a packet that is to be cut and has no end',
      'whose last page',
      b =>
        b
          .answerRx({ id: 0, status: 60, flags: NETRXF_extra_info | NETRXF_more_data })
          .putRxExtra([1, 0, 1, 0, 1])
          .publishRx(),
    ],
    [
      'act 31: an answer to an extra info that was not sent',
      'to an extra info that was not sent',
      b => {
        b.guest.vif.send(frame, 60);
        b.answerTx(b.sent()[0]!.id, NETIF_RSP_NULL);
      },
    ],
    [
      'act 35: a frame without an end',
      'whose last page',
      b => b.answerRx({ id: 0, status: 60, flags: NETRXF_more_data }),
    ],
    [
      'act 35: a frame whose second page is wrong',
      'to page 7',
      b => b.answerRx({ id: 0, status: 60, flags: NETRXF_more_data }).answerRx({ id: 7, status: 60 }),
    ],
    [
      'act 31: control answers to nothing',
      'control response',
      b => b.answerControl(0, { id: 77, type: 8, status: 0, data: 512 }),
    ],
    [
      'act 32: a control answer of another type',
      'control response',
      b => b.answerControl(0, { id: b.asked()[0]!.id, type: 9, status: 0, data: 512 }),
    ],
  ];
  it.each(acts)('%s', async (_what, reason, act) => {
    const back = await HostileNetback.connect();
    const { vif, log } = back.guest;
    act(back);
    back.go();
    const lines = log.lines.filter(line => line.includes('the interface is given up'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('vif 0: the backend sent ');
    expect(lines[0]).toContain(reason);
    expect(vif.send(frame, 60)).toBe(false);
    expect(vif.txBuffer()).toBeUndefined();
    await back.rig.until(async () => (await back.frontendState()) === XenbusState.Closed);
    for (let i = 0; i < 100; i++) {
      back.setRxProd(i * 1000);
      back.go();
    }
    expect(log.lines.filter(line => line.includes('given up'))).toHaveLength(1);
    // The rings are still mapped by the backend when it says it has left: their pages are not used for anything else.
    await back.setState(XenbusState.Closed);
    await back.rig.until(() => vif.stats.quarantined > 0);
    expect(vif.stats.quarantined).toBe(516);
  });
});

describe('static grants', () => {
  it('of all pages are asked for in one list', async () => {
    const back = await HostileNetback.connect();
    const [size] = back.asked();
    expect(size!.type).toBe(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE);
    back.answerControl(0, { id: size!.id, type: size!.type, status: XEN_NETIF_CTRL_STATUS_SUCCESS, data: 4096 });
    back.go();
    const [add] = back.asked();
    expect([add!.type, add!.data[0], add!.data[2]]).toEqual([XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 0, 512]);
    const list = back.map(add!.data[1]!).page.view;
    const refs = new Set(Array.from({ length: 512 }, (_, i) => list.getUint32(8 * i, true)));
    expect(refs.size).toBe(512);
    expect(refs.has(back.posted().gref)).toBe(true);
    back.answerControl(1, { id: add!.id, type: add!.type, status: XEN_NETIF_CTRL_STATUS_SUCCESS, data: 0 });
    back.go();
    expect(back.guest.vif.stats.staticGrants).toBe(512);
  });
  it.each([
    ['takes few', XEN_NETIF_CTRL_STATUS_SUCCESS, 7, 7],
    ['takes none', XEN_NETIF_CTRL_STATUS_SUCCESS, 0, undefined],
    ['does not know them', XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED, 512, undefined],
    ['says something senseless', 0xffff, 512, undefined],
  ])('a backend that %s is used without the others', async (_how, status, data, asked) => {
    const back = await HostileNetback.connect();
    const [size] = back.asked();
    back.answerControl(0, { id: size!.id, type: size!.type, status, data });
    back.go();
    const [add] = back.asked();
    expect(add?.data[2]).toBe(asked);
    if (add) {
      back.answerControl(1, { id: add.id, type: add.type, status: XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER, data: 0 });
    }
    back.go();
    expect(back.guest.vif.stats.staticGrants).toBe(0);
    expect(back.guest.vif.send(frame, 60)).toBe(true);
  });
  it('are not asked of a backend without a control ring', async () => {
    const back = await HostileNetback.connect({ 'feature-rx-copy': 1 });
    const { xs } = back.rig.toolstack;
    expect(await xs.exists(`${back.guest.nodes.frontend}/ctrl-ring-ref`)).toBe(false);
    expect(back.guest.vif.send(frame, 60)).toBe(true);
    expect(back.sent()).toHaveLength(1);
  });
});

describe('negotiation', () => {
  it.each([
    ['does not copy', { ...GOOD_FEATURES, 'feature-rx-copy': 0 }, /feature-rx-copy/],
    ['says nothing', {}, /feature-rx-copy/],
    ['says garbage', { ...GOOD_FEATURES, 'feature-ctrl-ring': '1e9; rm' }, /feature-ctrl-ring is "1e9; rm"/],
  ])('act 38: a net backend that %s is refused with a reason', async (_how, features, why) => {
    const back = await HostileNetback.plug(features);
    await back.rig.until(async () => (await back.frontendState()) >= XenbusState.Closing);
    expect(back.guest.log.lines.some(line => why.test(line))).toBe(true);
  });
  it('act 39: a net backend that goes and comes back gets new rings in the old pages; frames flow again', async () => {
    const back = await HostileNetback.connect();
    const { vif } = back.guest;
    for (let round = 0; round < 10; round++) {
      vif.send(frame, 60);
      back.deliver(frame);
      back.detach();
      await back.setState(round % 2 === 0 ? XenbusState.Closed : XenbusState.InitWait);
      await back.rig.until(async () => (await back.frontendState()) < XenbusState.Connected);
      expect(vif.send(frame, 60)).toBe(false);
      await back.offer(GOOD_FEATURES);
      await back.attach();
      for (let i = 0; i < 256; i++) expect(vif.send(frame, 60)).toBe(true);
      expect(back.sent()).toHaveLength(256);
    }
    expect(vif.stats).toMatchObject({ rxFrames: 10, quarantined: 0 });
  });
  it('after unplugging nothing is left of the interface', async () => {
    const back = await HostileNetback.connect();
    const { domain } = back.guest.guest;
    const { ports } = domain;
    back.detach();
    const before = ports.open;
    await back.rig.toolstack.remove(back.guest.nodes);
    await back.rig.until(() => back.guest.netfront.interfaces().length === 0);
    expect(before - ports.open).toBe(2);
    expect(domain.grants.pinned).toBe(0);
  });
});

describe('fuzz', () => {
  it('rings full of any bytes never make the driver throw, and end in a working or a given-up interface', async () => {
    const writes = fc.array(fc.record({ at: fc.nat(1023), value: fc.integer() }), { minLength: 1, maxLength: 30 });
    const near = fc.array(fc.record({ at: fc.constantFrom(2, 3), value: fc.integer({ min: -1, max: 257 }) }));
    let back: HostileNetback | undefined;
    let given = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(2), writes, near), { minLength: 1, maxLength: 5 }), async acts => {
        back ??= await HostileNetback.connect();
        const { vif } = back.guest;
        vif.onFrame((bytes, offset, length) => {
          expect(offset + length).toBeLessThanOrEqual(bytes.length);
        });
        for (const [ring, anywhere, indices] of acts) {
          for (const { at, value } of [...anywhere, ...indices]) back.scribble(ring, at, value);
          vif.send(frame, 60);
          back.go();
        }
        if (vif.txBuffer() !== undefined) return;
        given++;
        expect(back.guest.log.lines.filter(line => line.includes('given up'))).toHaveLength(1);
        back = undefined; // the next run has a guest of its own
      }),
      { numRuns: 30 },
    );
    expect(given).toBeGreaterThan(2);
  });
});
