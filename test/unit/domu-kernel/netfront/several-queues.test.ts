// A guest that asks for several queues. Xen: io/netif.h, "multi-queue-num-queues".
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sring, XenbusState } from '#pvbus';
import type { NetBuffers } from '../../../../domu-kernel/drivers/netfront/buffers.ts';
import { GOOD_FEATURES, HostileNetback } from '../../../support/hostile-netback.ts';
import { NetGuest, NetRig } from '../../../support/net-rig.ts';

/** Of each queue the frames that have gone out, and the slots that have come in. */
const carried = ({ vif }: NetGuest): { tx: number[]; rx: number[] } => {
  const { buffers } = vif as unknown as { readonly buffers: readonly NetBuffers[] };
  return {
    tx: buffers.map(({ txRing }) => Atomics.load(txRing.words, sring.at.req_prod / 4)),
    rx: buffers.map(({ rxRing }) => Atomics.load(rxRing.words, sring.at.rsp_prod / 4)),
  };
};
/** A datagram of one of many flows: its number within the flow is its last byte. */
function datagram(from: NetGuest, to: NetGuest, flow: number, n: number): Uint8Array {
  const frame = new Uint8Array(100);
  const view = new DataView(frame.buffer);
  frame.set(to.vif.mac);
  frame.set(from.vif.mac, 6);
  view.setUint16(12, 0x0800);
  frame[14] = 0x45;
  frame[23] = 17;
  view.setUint32(26, 0x0a000000 + from.domid);
  view.setUint32(30, 0x0a000000 + to.domid);
  view.setUint16(34, flow);
  frame[99] = n;
  return frame;
}

describe('a guest with several queues', () => {
  let rig: NetRig;
  beforeEach(async () => {
    rig = await NetRig.start();
  });
  afterEach(() => {
    expect(rig.core.internalErrors).toEqual([]);
  });
  const read = (guest: NetGuest, key: string): Promise<string | undefined> =>
    rig.toolstack.xs.read(`${guest.nodes.frontend}/${key}`).catch(() => undefined);

  it('has rings of each, with pages that stay mapped, and each flow goes by one in its order', async () => {
    const a = await rig.guest({}, {}, { maxQueues: 2 });
    const b = await rig.guest({}, {}, { maxQueues: 3 });
    for (const [guest, queues] of [
      [a, 2],
      [b, 3],
    ] as const) {
      expect(await read(guest, 'multi-queue-num-queues')).toBe(String(queues));
      expect(await read(guest, `queue-${queues - 1}/event-channel`)).toMatch(/^\d+$/);
      expect(await read(guest, 'tx-ring-ref')).toBeUndefined();
      expect(guest.vif.stats.staticGrants).toBe(512 * queues);
    }
    const next = new Uint8Array(100);
    let came = 0;
    b.vif.onFrame((bytes, offset) => {
      const flow = bytes[offset + 35]!;
      expect(bytes[offset + 99]).toBe(next[flow]!++);
      came++;
    });
    for (let n = 0; n < 20; n++) {
      for (let flow = 0; flow < 100; flow++) expect(a.vif.send(datagram(a, b, flow, n), 100)).toBe(true);
      rig.settle();
    }
    expect(came).toBe(2000);
    const { tx } = carried(a);
    expect(tx.reduce((sum, each) => sum + each)).toBe(2000);
    expect(Math.min(...tx, ...carried(b).rx)).toBeGreaterThan(300);
    expect(rig.statsOf(a)!.stats).toMatchObject({ txFrames: 2000, txCopied: 0 });
    expect(rig.statsOf(b)!.stats).toMatchObject({ rxFrames: 2000, rxCopied: 0, rxDropped: 0 });
  });

  it('waits for the queue that had no room, and sends by the others', async () => {
    const a = await rig.guest({}, {}, { maxQueues: 2 });
    const b = await rig.guest();
    const full = datagram(a, b, 1, 0);
    let sent = 0;
    while (a.vif.send(full, 100)) sent++;
    expect(sent).toBe(256);
    let ready = 0;
    a.vif.whenWritable(() => ready++);
    let other = 2;
    while (!a.vif.send(datagram(a, b, other, 0), 100)) other++;
    expect(ready).toBe(0);
    a.vif.whenWritable(() => ready++);
    rig.settle();
    expect(ready).toBe(2);
    expect(b.vif.stats.rxFrames + rig.statsOf(b)!.stats.rxDropped).toBe(257);
  });

  it('goes on with its flows when its backend starts anew', async () => {
    const [a, b] = [await rig.guest({}, {}, { maxQueues: 2 }), await rig.guest()];
    await rig.backend.stop();
    await rig.restartBackend();
    for (const guest of [a, b]) {
      await rig.until(async () => (await rig.state(guest.nodes.backend)) === XenbusState.Connected);
      await rig.until(() => guest.vif.txBuffer() !== undefined);
    }
    let came = 0;
    b.vif.onFrame(() => came++);
    for (let flow = 0; flow < 100; flow++) a.vif.send(datagram(a, b, flow, 0), 100);
    rig.settle();
    expect(came).toBe(100);
    expect([Math.min(...carried(a).tx) > 0, a.vif.stats.quarantined]).toEqual([true, 0]);
  });

  it('that has no memory for as many has fewer', async () => {
    const guest = rig.core.guest({ pages: 700 });
    const made = new NetGuest(rig, guest, await rig.plug(guest), 4);
    rig.guests.push(made);
    await made.netfront.start();
    await rig.until(() => made.vif.txBuffer() !== undefined);
    expect(await read(made, 'multi-queue-num-queues')).toBe('1');
    expect(made.log.lines.join()).toContain('1 of 4 queues');
  });
});

