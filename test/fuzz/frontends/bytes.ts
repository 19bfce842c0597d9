// Streams and frames: netfront's two rings, the console, the command ring and the data ring of sockets, against
// arbitrary bytes in their pages.

import {
  dataRing,
  domid,
  FrontRing,
  NETIF_RSP_NULL,
  NETTXF_extra_info,
  NetifRxResponse,
  NetifTxRequest,
  NetifTxResponse,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  PAGE_SIZE,
  type Page,
  privatePage,
  pvcalls_data_intf,
  sring,
  XenError,
  xen_pvcalls_sring_entry,
} from '#pvbus';
import { HvcStats } from '../../../domu-kernel/drivers/hvc/stats.ts';
import { HvcWorker } from '../../../domu-kernel/drivers/hvc/worker.ts';
import { NetBuffers, RX_SLOTS, TX_SLOTS } from '../../../domu-kernel/drivers/netfront/buffers.ts';
import { ControlRing } from '../../../domu-kernel/drivers/netfront/control.ts';
import { NetfrontWorker } from '../../../domu-kernel/drivers/netfront/worker.ts';
import { HostConnection } from '../../../domu-kernel/drivers/pvcallsfront/connection.ts';
import { CommandRing } from '../../../domu-kernel/drivers/pvcallsfront/request.ts';
import { PvcallsFrontStats } from '../../../domu-kernel/drivers/pvcallsfront/stats.ts';
import { withSegment } from '../../../domu-kernel/net-device.ts';
import { CoreRig } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';

const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const word = fc.nat(PAGE_SIZE / 4 - 1);
const scribbles = fc.array(fc.tuple(word, fc.integer()), { maxLength: 4 });
const scribble = (page: Page, what: readonly (readonly [number, number])[]): void => {
  for (const [at, value] of what) page.words[at] = value;
};

// ---- netfront ----

let net: NetBuffers | undefined;
const netGround = (): NetBuffers => new NetBuffers(new CoreRig().guest({ pages: 1024 }).kernel().grants, domid(0));
const u16 = fc.nat(0xffff);
const mostly = fc.nat(9).map(n => n > 0);
const rxAnswer = fc.record({
  right: mostly,
  id: u16,
  offset: fc.oneof(fc.constant(0), u16),
  flags: fc.oneof(fc.constant(0), fc.nat(15)),
  status: fc.oneof(fc.integer({ min: 1, max: 4096 }), fc.integer({ min: -32768, max: 32767 })),
});
const netAct = fc.record({
  send: fc.nat(9000),
  segment: fc.oneof(fc.constant(0), u16),
  rx: fc.array(rxAnswer, { maxLength: 6 }),
  tx: fc.array(
    fc.record({ right: mostly, id: fc.oneof(fc.nat(TX_SLOTS), u16), status: fc.constantFrom(0, 0, -1, -2, -3, 1) }),
    { maxLength: 3 },
  ),
  anywhere: fc.tuple(scribbles, scribbles, scribbles),
  wild: fc.nat(9),
  replaced: fc.nat(19),
});
export const netRings = fc.property(fc.array(netAct, { minLength: 1, maxLength: 20 }), acts => {
  net ??= netGround();
  const buffers = net;
  let broken = 0;
  const worker = new NetfrontWorker(() => broken++);
  worker.onFrame((bytes, offset, length) => {
    if (length < 1 || offset + length > bytes.length) throw new Error(`${length} bytes from ${offset}`);
  });
  let control = new ControlRing([buffers], () => {});
  let [txProd, rxProd] = [0, 0];
  // Of the tx ring, as an honest backend sees it.
  let txCons = 0;
  const out = new Set<number>();
  let extras = 0;
  let isExtra = false;
  const take = (): void => {
    for (; txCons !== Atomics.load(buffers.txRing.words, REQ_PROD) >>> 0; txCons++) {
      const at = sring.size + (txCons & (TX_SLOTS - 1)) * netif_tx_sring_entry.size;
      const { id, flags } = new NetifTxRequest(buffers.txRing.view, at);
      if (isExtra) {
        isExtra = false;
        extras++;
        continue;
      }
      isExtra = (flags & NETTXF_extra_info) !== 0;
      if (out.has(id)) throw new Error(`request ${id} was made twice`);
      out.add(id);
    }
  };
  const connect = (): void => {
    worker.attach([{ buffers, notify: () => {} }]);
    control = new ControlRing([buffers], () => {});
    control.start();
    worker.resume({ maxFrame: 65_535, scatterGather: true, gsoTcpv4: true, gsoTcpv6: true });
    [txProd, rxProd, txCons, extras] = [0, 0, 0, 0];
    isExtra = false;
    out.clear();
  };
  connect();
  const frame = new Uint8Array(9000);
  for (const { send, segment, rx, tx, anywhere, wild, replaced } of acts) {
    worker.send(frame, Math.max(14, send), withSegment(0, segment));
    for (const r of rx) {
      const at = sring.size + (rxProd & (RX_SLOTS - 1)) * netif_rx_sring_entry.size;
      const id = r.right ? rxProd & (RX_SLOTS - 1) : r.id;
      Object.assign(new NetifRxResponse(buffers.rxRing.view, at), { ...r, id });
      Atomics.store(buffers.rxRing.words, RSP_PROD, ++rxProd);
    }
    let lied = false;
    take();
    for (const { right, id, status } of tx) {
      const [first = id] = out;
      const r = { id: right ? first : id, status };
      if (status === NETIF_RSP_NULL ? extras-- === 0 : !out.delete(r.id)) lied = true;
      const at = sring.size + (txProd & (TX_SLOTS - 1)) * netif_tx_sring_entry.size;
      Object.assign(new NetifTxResponse(buffers.txRing.view, at), r);
      Atomics.store(buffers.txRing.words, RSP_PROD, ++txProd);
    }
    if (wild === 0) {
      scribble(buffers.txRing, anywhere[0]);
      scribble(buffers.rxRing, anywhere[1]);
      scribble(buffers.controlRing, anywhere[2]);
    }
    control.step();
    for (let i = 0; i < 50 && worker.step() === 'progress'; i++);
    if (lied && broken === 0) throw new Error('a lie was believed');
    if (broken > 1) throw new Error('the backend was given up twice');
    if (broken === 1) {
      if (worker.send(frame, 60)) throw new Error('a frame was sent to a backend that was given up');
      return;
    }
    if (worker.inFlight < 0 || worker.inFlight > TX_SLOTS) throw new Error(`${worker.inFlight} frames in flight`);
    if (replaced === 0) {
      worker.suspend();
      connect();
      if (worker.inFlight !== 0) throw new Error('frames of another connection are waited for');
    }
  }
});

