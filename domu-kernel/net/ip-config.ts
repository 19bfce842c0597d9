// The kernel parameter `ip=`, as Linux reads it (Documentation/admin-guide/nfs/nfsroot.rst):
// ip=<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>
import { XenError } from '#pvbus';
import { formatIpv4, isLoopback, isMulticast, isNetmask, parseIpv4 } from './address.ts';
import { IpAddress } from './ip-address.ts';
import { type Ip6Config, parseIp6Parameter } from './ip6/config.ts';

export interface IpConfig {
  /** 0: none, or one of a DHCP server. */
  readonly address: number;
  readonly netmask: number;
  readonly gateway?: number;
  readonly hostname?: string;
  /** The device's name; not given: every one with DHCP, else the first. */
  readonly device?: string;
  /** Address, netmask, gateway and name servers come from a DHCP server. */
  readonly dhcp?: true;
  readonly nameservers?: readonly IpAddress[];
  /** Of `ip6=`. */
  readonly ip6?: Ip6Config;
}

/**
 * Undefined for `off`, `none` and nothing at all. Throws EINVAL for what is malformed and EOPNOTSUPP for bootp and
 * rarp: a guest that silently got no address would be a puzzle.
 */
export function parseIpParameter(text: string): IpConfig | undefined {
  const fields = text.split(':').map(field => field.trim());
  if (fields.length === 1) {
    if (NO_AUTOCONF.includes(fields[0]!)) return undefined;
    if (DHCP.includes(fields[0]!)) return { address: 0, netmask: 0, dhcp: true };
    if (OLD_AUTOCONF.includes(fields[0]!)) throw unsupported(fields[0]!);
  }
  const [client = '', , gw = '', mask = '', hostname = '', device = '', autoconf = '', ...dns] = fields;
  if (OLD_AUTOCONF.includes(autoconf)) throw unsupported(autoconf);
  const named = { ...(hostname === '' ? {} : { hostname }), ...(device === '' ? {} : { device }) };
  const nameservers = parseNameservers(dns.slice(0, 2).join(','));
  if (DHCP.includes(autoconf)) return { address: 0, netmask: 0, dhcp: true, ...named, ...nameservers };
  if (!NO_AUTOCONF.includes(autoconf)) throw invalid(`no autoconfiguration is called '${autoconf}'`);
  if (client === '') return undefined;

  return { ...hostAddress(client, mask, gw), ...named, ...nameservers };
}

/**
 * `ip` of a vif, as mini-os reads it, ADDRESS NETMASK GATEWAY, or ADDRESS/LENGTH GATEWAY, of which the first is enough;
 * or dhcp; and beside it ADDRESS/LENGTH of IPv6. Throws EINVAL.
 */
export function parseVifAddresses(text: string): IpConfig | undefined {
  const words = text.split(' ').filter(word => word !== '');
  const sixes = words.filter(word => word.includes(':'));
  const [first = '', ...rest] = words.filter(word => !word.includes(':'));
  if (sixes.length > 1) throw invalid(`'${text}' has more than one address of IPv6`);
  const ip6 = sixes[0] === undefined ? undefined : parseIp6Parameter(sixes[0]);
  const six = ip6 === undefined ? {} : { ip6 };
  if (first === '') return ip6 && { address: 0, netmask: 0, ip6 };
  if (first === 'dhcp') return { address: 0, netmask: 0, dhcp: true, ...six };
  const [address = '', length] = first.split('/');
  const mask = length === undefined ? rest.shift() : lengthMask(length);
  const [gateway, ...more] = rest;
  if (more.length > 0) throw invalid(`'${text}' is not ADDRESS NETMASK GATEWAY`);
  return { ...hostAddress(address, mask, gateway), ...six };
}
function lengthMask(length: string): string {
  const bits = /^\d{1,2}$/.test(length) ? Number(length) : 0;
  if (bits < 1 || bits > 32) throw invalid(`'${length}' is no length of a prefix`);
  return formatIpv4((0xffffffff << (32 - bits)) >>> 0);
}

/** An address of a host, with its class' netmask where there is none. Throws EINVAL. */
function hostAddress(client: string, mask = '', gw = ''): Pick<IpConfig, 'address' | 'netmask' | 'gateway'> {
  const address = parseIpv4(client);
  if (address === undefined || address === 0 || isMulticast(address) || isLoopback(address) || address >>> 28 === 15) {
    throw invalid(`'${client}' is no address of a host`);
  }
  const netmask = mask === '' ? classMask(address) : parseIpv4(mask);
  if (netmask === undefined || netmask === 0 || !isNetmask(netmask)) throw invalid(`'${mask}' is no netmask`);
  const host = (address & ~netmask) >>> 0;
  if (netmask < 0xfffffffe && (host === 0 || host === ~netmask >>> 0)) {
    throw invalid(`'${client}' is the address of a network or a broadcast`);
  }
  let gateway: number | undefined;
  if (gw !== '' && gw !== '0.0.0.0') {
    gateway = parseIpv4(gw);
    if (gateway === undefined) throw invalid(`'${gw}' is no address of a gateway`);
    if (((gateway ^ address) & netmask) !== 0) throw invalid(`the gateway ${gw} is not on the link of ${client}`);
  }
  return { address, netmask, ...(gateway === undefined ? {} : { gateway }) };
}

/** Of `nameserver=`, and of the last fields of `ip=`: addresses with commas between them. */
export function parseNameservers(text: string): Pick<IpConfig, 'nameservers'> {
  const parts = text.split(',').filter(part => part !== '');
  if (parts.length === 0) return {};
  const nameservers = parts.map(part => {
    const address = IpAddress.parse(part);
    if (address === undefined) throw invalid(`'${part}' is no address of a name server`);
    return address;
  });
  return { nameservers };
}

const NO_AUTOCONF: readonly string[] = ['', 'off', 'none', 'static'];
const DHCP: readonly string[] = ['dhcp', 'on', 'any', 'both'];
const OLD_AUTOCONF: readonly string[] = ['bootp', 'rarp'];

/** Linux guesses by the class of the address when no netmask is given. */
function classMask(address: number): number {
  if (address < 0x80000000) return 0xff000000;
  return address < 0xc0000000 ? 0xffff0000 : 0xffffff00;
}

const invalid = (what: string): XenError => new XenError('EINVAL', `ip=: ${what}`);
const unsupported = (how: string): XenError =>
  new XenError('EOPNOTSUPP', `ip=: '${how}' is not supported: ip=dhcp or ip=ADDRESS::GATEWAY:NETMASK`);
