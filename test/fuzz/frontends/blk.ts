// blkfront's ring loop against whatever a backend can write into the ring page, and backends that come and go.

import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BlkifRequest,
  BlkifResponse,
  blkif_sring_entry,
  domid,
  type EvtchnPort,
  sring,
  type Vcpu,
} from '#pvbus';
import { SharedBuffers } from '../../../domu-kernel/drivers/blkfront/buffers.ts';
import { SharedRings } from '../../../domu-kernel/drivers/blkfront/rings.ts';
import { BlkfrontWorker } from '../../../domu-kernel/drivers/blkfront/worker.ts';
import { CoreRig, LineLog } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';

const SHAPE = { small: 6, large: 2, largePages: 16 };
const SLOTS = 32;
const REQ_PROD = sring.at.req_prod / 4;
const RSP_PROD = sring.at.rsp_prod / 4;

type Act =
  | { readonly act: 'ask'; readonly operation: number; readonly bytes: number }
  | {
      readonly act: 'answer';
      readonly which: number;
      readonly id: number;
      readonly stamp: number;
      readonly operation: number;
      readonly status: number;
    }
  | { readonly act: 'scribble'; readonly word: number; readonly value: number }
  | { readonly act: 'claim'; readonly ahead: number }
  | { readonly act: 'look' }
  | { readonly act: 'replace' };

const operations = fc.constantFrom(BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_DISCARD);
/** Mostly nothing: an answer that is right but for one thing finds more than one that is all wrong. */
const slip = (wrong: fc.Arbitrary<number>): fc.Arbitrary<number> =>
  fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: wrong });
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ act: fc.constant('ask'), operation: operations, bytes: fc.nat(70_000) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      act: fc.constant('answer'),
      which: fc.nat(7),
      id: slip(fc.oneof(fc.nat(7), fc.integer())),
      stamp: slip(fc.integer({ min: -3, max: 3 })),
      operation: slip(fc.nat(255)),
      status: slip(fc.integer({ min: -32768, max: 32767 })),
    }),
  },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('look') }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('replace') }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('scribble'), word: fc.nat(1023), value: fc.integer() }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('claim'), ahead: slip(fc.integer()) }) },
) as fc.Arbitrary<Act>; // of the literals in `act`

/** Where it all happens; drawn sequences differ in what is written only. */
class Ground {
  readonly core = new CoreRig();
  readonly vcpu: Vcpu;
  readonly buffers: SharedBuffers;
  readonly rings: SharedRings;
  readonly port: EvtchnPort;
  constructor() {
    this.vcpu = this.core.guest({ pages: 512 }).kernel();
    this.buffers = new SharedBuffers(this.vcpu.grants, domid(0), SHAPE);
    this.rings = new SharedRings(this.vcpu.grants, domid(0));
    this.port = this.vcpu.events.allocUnbound(domid(0));
  }
}

interface Asked {
  readonly slot: number;
  readonly operation: number;
  readonly sector: number;
  /** The high half of its id, once the backend has seen it. */
  stamp: number | undefined;
  /** The backend has said that it is done. */
  answered: boolean;
  settled: number;
}

class Session {
  private readonly ground: Ground;
  private readonly log = new LineLog();
  private readonly worker: BlkfrontWorker;
  private readonly asked: Asked[] = [];
  /** Requests the backend has found in this ring, by what is in their slots when they are published. */
  private seen: { id_lo: number; id_hi: number; operation: number; sector: number }[] = [];
  private answered = 0;
  private broken = 0;
  private nextSector = 0;
  /** What the backend says is no longer known here. */
  private wild = false;

