// What a DHCP server says to a client: an offer to DISCOVER, an acknowledgement to the rest, unless told otherwise.
import { parseIpv4 } from '../../domu-kernel/net/address.ts';
import { ACK, DISCOVER, OFFER } from '../../domu-kernel/net/dhcp/message.ts';

const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** `server` is gateway and first name server too; 8.8.8.8 is the other one where there are `others`. */
export function dhcpAnswer(
  request: Uint8Array,
  given: {
    give: string;
    server: number;
    lease: number;
    type?: number;
    others?: boolean;
    t1?: number | undefined;
    t2?: number | undefined;
  },
): Uint8Array {
  const { give, server, lease, type = request[242] === DISCOVER ? OFFER : ACK, others = false } = given;
  const reply = new Uint8Array(300);
  reply.set(request.subarray(0, 240));
  reply[0] = 2;
  reply.set(word(parseIpv4(give)!), 16);
  const me = word(server);
  const at = (option: number, seconds: number | undefined): number[] =>
    seconds === undefined ? [] : [option, 4, ...word(seconds)];
  const names = others ? [...me, 8, 8, 8, 8] : me;
  const options = [
    [53, 1, type],
    [54, 4, ...me],
    [51, 4, ...word(lease)],
    at(58, given.t1),
    at(59, given.t2),
    [1, 4, 255, 255, 255, 0],
    [3, 4, ...me],
    [6, names.length, ...names],
    [255],
  ];
  reply.set(options.flat(), 240);
  return reply;
}
