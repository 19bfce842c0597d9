// The guest of a reliability run. It writes numbered blocks round its disk, with a flush after each batch, and says which
// are acknowledged; it sends numbered packets to its peer, and looks at each that comes. It says how long nothing went on.
import { clock, console, disks, net, system } from 'xenolith';
import { addressOf, OnceEach, PACKET_BYTES, peerOf, stampOfPacket, stampPacket } from './packets.ts';
import { BLOCK_SECTORS, BLOCKS, DEPTH, SECTOR_BYTES, stamp, stampOf } from './stamp.ts';

type UdpSocket = ReturnType<typeof net.udp>;
const PORT = 4000;
/** A pause shorter than this is not worth a line, ms. */
const SHORT = 10;
const SAY_EVERY = 20;
/** Between two batches, ms: 32 blocks in each. */
const PAUSE = 10;

/** Says `<what> gap` when nothing has happened for a while, and every so often `<what> <n>`. */
function progress(what: string): (n: number) => void {
  let last = clock.now();
  let said = 0;
  return n => {
    const now = clock.now();
    if (now - last > SHORT) console.log(`${what} gap ${(now - last).toFixed(1)}`);
    last = now;
    if (now - said < SAY_EVERY) return;
    said = now;
    console.log(`${what} ${n}`);
  };
}

async function write(from: number): Promise<never> {
  const disk = disks.get('xvda');
  const buffers = Array.from({ length: DEPTH }, () => new Uint8Array(BLOCK_SECTORS * SECTOR_BYTES));
  const back = new Uint8Array(BLOCK_SECTORS * SECTOR_BYTES);
  const sector = (bytes: Uint8Array, i: number): Uint32Array =>
    new Uint32Array(bytes.buffer, bytes.byteOffset + i * SECTOR_BYTES, SECTOR_BYTES / 4);
  const acked = progress('acked');
  for (let seq = from; ; seq += DEPTH) {
    await Promise.all(
      buffers.map((buffer, i) => {
        for (let part = 0; part < BLOCK_SECTORS; part++) stamp(sector(buffer, part), seq + i, part);
        return disk.submitWrite(((seq + i) % BLOCKS) * BLOCK_SECTORS, buffer);
      }),
    );
    await disk.submitFlush();
    acked(seq + DEPTH - 1);
    // What it has just written is there; the call waits.
    const one = seq + ((seq / DEPTH) % DEPTH);
    disk.read((one % BLOCKS) * BLOCK_SECTORS, back);
    for (let part = 0; part < BLOCK_SECTORS; part++)
      if (stampOf(sector(back, part), part) !== one) throw new Error(`block ${one} reads as something else`);
    // Most of a machine is left to whoever starts again.
    await clock.sleep(PAUSE);
  }
}

async function send(socket: UdpSocket, peer: string, self: number, life: number): Promise<never> {
  const packet = new Uint8Array(PACKET_BYTES);
  for (let seq = 1; ; seq++) {
    stampPacket(packet, { from: self, life, seq });
    socket.send(packet, peer, PORT);
    await clock.sleep(5);
  }
}
/** Each packet has to be its peer's, as that sent it, and come once. */
async function receive(socket: UdpSocket, peer: string, peerNumber: number): Promise<void> {
  const heard = progress('heard');
  const once = new OnceEach();
  let n = 0;
  for await (const { data, address } of socket) {
    const stamped = stampOfPacket(data.slice());
    if (stamped?.from !== peerNumber || address !== peer) console.log(`wrong packet from ${address}`);
    else if (!once.first(stamped)) console.log(`packet ${stamped.seq} of life ${stamped.life} twice`);
    heard(++n);
  }
}

export default async function main(): Promise<void> {
  const { from, life, number } = system.args;
  const self = Number(number);
  const peer = addressOf(peerOf(self));
  const socket = net.udp(PORT);
  console.log('began');
  void receive(socket, peer, peerOf(self));
  await Promise.all([write(Number(from)), send(socket, peer, self, Number(life))]);
}
