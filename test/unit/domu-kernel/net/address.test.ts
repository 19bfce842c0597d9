import { describe, expect, it } from 'vitest';
import { formatIpv4, formatMac, isNetmask, parseIpv4, parseMac } from '../../../../domu-kernel/net/address.ts';
import fc from '../../../support/properties.ts';

describe('IPv4 addresses', () => {
  it('every address survives being written and read', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), address => {
        expect(parseIpv4(formatIpv4(address))).toBe(address);
      }),
    );
  });
  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '1.2.3.-4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '1..2.3',
    '1.2.3.0004',
    '01.2.3.4',
    '1.2.3.00',
  ])('%j is none', text => {
    expect(parseIpv4(text)).toBeUndefined();
  });
  it('a netmask is ones, then zeros', () => {
    const masks = Array.from({ length: 33 }, (_, n) => (n === 0 ? 0 : (0xffffffff << (32 - n)) >>> 0));
    for (const mask of masks) expect(isNetmask(mask)).toBe(true);
    for (const other of [1, 0xff00ff00, 0x7fffffff, 0xfffffffd]) expect(isNetmask(other)).toBe(false);
  });
});

describe('MAC addresses', () => {
  it('survive being written and read', () => {
    expect(formatMac(parseMac('00:16:3E:aB:00:ff')!)).toBe('00:16:3e:ab:00:ff');
  });
  it.each(['', '00:16:3e:00:00', '00:16:3e:00:00:0g', '00-16-3e-00-00-01', '00:16:3e:00:00:01:02', '0:16:3e:0:0:1'])(
    '%j is none',
    text => {
      expect(parseMac(text)).toBeUndefined();
    },
  );
});
