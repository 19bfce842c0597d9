import { isIPv6 } from 'node:net';
import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import fc from '../../../support/properties.ts';

describe('an address of either family', () => {
  it.each([
    ['1.2.3.4', '1.2.3.4'],
    ['::', '::'],
    ['::1', '::1'],
    ['FE80::1', 'fe80::1'],
    ['2001:0db8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is written %s (RFC 5952)', (text, written) => {
    expect(IpAddress.parse(text)?.toString()).toBe(written);
  });
  it('is read where Node reads one, and nowhere else', () => {
    const part = fc.constantFrom('::', ':', '0', '1', 'ab', 'ffff', '12345', '1.2.3.4', '.', 'g', 'db8', '%eth0');
    const text = fc.array(part, { maxLength: 17 }).map(parts => parts.join(''));
    fc.assert(
      fc.property(text, candidate => {
        if (!candidate.includes(':') || candidate.includes('%')) return;
        expect(IpAddress.parse(candidate) !== undefined).toBe(isIPv6(candidate));
      }),
      { numRuns: 3000 },
    );
  });
  it('survives being written and read', () => {
    const word = fc.oneof(fc.constantFrom(0, 1, 0xffff, 0x10000), fc.nat(0xffffffff));
    fc.assert(
      fc.property(word, word, word, word, (a, b, c, d) => {
        const address = IpAddress.of(a, b, c, d);
        expect(IpAddress.parse(address.toString())?.equals(address)).toBe(true);
      }),
    );
  });
});
