import { describe, expect, it } from 'vitest';
import { MacTable } from '../../../../../dom0/backends/netback/mac-table.ts';
import fc from '../../../../support/properties.ts';

const table = (options: { capacity?: number; perPort?: number; ageNs?: number } = {}) =>
  new MacTable({ capacity: 64, random: () => 0.25, ...options });

describe('a MAC table', () => {
  it('answers as a map without bounds would, while nothing is pushed out', () => {
    const address = fc.record({ high: fc.constant(0x0016), low: fc.integer({ min: -4, max: 4 }), port: fc.nat(3) });
    fc.assert(
      fc.property(fc.array(address, { maxLength: 40 }), seen => {
        const t = table({ capacity: 4096 });
        const model = new Map<number, number>();
        for (const { high, low, port } of seen) {
          t.learn(high, low, port, 0);
          model.set(low, port);
          for (let l = -4; l <= 4; l++) expect(t.lookup(0x0016, l, 0)).toBe(model.get(l) ?? -1);
        }
      }),
    );
  });
  it('forgets an address that was not seen for the time', () => {
    const t = table({ ageNs: 100 });
    t.learn(1, 2, 3, 1000);
    expect(t.lookup(1, 2, 1100)).toBe(3);
    expect(t.lookup(1, 2, 1101)).toBe(-1);
    t.learn(1, 2, 3, 1101);
    expect(t.lookup(1, 2, 1200)).toBe(3);
  });
  it('follows an address that moves, but not one that is pinned', () => {
    const t = table();
    t.learn(1, 2, 3, 0);
    t.learn(1, 2, 4, 1);
    expect(t.lookup(1, 2, 1)).toBe(4);
    expect([t.learntBehind(3), t.learntBehind(4)]).toEqual([0, 1]);
    expect(t.pin(1, 2, 5)).toBe(true);
    t.learn(1, 2, 4, 2);
    expect(t.lookup(1, 2, 1e18)).toBe(5);
    expect(t.learntBehind(4)).toBe(0);
    t.forget(5);
    expect(t.lookup(1, 2, 3)).toBe(-1);
  });
  it('lets a guest that invents addresses have its share and no more, and keeps what is pinned', () => {
    const t = table({ capacity: 4096, perPort: 1000 });
    for (let port = 0; port < 100; port++) expect(t.pin(0x0016, port, port)).toBe(true);
    for (let i = 0; i < 100_000; i++) t.learn(0x0200, i, 7, i);
    expect(t.learntBehind(7)).toBeLessThanOrEqual(1000);
    expect(t.learntBehind(7)).toBeGreaterThan(900);
    for (let port = 0; port < 100; port++) expect(t.lookup(0x0016, port, 1e18)).toBe(port);
    t.learn(0x0016, 9999, 8, 100_000);
    expect(t.lookup(0x0016, 9999, 100_000)).toBe(8);
  });
  it('keeps count of what each port has, whatever happens', () => {
    const act = fc.record({
      kind: fc.constantFrom('learn', 'learn', 'learn', 'pin', 'forget'),
      low: fc.nat(40),
      port: fc.nat(3),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 200 }), acts => {
        const t = table({ capacity: 16, perPort: 6 });
        const pinned = new Map<number, number>();
        for (const [now, { kind, low, port }] of acts.entries()) {
          if (kind === 'learn') t.learn(0, low, port, now);
          else if (kind === 'pin') {
            if (t.pin(0, low, port)) pinned.set(low, port);
          } else {
            t.forget(port);
            for (const [l, p] of pinned) if (p === port) pinned.delete(l);
          }
          for (const [l, p] of pinned) expect(t.lookup(0, l, now)).toBe(p);
          for (let p = 0; p < 4; p++) {
            let found = 0;
            for (let l = 0; l <= 40; l++) if (t.lookup(0, l, now) === p && !pinned.has(l)) found++;
            expect(t.learntBehind(p)).toBe(found);
            expect(found).toBeLessThanOrEqual(6);
          }
        }
      }),
    );
  });
});
