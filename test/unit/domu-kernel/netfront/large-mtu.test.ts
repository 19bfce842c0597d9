// An MTU beyond a page: a frame takes several slots of the tx ring, and room is as many slots as that.
import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { UdpDatagramSocket } from '../../../../domu-kernel/net/udp-datagram-socket.ts';
import { AGAIN, type SocketAddress } from '../../../../domu-kernel/wasi/socket.ts';
import { SocketOptions } from '../../../../domu-kernel/wasi/socket-options.ts';
import { GOOD_FEATURES, HostileNetback } from '../../../support/hostile-netback.ts';
import { type NetGuest, NetRig } from '../../../support/net-rig.ts';

const MTU = { mtu: 9000 };
const LENGTH = 9014;
const SLOTS = 3;

const at = (text: string, port: number): SocketAddress => {
  const bytes = new Uint8Array(16);
  IpAddress.from(text).write(new DataView(bytes.buffer), 0);
  return { address: bytes.slice(12), port };
};
/** Fill the ring with large frames. Returns how many there are. */
function fill({ vif }: NetGuest): number {
  const frame = new Uint8Array(LENGTH);
  let sent = 0;
  while (vif.send(frame, LENGTH)) sent++;
  return sent;
}

describe('frames of several pages', () => {
  it('who waits for room hears of it when there is room for the frame that found none', async () => {
    const back = await HostileNetback.connect(GOOD_FEATURES, MTU);
    const { guest } = back;
    expect(fill(guest)).toBe(85);
    let ready = 0;
    guest.vif.whenWritable(() => ready++);
    expect(ready).toBe(0);
    const slots = back.sent();
    expect(slots).toHaveLength(85 * SLOTS);
    expect(back.wantsTxEvent()).toBe(true);
    back.answerTx(slots[0]!.id);
    back.go();
    back.answerTx(slots[1]!.id);
    back.go();
    expect(ready).toBe(0);
    expect(back.wantsTxEvent()).toBe(true);
    back.answerTx(slots[2]!.id);
    back.go();
    expect(ready).toBe(1);
    expect(guest.vif.send(new Uint8Array(LENGTH), LENGTH)).toBe(true);
    // What needs one slot alone does not wait for three.
    guest.vif.whenWritable(() => ready++);
    expect(ready).toBe(1);
    back.answerTx(slots[3]!.id);
    back.go();
    expect(ready).toBe(2);
  });

  it('a program whose datagram finds the ring full waits, and none is lost', async () => {
    const rig = await NetRig.start();
    const [a, b] = [await rig.guest(MTU, MTU), await rig.guest(MTU, MTU)];
    const client = new UdpDatagramSocket(a.configure('10.0.0.1').udp, 4);
    const server = new UdpDatagramSocket(b.configure('10.0.0.2').udp, 4);
    server.configure(Object.assign(new SocketOptions(), { receiveBuffer: 2 ** 20 }));
    server.bind(at('0.0.0.0', 53));
    const to = at('10.0.0.2', 53);
    let received = 0;
    const take = (): void => {
      rig.settle();
      for (let got = server.receive(false); got !== AGAIN && got !== undefined; got = server.receive(false)) {
        expect(Buffer.compare(got.data, Buffer.alloc(8900, received))).toBe(0);
        received++;
      }
    };
    let waited = 0;
    for (let i = 0; i < 120; i++) {
      const data = new Uint8Array(8900).fill(i);
      for (; client.send(data, to) === AGAIN; waited++) take();
      if (i === 0) take(); // where the other one is has been asked
    }
    take();
    expect(received).toBe(120);
    expect(waited).toBeGreaterThan(0);
  });

  it('of a backend that takes no frame of several pages there is none: the MTU is 1500, as in Linux', async () => {
    const back = await HostileNetback.connect({ ...GOOD_FEATURES, 'feature-sg': 0 }, MTU);
    const { vif } = back.guest;
    expect(vif.mtu).toBe(1500);
    expect(vif.send(new Uint8Array(1514), 1514)).toBe(true);
  });
});
