// The network of a guest that has no other: 127.0.0.0/8 and ::1, where its processes talk to one another.
import type { Clock, Log } from '#pvbus';
import type { NetDevice } from '../net-device.ts';
import { NetInterface } from './interface.ts';

/** Packets to oneself never come to a device: this one has nobody at its other end. */
const NOWHERE: NetDevice = {
  name: 'lo',
  mac: new Uint8Array(6),
  mtu: 1500,
  checksumOffload: false,
  ipv6ChecksumOffload: false,
  gsoTcpv4: false,
  gsoTcpv6: false,
  send: () => true,
  txBuffer: () => undefined,
  txCommit() {},
  onFrame() {},
  whenWritable: ready => ready(),
};

export function loopbackInterface(parts: {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log?: Log;
}): NetInterface {
  const config = { address: 0x7f000001, netmask: 0xff000000, ip6: { prefixLength: 128 } };
  return new NetInterface({ ...parts, device: NOWHERE, config, alone: true });
}
