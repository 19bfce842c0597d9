// Our rings beside the C macros of Xen's public headers: the same seeded sequence of steps is applied to both,
// and after every step the results and every byte of the shared memory must be the same.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  BackRing,
  ByteRingReader,
  ByteRingWriter,
  blkif_request,
  blkif_response,
  consoleRing,
  FrontRing,
  netif_rx_request,
  netif_rx_response,
  netif_tx_request,
  netif_tx_response,
  type Page,
  pageAt,
  pvcalls_data_intf,
  sring,
  xen_netif_ctrl_request,
  xen_netif_ctrl_response,
  xen_pvcalls_request,
  xen_pvcalls_response,
  xencons_interface,
  xenstore_domain_interface,
  xenstoreRing,
} from '#pvbus';
import { compile, whyNoCompiler } from '../../tools/layouts/ask-gcc.ts';

const STEPS = 2500;
const STARTS = [0, 0xfffffff0, 0x7ffffff8];
const noCompiler = whyNoCompiler();

/** A small generator with a seed that a failure can name (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const pattern = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => seed * 31 + i * 7);
const checksum = (bytes: Uint8Array) => bytes.reduce((sum, byte) => (Math.imul(sum, 33) + byte) >>> 0, 1);

/** What one side did: for each step its command, its two results, and the memory after it. */
class Record {
  readonly commands: string[] = ['start'];
  readonly results: [number, number][] = [];
  readonly memory: Uint8Array[] = [];
  readonly #shared: Uint8Array;

  constructor(shared: Uint8Array, result: number, detail: number) {
    this.#shared = shared;
    this.#after(result, detail);
  }
  step(command: string, a: number, b: number, result: number | boolean, detail: number | boolean = 0): void {
    this.commands.push(`${command} ${a >>> 0} ${b >>> 0}`);
    this.#after(Number(result), Number(detail));
  }
  #after(result: number, detail: number): void {
    this.results.push([result, detail]);
    this.memory.push(this.#shared.slice());
  }

  /** Run the C side on our commands and compare, step by step. */
  compare(program: string, protocol: string, from: number): void {
    const out = execFileSync(program, [protocol, String(from)], {
      input: this.commands.slice(1).join('\n'),
      maxBuffer: 256 << 20,
    });
    const span = 16 + this.#shared.length;
    expect(out.length).toBe(this.commands.length * span);
    for (const [i, command] of this.commands.entries()) {
      const at = i * span;
      const theirs = [Number(out.readBigInt64LE(at)), Number(out.readBigInt64LE(at + 8))];
      // -2 is a lie the macros of ring.h do not look for; ours answers -1 as for every other.
      if (theirs[0] === -2) theirs[0] = -1;
      const same = out.compare(this.memory[i]!, 0, undefined, at + 16, at + span) === 0;
      const ours = this.results[i]!;
      if (ours[0] !== theirs[0] || ours[1] !== theirs[1] || !same) {
        const history = this.commands.slice(Math.max(0, i - 8), i + 1).join('; ');
        expect.fail(
          `${protocol} from ${from}, step ${i} (${command}): ours ${ours}, Xen's ${theirs}, ` +
            `memory ${same ? 'equal' : 'different'}; the last steps: ${history}`,
        );
      }
    }
  }
}

function shared(pages: number, indices: readonly number[], from: number): { bytes: Uint8Array; page: Page } {
  const buffer = new ArrayBuffer(pages * 4096);
  const bytes = new Uint8Array(buffer).fill(0xa5);
  const page = pageAt(buffer, 0);
  for (const at of indices) page.view.setUint32(at, from, true);
  return { bytes, page };
}

