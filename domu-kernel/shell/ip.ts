// ip addr, ip link, ip route: what the network has, as iproute2 prints it. Nothing is changed by it.
import { XenError } from '#pvbus';
import { formatIpv4, formatMac } from '../net/address.ts';
import type { NetInterface } from '../net/interface.ts';
import type { OwnAddress } from '../net/ip6/addresses.ts';
import { masked } from '../net/ip6/discovery.ts';
import type { Network } from '../net/network.ts';
import { writeText } from '../process/transfer.ts';
import type { UtilityProgram } from './utility.ts';

type Family = 4 | 6 | undefined;
interface Shown {
  readonly network: Network;
  readonly family: Family;
  /** Of one interface alone, where that is said. */
  readonly device: string | undefined;
  readonly nowNs: number;
}

const OBJECTS: Readonly<Record<string, (shown: Shown) => string>> = { address: addresses, link: links, route: routes };
const FOREVER = 'forever';

/** `ip [-4|-6] addr|link|route [show] [dev NAME]`; of objects the beginning is enough. */
export const ip: UtilityProgram = {
  options: '46',
  misuse: 255,
  *run({ system, options, args, io }) {
    const [object = '', ...rest] = args;
    const name = Object.keys(OBJECTS).find(each => object !== '' && each.startsWith(object));
    if (name === undefined)
      throw new XenError('EINVAL', `Object "${object}" is unknown: there are address, link and route`);
    if (rest[0] !== undefined && rest[0].length > 0 && ['show', 'list'].some(each => each.startsWith(rest[0]!)))
      rest.shift();
    if (rest[0] === 'dev') rest.shift();
    const [device, more] = rest;
    const network = system.machine.network();
    if (more !== undefined || ['add', 'del', 'set', 'replace', 'flush', 'change'].includes(device ?? ''))
      throw new XenError(
        'EINVAL',
        `"${more ?? device}": nothing is changed here, and one device shown: the kernel's ip= and ip6= say`,
      );
    if (device !== undefined && ![network.lo, ...network.interfaces].some(own => own.name === device))
      throw new XenError('ENODEV', `Device "${device}" does not exist.`);
    const family = options.has('6') ? 6 : options.has('4') ? 4 : undefined;
    yield* writeText(io[1], OBJECTS[name]!({ network, family, device, nowNs: system.clock.now() }));
    return 0;
  },
};

/** With its number, from 1 on, and what concerns it. */
function each({ network, device }: Shown, show: (own: NetInterface, isLo: boolean) => string): string {
  let text = '';
  for (const [i, own] of [network.lo, ...network.interfaces].entries()) {
    if (device !== undefined && own.name !== device) continue;
    const shown = show(own, i === 0);
    if (shown !== '') text += `${i + 1}: ${shown}`;
  }
  return text;
}
function first({ name, mtu }: NetInterface, isLo: boolean): string {
  const flags = isLo ? 'LOOPBACK,UP,LOWER_UP' : 'BROADCAST,MULTICAST,UP,LOWER_UP';
  return `${name}: <${flags}> mtu ${mtu} qdisc noqueue state ${isLo ? 'UNKNOWN' : 'UP'}`;
}
function mac({ device }: NetInterface, isLo: boolean): string {
  const everybody = isLo ? '00:00:00:00:00:00' : 'ff:ff:ff:ff:ff:ff';
  return `    link/${isLo ? 'loopback' : 'ether'} ${formatMac(device.mac)} brd ${everybody}\n`;
}
function links(shown: Shown): string {
  return each(shown, (own, isLo) => `${first(own, isLo)} mode DEFAULT group default\n${mac(own, isLo)}`);
}

function addresses(shown: Shown): string {
  return each(shown, (own, isLo) => {
    const four = shown.family === 6 ? '' : address4(own, isLo);
    const six = shown.family === 4 ? '' : addresses6(own, isLo, shown.nowNs);
    if (shown.family !== undefined && four + six === '') return '';
    return `${first(own, isLo)} group default\n${shown.family === undefined ? mac(own, isLo) : ''}${four}${six}`;
  });
}
const lifetimes = (valid: string, preferred: string): string =>
  `       valid_lft ${valid} preferred_lft ${preferred}\n`;

