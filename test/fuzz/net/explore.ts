// What the guest's network reads besides TCP: ARP and IPv4, IPv6 with its neighbours, answers of DHCP and name servers. And what bridges read
// from descriptors of the host.

import { readReply } from '../../../domu-kernel/net/dhcp/message.ts';
import { encodeQuery, readAnswer, TYPE_A, TYPE_AAAA } from '../../../domu-kernel/net/dns/message.ts';
import fc from '../../support/properties.ts';
import type { Family } from '../parts.ts';
import { packets } from './packets.ts';
import { packets4 } from './packets4.ts';
import { frameStreams, tapFrames } from './ports.ts';

const MAC = Uint8Array.of(0, 0x16, 0x3e, 1, 2, 3);
/** A good beginning, so that what follows is looked at. */
const dhcp = fc
  .tuple(
    fc.array(
      fc.oneof(
        fc
          .tuple(fc.constantFrom(1, 3, 6, 51, 53, 54, 58, 59), fc.uint8Array({ maxLength: 16 }))
          .map(([option, data]) => [option, data.length, ...data]),
        fc.constantFrom([0], [255]),
        fc.array(fc.nat(255), { maxLength: 5 }),
      ),
      { maxLength: 12 },
    ),
    fc.nat(400),
  )
  .map(([options, cut]) => {
    const head = new Uint8Array(240);
    head.set([2, 1, 6, 0, 0, 0, 0, 7]);
    head.set([10, 0, 0, 5], 16);
    head.set(MAC, 28);
    head.set([0x63, 0x82, 0x53, 0x63], 236);
    const all = Uint8Array.from([...head, ...options.flat()]);
    return cut < 100 ? all.subarray(0, all.length - (cut % all.length)) : all;
  });
const dhcpReplies = fc.property(dhcp, message => {
  const reply = readReply(message, 7, MAC);
  if (reply === undefined) return;
  if (reply.nameservers.length > 3) throw new Error('more name servers than are wanted');
  for (const [name, value] of Object.entries(reply)) {
    if (typeof value === 'number' && !(value >= 0 && value <= 0xffffffff && Number.isInteger(value)))
      throw new Error(`${name} is ${value}`);
  }
});

const NAME = 'a.example';
const record = fc
  .tuple(
    fc.constantFrom([0xc0, 12], [0xc0, 0xff], [0xc0, 0], [1, 97, 0], [0], [63, 1]),
    fc.constantFrom(1, 5, 28, 41),
    fc.constantFrom(1, 1, 3),
    fc.nat(20),
    fc.uint8Array({ maxLength: 20 }),
  )
  .map(([owner, type, kind, wrong, data]) => {
    const length = wrong === 0 ? 0xffff : data.length;
    return [...owner, 0, type, 0, kind, 0, 0, 0, 60, length >> 8, length & 255, ...data];
  });
const dnsAnswers = fc.property(
  fc.boolean(),
  fc.nat(3),
  fc.nat(40),
  fc.array(record, { maxLength: 10 }),
  fc.nat(300),
  (six, flags, count, records, cut) => {
    const type = six ? TYPE_AAAA : TYPE_A;
    const query = encodeQuery(9, NAME, type);
    const message = Uint8Array.from([...query, ...records.flat()]);
    message.set([0x81 | (flags === 1 ? 2 : 0), flags === 2 ? 3 : 0], 2);
    message[7] = count;
    const answer = readAnswer(cut < 30 ? message.subarray(0, message.length - cut) : message, 9, NAME, type);
    if (answer === undefined || typeof answer === 'string') return;
    if (answer.addresses.length > records.length) throw new Error('addresses that nobody gave');
    for (const address of answer.addresses)
      if (!six && !address.isV4) throw new Error(`${address} is none of this kind`);
  },
);

export const NET: Family = {
  'packets of IPv6 to a host': { property: packets, share: 20 },
  'packets of ARP and IPv4 to a host': { property: packets4, share: 10 },
  'answers of DHCP servers': { property: dhcpReplies, share: 25 },
  'answers of name servers': { property: dnsAnswers, share: 25 },
  'frames of a stream': { property: frameStreams, share: 15 },
  'frames of a TAP': { property: tapFrames, share: 5 },
};
