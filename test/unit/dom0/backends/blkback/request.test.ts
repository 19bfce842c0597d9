import { describe, expect, it } from 'vitest';
import {
  BackRing,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_RESERVED_1,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  BlkifRequest,
  BlkifRequestDiscard,
  BlkifRequestIndirect,
  BlkifRequestSegment,
  blkif_request,
  blkif_request_segment,
  blkif_sring_entry,
  FrontRing,
  PAGE_SIZE,
  privatePage,
} from '#pvbus';
import {
  BlkbackRequest,
  type DiskLimits,
  MAX_INDIRECT_SEGMENTS,
} from '../../../../../dom0/backends/blkback/request.ts';
import fc from '../../../../support/properties.ts';

const SECTORS = 2048;
const writable: DiskLimits = { sectors: SECTORS, readOnly: false, discard: true };

interface Segment {
  gref?: number;
  first_sect?: number;
  last_sect?: number;
}

/** A ring with one request in it, written by `fill`, as the backend takes it. */
function decode(fill: (view: DataView, at: number) => void, limits = writable) {
  const page = privatePage();
  FrontRing.init(page, blkif_sring_entry.size);
  const front = new FrontRing(page, blkif_sring_entry.size);
  const back = new BackRing(page, blkif_sring_entry.size);
  fill(page.view, front.requestOffset());
  front.req_prod_pvt++;
  front.pushRequests();
  const request = new BlkbackRequest(limits);
  expect(back.unconsumedRequests()).toBe(1);
  request.take(back);
  expect(back.unconsumedRequests()).toBe(0);
  page.bytes.fill(0xff, 64); // whatever the frontend does to the slot now is too late
  return { request, status: request.decode() };
}

const direct =
  (operation: number, sector: number | [lo: number, hi: number], segments: Segment[], nr = segments.length) =>
  (view: DataView, at: number) => {
    const rw = new BlkifRequest(view, at);
    rw.operation = operation;
    rw.nr_segments = nr;
    rw.id_lo = 0xdeadbeef;
    rw.id_hi = 0xfeedf00d;
    const [lo, hi] = typeof sector === 'number' ? [sector, 0] : sector;
    rw.sector_number_lo = lo;
    rw.sector_number_hi = hi;
    segments.forEach((s, i) => {
      const seg = new BlkifRequestSegment(view, at + blkif_request.at.seg + i * blkif_request_segment.size);
      seg.gref = s.gref ?? 8 + i;
      seg.first_sect = s.first_sect ?? 0;
      seg.last_sect = s.last_sect ?? 7;
    });
  };
const indirect = (op: number, sector: number, nr: number) => (view: DataView, at: number) => {
  const request = new BlkifRequestIndirect(view, at);
  request.operation = BLKIF_OP_INDIRECT;
  request.indirect_op = op;
  request.nr_segments = nr;
  request.id_lo = 7;
  request.id_hi = 9;
  request.sector_number_lo = sector;
};
const discard = (lo: number, hi: number, countLo: number, countHi: number) => (view: DataView, at: number) => {
  const request = new BlkifRequestDiscard(view, at);
  request.operation = BLKIF_OP_DISCARD;
  request.id_lo = 1;
  request.id_hi = 2;
  request.sector_number_lo = lo;
  request.sector_number_hi = hi;
  request.nr_sectors_lo = countLo;
  request.nr_sectors_hi = countHi;
};