  constructor(ground: Ground) {
    this.ground = ground;
    const onBroken = (): void => void this.broken++;
    this.worker = new BlkfrontWorker(ground.vcpu, this.log, 'xvda', 51712, onBroken, SHAPE);
    this.worker.attach(ground.rings, ground.buffers, [ground.port], 32);
    this.worker.resume();
  }
  private get page() {
    return this.ground.rings.rings[0]!.page;
  }
  private take(): void {
    for (; this.seen.length < Atomics.load(this.page.words, REQ_PROD) >>> 0 && this.seen.length < 4096; ) {
      const at = sring.size + (this.seen.length & (SLOTS - 1)) * blkif_sring_entry.size;
      const { id_lo, id_hi, operation, sector_number_lo: sector } = new BlkifRequest(this.page.view, at);
      this.seen.push({ id_lo, id_hi, operation, sector });
      const asked = this.asked.findLast(a => a.slot === id_lo && a.settled === 0);
      if (asked) asked.stamp = id_hi;
    }
  }
  run(act: Act): void {
    const { worker, page } = this;
    if (act.act === 'ask') this.ask(act.operation, act.bytes);
    else if (act.act === 'answer') {
      this.take();
      const r = this.seen[this.answered + (act.which % Math.max(1, this.seen.length - this.answered))];
      if (!r) return;
      const operation =
        (this.asked.findLast(a => a.slot === r.id_lo && a.settled === 0)?.operation ?? 0) ^ act.operation;
      const id_lo = (r.id_lo ^ act.id) >>> 0;
      const id_hi = (r.id_hi + act.stamp) >>> 0;
      const slot = sring.size + (this.answered & (SLOTS - 1)) * blkif_sring_entry.size;
      Object.assign(new BlkifResponse(page.view, slot), { id_lo, id_hi, operation, status: act.status });
      Atomics.store(page.words, RSP_PROD, ++this.answered);
      const meant = this.asked.find(a => a.slot === id_lo && a.stamp === id_hi && !a.answered && a.settled === 0);
      if (meant?.operation === operation) meant.answered = true;
      else if (!this.wild) {
        // At once: a request made meanwhile could be the one that was answered before it was made.
        for (let i = 0; i < 100 && worker.step() === 'progress'; i++);
        if (worker.failed === 0) throw new Error('a lie was believed');
      }
    } else if (act.act === 'scribble') {
      page.words[act.word] = act.value;
      this.wild = true;
    } else if (act.act === 'claim') {
      Atomics.add(page.words, RSP_PROD, act.ahead);
      if (act.ahead !== 0) this.wild = true;
    } else if (act.act === 'look') for (let i = 0; i < 100 && worker.step() === 'progress'; i++);
    else this.replace();
    this.check();
  }
  private ask(operation: number, bytes: number): void {
    const { worker } = this;
    const slot = worker.acquire(bytes);
    if (slot < 0) return;
    const sector = this.nextSector++;
    const asked: Asked = { slot, operation, sector, stamp: undefined, answered: false, settled: 0 };
    this.asked.push(asked);
    const moves = operation === BLKIF_OP_READ || operation === BLKIF_OP_WRITE;
    const length = moves ? Math.max(512, Math.min(bytes, worker.capacity(slot)) & ~511) : 0;
    worker.queue(slot, operation, sector, length, {
      settled: s => {
        if (s !== slot) throw new Error(`slot ${s} was settled for slot ${slot}`);
        asked.settled++;
        worker.release(s);
      },
    });
    worker.push();
  }
  /** Another backend: what is unanswered, in its order, is all it finds. */
  private replace(): void {
    const { worker } = this;
    worker.suspend();
    for (let i = 0; i < 100 && worker.step() === 'progress'; i++);
    if (worker.failed !== 0) return;
    const unheard = this.asked.find(a => a.answered && a.settled === 0);
    if (unheard && !this.wild) throw new Error(`the answer to request ${unheard.sector} was not heard`);
    this.wild = false;
    const open = this.asked.filter(a => a.settled === 0);
    worker.attach(this.ground.rings, this.ground.buffers, [this.ground.port], 32);
    this.seen = [];
    this.answered = 0;
    worker.resume();
    this.take();
    const found = this.seen.map(r => r.sector).join();
    const expected = open.map(a => a.sector).join();
    if (found !== expected) throw new Error(`a new backend finds requests ${found}, unanswered are ${expected}`);
  }
  private check(): void {
    const twice = this.asked.find(a => a.settled > 1);
    if (twice) throw new Error(`request ${twice.sector} was answered ${twice.settled} times`);
    if (this.broken > 1) throw new Error('the backend was given up twice');
    const open = this.asked.filter(a => a.settled === 0).length;
    if (this.worker.failed !== 0 && open > 0) throw new Error(`${open} requests wait for a disk that was given up`);
    if ((this.worker.failed !== 0) !== (this.log.lines.length === 1)) throw new Error(this.log.lines.join('\n'));
  }
}

let ground: Ground | undefined;

export const blkRing = fc.property(fc.array(act, { minLength: 1, maxLength: 60 }), acts => {
  ground ??= new Ground();
  const session = new Session(ground);
  for (const one of acts) session.run(one);
});
