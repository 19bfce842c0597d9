import { describe, expect, it } from 'vitest';
import {
  BackRing,
  blkif_sring_entry,
  FrontRing,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  pageAt,
  privatePage,
  ringEntries,
  sring,
  xen_netif_ctrl_sring_entry,
  xen_pvcalls_sring_entry,
} from '#pvbus';
import fc from '../../support/properties.ts';

const ENTRY = blkif_sring_entry.size;
const ENTRIES = 32;
const NEAR_WRAP = 0xfffffff0;
const { req_prod, req_event, rsp_prod, rsp_event } = sring.at;

/** Both ends of one ring whose indices all start at `from`. */
function ring(from = 0, entrySize = ENTRY) {
  const page = privatePage();
  FrontRing.init(page, entrySize);
  const set = (at: number, value: number) => page.view.setUint32(at, value, true);
  const get = (at: number) => page.view.getUint32(at, true);
  if (from !== 0) {
    set(req_prod, from);
    set(rsp_prod, from);
    set(req_event, from + 1);
    set(rsp_event, from + 1);
  }
  const front = new FrontRing(page, entrySize, from);
  const back = new BackRing(page, entrySize, from);
  const stage = (n = 1) => {
    for (let i = 0; i < n; i++) front.req_prod_pvt = (front.req_prod_pvt + 1) >>> 0;
  };
  const request = (n = 1) => {
    stage(n);
    return front.pushRequests();
  };
  const take = (n = 1) => {
    for (let i = 0; i < n; i++) back.req_cons = (back.req_cons + 1) >>> 0;
  };
  const answer = (n = 1) => {
    for (let i = 0; i < n; i++) back.rsp_prod_pvt = (back.rsp_prod_pvt + 1) >>> 0;
    return back.pushResponses();
  };
  const collect = (n = 1) => {
    for (let i = 0; i < n; i++) front.rsp_cons = (front.rsp_cons + 1) >>> 0;
  };
  return { page, front, back, set, get, stage, request, take, answer, collect };
}

describe('the page of a ring', () => {
  it('starts with both producers 0 and both events 1 (io/ring.h, SHARED_RING_INIT)', () => {
    const page = privatePage();
    page.bytes.fill(0xaa);
    FrontRing.init(page, ENTRY);
    expect([...page.words.subarray(0, 4)]).toEqual([0, 1, 0, 1]);
    expect(page.bytes.subarray(16, 64).every(b => b === 0)).toBe(true);
    expect(page.bytes.subarray(64).every(b => b === 0xaa)).toBe(true);
  });

  it.each([
    ['blkif', blkif_sring_entry, 32],
    ['netif tx', netif_tx_sring_entry, 256],
    ['netif rx', netif_rx_sring_entry, 256],
    ['netif ctrl', xen_netif_ctrl_sring_entry, 128],
    ['pvcalls', xen_pvcalls_sring_entry, 32],
  ])('of %s holds the power of two of slots below what fits', (_, entry, slots) => {
    expect(new BackRing(privatePage(), entry.size).nr_ents).toBe(slots);
    expect(ringEntries(entry.size, 4096)).toBe(slots);
  });

  it('may be several pages long', () => {
    const two = { ...pageAt(new ArrayBuffer(4096), 0), bytes: new Uint8Array(8192), words: new Int32Array(2048) };
    expect(new FrontRing(two, ENTRY).nr_ents).toBe(64);
  });

  it('refuses entries that are no whole words or do not fit', () => {
    expect(() => new FrontRing(privatePage(), 6)).toThrow('6 bytes');
    expect(() => new BackRing(privatePage(), 8192)).toThrow('do not fit');
    expect(() => new BackRing(privatePage(), 0)).toThrow('0 bytes');
  });

  it('has its slots from byte 64 on, one after another, index modulo their number', () => {
    const r = ring();
    for (let i = 0; i < 2 * ENTRIES; i++) {
      expect(r.front.requestOffset()).toBe(64 + (i % ENTRIES) * ENTRY);
      r.stage();
      expect(r.back.requestOffset()).toBe(64 + (i % ENTRIES) * ENTRY);
      r.take();
      expect(r.back.responseOffset()).toBe(64 + (i % ENTRIES) * ENTRY);
      r.answer();
      expect(r.front.responseOffset()).toBe(64 + (i % ENTRIES) * ENTRY);
      r.collect();
    }
  });
});

