// Which address each interface is to have: what the command line says of it, with any number of `ip=` and `ip6=`, or else
// what its vif's configuration says.
import { XenError } from '#pvbus';
import { valuesOf } from '../cmdline.ts';
import type { IpAddress } from './ip-address.ts';
import { type IpConfig, parseIpParameter, parseNameservers, parseVifAddresses } from './ip-config.ts';
import { type Ip6Config, parseIp6Parameter } from './ip6/config.ts';

export interface ConfiguredDevice {
  readonly name: string;
  /** `ip` of the vif. */
  readonly ip: string | undefined;
}

export class InterfaceConfigs {
  /** Of `nameserver=`. */
  readonly nameservers: readonly IpAddress[];
  private readonly v4: readonly IpConfig[];
  private readonly v6: readonly Ip6Config[];
  /** Who has what is one interface's, and names none: the first that was there. */
  private readonly taken = new Map<IpConfig | Ip6Config, string>();

  /** Throws EINVAL, EOPNOTSUPP. */
  constructor(cmdline: string) {
    this.v4 = valuesOf(cmdline, 'ip').flatMap(text => parseIpParameter(text) ?? []);
    this.v6 = valuesOf(cmdline, 'ip6').flatMap(text => parseIp6Parameter(text) ?? []);
    this.nameservers = valuesOf(cmdline, 'nameserver').flatMap(text => parseNameservers(text).nameservers ?? []);
  }

  /** In the order of their numbers. Undefined: nothing is said of it, it is not used. Throws EINVAL of its vif's `ip`. */
  of({ name, ip }: ConfiguredDevice): IpConfig | undefined {
    const v4 = this.pick(this.v4, name, config => config.dhcp === true);
    const v6 = this.pick(this.v6, name, config => config.address === undefined);
    if (v4 === undefined && v6 === undefined) return ip === undefined ? undefined : parseVifAddresses(ip);
    return { address: 0, netmask: 0, ...v4, ...(v6 === undefined ? {} : { ip6: v6 }) };
  }
  /** The command line wants an interface to have an address. */
  get isAsked(): boolean {
    return this.v4.length + this.v6.length > 0;
  }
  /** Throws ENODEV when the command line names a device that is not one of these, or there is none; `names` in their order. */
  require(names: readonly string[]): void {
    for (const { device } of [...this.v4, ...this.v6]) {
      if (device === undefined ? names.length > 0 : names.includes(device)) continue;
      const which = device === undefined ? '' : `: ${device}`;
      throw new XenError('ENODEV', `ip=, ip6=: this domain has no such network device${which}`);
    }
    // order: the first keeps what is the first's, though it may be connected last.
    for (const name of names) this.of({ name, ip: undefined });
  }

  /** What names the device, else what names none, which is everybody's or that of the first who asks. */
  private pick<T extends IpConfig | Ip6Config>(
    configs: readonly T[],
    name: string,
    isForAll: (config: T) => boolean,
  ): T | undefined {
    const named = configs.find(({ device }) => device === name);
    if (named !== undefined) return named;
    for (const config of configs) {
      if (config.device !== undefined) continue;
      if (isForAll(config)) return config;
      const holder = this.taken.get(config) ?? name;
      if (holder !== name) continue;
      this.taken.set(config, name);
      return config;
    }
    return undefined;
  }
}
