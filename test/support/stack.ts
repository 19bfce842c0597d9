// A guest's network with one interface, as most have it.
import type { NetInterface } from '../../domu-kernel/net/interface.ts';
import type { IpConfig } from '../../domu-kernel/net/ip-config.ts';
import type { Ipv6Link } from '../../domu-kernel/net/ip6/link.ts';
import { Network, type NetworkParts } from '../../domu-kernel/net/network.ts';
import type { NetDevice } from '../../domu-kernel/net-device.ts';

export class Stack extends Network {
  readonly eth0: NetInterface;

  constructor({ device, config, ...parts }: NetworkParts & { readonly device: NetDevice; readonly config: IpConfig }) {
    super(parts);
    this.eth0 = this.add(device, config);
  }
  get device(): NetDevice {
    return this.eth0.device;
  }
  get ip6(): Ipv6Link {
    const { v6 } = this.eth0;
    if (v6 === undefined) throw new Error('it has no IPv6');
    return v6;
  }
  get arp(): NetInterface['v4']['arp'] {
    return this.eth0.v4.arp;
  }
  get icmp(): Network['v4']['icmp'] {
    return this.v4.icmp;
  }
  input(bytes: Uint8Array, offset: number, length: number, flags: number): void {
    this.eth0.input(bytes, offset, length, flags);
  }
}
