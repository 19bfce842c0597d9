// RFC 2131, 4.3: what a server answers, and to whom.
import { describe, expect, it } from 'vitest';
import { formatAddress, formatMac, parseAddress, parseMac } from '../../../examples/gateway/addresses.ts';
import { type DhcpOptions, DhcpServer, type Lease } from '../../../examples/gateway/dhcp-server.ts';
import fc from '../../support/properties.ts';

const OWN = '10.77.0.1';
const FIXED = 'aa:aa:aa:00:00:01';
const [A, B, C] = ['02:00:00:00:00:0a', '02:00:00:00:00:0b', '02:00:00:00:00:0c'] as const;
const TYPES = ['', 'DISCOVER', 'OFFER', 'REQUEST', 'DECLINE', 'ACK', 'NAK', 'RELEASE', 'INFORM'];

class Network {
  now = 1_000_000;
  readonly saved: Lease[][] = [];
  readonly lines: string[] = [];
  readonly server: DhcpServer;
  constructor(more: Partial<DhcpOptions> = {}) {
    this.server = new DhcpServer({
      ...{ own: parseAddress(OWN), netmask: parseAddress('255.255.255.0') },
      ...{ first: parseAddress('10.77.0.100'), last: parseAddress('10.77.0.102'), leaseSeconds: 100, leases: [] },
      fixed: new Map([[FIXED, parseAddress('10.77.0.2')]]),
      saved: leases => this.saved.push([...leases]),
      log: line => this.lines.push(line),
      ...more,
    });
  }
  /** `OFFER 10.77.0.100 to 255.255.255.255` */
  say(type: string, mac: string, options: { address?: string; requested?: string; server?: string } = {}): string {
    const answer = this.server.answer(message(type, mac, options), this.now);
    if (answer === undefined) return 'nothing';
    const view = new DataView(answer.message.buffer, answer.message.byteOffset);
    expect(answer.message[0]).toBe(2);
    expect(view.getUint32(4)).toBe(0x1234); // the transaction
    expect(formatMac(answer.message.subarray(28, 34))).toBe(mac);
    const read = optionsOf(answer.message);
    expect(formatAddress(read.get(54)!)).toBe(OWN);
    const kind = TYPES[read.get(53)!]!;
    if (kind !== 'NAK') expect([read.get(1), read.get(3), read.get(6)]).toEqual([0xffffff00, own, own]);
    if (kind !== 'NAK' && type !== 'INFORM') expect([read.get(51), read.get(58), read.get(59)]).toEqual([100, 50, 87]);
    return `${kind} ${formatAddress(view.getUint32(16))} to ${answer.to}`;
  }
  /** All four messages; the address. */
  lease(mac: string): string {
    const [offer, address] = this.say('DISCOVER', mac).split(' ');
    if (offer !== 'OFFER') return offer!;
    return this.say('REQUEST', mac, { requested: address!, server: OWN });
  }
}
const own = parseAddress(OWN);
function message(
  type: string,
  mac: string,
  { address = '0.0.0.0', requested, server }: { address?: string; requested?: string; server?: string },
): Uint8Array {
  const bytes = new Uint8Array(300);
  const view = new DataView(bytes.buffer);
  bytes.set([1, 1, 6]);
  view.setUint32(4, 0x1234);
  view.setUint32(12, parseAddress(address));
  bytes.set(Buffer.from(mac.replaceAll(':', ''), 'hex'), 28);
  view.setUint32(236, 0x63825363);
  const options = [53, 1, TYPES.indexOf(type)];
  const word = (option: number, value: string): void => void options.push(option, 4, ...value.split('.').map(Number));
  if (requested !== undefined) word(50, requested);
  if (server !== undefined) word(54, server);
  bytes.set([...options, 255], 240);
  return bytes;
}
/** One byte or one word each. */
function optionsOf(bytes: Uint8Array): Map<number, number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = new Map<number, number>();
  for (let at = 240; bytes[at] !== 255; at += 2 + bytes[at + 1]!) {
    found.set(bytes[at]!, bytes[at + 1] === 1 ? bytes[at + 2]! : view.getUint32(at + 2));
  }
  return found;
}

