// Linux: Documentation/admin-guide/nfs/nfsroot.rst, "ip=".
import { describe, expect, it } from 'vitest';
import { formatIpv4 } from '../../../../domu-kernel/net/address.ts';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';

describe('ip=', () => {
  it('gives address, gateway, netmask, host name and device', () => {
    const config = parseIpParameter('10.0.0.2::10.0.0.1:255.255.255.0:web:eth1:off')!;
    expect(formatIpv4(config.address)).toBe('10.0.0.2');
    expect(formatIpv4(config.gateway!)).toBe('10.0.0.1');
    expect(formatIpv4(config.netmask)).toBe('255.255.255.0');
    expect(config.hostname).toBe('web');
    expect(config.device).toBe('eth1');
  });
  it('guesses the netmask by the class of the address, as Linux does', () => {
    expect(formatIpv4(parseIpParameter('10.0.0.2')!.netmask)).toBe('255.0.0.0');
    expect(formatIpv4(parseIpParameter('172.16.0.2::::')!.netmask)).toBe('255.255.0.0');
    expect(formatIpv4(parseIpParameter('192.168.1.2')!.netmask)).toBe('255.255.255.0');
  });
  it.each(['', 'off', 'none', '::::::off', ':::::eth0:none'])('%j means no address', text => {
    expect(parseIpParameter(text)).toBeUndefined();
  });
  it.each(['dhcp', 'on', 'any', 'both'])('%j asks a DHCP server', text => {
    expect(parseIpParameter(text)).toEqual({ address: 0, netmask: 0, dhcp: true });
  });
  it('takes a name, a device and name servers with dhcp, and name servers with an address', () => {
    expect(parseIpParameter('::::web:eth1:dhcp')).toMatchObject({ dhcp: true, hostname: 'web', device: 'eth1' });
    const { nameservers } = parseIpParameter('10.0.0.2::::::off:10.0.0.1:8.8.8.8')!;
    expect(nameservers?.map(String)).toEqual(['10.0.0.1', '8.8.8.8']);
    expect(() => parseIpParameter('10.0.0.2::::::off:x')).toThrow('no address of a name server');
  });
  it.each(['bootp', 'rarp', '10.0.0.2::::::bootp'])('%j is refused, not ignored', text => {
    expect(() => parseIpParameter(text)).toThrow(/not supported/);
  });
  it.each([
    ['10.0.0.256', /no address of a host/],
    ['127.0.0.1', /no address of a host/],
    ['224.0.0.1', /no address of a host/],
    ['10.0.0.2:::255.0.255.0', /no netmask/],
    ['10.0.0.0:::255.255.255.0', /network or a broadcast/],
    ['10.0.0.255:::255.255.255.0', /network or a broadcast/],
    ['10.0.0.2::10.0.1.1:255.255.255.0', /not on the link/],
    ['10.0.0.2::ten:255.255.255.0', /no address of a gateway/],
    ['10.0.0.2::::::maybe', /no autoconfiguration/],
  ])('%j is refused', (text, why) => {
    expect(() => parseIpParameter(text)).toThrow(why);
  });
});