describe('a backend that says how many queues it takes', () => {
  it.each([
    ['0', undefined],
    ['x', undefined],
    ['1', undefined],
    ['2', 2],
    ['4294967296', undefined],
  ])('%s: there are no more', async (most, queues) => {
    const back = await HostileNetback.plug({ ...GOOD_FEATURES, 'multi-queue-max-queues': most }, {}, { maxQueues: 3 });
    const { rig, guest } = back;
    await rig.until(async () => (await back.frontendState()) === XenbusState.Initialised);
    const { frontend } = guest.nodes;
    expect(await rig.toolstack.xs.read(`${frontend}/multi-queue-num-queues`)).toBe(String(queues ?? 1));
    expect(await rig.toolstack.xs.exists(`${frontend}/queue-1`)).toBe(queues === 2);
  });

  it('one that takes fewer than that before it has one, and who waited for the other is told', async () => {
    const back = await HostileNetback.plug({ ...GOOD_FEATURES, 'multi-queue-max-queues': 2 }, {}, { maxQueues: 2 });
    const { rig, guest } = back;
    await rig.until(async () => (await back.frontendState()) === XenbusState.Initialised);
    await back.setState(XenbusState.Connected);
    await rig.until(() => guest.vif.txBuffer() !== undefined);
    let ready = 0;
    for (let flow = 0; flow < 4; flow++) {
      while (guest.vif.send(datagram(guest, guest, flow, 0), 100));
      guest.vif.whenWritable(() => ready++);
    }
    back.go();
    expect(ready).toBe(0);
    await back.setState(XenbusState.Closed);
    await rig.until(async () => (await back.frontendState()) < XenbusState.Connected);
    await back.offer({ ...GOOD_FEATURES, 'multi-queue-max-queues': 1 });
    await back.attach();
    expect(ready).toBe(4);
    const frame = Uint8Array.from({ length: 60 }, (_, i) => i);
    expect(guest.vif.send(frame, 60)).toBe(true);
    expect(back.sent()).toHaveLength(1);
  });
});
