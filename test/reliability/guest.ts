// The guest of a reliability run. It writes numbered blocks round its disk, with a flush after each batch, and says which
// are acknowledged; it sends numbered packets to its peer, and looks at each that comes. It says how long nothing went on.
import { clock, console, disks, net, system } from 'xenolith';
import { BLOCK_SECTORS, BLOCKS, DEPTH, SECTOR_BYTES, stamp, stampOf } from './stamp.ts';

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

async function send(peer: string): Promise<never> {
  const socket = net.udp(PORT);
  void receive(socket);
  const packet = new Uint8Array(2 * SECTOR_BYTES);
  for (let seq = 1; ; seq++) {
    for (let part = 0; part < 2; part++)
      stamp(new Uint32Array(packet.buffer, part * SECTOR_BYTES, SECTOR_BYTES / 4), seq, part);
    socket.send(packet, peer, PORT);
    await clock.sleep(5);
  }
}
async function receive(socket: ReturnType<typeof net.udp>): Promise<void> {
  const heard = progress('heard');
  let n = 0;
  for await (const { data } of socket) {
    const copy = data.slice();
    const seqs = [0, 1].map(part => stampOf(new Uint32Array(copy.buffer, part * SECTOR_BYTES, SECTOR_BYTES / 4), part));
    if (data.length !== 2 * SECTOR_BYTES || seqs[0] === undefined || seqs[0] !== seqs[1]) console.log('wrong packet');
    heard(++n);
  }
}

export default async function main(): Promise<void> {
  const { from, peer } = system.args;
  console.log('began');
  await Promise.all([write(Number(from)), send(String(peer))]);
}
