import { describe, expect, it } from 'vitest';
import { parseRate, RateLimit } from '../../../../../dom0/backends/netback/rate-limit.ts';

describe("the toolstack's key rate", () => {
  it('is bytes and microseconds', () => {
    expect(parseRate('125000,50000')).toEqual({ bytes: 125_000, intervalUs: 50_000 });
  });
  it.each([undefined, '', '5', '0,50000', '100,0', 'a,b', '-1,5', '1,2x'])('%j is no limit', value => {
    expect(parseRate(value)).toBeUndefined();
  });
});

describe('a rate limit', () => {
  it('lets the rate through and no more, over any time', () => {
    const limit = new RateLimit(125_000, 50e6, 0);
    let sent = 0;
    for (let now = 0; now < 10e9; ) {
      const until = limit.blockedUntil(now);
      if (until === undefined) {
        limit.spend(1514);
        sent += 1514;
        now += 1000;
      } else {
        expect(until).toBeGreaterThan(now);
        now = until;
        expect(limit.blockedUntil(now)).toBeUndefined();
      }
    }
    expect(sent).toBeGreaterThan(2.5e6 * 9.9);
    expect(sent).toBeLessThan(2.5e6 * 10.1 + 131_072);
  });
  it('keeps a bounded credit while nothing is sent', () => {
    const limit = new RateLimit(1000, 1e6, 0);
    expect(limit.blockedUntil(1e12)).toBeUndefined();
    limit.spend(131_072);
    expect(limit.blockedUntil(1e12)).toBe(1e12 + 1e6);
  });
});
