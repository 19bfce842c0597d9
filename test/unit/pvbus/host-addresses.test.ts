import { describe, expect, it } from 'vitest';
import { isAllowed, parseAllowed } from '../../../pvbus/host-addresses.ts';

const address = (text: string): number => text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
const reaches = (rules: string, to: string, port: number): boolean =>
  isAllowed(rules.split(',').map(parseAllowed), address(to), port);

describe('allowed addresses', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7', 1, true],
    ['192.0.2.7', '192.0.2.7', 65_535, true],
    ['192.0.2.7', '192.0.2.6', 80, false],
    ['10.0.0.0/8', '10.255.255.255', 80, true],
    ['10.0.0.0/8', '11.0.0.0', 80, false],
    ['10.0.0.0/8:443', '10.1.2.3', 443, true],
    ['10.0.0.0/8:443', '10.1.2.3', 444, false],
    ['10.0.0.0/8:80-90,192.0.2.0/24', '10.1.2.3', 90, true],
    ['10.0.0.0/8:80-90,192.0.2.0/24', '10.1.2.3', 91, false],
    ['10.0.0.0/8:80-90,192.0.2.0/24', '192.0.2.255', 91, true],
    ['0.0.0.0/0', '203.0.113.9', 53, true],
    ['128.0.0.0/1', '203.0.113.9', 53, true],
    ['128.0.0.0/1', '127.0.0.1', 53, false],
    // What nobody means by a network that holds it.
    ['0.0.0.0/0', '127.0.0.1', 80, false],
    ['0.0.0.0/0', '169.254.169.254', 80, false],
    ['169.254.169.254', '169.254.169.254', 80, true],
    ['127.0.0.0/8', '127.8.8.8', 80, true],
    ['127.0.0.2:80,0.0.0.0/0', '127.0.0.2', 81, false],
    // What leads to the host itself, or to nobody.
    ['0.0.0.0/0', '0.0.0.0', 80, false],
    ['0.0.0.0/0', '0.1.2.3', 80, false],
    ['0.0.0.0/0', '224.0.0.1', 80, false],
    ['0.0.0.0/0', '255.255.255.255', 80, false],
  ])('%s lets a guest reach %s port %i: %s', (rules, to, port, expected) => {
    expect(reaches(rules, to, port)).toBe(expected);
  });
  it.each([
    ...['', 'x', '10.0.0', '10.0.0.0.0', '256.0.0.0', '010.0.0.1', '10.0.0.1/33', '10.0.0.1/8', '10.0.0.0/8/8'],
    ...['10.0.0.1:0', '10.0.0.1:65536', '10.0.0.1:', '10.0.0.1:9-8', '10.0.0.1:1-2-3', '10.0.0.1 ', '::1', '-1.0.0.0'],
    ...['0.0.0.0', '0.0.0.0/8', '224.0.0.1', '240.0.0.0/4', '255.255.255.255'],
  ])('%j is no rule', text => {
    expect(() => parseAllowed(text)).toThrow(/EINVAL|not ADDRESS|no prefix|bits|no such ports|nobody/);
  });
});
