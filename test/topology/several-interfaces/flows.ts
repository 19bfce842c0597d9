// 32 flows at once, each from a port of its own: echo=PORT answers all of them, ask=ADDRESS sends each 40 datagrams and wants
// every byte back. A datagram may be lost, as on a wire: then it is sent again.
import { clock, console, net, system, type UdpSocket } from 'xenolith';

const FLOWS = 32;
const DATAGRAMS = 40;

async function flow(host: string, port: number): Promise<void> {
  const socket = net.udp(port);
  for (let n = 0; n < DATAGRAMS; n++) {
    const sent = Uint8Array.from({ length: 1200 }, (_, i) => i * 7 + port + n * 31);
    do socket.send(sent, host, 7);
    while (!(await comesBack(socket, sent)));
  }
}
async function comesBack(socket: UdpSocket, sent: Uint8Array): Promise<boolean> {
  for (;;) {
    const data = await socket.receive({ timeoutMs: 500 }).then(
      one => one.data,
      () => undefined,
    );
    if (data === undefined) return false;
    // Else it is one that was sent twice.
    if (data.length === sent.length && data.every((byte, i) => byte === sent[i])) return true;
  }
}

export default async () => {
  const { ask } = system.args;
  if (ask === undefined) {
    const socket = net.udp(7);
    for await (const { data, address, port } of socket) socket.send(data, address, port);
  } else {
    const all = await Promise.all(Array.from({ length: FLOWS }, (_, i) => flow(String(ask), 5000 + i)));
    console.log(`${all.length} flows of ${DATAGRAMS} datagrams came back whole`);
    for (;;) await clock.sleep(60_000); // its keys are looked at
  }
};