describe('a DHCP server', () => {
  it('gives each client an address of its own, the same one again, and none when there is none left', () => {
    const net = new Network();
    expect([A, B, C].map(mac => net.lease(mac))).toEqual([
      'ACK 10.77.0.100 to 255.255.255.255',
      'ACK 10.77.0.101 to 255.255.255.255',
      'ACK 10.77.0.102 to 255.255.255.255',
    ]);
    expect(net.say('DISCOVER', '02:00:00:00:00:0d')).toBe('nothing');
    expect(net.lines.at(-1)).toContain('there is none left');
    net.now += 5000; // all leases have ended; each is still remembered
    expect(net.lease(B)).toBe('ACK 10.77.0.101 to 255.255.255.255');
    expect(net.lease('02:00:00:00:00:0d')).toBe('ACK 10.77.0.100 to 255.255.255.255');
    expect(net.lease(A)).toBe('ACK 10.77.0.102 to 255.255.255.255');
    expect(net.lease(C)).toBe('nothing');
  });
  it('keeps an offer for its client, for a while', () => {
    const net = new Network({ last: parseAddress('10.77.0.100') });
    expect(net.say('DISCOVER', A)).toBe('OFFER 10.77.0.100 to 255.255.255.255');
    expect(net.say('DISCOVER', B)).toBe('nothing');
    expect(net.say('DISCOVER', A)).toBe('OFFER 10.77.0.100 to 255.255.255.255');
    net.now += 31;
    expect(net.say('DISCOVER', B)).toBe('OFFER 10.77.0.100 to 255.255.255.255');
    expect(net.say('REQUEST', A, { requested: '10.77.0.100', server: OWN })).toBe('NAK 0.0.0.0 to 255.255.255.255');
  });
  it('lets go of an offer when the client took another server', () => {
    const net = new Network({ last: parseAddress('10.77.0.100') });
    net.say('DISCOVER', A);
    expect(net.say('REQUEST', A, { requested: '10.0.0.7', server: '10.0.0.1' })).toBe('nothing');
    expect(net.lease(B)).toBe('ACK 10.77.0.100 to 255.255.255.255');
  });
  it('renews what is a client’s, at its address, and refuses what is not', () => {
    const net = new Network();
    net.lease(A);
    net.lease(B);
    net.now += 60;
    expect(net.say('REQUEST', A, { address: '10.77.0.100' })).toBe('ACK 10.77.0.100 to 10.77.0.100');
    expect(net.saved.at(-1)!.find(({ mac }) => mac === A)!.until).toBe(net.now + 100);
    expect(net.say('REQUEST', A, { address: '10.77.0.101' })).toBe('NAK 0.0.0.0 to 255.255.255.255');
    // One that was somewhere else before (INIT-REBOOT), and one that is where it was.
    expect(net.say('REQUEST', C, { requested: '192.0.2.7' })).toBe('NAK 0.0.0.0 to 255.255.255.255');
    expect(net.say('REQUEST', C, { requested: OWN })).toBe('NAK 0.0.0.0 to 255.255.255.255');
    expect(net.say('REQUEST', B, { requested: '10.77.0.101' })).toBe('ACK 10.77.0.101 to 255.255.255.255');
  });
  it('that has forgotten everything lets a client keep an address that nobody else has', () => {
    const net = new Network();
    expect(net.say('REQUEST', C, { address: '10.77.0.102' })).toBe('ACK 10.77.0.102 to 10.77.0.102');
    expect(net.lease(A)).toBe('ACK 10.77.0.100 to 255.255.255.255');
  });
  it('has fixed addresses for some, which no other gets', () => {
    const fixed = new Map([[FIXED, parseAddress('10.77.0.100')]]);
    const net = new Network({ fixed });
    expect(net.lease(A)).toBe('ACK 10.77.0.101 to 255.255.255.255');
    expect(net.say('REQUEST', A, { requested: '10.77.0.100' })).toBe('NAK 0.0.0.0 to 255.255.255.255');
    expect(net.lease(FIXED)).toBe('ACK 10.77.0.100 to 255.255.255.255');
    expect(net.saved.flat().map(({ mac }) => mac)).not.toContain(FIXED);
  });
  it('has an address back when it is released by who has it, and not by others', () => {
    const net = new Network({ last: parseAddress('10.77.0.100') });
    net.lease(A);
    expect(net.say('RELEASE', B, { address: '10.77.0.100' })).toBe('nothing');
    expect(net.lease(B)).toBe('nothing');
    expect(net.say('RELEASE', A, { address: '10.77.0.100' })).toBe('nothing');
    expect(net.lease(B)).toBe('ACK 10.77.0.100 to 255.255.255.255');
  });
  it('does not give away for a while what a client has found to be another’s', () => {
    const net = new Network({ last: parseAddress('10.77.0.101') });
    net.lease(A);
    expect(net.say('DECLINE', B, { requested: '10.77.0.100' })).toBe('nothing'); // not its own to decline
    expect(net.lease(A)).toBe('ACK 10.77.0.100 to 255.255.255.255');
    net.say('DECLINE', A, { requested: '10.77.0.100' });
    expect(net.lease(A)).toBe('ACK 10.77.0.101 to 255.255.255.255');
    expect(net.lease(B)).toBe('nothing');
    net.now += 601;
    expect(net.lease(B)).toBe('ACK 10.77.0.100 to 255.255.255.255');
  });
  it('tells who has an address of its own the rest', () => {
    expect(new Network().say('INFORM', A, { address: '10.77.0.7' })).toBe('ACK 0.0.0.0 to 10.77.0.7');
  });
  it('goes on with the leases of the one before', () => {
    const before = new Network();
    before.lease(A);
    before.lease(B);
    const net = new Network({ leases: before.saved.at(-1)! });
    expect(net.lease(C)).toBe('ACK 10.77.0.102 to 255.255.255.255');
    expect(net.lease(B)).toBe('ACK 10.77.0.101 to 255.255.255.255');
  });
  it('refuses a pool that cannot be', () => {
    const pool = (first: string, last: string) => () =>
      new Network({ first: parseAddress(first), last: parseAddress(last) });
    for (const [first, last] of [
      ['10.77.0.9', '10.77.0.8'],
      ['10.77.0.0', '10.77.0.9'],
      ['10.77.0.250', '10.77.0.255'],
      ['10.77.1.1', '10.77.1.9'],
      [OWN, '10.77.0.9'],
    ] as const)
      expect(pool(first, last)).toThrow(/dhcp/);
    expect(() => new Network({ leaseSeconds: Number.NaN })).toThrow(/10 seconds/);
    for (const bad of ['1.2.3', '1.2.3.256', 'x', '1.2.3.4.5', ''])
      expect(() => parseAddress(bad)).toThrow(/no address/);
    expect(() => parseMac('00:16:3e:00:00')).toThrow(/no MAC/);
  });
  it('answers no bytes that are no request, and never gives one address to two', () => {
    const net = new Network();
    for (const [at, value] of [
      [0, 2],
      [1, 6],
      [2, 8],
      [24, 9],
      [28, 3],
      [236, 0],
      [241, 200],
    ] as const) {
      const bytes = message('DISCOVER', A, {});
      bytes[at] = value;
      expect([at, net.server.answer(bytes, net.now)]).toEqual([at, undefined]);
    }
    const clients = fc.integer({ min: 10, max: 15 }).map(n => `02:00:00:00:00:0${n.toString(16)}`);
    const address = fc.integer({ min: 98, max: 104 }).map(n => `10.77.0.${n}`);
    const act = fc.record({
      type: fc.constantFrom('DISCOVER', 'REQUEST', 'REQUEST', 'RELEASE', 'DECLINE', 'INFORM'),
      mac: clients,
      address: fc.option(address, { nil: '0.0.0.0' }),
      requested: fc.option(address, { nil: undefined }),
      server: fc.constantFrom(undefined, OWN),
      later: fc.integer({ min: 0, max: 60 }),
      noise: fc.option(fc.tuple(fc.nat(299), fc.nat(255)), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), acts => {
        const some = new Network();
        const holders = new Map<string, { mac: string; until: number }>();
        for (const { type, mac, later, noise, ...rest } of acts) {
          some.now += later;
          const options = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
          const bytes = message(type, mac, options);
          if (noise) bytes[noise[0]] = noise[1];
          const answer = some.server.answer(bytes, some.now);
          const asked = formatMac(bytes.subarray(28, 34));
          const read = answer && optionsOf(answer.message);
          if (type === 'RELEASE' || type === 'DECLINE')
            for (const [one, held] of holders) if (held.mac === asked) holders.delete(one);
          if (!answer || read?.get(53) !== 5 || !read.has(51)) continue;
          const given = formatAddress(new DataView(answer.message.buffer, answer.message.byteOffset).getUint32(16));
          const holder = holders.get(given);
          expect(holder === undefined || holder.mac === asked || holder.until <= some.now).toBe(true);
          for (const [one, held] of holders) if (held.mac === asked) holders.delete(one);
          holders.set(given, { mac: asked, until: some.now + 100 });
        }
      }),
    );
  });
});
