// The way out of a bridge: gives the guests on it addresses (DHCP), answers their questions for names (DNS), and connects
// their TCP to whom it is for, through the host's sockets. The host needs no root and no interface for it.
//   vif = [ "bridge=inside" ]    pvcalls = [ "allow=0.0.0.0/0,resolver=53" ]
//   cmdline = "ip=10.77.0.1:::255.255.255.0 pool=10.77.0.100-10.77.0.199"
import { clock, console, host, net, system } from 'xenolith';
import { parseAddress, parseMac } from './addresses.ts';
import { DhcpServer } from './dhcp-server.ts';
import { forward } from './dns-forwarder.ts';
import { readQuestion, serverFailure, shorten } from './dns-message.ts';
import { loadLeases, saveLeases } from './lease-file.ts';
import { NatTable } from './nat.ts';

const DHCP_SERVER = 67;
const DHCP_CLIENT = 68;
const DNS = 53;
/** Questions that wait for the host's name server; those beyond are asked again by who asked. */
const QUESTIONS = 64;

const text = (key: string, otherwise: string): string => {
  const value = system.args[key];
  return typeof value === 'string' ? value : otherwise;
};

async function serveDhcp(own: string): Promise<void> {
  const [first, last] = text('pool', '').split('-');
  const fixed = text('static', '').split(',').filter(Boolean);
  const server = new DhcpServer({
    own: parseAddress(own),
    netmask: parseAddress(text('netmask', '255.255.255.0')),
    first: parseAddress(first ?? ''),
    last: parseAddress(last ?? ''),
    leaseSeconds: Number(text('lease', '3600')),
    fixed: new Map(
      fixed.map(one => one.split('=')).map(([mac, address]) => [parseMac(mac ?? ''), parseAddress(address ?? '')]),
    ),
    leases: loadLeases(),
    saved: saveLeases,
    log: line => console.log(`dhcp: ${line}`),
  });
  const socket = net.udp(DHCP_SERVER);
  for await (const { data } of socket) {
    const answer = server.answer(data, clock.date().getTime() / 1000);
    if (answer) socket.send(answer.message, answer.to, DHCP_CLIENT);
  }
}

async function serveDns(nameServer: { address: string; port: number }): Promise<void> {
  const socket = net.udp(DNS);
  let open = 0;
  for await (const { data, address, port } of socket) {
    const question = readQuestion(data);
    if (question === undefined || open >= QUESTIONS) continue;
    open++;
    forward(data, nameServer)
      .catch(() => serverFailure(data, question))
      .then(answer => socket.send(shorten(answer, question), address, port))
      .catch(error => console.warn(`dns: ${error}`))
      .finally(() => open--);
  }
}

export default async function main(): Promise<void> {
  const own = net.address;
  if (own === undefined) throw new Error('a gateway has an address of its own: ip=ADDRESS:::NETMASK');
  const [address = '127.0.0.1', port = '53'] = text('dns', '127.0.0.1:53').split(':');
  const nameServer = { address, port: Number(port) };
  const nat = new NatTable({
    connect: (to, at) => host.connect(at, { address: to }),
    // Its own address is the host's loopback to the guests, and its name server.
    translate: to => (to.address !== own ? to : to.port === DNS ? nameServer : { address: '127.0.0.1', port: to.port }),
    log: line => console.log(`nat: ${line}`),
  });
  const neighbours = net.intercept();
  system.onShutdown(() => neighbours.close());
  console.log(`${system.name}: ${own} is the gateway`);
  const relay = async (): Promise<void> => {
    for await (const asked of neighbours) void nat.relay(asked);
  };
  await Promise.all([serveDhcp(own), serveDns(nameServer), relay()]);
}
