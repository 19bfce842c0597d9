// `net`: the interfaces that have addresses.
import type { Datagram, UdpSocket } from 'xenolith';
import { XenError } from '#pvbus';
import type { Kernel } from '../kernel.ts';
import { formatIpv4, formatMac } from '../net/address.ts';
import type { NameLookup } from '../net/dns/resolver.ts';
import { IpAddress } from '../net/ip-address.ts';
import type { Network } from '../net/network.ts';
import { KEEP_ALIVE, type KeepAlive } from '../net/tcp/control-block.ts';
import { NetInterceptor } from './intercept.ts';
import { NamedConnection } from './named-connection.ts';
import { NetConnection, NetListener } from './tcp.ts';

const encoder = new TextEncoder();

export function netApi(kernel: Kernel): typeof import('xenolith').net {
  const up = (): Network => {
    if (kernel.devices.net) return kernel.devices.net;
    throw new XenError('ENODEV', 'this domain has no network interface: give it a vif and ip=ADDRESS::GATEWAY:NETMASK');
  };
  const interfaces = () =>
    (kernel.devices.net?.interfaces ?? []).map(({ name, device, mtu, addresses }) => ({
      name,
      mac: formatMac(device.mac),
      mtu,
      addresses: addresses.map(String),
    }));
  return {
    get address() {
      const address = kernel.devices.net?.address;
      return address ? formatIpv4(address) : undefined;
    },
    get addresses() {
      return kernel.devices.net?.addresses.map(String) ?? [];
    },
    get mac() {
      return interfaces()[0]?.mac;
    },
    get mtu() {
      return interfaces()[0]?.mtu;
    },
    get interfaces() {
      return interfaces();
    },
    async ping(address, options) {
      return up().ping(address, options);
    },
    udp: (port = 0) => udpSocket(up(), port),
    async listen(port, { address, backlog, keepAlive } = {}) {
      const times = keepAliveOf(keepAlive);
      const listener = up().tcp.listen(port, {
        ...(address === undefined ? {} : { address: IpAddress.from(address) }),
        ...(backlog === undefined ? {} : { backlog }),
      });
      return new NetListener(listener, times);
    },
    async connect(host, port, { keepAlive } = {}) {
      const { clock, timers } = kernel;
      const times = keepAliveOf(keepAlive);
      const connection = await new NamedConnection({ net: up(), clock, timers }, host, port).open();
      connection.setKeepAlive(times);
      return NetConnection.open(connection);
    },
    intercept: () => new NetInterceptor(up()),
    async resolve(name) {
      return (await resolve(up(), name)).map(String);
    },
  };
}

function keepAliveOf(asked: boolean | Partial<KeepAlive> = false): KeepAlive | undefined {
  if (asked === false) return undefined;
  const times = { ...KEEP_ALIVE, ...(asked === true ? {} : asked) };
  for (const [name, value] of Object.entries(times))
    if (!(value >= 1)) throw new XenError('EINVAL', `keepAlive: ${name} ${value}`);
  return times;
}

/** Of the families the interface has addresses of, IPv6 first (RFC 6724). Throws what the last one ended of when none is known. */
async function resolve(net: Network, name: string): Promise<readonly IpAddress[]> {
  const literal = IpAddress.parse(name);
  if (literal !== undefined) return [literal];
  const lookups = net.families.map(family => net.dns.lookup(name, family));
  const all: IpAddress[] = [];
  let failure: unknown;
  for (const lookup of lookups) {
    try {
      all.push(...(await answered(lookup)));
    } catch (error) {
      failure = error;
    }
  }
  if (all.length === 0) throw failure;
  return all;
}
async function answered(lookup: NameLookup): Promise<readonly IpAddress[]> {
  for (;;) {
    const found = lookup.addresses();
    if (found !== undefined) return found;
    await new Promise<void>(wake => {
      lookup.queue.add(wake);
    });
  }
}

function udpSocket(net: Network, port: number): UdpSocket {
  const socket = net.udp.bind(port);
  let open = true;
  return {
    port: socket.port,
    send: (data, address, to) =>
      socket.sendTo(typeof data === 'string' ? encoder.encode(data) : data, { address, port: to }),
    receive: options => socket.receive(options),
    close() {
      open = false;
      socket.close();
    },
    async *[Symbol.asyncIterator](): AsyncIterator<Datagram> {
      while (open) {
        try {
          yield await socket.receive();
        } catch (error) {
          if (!open) return;
          throw error;
        }
      }
    },
  };
}
