// Which addresses beyond the host's loopback a guest's pvcalls sockets may connect to: `allow=` of a pvcalls entry.
import { isIPv4 } from 'node:net';
import { XenError } from './errors.ts';

/** Addresses of one network, ports of one range. */
export interface AllowedAddresses {
  readonly address: number;
  readonly netmask: number;
  readonly firstPort: number;
  readonly lastPort: number;
}

const maskOf = (prefix: number): number => (prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0);
const network = (text: string, prefix: number): { address: number; netmask: number } => ({
  address: addressOf(text),
  netmask: maskOf(prefix),
});
function addressOf(text: string): number {
  return text.split('.').reduce((address, octet) => address * 256 + Number(octet), 0);
}

/**
 * Nobody means these by a network that holds them: the host's own loopback, and the link's addresses, where clouds keep the
 * credentials of a machine. A rule has to lie within them.
 */
const NAMED_ONLY = [network('127.0.0.0', 8), network('169.254.0.0', 16)];
/** Linux takes 0.0.0.0 for its loopback; groups have no streams. */
const NEVER = [network('0.0.0.0', 8), network('224.0.0.0', 3)];

const holds = (net: { address: number; netmask: number }, address: number): boolean =>
  ((address ^ net.address) & net.netmask) === 0;
const isWithin = (inner: AllowedAddresses, outer: { address: number; netmask: number }): boolean =>
  inner.netmask >= outer.netmask && holds(outer, inner.address);

/** `192.0.2.7`, `10.0.0.0/8`, `10.0.0.0/8:443`, `0.0.0.0/0:1-1023`. Throws EINVAL. */
export function parseAllowed(text: string): AllowedAddresses {
  const [, address, prefix = '32', low = '1', high] =
    /^([0-9.]+)(?:\/([0-9]{1,2}))?(?::([0-9]{1,5})(?:-([0-9]{1,5}))?)?$/.exec(text) ?? [];
  const bad = (why: string): XenError => new XenError('EINVAL', `${JSON.stringify(text.slice(0, 40))}: ${why}`);
  if (address === undefined || !isIPv4(address)) throw bad('not ADDRESS[/PREFIX][:PORT[-PORT]] of IPv4');
  if (Number(prefix) > 32) throw bad(`no prefix has ${prefix} bits`);
  const net = network(address, Number(prefix));
  if ((net.address & net.netmask) >>> 0 !== net.address) throw bad(`${address} has bits beyond its prefix`);
  const firstPort = Number(low);
  const lastPort = high !== undefined ? Number(high) : text.includes(':') ? firstPort : 65_535;
  if (firstPort < 1 || lastPort > 65_535 || firstPort > lastPort) throw bad('no such ports');
  const rule = { ...net, firstPort, lastPort };
  if (NEVER.some(never => isWithin(rule, never))) throw bad('nobody can be reached there');
  return rule;
}

export function isAllowed(rules: readonly AllowedAddresses[], address: number, port: number): boolean {
  if (NEVER.some(net => holds(net, address))) return false;
  const special = NAMED_ONLY.find(net => holds(net, address));
  return rules.some(
    rule =>
      holds(rule, address) &&
      port >= rule.firstPort &&
      port <= rule.lastPort &&
      (special === undefined || isWithin(rule, special)),
  );
}