describe.each([0, NEAR_WRAP, 0x7ffffff0])('a ring whose indices start at %i', from => {
  it('counts staged requests as taken, publishes them at the push, and frees a slot when its response is consumed', () => {
    const r = ring(from);
    expect(r.front.freeRequests()).toBe(ENTRIES);
    r.stage(ENTRIES);
    expect(r.front.full()).toBe(true);
    expect(r.back.unconsumedRequests()).toBe(0);
    r.front.pushRequests();
    expect(r.back.unconsumedRequests()).toBe(ENTRIES);
    r.take(ENTRIES);
    expect(r.back.unconsumedRequests()).toBe(0);
    r.answer(3);
    expect(r.front.full()).toBe(true);
    expect(r.front.unconsumedResponses()).toBe(3);
    r.collect(2);
    expect(r.front.freeRequests()).toBe(2);
    expect(r.front.unconsumedResponses()).toBe(1);
  });

  it('notifies for the first request after init, and for no other until the backend asks again', () => {
    const r = ring(from);
    expect(r.request()).toBe(true);
    expect(r.request()).toBe(false);
    expect(r.request(5)).toBe(false);
    r.take(7);
    expect(r.back.finalCheckForRequests()).toBe(0);
    expect(r.request()).toBe(true);
  });

  it('notifies when the awaited index is anywhere in a batch, and not when it is beyond', () => {
    const r = ring(from);
    r.set(req_event, from + 4);
    expect(r.request(3)).toBe(false);
    expect(r.request(3)).toBe(true);
    expect(r.request(3)).toBe(false);
  });

  it('does the same for responses', () => {
    const r = ring(from);
    r.request(9);
    r.take(9);
    r.set(rsp_event, from + 4);
    expect(r.answer(3)).toBe(false);
    expect(r.answer(3)).toBe(true);
    expect(r.answer(3)).toBe(false);
    r.collect(9);
    expect(r.front.finalCheckForResponses()).toBe(0);
    r.request();
    r.take();
    expect(r.answer()).toBe(true);
  });

  it('pushing nothing never notifies', () => {
    const r = ring(from);
    expect(r.front.pushRequests()).toBe(false);
    expect(r.back.pushResponses()).toBe(false);
    r.request();
    expect(r.front.pushRequests()).toBe(false);
  });

  it('a final check that finds work leaves the event alone', () => {
    const r = ring(from);
    r.request(2);
    const before = r.get(req_event);
    expect(r.back.finalCheckForRequests()).toBe(2);
    expect(r.get(req_event)).toBe(before);
    r.take(2);
    r.answer(2);
    const rspBefore = r.get(rsp_event);
    expect(r.front.finalCheckForResponses()).toBe(2);
    expect(r.get(rsp_event)).toBe(rspBefore);
  });

  it('a final check that finds none asks for the very next index', () => {
    const r = ring(from);
    r.request(2);
    r.take(2);
    expect(r.back.finalCheckForRequests()).toBe(0);
    expect(r.get(req_event)).toBe((from + 3) >>> 0);
    r.answer(2);
    r.collect(2);
    expect(r.front.finalCheckForResponses()).toBe(0);
    expect(r.get(rsp_event)).toBe((from + 3) >>> 0);
  });

  it('a request that slips in between the look and the event is found by the second look', () => {
    const r = ring(from);
    r.request();
    r.take();
    expect(r.back.unconsumedRequests()).toBe(0);
    expect(r.request()).toBe(false); // the backend has not asked yet: nobody is notified
    expect(r.back.finalCheckForRequests()).toBe(1);
  });

  it.each([
    ['one more than the ring holds', ENTRIES + 1],
    ['far beyond', 1000],
    ['half the number space ahead', 0x80000000],
    ['one before the consumer', 0xffffffff],
    ['a ring before the consumer', 0x100000000 - ENTRIES],
  ])('a req_prod of %s is -1', (_, distance) => {
    const r = ring(from);
    r.set(req_prod, from + distance);
    expect(r.back.unconsumedRequests()).toBe(-1);
    const event = r.get(req_event);
    expect(r.back.finalCheckForRequests()).toBe(-1);
    expect(r.get(req_event)).toBe(event);
  });

  it('requests taken and not answered use up the room for new ones', () => {
    const r = ring(from);
    r.request(ENTRIES);
    r.take(20);
    expect(r.back.unconsumedRequests()).toBe(12);
    r.set(req_prod, from + ENTRIES + 1); // overwrites a slot whose request is still being served
    expect(r.back.unconsumedRequests()).toBe(-1);
    r.answer();
    expect(r.back.unconsumedRequests()).toBe(13);
  });

  it('a req_prod that moves back among requests already taken is -1', () => {
    const r = ring(from);
    r.request(8);
    r.take(8);
    r.set(req_prod, from + 7);
    expect(r.back.unconsumedRequests()).toBe(-1);
  });

  it.each([
    ['more than was requested', 6],
    ['half the number space ahead', 0x80000000],
    ['one before the consumer', 0xffffffff],
  ])('a rsp_prod of %s is -1', (_, distance) => {
    const r = ring(from);
    r.request(5);
    r.set(rsp_prod, from + distance);
    expect(r.front.unconsumedResponses()).toBe(-1);
    expect(r.front.finalCheckForResponses()).toBe(-1);
  });

  it('a response to a request that is staged and not published is -1', () => {
    const r = ring(from);
    r.request(1);
    r.stage(1);
    r.set(rsp_prod, from + 2);
    expect(r.front.unconsumedResponses()).toBe(-1);
  });

  it('what a peer does to our own producer index changes no decision of ours', () => {
    const r = ring(from);
    r.set(req_event, from + 2);
    r.request(1);
    r.set(req_prod, from + 999);
    expect(r.request(1)).toBe(true);
    expect(r.get(req_prod)).toBe((from + 2) >>> 0);
    r.take(2);
    r.set(rsp_event, from + 2);
    r.answer(1);
    r.set(rsp_prod, from - 999);
    expect(r.answer(1)).toBe(true);
    expect(r.front.unconsumedResponses()).toBe(2);
  });

  it('a successor of a dead backend starts at the first unanswered request', () => {
    const r = ring(from);
    r.request(10);
    r.take(8);
    r.answer(5);
    const next = new BackRing(r.page, ENTRY, BackRing.attachIndex(r.page));
    expect(next.unconsumedRequests()).toBe(5);
    expect(next.req_cons).toBe((from + 5) >>> 0);
  });

  it('copies whole slots, once a word', () => {
    const r = ring(from);
    const slot = new Int32Array(ENTRY / 4);
    for (let i = 0; i < 40; i++) {
      const at = r.front.requestOffset();
      for (let w = 0; w < slot.length; w++) r.page.view.setInt32(at + 4 * w, i * 100 + w, true);
      r.request();
      r.back.copyRequest(slot);
      expect(slot).toEqual(Int32Array.from(slot.keys(), w => i * 100 + w));
      r.take();
      r.page.view.setInt32(r.back.responseOffset(), ~i, true);
      r.answer();
      r.front.copyResponse(slot);
      expect(slot[0]).toBe(~i);
      r.collect();
    }
  });
});

