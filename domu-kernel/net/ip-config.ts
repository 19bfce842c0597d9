// The kernel parameter `ip=`, as Linux reads it (Documentation/admin-guide/nfs/nfsroot.rst):
// ip=<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>
import { XenError } from '#pvbus';
import { isLoopback, isMulticast, isNetmask, parseIpv4 } from './address.ts';

export interface IpConfig {
  readonly address: number;
  readonly netmask: number;
  readonly gateway?: number;
  readonly hostname?: string;
  /** The device's name; the first one when not given. */
  readonly device?: string;
}

/**
 * Undefined for `off`, `none` and nothing at all. Throws EINVAL for what is malformed and EOPNOTSUPP for what
 * needs a server (dhcp, bootp, rarp): a guest that silently got no address would be a puzzle.
 */
export function parseIpParameter(text: string): IpConfig | undefined {
  const fields = text.split(':').map(field => field.trim());
  if (fields.length === 1) {
    if (NO_AUTOCONF.includes(fields[0]!)) return undefined;
    if (AUTOCONF.includes(fields[0]!)) throw unsupported(fields[0]!);
  }
  const [client = '', , gw = '', mask = '', hostname = '', device = '', autoconf = ''] = fields;
  if (AUTOCONF.includes(autoconf)) throw unsupported(autoconf);
  if (!NO_AUTOCONF.includes(autoconf)) throw invalid(`no autoconfiguration is called '${autoconf}'`);
  if (client === '') return undefined;

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
  return {
    address,
    netmask,
    ...(gateway === undefined ? {} : { gateway }),
    ...(hostname === '' ? {} : { hostname }),
    ...(device === '' ? {} : { device }),
  };
}

const NO_AUTOCONF: readonly string[] = ['', 'off', 'none', 'static'];
const AUTOCONF: readonly string[] = ['on', 'any', 'dhcp', 'bootp', 'rarp', 'both'];

/** Linux guesses by the class of the address when no netmask is given. */
function classMask(address: number): number {
  if (address < 0x80000000) return 0xff000000;
  return address < 0xc0000000 ? 0xffff0000 : 0xffffff00;
}

const invalid = (what: string): XenError => new XenError('EINVAL', `ip=: ${what}`);
const unsupported = (how: string): XenError =>
  new XenError('EOPNOTSUPP', `ip=: '${how}' is not supported, give the address: ip=ADDRESS::GATEWAY:NETMASK`);
