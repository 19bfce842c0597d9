// `ip` in a guest's shell: what its network has, in the words of iproute2.
import { beforeEach, describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';
import { parseIp6Parameter } from '../../../../domu-kernel/net/ip6/config.ts';
import { Network } from '../../../../domu-kernel/net/network.ts';
import { LossyWire, VirtualClock } from '../../../support/lossy-wire.ts';
import { seeded } from '../../../support/random.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';

let rig: UserlandRig;
let network: Network;
const sh = (script: string): string => rig.sh(script).out;

beforeEach(() => {
  const clock = new VirtualClock();
  network = new Network({ clock, random: seeded(1) });
  const config = parseIpParameter('10.0.0.2::10.0.0.1:255.255.254.0')!;
  const { a } = new LossyWire(seeded(2), undefined, { clock });
  network.add(a, { ...config, ip6: parseIp6Parameter('fd00::2/64,fe80::1')! });
  rig = new UserlandRig({ clock, network });
});

describe('ip addr', () => {
  it('prints each interface with its addresses', () => {
    const [mac] = /00(:[0-9a-f]{2}){5} brd ff/.exec(sh('ip addr'))!;
    expect(sh('ip addr')).toBe(`1: lo: <LOOPBACK,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN group default
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host 
       valid_lft forever preferred_lft forever
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    link/ether ${mac}:ff:ff:ff:ff:ff
    inet 10.0.0.2/23 brd 10.0.1.255 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 ${linkLocal()}/64 scope link tentative 
       valid_lft forever preferred_lft forever
    inet6 fd00::2/64 scope global tentative 
       valid_lft forever preferred_lft forever
`);
  });
  it('prints one family, one interface, and as little as a beginning is asked for', () => {
    const four = `2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    inet 10.0.0.2/23 brd 10.0.1.255 scope global eth0
       valid_lft forever preferred_lft forever
`;
    expect(sh('ip -4 addr show dev eth0')).toBe(four);
    expect(sh('ip -4 a s eth0')).toBe(four);
    expect(sh('ip -6 address').match(/ inet6 /g)).toHaveLength(3);
    expect(sh('ip -6 address')).not.toContain('inet ');
    expect(
      sh('ip link show lo'),
    ).toBe(`1: lo: <LOOPBACK,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN mode DEFAULT group default
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
`);
  });
  it('refuses what it is not, with a status', () => {
    expect(rig.sh('ip rule')).toMatchObject({
      out: 'ip: Object "rule" is unknown: there are address, link and route\n',
    });
    expect(rig.sh('ip').status).not.toBe(0);
    expect(rig.sh('ip addr show dev eth7')).toMatchObject({ out: 'ip: Device "eth7" does not exist.\n', status: 1 });
    expect(rig.sh('ip addr add 10.0.0.9/24 dev eth0').out).toContain('nothing is changed here');
    expect(rig.sh('ip -s link').out).toContain('no such option');
  });
});

describe('ip route', () => {
  it('prints the routes of IPv4', () => {
    expect(sh('ip route')).toBe(`default via 10.0.0.1 dev eth0 
10.0.0.0/23 dev eth0 proto kernel scope link src 10.0.0.2 
`);
    expect(sh('ip r show dev lo')).toBe('');
  });
  it('prints those of IPv6, and how long those of routers hold', () => {
    const { routers } = network.interfaces[0]!.v6!.discovery;
    routers.router(IpAddress.from('fe80::9'), rig.clock.now() + 1800.5e9);
    routers.prefix(IpAddress.from('2001:db8:1:2:3::'), 60, rig.clock.now() + 90.5e9);
    expect(sh('ip -6 route')).toBe(`::1 dev lo proto kernel metric 256 pref medium
fd00::/64 dev eth0 proto kernel metric 256 pref medium
2001:db8:1::/60 dev eth0 proto kernel metric 256 expires 90sec pref medium
fe80::/64 dev eth0 proto kernel metric 256 pref medium
default via fe80::1 dev eth0 metric 1024 pref medium
default via fe80::9 dev eth0 proto ra metric 1024 expires 1800sec pref medium
`);
  });
});

function linkLocal(): string {
  const [own] = network.interfaces[0]!.v6!.discovery.addresses;
  return String(own!.address);
}