function address4({ name, v4 }: NetInterface, isLo: boolean): string {
  if (v4.address === 0) return '';
  const length = lengthOf(v4.netmask);
  const all = isLo || length > 30 ? '' : ` brd ${formatIpv4((v4.address | ~v4.netmask) >>> 0)}`;
  const scope = isLo ? 'host' : 'global';
  return `    inet ${formatIpv4(v4.address)}/${length}${all} scope ${scope} ${name}\n${lifetimes(FOREVER, FOREVER)}`;
}
function addresses6({ v6 }: NetInterface, isLo: boolean, nowNs: number): string {
  if (isLo) return `    inet6 ::1/128 scope host \n${lifetimes(FOREVER, FOREVER)}`;
  let text = '';
  for (const own of v6?.discovery.addresses ?? []) {
    const left = (untilNs: number): string =>
      untilNs === Number.POSITIVE_INFINITY ? FOREVER : `${seconds(untilNs, nowNs)}sec`;
    const scope = own.address.isLinkLocal ? 'link' : 'global';
    text += `    inet6 ${own.address}/${own.prefixLength} scope ${scope} ${flagsOf(own)}\n`;
    text += lifetimes(left(own.validUntilNs), left(own.preferredUntilNs));
  }
  return text;
}
function flagsOf({ state, autoconfigured }: OwnAddress): string {
  const flags = {
    tentative: 'tentative ',
    deprecated: 'deprecated ',
    duplicate: 'dadfailed tentative ',
    preferred: '',
  };
  return `${flags[state]}${autoconfigured ? 'dynamic ' : ''}`;
}

function routes(shown: Shown): string {
  const { network, family, device } = shown;
  const interfaces = network.interfaces.filter(own => device === undefined || own.name === device);
  if (family === 6) return routes6(shown, interfaces);
  const used = interfaces.filter(({ v4 }) => v4.address !== 0);
  let text = '';
  for (const { name, v4 } of used)
    if (v4.gateway !== undefined) text += `default via ${formatIpv4(v4.gateway)} dev ${name} \n`;
  for (const { name, v4 } of [...used].sort((a, b) => a.v4.address - b.v4.address)) {
    const length = lengthOf(v4.netmask);
    const link = formatIpv4((v4.address & v4.netmask) >>> 0);
    if (length < 32) text += `${link}/${length} dev ${name} proto kernel scope link src ${formatIpv4(v4.address)} \n`;
  }
  return text;
}
function routes6({ device, nowNs }: Shown, interfaces: readonly NetInterface[]): string {
  const expires = (untilNs: number): string =>
    untilNs === Number.POSITIVE_INFINITY ? '' : ` expires ${seconds(untilNs, nowNs)}sec`;
  let [links, defaults] = ['', ''];
  if (device === undefined || device === 'lo') links += '::1 dev lo proto kernel metric 256 pref medium\n';
  for (const { name, v6 } of interfaces) {
    if (v6 === undefined) continue;
    const { prefixes, routers } = v6.discovery.routers;
    for (const { address, length, untilNs } of prefixes)
      links += `${masked(address, length)}/${length} dev ${name} proto kernel metric 256${expires(untilNs)} pref medium\n`;
    links += `fe80::/64 dev ${name} proto kernel metric 256 pref medium\n`;
    for (const { address, untilNs } of routers) {
      const heard = untilNs === Number.POSITIVE_INFINITY ? '' : ' proto ra';
      defaults += `default via ${address} dev ${name}${heard} metric 1024${expires(untilNs)} pref medium\n`;
    }
  }
  return links + defaults;
}

const seconds = (untilNs: number, nowNs: number): number => Math.max(0, Math.floor((untilNs - nowNs) / 1e9));
const lengthOf = (netmask: number): number => Math.clz32(~netmask);