/** A few thousand random legal steps of both ends, with hostile looks in between. */
function driveRing(requestSize: number, responseSize: number, from: number, seed: number): Record {
  const pick = random(seed);
  const entrySize = Math.max(requestSize, responseSize);
  const { req_prod, req_event, rsp_prod, rsp_event } = sring.at;
  const { bytes, page } = shared(1, [], from);
  FrontRing.init(page, entrySize);
  const set = (at: number, value: number) => page.view.setUint32(at, value, true);
  set(req_prod, from);
  set(rsp_prod, from);
  set(req_event, from + 1);
  set(rsp_event, from + 1);
  const front = new FrontRing(page, entrySize, from);
  const back = new BackRing(page, entrySize, from);
  const slot = new Int32Array(entrySize / 4);
  const slotBytes = new Uint8Array(slot.buffer);
  const record = new Record(bytes, front.nr_ents, sring.size);

  /** A value near the ring or anywhere at all. */
  const hostile = (index: number) => (pick(3) === 0 ? pick(2 ** 32) : (index + pick(600) - 300) >>> 0);
  /** An event index: mostly at the edge of what is published, where one more or less decides. */
  const event = (index: number) => (pick(4) === 0 ? hostile(index) : (index + pick(9) - 4) >>> 0);
  const look = (at: number, value: number, count: () => number) => {
    const saved = page.view.getUint32(at, true);
    set(at, value);
    const n = count();
    set(at, saved);
    return n;
  };

  while (record.commands.length < STEPS) {
    const s = record.commands.length;
    switch (pick(14)) {
      case 0:
        record.step('free', 0, 0, front.freeRequests(), front.full());
        break;
      case 1:
      case 2:
        for (let n = pick(front.nr_ents + 1); n > 0 && !front.full(); n--) {
          const at = front.requestOffset();
          bytes.set(pattern(requestSize, s + n), at);
          front.req_prod_pvt = (front.req_prod_pvt + 1) >>> 0;
          record.step('stage-request', s + n, 0, at);
        }
        break;
      case 3:
        record.step('push-requests', 0, 0, front.pushRequests());
        break;
      case 4:
        record.step('count-requests', 0, 0, back.unconsumedRequests());
        break;
      case 5:
      case 6:
        for (let n = pick(back.nr_ents + 1); n > 0 && back.unconsumedRequests() > 0; n--) {
          const at = back.requestOffset();
          back.copyRequest(slot);
          back.req_cons = (back.req_cons + 1) >>> 0;
          record.step('take-request', 0, 0, at, checksum(slotBytes.subarray(0, requestSize)));
        }
        break;
      case 7:
        record.step('final-check-requests', 0, 0, back.finalCheckForRequests());
        break;
      case 8:
      case 9:
        for (let n = pick(back.nr_ents + 1); n > 0 && back.rsp_prod_pvt !== back.req_cons; n--) {
          const at = back.responseOffset();
          bytes.set(pattern(responseSize, s + n), at);
          back.rsp_prod_pvt = (back.rsp_prod_pvt + 1) >>> 0;
          record.step('stage-response', s + n, 0, at);
        }
        break;
      case 10:
        record.step('push-responses', 0, 0, back.pushResponses());
        break;
      case 11:
        for (let n = pick(front.nr_ents + 1); n > 0 && front.unconsumedResponses() > 0; n--) {
          const at = front.responseOffset();
          front.copyResponse(slot);
          front.rsp_cons = (front.rsp_cons + 1) >>> 0;
          record.step('take-response', 0, 0, at, checksum(slotBytes.subarray(0, responseSize)));
        }
        break;
      case 12:
        record.step('count-responses', 0, 0, front.unconsumedResponses());
        record.step('final-check-responses', 0, 0, front.finalCheckForResponses());
        break;
      default: {
        const reqProd = hostile(back.req_cons);
        const requests = look(req_prod, reqProd, () => back.unconsumedRequests());
        record.step('hostile-req-prod', reqProd, 0, requests);
        const rspProd = hostile(front.rsp_cons);
        const responses = look(rsp_prod, rspProd, () => front.unconsumedResponses());
        record.step('hostile-rsp-prod', rspProd, 0, responses);
        const reqEvent = event(front.req_prod_pvt);
        set(req_event, reqEvent);
        record.step('set-req-event', reqEvent, 0, 0);
        const rspEvent = event(back.rsp_prod_pvt);
        set(rsp_event, rspEvent);
        record.step('set-rsp-event', rspEvent, 0, 0);
      }
    }
  }
  return record;
}

interface Streams {
  readonly bytes: Uint8Array;
  /** a flows to the front end, b from it. */
  readonly a: { writer: ByteRingWriter; reader: ByteRingReader; size: number };
  readonly b: { writer: ByteRingWriter; reader: ByteRingReader; size: number };
}

