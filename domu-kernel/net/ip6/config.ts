// The kernel parameter `ip6=`: auto, or ADDRESS/LENGTH, or ADDRESS/LENGTH,GATEWAY; each with %DEVICE behind it, or without.
import { XenError } from '#pvbus';
import { IpAddress } from '../ip-address.ts';

export interface Ip6Config {
  /** Given; undefined: routers say what there is. */
  readonly address?: IpAddress;
  readonly prefixLength: number;
  readonly gateway?: IpAddress;
  /** The device's name; not given: every one with auto, else the first. */
  readonly device?: string;
}

/** Undefined for `off`, `none` and nothing at all. Throws EINVAL. */
export function parseIp6Parameter(text: string): Ip6Config | undefined {
  const [what = '', device = ''] = text.split(/%(.*)/, 2);
  const named = device === '' ? {} : { device };
  if (what === '' || what === 'off' || what === 'none') return undefined;
  if (what === 'auto') return { prefixLength: 64, ...named };
  const match = /^([^/,]+)\/(\d{1,3})(?:,([^/,]+))?$/.exec(what);
  if (!match) throw invalid(`'${text}' is neither auto nor ADDRESS/LENGTH nor ADDRESS/LENGTH,GATEWAY`);
  const address = hostAddress(match[1]!);
  if (address.isLinkLocal) throw invalid(`'${address}' is link-local: every interface has one of these anyway`);
  const prefixLength = Number(match[2]);
  if (prefixLength < 1 || prefixLength > 128) throw invalid(`'${match[2]}' is no length of a prefix`);
  return { address, prefixLength, ...(match[3] === undefined ? {} : { gateway: hostAddress(match[3]) }), ...named };
}

function hostAddress(text: string): IpAddress {
  const address = IpAddress.parse(text);
  if (address === undefined || address.isV4 || address.isMulticast || address.isUnspecified || address.isLoopback)
    throw invalid(`'${text}' is no IPv6 address of a host`);
  return address;
}
const invalid = (what: string): XenError => new XenError('EINVAL', `ip6=: ${what}`);
