// One end of a link. `send N` on the console of the first has it hand N pieces of data to the second over datagrams, each
// of them as often as it takes; the second says what it got of them. Each datagram carries a sum of its bytes, since a bit
// that changes behind the checksum of UDP changes for good.
import { clock, console, net, system } from 'xenolith';

const PORT = 7;
const PIECE = 512;
const HEAD = 12;
const WINDOW = 8;
const AGAIN_MS = 25;
const peer = String(system.args.peer);

const sumOf = (bytes: Uint8Array): number => {
  let sum = 0x811c9dc5;
  for (let i = 4; i < bytes.length; i++) sum = Math.imul(sum ^ bytes[i]!, 0x01000193);
  return sum >>> 0;
};
function datagram(transfer: number, number: number, body: number): Uint8Array {
  const bytes = new Uint8Array(HEAD + body);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, transfer);
  view.setUint32(8, number);
  for (let i = HEAD; i < bytes.length; i++) bytes[i] = transfer * 7 + number * 13 + i;
  view.setUint32(0, sumOf(bytes));
  return bytes;
}
/** undefined for one that has changed on its way. */
function read(bytes: Uint8Array): { transfer: number; number: number } | undefined {
  if (bytes.length < HEAD) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0) !== sumOf(bytes)) return undefined;
  return { transfer: view.getUint32(4), number: view.getUint32(8) };
}
const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

async function send(): Promise<void> {
  const socket = net.udp(PORT);
  let [transfer, acknowledged] = [0, 0];
  void (async () => {
    for await (const { data } of socket) {
      const answer = read(data);
      if (answer?.transfer === transfer) acknowledged = Math.max(acknowledged, answer.number);
    }
  })();
  for await (const line of console.lines()) {
    const pieces = Number(line.split(' ')[1]);
    transfer++;
    acknowledged = 0;
    while (acknowledged < pieces) {
      const from = acknowledged;
      for (let n = from; n < Math.min(from + WINDOW, pieces); n++)
        socket.send(datagram(transfer, n, PIECE), peer, PORT);
      for (let waited = 0; waited < AGAIN_MS && acknowledged < Math.min(from + WINDOW, pieces); waited++)
        await clock.sleep(1);
    }
    console.log(`> all of ${pieces} <`);
  }
}

async function receive(): Promise<void> {
  const socket = net.udp(PORT);
  const seen = { transfer: 0, next: 0, again: 0, early: 0, changed: 0, foreign: 0 };
  void (async () => {
    for await (const _ of console.lines()) {
      const { next, again, early, changed, foreign } = seen;
      console.log(`> ${JSON.stringify({ next, again, early, changed, foreign })} <`);
      Object.assign(seen, { again: 0, early: 0, changed: 0, foreign: 0 });
    }
  })();
  for await (const { data, address } of socket) {
    const found = read(data);
    if (found === undefined) {
      seen.changed++;
      continue;
    }
    const { transfer, number } = found;
    if (address !== peer || !same(data, datagram(transfer, number, PIECE))) seen.foreign++;
    if (transfer > seen.transfer) Object.assign(seen, { transfer, next: 0 });
    if (transfer < seen.transfer || number < seen.next) seen.again++;
    else if (number > seen.next) seen.early++;
    else seen.next++;
    socket.send(datagram(seen.transfer, seen.next, 0), peer, PORT);
  }
}

export default async function main(): Promise<void> {
  console.log('ready');
  await (system.args.who === '1' ? send() : receive());
}
