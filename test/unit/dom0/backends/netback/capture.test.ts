// What is captured of a vif or a bridge, chunk by chunk, as records of a pcap file.
import { beforeEach, describe, expect, it } from 'vitest';
import type { CaptureChunk } from '../../../../../dom0/backends/netback/capture.ts';
import { Capture } from '../../../../../dom0/backends/netback/capture.ts';
import { Frame, SourcePage } from '../../../../../dom0/backends/netback/frame.ts';
import { type NetGuest, NetRig } from '../../../../support/net-rig.ts';

interface Recorded {
  readonly seconds: number;
  readonly ns: number;
  readonly bytes: Uint8Array;
}
function recordsOf({ records }: CaptureChunk): Recorded[] {
  const view = new DataView(records.buffer, records.byteOffset, records.length);
  const found: Recorded[] = [];
  for (let at = 0; at < records.length; ) {
    const length = view.getUint32(at + 8, true);
    expect(view.getUint32(at + 12, true)).toBe(length);
    const bytes = records.slice(at + 16, at + 16 + length);
    found.push({ seconds: view.getUint32(at, true), ns: view.getUint32(at + 4, true), bytes });
    at += 16 + length;
  }
  return found;
}
const frame = new Frame();
function frameOf(length: number, fill = 1): Frame {
  frame.begin(0, 0);
  frame.add(new SourcePage(new Uint8Array(length).fill(fill)), 0, length);
  frame.readHeader();
  return frame;
}

describe('a capture', () => {
  let chunks: CaptureChunk[];
  let now: number;
  beforeEach(() => {
    chunks = [];
    now = 5e9;
  });
  const capture = (limit: number | null = null, wallMs = 1.7e12 + 0.75): Capture =>
    new Capture({
      what: { bridge: 'office' },
      ...{ limit, clock: { now: () => now }, wallMs: () => wallMs },
      tell: chunk => chunks.push(chunk),
    });

  it('stamps frames with the time on the wall, to the nanosecond, across a second', () => {
    const one = capture(null, 1_700_000_000_999.5);
    one.record(frameOf(60));
    now += 499_999;
    one.record(frameOf(61));
    now += 1;
    one.record(frameOf(62));
    one.end();
    expect(recordsOf(chunks[0]!).map(({ seconds, ns }) => [seconds, ns])).toEqual([
      [1_700_000_000, 999_500_000],
      [1_700_000_000, 999_999_999],
      [1_700_000_001, 0],
    ]);
  });
  it('tells what there is after a while, and at its end', () => {
    const one = capture();
    expect(one.deadline).toBeUndefined();
    one.record(frameOf(60));
    expect(one.deadline).toBe(now + 50e6);
    one.step(now + 49e6);
    expect(chunks).toEqual([]);
    one.step(now + 50e6);
    expect(chunks).toMatchObject([{ frames: 1, dropped: 0, over: false }]);
    expect(one.deadline).toBeUndefined();
    one.record(frameOf(60));
    one.end();
    one.record(frameOf(60));
    expect(chunks.slice(1)).toMatchObject([{ frames: 1, over: true }]);
  });
  it('ends at its limit', () => {
    const one = capture(3);
    for (let i = 0; i < 5; i++) one.record(frameOf(60, i));
    expect(chunks).toMatchObject([{ frames: 3, dropped: 0, over: true }]);
    expect(recordsOf(chunks[0]!).map(({ bytes }) => bytes[20])).toEqual([0, 1, 2]);
  });
  it('drops and counts what nobody takes, and never holds more than 32 chunks back', () => {
    const one = capture();
    for (let i = 0; i < 1000; i++) one.record(frameOf(60_000));
    expect(chunks).toHaveLength(32);
    const told = chunks.reduce((sum, { frames }) => sum + frames, 0);
    one.taken();
    one.record(frameOf(60));
    one.end();
    const last = chunks.at(-1)!;
    expect(last.frames + last.dropped + told).toBe(1001);
    expect(last.dropped).toBeGreaterThan(800);
  });
});

describe('on a host', () => {
  it('captures what a guest sends and receives, once each, and nothing of others', async () => {
    const rig = await NetRig.start();
    const chunks: CaptureChunk[] = [];
    rig.onEvent(event => {
      const { event: kind, chunk } = event as { event: string; chunk: CaptureChunk };
      if (kind === 'captured') chunks.push(chunk);
    });
    const [a, b, c] = [await rig.guest(), await rig.guest(), await rig.guest()] as [NetGuest, NetGuest, NetGuest];
    const [na, , nc] = [a.configure('10.0.0.1'), b.configure('10.0.0.2'), c.configure('10.0.0.3')];
    rig.worker.handle({ op: 'capture', id: 1, what: { domid: a.domid, handle: null }, limit: null });
    const before = rig.statsOf(a)!.stats;
    const ping = async (from: typeof na, to: string): Promise<void> => {
      const done = from.ping(to);
      let over = false;
      done.finally(() => {
        over = true;
      });
      await rig.until(() => over);
    };
    await ping(na, '10.0.0.2');
    await ping(nc, '10.0.0.2');
    rig.worker.handle({ op: 'endCapture', id: 1 });
    await ping(na, '10.0.0.3');
    const records = chunks.flatMap(recordsOf).map(({ bytes }) => bytes);
    const after = rig.statsOf(a)!.stats;
    const text = (bytes: Uint8Array, at: number): string => Buffer.from(bytes.subarray(at, at + 6)).toString('hex');
    const own = rig.mac(a.domid).replaceAll(':', '');
    // The request and its answer; what else there is, is ARP's. Of the others' pings only what is for everybody.
    const ip = records.filter(bytes => bytes[12] === 8 && bytes[13] === 0);
    expect(ip.map(bytes => [text(bytes, 6) === own, text(bytes, 0) === own])).toEqual([
      [true, false],
      [false, true],
    ]);
    expect(records.every(bytes => [text(bytes, 0), text(bytes, 6)].includes(own) || bytes[0] === 255)).toBe(true);
    expect(after.txFrames - before.txFrames).toBeGreaterThan(2);
    expect(chunks.every(({ dropped }) => dropped === 0)).toBe(true);
  });
  it('refuses what is not there', async () => {
    const rig = await NetRig.start();
    const begin = (what: object) => () => rig.worker.handle({ op: 'capture', id: 1, what, limit: null });
    expect(begin({ domid: 7, handle: null })).toThrow('no vif of dom7 is connected to a backend of dom0');
    expect(begin({ domid: 7, handle: 2 })).toThrow('no vif7.2');
    expect(begin({ bridge: 'lan' })).toThrow('there is no bridge lan');
  });
});
