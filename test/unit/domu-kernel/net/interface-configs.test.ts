import { describe, expect, it } from 'vitest';
import { formatIpv4 } from '../../../../domu-kernel/net/address.ts';
import { InterfaceConfigs } from '../../../../domu-kernel/net/interface-configs.ts';
import { parseVifAddresses } from '../../../../domu-kernel/net/ip-config.ts';

/** What eth0 and the others get, in words; `ip` is their vifs'. */
function given(cmdline: string, ...ip: (string | undefined)[]): string[] {
  const configs = new InterfaceConfigs(cmdline);
  return ip.map((vif, i) => said(configs.of({ name: `eth${i}`, ip: vif })));
}
function said(config: ReturnType<InterfaceConfigs['of']>): string {
  if (config === undefined) return 'nothing';
  const { address, dhcp, ip6 } = config;
  const four = dhcp ? 'dhcp' : address === 0 ? '' : formatIpv4(address);
  const six = ip6 === undefined ? '' : (ip6.address?.toString() ?? 'auto');
  return [four, six].filter(text => text !== '').join(' ');
}
const none = undefined;

describe('an interface has', () => {
  it.each<[string, string, (string | undefined)[], string[]]>([
    ['what names it', 'ip=10.0.0.2::::: ip=10.1.0.2:::::eth1', [none, none], ['10.0.0.2', '10.1.0.2']],
    ['an address without a name where it is the first left', 'ip=10.0.0.2 ip=dhcp', [none, none], ['10.0.0.2', 'dhcp']],
    ['the one after what names another', 'ip=10.1.0.2:::::eth0 ip=10.0.0.2', [none, none], ['10.1.0.2', '10.0.0.2']],
    ['DHCP with all others', 'ip=dhcp ip=10.1.0.2:::::eth1', [none, none, none], ['dhcp', '10.1.0.2', 'dhcp']],
    ['nothing when nobody says so', 'ip=10.0.0.2 quiet', [none, none], ['10.0.0.2', 'nothing']],
    ['what its vif says', '', ['10.0.0.2/24', 'dhcp', none], ['10.0.0.2', 'dhcp', 'nothing']],
    ['rather what the command line says', 'ip=dhcp', ['10.0.0.2/24', none], ['dhcp', 'dhcp']],
    ['IPv6 by routers, as all', 'ip6=auto ip=10.0.0.2', [none, none], ['10.0.0.2 auto', 'auto']],
    ['IPv6 by name', 'ip6=auto%eth1 ip6=fd00::2/64,fd00::1%eth0', [none, none], ['fd00::2', 'auto']],
    ['an IPv6 address without a name as the first', 'ip=dhcp ip6=fd00::2/64', [none, none], ['dhcp fd00::2', 'dhcp']],
  ])('%s', (_, cmdline, vifs, expected) => expect(given(cmdline, ...vifs)).toEqual(expected));

  it('the same again when it is attached anew', () => {
    const configs = new InterfaceConfigs('ip=10.0.0.2');
    const of = (name: string): string => said(configs.of({ name, ip: undefined }));
    expect([of('eth0'), of('eth1'), of('eth0')]).toEqual(['10.0.0.2', 'nothing', '10.0.0.2']);
  });
  it('what is the first of them, though it is connected last', () => {
    const configs = new InterfaceConfigs('ip=10.0.0.2');
    configs.require(['eth0', 'eth1']);
    expect(['eth1', 'eth0'].map(name => said(configs.of({ name, ip: undefined })))).toEqual(['nothing', '10.0.0.2']);
  });
  it('to be there where the command line names it', () => {
    expect(() => new InterfaceConfigs('ip=dhcp').require([])).toThrow('no such network device');
    expect(() => new InterfaceConfigs('ip6=auto%eth2').require(['eth0'])).toThrow('no such network device: eth2');
    expect(() => new InterfaceConfigs('ip=dhcp ip=:::::eth0:dhcp').require(['eth0'])).not.toThrow();
  });
});

describe('ip of a vif', () => {
  it('is an address, a netmask or a length, a gateway, and one of IPv6', () => {
    const text = (config: ReturnType<typeof parseVifAddresses>): string[] =>
      [config!.address, config!.netmask, config!.gateway ?? 0].map(formatIpv4);
    expect(text(parseVifAddresses('10.0.0.2 255.255.0.0 10.0.9.1'))).toEqual(['10.0.0.2', '255.255.0.0', '10.0.9.1']);
    expect(text(parseVifAddresses(' 10.0.0.2/20  10.0.9.1 '))).toEqual(['10.0.0.2', '255.255.240.0', '10.0.9.1']);
    expect(text(parseVifAddresses('192.168.1.2'))).toEqual(['192.168.1.2', '255.255.255.0', '0.0.0.0']);
    const both = parseVifAddresses('dhcp fd00::2/64')!;
    expect([both.dhcp, String(both.ip6?.address)]).toEqual([true, 'fd00::2']);
    expect(parseVifAddresses('')).toBeUndefined();
  });
  it.each([
    ['10.0.0.2/33', 'no length'],
    ['10.0.0.2/24 10.1.0.1', 'not on the link'],
    ['10.0.0.2/24 10.0.0.1 10.0.0.3', 'not ADDRESS NETMASK GATEWAY'],
    ['10.0.0', 'no address of a host'],
    ['fd00::1/64 fd00::2/64', 'more than one'],
    ['fd00::1', 'neither auto nor'],
  ])('%j is refused', (text, why) => expect(() => parseVifAddresses(text)).toThrow(why));
});
