import { describe, expect, it } from 'vitest';
import {
  checkPlan,
  consoleRing,
  type EvtchnPort,
  type Injected,
  port,
  privatePage,
  XENCONS_OUT_SIZE,
  xencons_interface,
} from '#pvbus';
import { ConsoleFaults } from '../../../../../dom0/backends/consoled/console-faults.ts';
import { ConsoleStats } from '../../../../../dom0/backends/consoled/stats.ts';
import { ConsoleWorker } from '../../../../../dom0/backends/consoled/worker.ts';
import { StandingClock } from '../../../../support/xenstore-rig.ts';

function rig(startIndex = 0) {
  const page = privatePage();
  for (const index of ['in_cons', 'in_prod', 'out_cons', 'out_prod'] as const)
    page.view.setUint32(xencons_interface.at[index], startIndex, true);
  const guest = consoleRing(page, 'front');
  const clock = new StandingClock();
  const stats = new ConsoleStats();
  const rigged = { page, guest, clock, stats, output: '', outputBytes: 0, notified: 0, wanted: 0 };
  const worker = new ConsoleWorker({
    page,
    clock,
    stats,
    output: bytes => {
      rigged.outputBytes += bytes.length;
      rigged.output += Buffer.from(bytes).toString('latin1');
    },
    notify: () => rigged.notified++,
    inputWanted: () => rigged.wanted++,
  });
  return Object.assign(rigged, { worker });
}
const text = (s: string): Uint8Array => Buffer.from(s, 'latin1');

describe('a console', () => {
  it('hands on what the guest wrote and tells it that there is room', () => {
    const r = rig();
    r.guest.writer.write(text('hello\n'));
    expect(r.worker.step()).toBe('progress');
    expect(r.output).toBe('hello\n');
    expect(r.notified).toBe(1);
    expect(r.worker.step()).toBe('idle');
    expect(r.notified).toBe(1);
  });

  it('carries bytes both ways across the wrap of its indices', () => {
    const r = rig(0xfffffff0);
    for (let i = 0; i < 20; i++) {
      r.guest.writer.write(text(`line ${i}\n`));
      expect(r.worker.type(text('abc'))).toBe(3);
      r.worker.step();
      const typed = new Uint8Array(16);
      expect(r.guest.reader.read(typed)).toBe(3);
      expect(Buffer.from(typed.subarray(0, 3)).toString()).toBe('abc');
    }
    expect(r.output).toBe(Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join(''));
  });

  it('keeps typed bytes in order when the guest does not read, and takes no more than it can keep', () => {
    const r = rig();
    const all = text(Array.from({ length: 6000 }, (_, i) => String.fromCharCode(i % 251)).join(''));
    let offered = r.worker.type(all);
    expect(offered).toBe(4096);
    expect(r.worker.inputRoom).toBe(0);
    expect(r.worker.type(all.subarray(offered))).toBe(0);
    const got: number[] = [];
    const chunk = new Uint8Array(700);
    while (got.length < all.length) {
      r.worker.step();
      const n = r.guest.reader.read(chunk);
      got.push(...chunk.subarray(0, n));
      offered += r.worker.type(all.subarray(offered));
    }
    expect(Buffer.from(got)).toEqual(Buffer.from(all));
    expect(r.wanted).toBeGreaterThan(0);
  });

  it.each([
    ['out_prod ahead of what the ring holds', 'out_prod', XENCONS_OUT_SIZE + 1],
    ['out_prod behind out_cons', 'out_prod', 0xffffffff],
  ] as const)('is given up when the guest claims %s, and nothing of its page is used again', (_what, index, value) => {
    const r = rig();
    r.page.view.setUint32(xencons_interface.at[index], value, true);
    expect(r.worker.step()).toBe('idle');
    expect(r.worker.broken).toBe(true);
    r.page.view.setUint32(xencons_interface.at[index], 0, true);
    r.guest.writer.write(text('too late'));
    expect(r.worker.step()).toBe('idle');
    r.worker.drainLast();
    expect(r.output).toBe('');
  });

  it('is given up when the guest breaks the indices of its input (act 25)', () => {
    const r = rig();
    r.page.view.setUint32(xencons_interface.at.in_cons, 5, true);
    r.worker.type(text('x'));
    r.worker.step();
    expect(r.worker.broken).toBe(true);
  });

  it('serves a guest that writes without pause at its rate, and no faster (act 26)', () => {
    const r = rig();
    const fill = (): void => {
      r.guest.writer.write(new Uint8Array(XENCONS_OUT_SIZE));
    };
    for (let i = 0; i < 1000; i++) {
      fill();
      r.worker.step();
    }
    const burst = r.outputBytes;
    expect(burst).toBeLessThanOrEqual((256 << 10) + XENCONS_OUT_SIZE);
    expect(burst).toBeGreaterThanOrEqual(256 << 10);
    expect(r.stats.throttled).toBe(1);
    // It sleeps until its deadline each time, as the driver does.
    const from = r.clock.now();
    for (let i = 0; i < 512; i++) {
      const deadline = r.worker.deadline();
      expect(deadline).toBeDefined();
      r.clock.advance(deadline! - r.clock.now());
      fill();
      expect(r.worker.step()).toBe('progress');
    }
    const seconds = (r.clock.now() - from) / 1e9;
    expect((r.outputBytes - burst) / seconds).toBeCloseTo(1 << 20, -4);
  });

  it('gives the last words of a dead domain whatever its rate was', () => {
    const r = rig();
    for (let i = 0; i < 200; i++) {
      r.guest.writer.write(new Uint8Array(XENCONS_OUT_SIZE));
      r.worker.step();
    }
    r.guest.writer.write(text(''));
    r.worker.drainLast();
    r.guest.writer.write(text('the end'));
    r.worker.drainLast();
    expect(r.output.endsWith('the end')).toBe(true);
  });
});