function driveStreams({ bytes, a, b }: Streams, seed: number): Record {
  const pick = random(seed);
  const record = new Record(bytes, a.size, b.size);
  while (record.commands.length < STEPS) {
    const s = record.commands.length;
    const name = pick(2) === 0 ? 'a' : 'b';
    const stream = name === 'a' ? a : b;
    const length = pick(4) === 0 ? pick(2 * stream.size) : pick(stream.size / 4);
    if (pick(2) === 0) {
      const n = stream.writer.write(pattern(length, s));
      record.step(`write-${name}`, length, s, n, stream.writer.writable());
    } else {
      const into = new Uint8Array(length);
      const n = stream.reader.read(into);
      record.step(`read-${name}`, length, 0, n, checksum(into.subarray(0, n)));
    }
  }
  return record;
}

describe.skipIf(noCompiler !== undefined)(`beside Xen's macros${noCompiler ? ` (skipped: ${noCompiler})` : ''}`, () => {
  let dir = '';
  let program = '';
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'xenolith-ring-macros-'));
    program = join(dir, 'ring-macros');
    compile(fileURLToPath(new URL('ring-macros.c', import.meta.url)), program);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const rings = [
    ['blkif', blkif_request.size, blkif_response.size],
    ['netif_tx', netif_tx_request.size, netif_tx_response.size],
    ['netif_rx', netif_rx_request.size, netif_rx_response.size],
    ['xen_netif_ctrl', xen_netif_ctrl_request.size, xen_netif_ctrl_response.size],
    ['xen_pvcalls', xen_pvcalls_request.size, xen_pvcalls_response.size],
  ] as const;
  describe.each(rings)('the %s ring', (protocol, requestSize, responseSize) => {
    it.each(STARTS)('does what theirs does, byte by byte, from index %i', from => {
      driveRing(requestSize, responseSize, from, from ^ requestSize).compare(program, protocol, from);
    });
  });

  const xencons = (from: number): Streams => {
    const { in_cons, in_prod, out_cons, out_prod } = xencons_interface.at;
    const { bytes, page } = shared(1, [in_cons, in_prod, out_cons, out_prod], from);
    const front = consoleRing(page, 'front');
    const back = consoleRing(page, 'back');
    return {
      bytes,
      a: { writer: back.writer, reader: front.reader, size: 1024 },
      b: { writer: front.writer, reader: back.reader, size: 2048 },
    };
  };
  const xenstore = (from: number): Streams => {
    const { req_cons, req_prod, rsp_cons, rsp_prod } = xenstore_domain_interface.at;
    const { bytes, page } = shared(1, [req_cons, req_prod, rsp_cons, rsp_prod], from);
    const front = xenstoreRing(page, 'front');
    const back = xenstoreRing(page, 'back');
    return {
      bytes,
      a: { writer: back.writer, reader: front.reader, size: 1024 },
      b: { writer: front.writer, reader: back.reader, size: 1024 },
    };
  };
  const pvcallsData = (from: number): Streams => {
    const { in_cons, in_prod, out_cons, out_prod, ring_order } = pvcalls_data_intf.at;
    const { bytes, page } = shared(3, [in_cons, in_prod, out_cons, out_prod], from);
    page.view.setUint32(ring_order, 1, true);
    const data = bytes.subarray(4096);
    const a = [page, 0, 4096, in_cons, in_prod, data] as const;
    const b = [page, 4096, 4096, out_cons, out_prod, data] as const;
    return {
      bytes,
      a: { writer: new ByteRingWriter(...a), reader: new ByteRingReader(...a), size: 4096 },
      b: { writer: new ByteRingWriter(...b), reader: new ByteRingReader(...b), size: 4096 },
    };
  };
  const streams = [
    ['xencons', xencons],
    ['xenstore', xenstore],
    ['pvcalls_data', pvcallsData],
  ] as const;
  describe.each(streams)('the %s streams', (protocol, make) => {
    it.each(STARTS)('do what theirs do, byte by byte, from index %i', from => {
      driveStreams(make(from), from ^ 0x5eed).compare(program, protocol, from);
    });
  });
});