/** A ring is two queues in one: what was put in comes out, in order, and nobody waits for a lost wake-up. */
describe('against a plain queue', () => {
  const start = fc.oneof(fc.constantFrom(0, NEAR_WRAP, 0xffffffff), fc.nat(0xffffffff));
  const batch = fc.nat(40);
  const steps = fc.array(
    fc.oneof(
      fc.record({ op: fc.constant('request' as const), n: batch }),
      fc.record({ op: fc.constant('serve' as const), n: batch }),
      fc.record({ op: fc.constant('collect' as const), n: batch }),
      fc.record({ op: fc.constantFrom('back sleeps' as const, 'front sleeps' as const), n: fc.constant(0) }),
    ),
    { maxLength: 120 },
  );

  it('every request is seen once and in order, every response too, and a sleeper is woken', () => {
    fc.assert(
      fc.property(start, steps, fc.constantFrom(12, 16, 64, 112), (from, script, entrySize) => {
        const { front, back, page } = ring(from, entrySize);
        const requests: number[] = []; // published, not yet served
        const responses: number[] = []; // published, not yet collected
        let sent = 0;
        let backAsleep = false;
        let frontAsleep = false;
        for (const { op, n } of script) {
          if (op === 'request') {
            const room = front.nr_ents - requests.length - responses.length;
            expect(front.freeRequests()).toBe(room);
            const count = Math.min(n, room);
            for (let i = 0; i < count; i++) {
              page.view.setUint32(front.requestOffset(), ++sent, true);
              requests.push(sent);
              front.req_prod_pvt = (front.req_prod_pvt + 1) >>> 0;
            }
            const notify = front.pushRequests();
            if (backAsleep && count > 0) expect(notify).toBe(true);
            if (notify) backAsleep = false;
          } else if (op === 'serve') {
            expect(back.unconsumedRequests()).toBe(requests.length);
            const count = Math.min(n, requests.length);
            for (let i = 0; i < count; i++) {
              const got = page.view.getUint32(back.requestOffset(), true);
              expect(got).toBe(requests.shift());
              back.req_cons = (back.req_cons + 1) >>> 0;
              page.view.setUint32(back.responseOffset(), ~got >>> 0, true);
              responses.push(~got >>> 0);
              back.rsp_prod_pvt = (back.rsp_prod_pvt + 1) >>> 0;
            }
            const notify = back.pushResponses();
            if (frontAsleep && count > 0) expect(notify).toBe(true);
            if (notify) frontAsleep = false;
          } else if (op === 'collect') {
            expect(front.unconsumedResponses()).toBe(responses.length);
            for (let i = Math.min(n, responses.length); i > 0; i--) {
              expect(page.view.getUint32(front.responseOffset(), true)).toBe(responses.shift());
              front.rsp_cons = (front.rsp_cons + 1) >>> 0;
            }
          } else if (op === 'back sleeps') {
            expect(back.finalCheckForRequests()).toBe(requests.length);
            backAsleep = requests.length === 0;
          } else {
            expect(front.finalCheckForResponses()).toBe(responses.length);
            frontAsleep = responses.length === 0;
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('fault 14: whatever a peer writes into the page, a count is -1 or within the ring and nothing throws', () => {
    fc.assert(
      fc.property(
        start,
        fc.nat(32),
        fc.nat(32),
        fc.nat(0xffffffff),
        fc.nat(0xffffffff),
        (from, published, taken, req, rsp) => {
          const r = ring(from);
          r.request(published);
          r.take(Math.min(published, taken));
          r.set(req_prod, req);
          r.set(rsp_prod, rsp);
          const requests = r.back.finalCheckForRequests();
          expect(requests >= -1 && requests <= ENTRIES - Math.min(published, taken)).toBe(true);
          const responses = r.front.finalCheckForResponses();
          expect(responses >= -1 && responses <= published).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});