describe('a console with a fault', () => {
  function faulty(...faults: object[]) {
    const r = rig();
    const told: Injected[] = [];
    const sent: number[] = [];
    const plain = { notify: (to: EvtchnPort): void => void sent.push(to) };
    const device = new ConsoleFaults('console 0 of dom1', r.clock, plain, injected => void told.push(injected));
    const plant = (...list: object[]): void => {
      const checked = checkPlan(list, 'p');
      if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
      device.plant(checked.plan.faults.map(fault => ({ plan: 'p', seed: 1, startedNs: 0, fault })));
    };
    plant(...faults);
    r.worker.faults = device;
    const says = (line: string): string => {
      r.guest.writer.write(text(line));
      r.worker.step();
      return r.output;
    };
    const typed = (): string => {
      r.worker.step();
      const into = new Uint8Array(64);
      return Buffer.from(into.subarray(0, r.guest.reader.read(into))).toString();
    };
    return Object.assign(r, { told, sent, device, plant, says, typed });
  }

  it('loses what its guest writes, and nothing else', () => {
    const r = faulty({ part: 'console', op: 'read', nth: 2, drop: true });
    for (const line of ['a', 'b', 'c']) r.says(line);
    expect(r.output).toBe('ac');
    expect(r.guest.writer.writable()).toBe(XENCONS_OUT_SIZE);
    r.worker.type(text('in'));
    expect(r.typed()).toBe('in');
    r.device.step();
    expect(r.told).toMatchObject([{ occurrences: [2], counts: { seen: 3 }, where: 'console 0 of dom1' }]);
  });
  it('reads late, with what has come meanwhile, and says when', () => {
    const r = faulty({ part: 'console', op: 'read', nth: 1, delay: 30 });
    expect(r.says('a')).toBe('');
    expect(r.says('b')).toBe('');
    expect(r.worker.deadline()).toBe(r.clock.now() + 30e6);
    r.clock.advance(30e6);
    expect(r.says('c')).toBe('abc');
    r.device.step();
    expect(r.worker.deadline()).toBeUndefined();
    expect(r.says('d')).toBe('abcd');
  });
  it.each(['before', 'after'] as const)('asks for the end of a process, once: %s', kill => {
    const r = faulty({ part: 'console', op: 'read', nth: 2, kill });
    r.says('a');
    expect(r.says('b')).toBe(kill === 'before' ? 'a' : 'ab');
    expect(r.told).toMatchObject([{ occurrences: [2], process: { kill: true } }]);
  });
  it('that stalls leaves all in the ring until the fault goes, or the domain', () => {
    const r = faulty({ part: 'console', op: 'read', nth: 1, stall: true });
    expect(r.says('a')).toBe('');
    r.plant();
    expect(r.says('b')).toBe('ab');
    const other = faulty({ part: 'console', stall: true });
    expect(other.says('last words')).toBe('');
    other.worker.drainLast();
    expect(other.output).toBe('last words');
  });
  it('loses what is typed, or keeps it until its time; full rings count nothing', () => {
    const r = faulty(
      { part: 'console', op: 'write', nth: 1, drop: true },
      { part: 'console', name: 'late', op: 'write', nth: 2, delay: 5 },
      { part: 'console', name: 'never', op: 'write', nth: 4, drop: true },
    );
    r.worker.type(text('lost'));
    expect(r.typed()).toBe('');
    expect(r.worker.inputRoom).toBe(4096);
    r.worker.type(text('late'));
    expect(r.typed()).toBe('');
    r.clock.advance(5e6);
    expect(r.typed()).toBe('late');
    r.worker.type(new Uint8Array(2000));
    for (let i = 0; i < 3; i++) r.worker.step();
    r.device.step();
    expect(r.told.flatMap(({ occurrences }) => occurrences)).toEqual([1, 2]);
  });
  it('hears and tells of its channel late, or not at all', () => {
    const r = faulty(
      { part: 'event', type: 'console', op: 'send', port: 7, nth: 1, drop: true },
      { name: 'late', part: 'event', port: 7, op: 'receive', nth: 2, delay: 20 },
      { name: 'another', part: 'event', port: 8, drop: true },
    );
    let heard = 0;
    const hear = r.device.events.hears(() => heard++, port(3), 7);
    for (let n = 0; n < 2; n++) r.device.events.notify(port(3));
    for (let n = 0; n < 2; n++) hear();
    expect([r.sent, heard]).toEqual([[3], 1]);
    expect(r.worker.deadline()).toBe(r.clock.now() + 20e6);
    r.clock.advance(20e6);
    r.device.step();
    expect(heard).toBe(2);
    expect(r.told.map(({ fault, occurrences }) => [fault, ...occurrences])).toEqual([
      ['fault-1', 1],
      ['late', 2],
    ]);
  });
  it('whose plan ends has its late events then', () => {
    const r = faulty({ part: 'event', type: 'console', op: 'send', delay: 20 });
    r.device.events.notify(port(3));
    expect(r.sent).toEqual([]);
    r.plant();
    expect(r.sent).toEqual([3]);
  });
  it('whose process is about to be killed leaves what comes to the next one', () => {
    const r = faulty({ part: 'console', op: 'read', nth: 1, kill: 'after' });
    expect([r.says('a'), r.says('b')]).toEqual(['a', 'a']);
    expect(r.told).toMatchObject([{ counts: { seen: 1 }, process: { kill: true } }]);
  });
});