// ---- the console ----

export const consolePage = fc.property(
  fc.array(fc.tuple(scribbles, fc.nat(5000), fc.boolean()), { minLength: 1, maxLength: 30 }),
  acts => {
    const page = privatePage();
    const stats = new HvcStats();
    const worker = new HvcWorker(page, () => {}, stats);
    let came = 0;
    worker.onInput = bytes => {
      came += bytes.length;
    };
    for (const [what, bytes, indices] of acts) {
      if (indices)
        scribble(
          page,
          what.map(([at, value]) => [768 + (at & 3), value & 0xfff] as const),
        );
      else scribble(page, what);
      worker.write(new Uint8Array(bytes));
      for (let i = 0; i < 50 && worker.step() === 'progress'; i++);
    }
    if (came !== stats.bytesIn) throw new Error(`${came} bytes of ${stats.bytesIn}`);
  },
);

// ---- sockets ----

/** Errors of ours are XenErrors; anything else is a driver that fell over. */
const calm = (error: unknown): void => {
  if (!(error instanceof XenError)) throw error;
};

const command = fc.record({
  ask: fc.boolean(),
  what: scribbles,
  answer: fc.option(fc.record({ slip: fc.nat(7), ret: fc.oneof(fc.constant(0), fc.integer()) }), { nil: undefined }),
  wild: fc.nat(9),
});
export const commandRing = fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 40 }), async acts => {
  const page = privatePage();
  const ring = new CommandRing(FrontRing.init(page, xen_pvcalls_sring_entry.size), page.view, () => {});
  const works: Promise<unknown>[] = [];
  let [prod, ended] = [0, false];
  for (const { ask, what, answer, wild } of acts) {
    if (ask) works.push(ring.issue(2, works.length, 'a test', () => {}).catch(calm));
    if (answer) {
      const at = sring.size + (prod % 32) * xen_pvcalls_sring_entry.size;
      page.view.setUint32(at, prod + 1 + (answer.slip === 1 ? 1 : 0), true);
      page.view.setUint32(at + 4, answer.slip === 2 ? 3 : 2, true);
      page.view.setInt32(at + 8, answer.ret, true);
      page.words[RSP_PROD] = ++prod;
    }
    if (wild === 0) scribble(page, what);
    try {
      for (let i = 0; i < 50 && ring.step() === 'progress'; i++);
    } catch (error) {
      calm(error);
      ended = true;
      break;
    }
  }
  ring.end(new XenError('ECONNRESET', ended ? 'broken' : 'over'));
  if (ring.outstanding !== 0) throw new Error(`${ring.outstanding} commands wait for ever`);
  await Promise.all(works);
});

const stream = fc.record({
  write: fc.nat(3000),
  read: fc.boolean(),
  // Mostly the indices.
  what: fc.array(fc.tuple(fc.oneof(fc.nat(3), fc.constantFrom(16, 17, 18, 19), word), fc.integer()), { maxLength: 3 }),
  honest: fc.nat(2000),
});
const [ORDER, PAGES] = [1, 2];
export const dataStream = fc.asyncProperty(fc.array(stream, { minLength: 1, maxLength: 20 }), async acts => {
  const intf = privatePage();
  intf.view.setUint32(pvcalls_data_intf.at.ring_order, ORDER, true);
  const data = Array.from({ length: PAGES }, () => privatePage().bytes);
  const ends = { ...dataRing(intf, data, 'front'), ref: 1 as never, port: 1 as never };
  const ring = { ...ends, notify: () => {}, free: () => true };
  const connection = new HostConnection('a test', ring, new PvcallsFrontStats(), true, async () => {});
  const works: Promise<unknown>[] = [];
  for (const { write, read, what, honest } of acts) {
    works.push(connection.write(new Uint8Array(write)).catch(calm));
    const most = (PAGES * PAGE_SIZE) / 2;
    const check = (bytes: Uint8Array | null): void => {
      if (bytes && (bytes.length < 1 || bytes.length > most)) throw new Error(`${bytes.length} bytes of ${most}`);
    };
    if (read) works.push(connection.read().then(check).catch(calm));
    const at = pvcalls_data_intf.at.in_prod / 4;
    intf.words[at] = intf.words[at]! + honest;
    if (what.length === 3) scribble(intf, what);
    connection.moved();
    connection.wake();
    await Promise.resolve();
  }
  connection.fail(new XenError('ECONNRESET', 'over'));
  await Promise.all(works);
});