describe('a blkif request', () => {
  it('is described by its private copy, part of a page by part of a page', () => {
    const { request, status } = decode(
      direct(BLKIF_OP_READ, 100, [
        { gref: 0xffffffff, first_sect: 3, last_sect: 7 },
        { gref: 12, first_sect: 0, last_sect: 0 },
      ]),
    );
    expect(status).toBe(BLKIF_RSP_OKAY);
    expect([request.id_lo, request.id_hi, request.operation]).toEqual([0xdeadbeef, 0xfeedf00d, BLKIF_OP_READ]);
    expect([request.sector, request.sectors, request.nr_segments]).toEqual([100, 6, 2]);
    expect([...request.grefs.subarray(0, 2)]).toEqual([0xffffffff, 12]);
    expect([...request.offsets.subarray(0, 2)]).toEqual([3 * 512, 0]);
    expect([...request.lengths.subarray(0, 2)]).toEqual([5 * 512, 512]);
  });

  it.each([
    ['no segments', direct(BLKIF_OP_READ, 0, [], 0)],
    ['12 segments', direct(BLKIF_OP_READ, 0, [], 12)],
    ['255 segments', direct(BLKIF_OP_WRITE, 0, [], 255)],
    ['first_sect > last_sect', direct(BLKIF_OP_READ, 0, [{ first_sect: 4, last_sect: 3 }])],
    ['last_sect 8', direct(BLKIF_OP_READ, 0, [{ last_sect: 8 }])],
    ['first_sect and last_sect 255', direct(BLKIF_OP_READ, 0, [{ first_sect: 255, last_sect: 255 }])],
    ['a bad segment behind a good one', direct(BLKIF_OP_WRITE, 0, [{}, { last_sect: 9 }])],
    ['the first sector after the end', direct(BLKIF_OP_READ, SECTORS, [{ last_sect: 0 }])],
    ['a range that crosses the end', direct(BLKIF_OP_WRITE, SECTORS - 7, [{}])],
    ['a sector number of 2^53', direct(BLKIF_OP_READ, [0, 2 ** 21], [{}])],
    ['a sector number that wraps 2^64', direct(BLKIF_OP_READ, [0xffffffff, 0xffffffff], [{}])],
    ['an indirect request of no segments', indirect(BLKIF_OP_READ, 0, 0)],
    ['an indirect request of 257 segments', indirect(BLKIF_OP_READ, 0, 257)],
    ['an indirect request of 65535 segments', indirect(BLKIF_OP_WRITE, 0, 65535)],
    ['indirect in indirect', indirect(BLKIF_OP_INDIRECT, 0, 1)],
    ['an indirect flush', indirect(BLKIF_OP_FLUSH_DISKCACHE, 0, 1)],
    ['an indirect discard', indirect(BLKIF_OP_DISCARD, 0, 1)],
    ['a discard beyond the end', discard(SECTORS, 0, 1, 0)],
    ['a discard whose range wraps 2^64', discard(1, 0, 0xffffffff, 0xffffffff)],
    ['a discard whose sum wraps 2^64', discard(0xffffffff, 0xffffffff, 2, 0)],
    ['a discard of 2^53 - 1 sectors', discard(0, 0, 0xffffffff, 2 ** 21 - 1)],
  ])('with %s is refused', (_, fill) => {
    const { request, status } = decode(fill);
    expect(status).toBe(BLKIF_RSP_ERROR);
    expect(request.why).not.toBe('');
  });

  it.each([BLKIF_OP_RESERVED_1, 7, 255])('of operation %i, which is not offered, is answered EOPNOTSUPP', operation => {
    const { request, status } = decode(direct(operation, 0, [{}]));
    expect(status).toBe(BLKIF_RSP_EOPNOTSUPP);
    expect([request.id_lo, request.operation]).toEqual([0xdeadbeef, operation]);
  });

  it('that ends with the last sector is accepted', () => {
    expect(decode(direct(BLKIF_OP_WRITE, SECTORS - 8, [{}])).status).toBe(BLKIF_RSP_OKAY);
    expect(decode(discard(0, 0, SECTORS, 0)).status).toBe(BLKIF_RSP_OKAY);
  });

  it.each([
    ['a write', direct(BLKIF_OP_WRITE, 0, [{}])],
    ['a flush that carries data', direct(BLKIF_OP_FLUSH_DISKCACHE, 0, [{}])],
    ['an indirect write', indirect(BLKIF_OP_WRITE, 0, 1)],
    ['a discard', discard(0, 0, 1, 0)],
  ])('for %s is refused by a read-only disk', (_, fill) => {
    expect(decode(fill, { ...writable, readOnly: true }).status).toBe(BLKIF_RSP_ERROR);
  });

  it('for a flush or a read is accepted by a read-only disk', () => {
    const limits = { ...writable, readOnly: true };
    expect(decode(direct(BLKIF_OP_FLUSH_DISKCACHE, 0, []), limits).status).toBe(BLKIF_RSP_OKAY);
    expect(decode(direct(BLKIF_OP_READ, 0, [{}]), limits).status).toBe(BLKIF_RSP_OKAY);
  });

  it('for a discard is answered EOPNOTSUPP where discard was not offered', () => {
    expect(decode(discard(0, 0, 1, 0), { ...writable, discard: false }).status).toBe(BLKIF_RSP_EOPNOTSUPP);
  });

  it('that is indirect takes its segments from as many pages as they need', () => {
    const { request, status } = decode(indirect(BLKIF_OP_READ, 8, MAX_INDIRECT_SEGMENTS));
    expect([status, request.nrIndirectPages, request.id_lo, request.id_hi]).toEqual([BLKIF_RSP_OKAY, 1, 7, 9]);
    expect(request.operation).toBe(BLKIF_OP_READ); // Xen: what the response carries
    const page = privatePage();
    for (let i = 0; i < MAX_INDIRECT_SEGMENTS; i++) {
      const seg = new BlkifRequestSegment(page.view, i * blkif_request_segment.size);
      seg.gref = 100 + i;
      seg.last_sect = 6;
    }
    expect(request.addSegments(page.words)).toBe(BLKIF_RSP_OKAY);
    expect([request.nr_segments, request.sectors]).toEqual([256, 256 * 7]);
    expect([request.grefs[255], request.lengths[255]]).toEqual([355, 7 * 512]);
  });

  it('whose indirect segments leave their page or the disk is refused', () => {
    const page = privatePage();
    const seg = new BlkifRequestSegment(page.view);
    seg.last_sect = 8;
    expect(decode(indirect(BLKIF_OP_READ, 0, 1)).request.addSegments(page.words)).toBe(BLKIF_RSP_ERROR);
    seg.last_sect = 7;
    expect(decode(indirect(BLKIF_OP_READ, SECTORS - 7, 1)).request.addSegments(page.words)).toBe(BLKIF_RSP_ERROR);
  });

  it('of any bytes at all is refused, or stays inside the disk and its pages', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 112, maxLength: 112 }),
        fc.constantFrom(0, 1, 3, 5, 6, 255),
        fc.boolean(),
        (bytes, operation, small) => {
          const { request, status } = decode((view, at) => {
            new Uint8Array(view.buffer, view.byteOffset).set(bytes, at);
            view.setUint8(at, operation);
            if (small) for (let i = 19; i < 24; i++) view.setUint8(at + i, 0); // a sector number near the disk
          });
          if (status !== BLKIF_RSP_OKAY) return;
          if (request.nrIndirectPages > 0) {
            expect(request.nrIndirectPages).toBeLessThanOrEqual(8);
            return;
          }
          expect(request.sector + request.sectors).toBeLessThanOrEqual(SECTORS);
          for (let i = 0; i < request.nr_segments; i++) {
            expect(request.offsets[i]! + request.lengths[i]!).toBeLessThanOrEqual(PAGE_SIZE);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
