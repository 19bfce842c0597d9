// Writes blocks of its disk, many requests at a time, flushes, reads them back, and exchanges datagrams with its peer, over
// and over. A byte that is wrong is its crash. `final` tells which write of each block was the last to be acknowledged.
import { clock, console, disks, net, system } from 'xenolith';
import { BLOCK_BYTES, BLOCK_SECTORS, BLOCKS, fillBlock, sameBytes } from './pattern.ts';

const AT_ONCE = 12;
const PORT = 7;
const TOLD_MS = 25;

const versions = new Array<number>(BLOCKS).fill(0);
let rounds = 0;
let echoes = 0;
let stop = false;

async function useDisk(who: number): Promise<void> {
  const disk = disks.get('xvda');
  const buffers = Array.from({ length: AT_ONCE }, () => new Uint8Array(BLOCK_BYTES));
  const expected = new Uint8Array(BLOCK_BYTES);
  while (!stop) {
    const blocks = buffers.map((_, i) => (rounds * 7 + i * 3) % BLOCKS);
    await Promise.all(
      blocks.map((block, i) => {
        fillBlock(buffers[i]!, who, block, versions[block]! + 1);
        return disk.submitWrite(block * BLOCK_SECTORS, buffers[i]!);
      }),
    );
    await disk.submitFlush();
    for (const block of blocks) versions[block]!++;
    await Promise.all(blocks.map((block, i) => disk.submitRead(block * BLOCK_SECTORS, buffers[i]!.fill(0))));
    blocks.forEach((block, i) => {
      fillBlock(expected, who, block, versions[block]!);
      if (!sameBytes(buffers[i]!, expected))
        throw new Error(`block ${block} is not what write ${versions[block]} made it`);
    });
    rounds++;
    await clock.sleep(4);
  }
}

async function useNet(who: number, peer: string): Promise<void> {
  const socket = net.udp(PORT);
  const size = BLOCK_BYTES / 4;
  const mine = new Uint8Array(BLOCK_BYTES);
  const tell = async (): Promise<void> => {
    for (let seq = 1; !stop; seq++) {
      fillBlock(mine, who, 0, seq);
      const datagram = new Uint8Array(8 + size);
      new DataView(datagram.buffer).setUint32(0, who);
      new DataView(datagram.buffer).setUint32(4, seq);
      datagram.set(mine.subarray(0, size), 8);
      socket.send(datagram, peer, PORT); // may be lost, as any; never changed
      await clock.sleep(5);
    }
    socket.close();
  };
  void tell();
  const expected = new Uint8Array(BLOCK_BYTES);
  for await (const { data, address } of socket) {
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const from = view.getUint32(0);
    fillBlock(expected, from, 0, view.getUint32(4));
    if (address !== peer || from === who || !sameBytes(data.subarray(8), expected.subarray(0, size)))
      throw new Error(`a datagram of ${address} is none that it sent`);
    echoes++;
  }
}

export default async function main(): Promise<void> {
  const who = Number(system.args.who);
  const { peer } = system.args;
  console.log(`${system.name} is up as dom${system.domid}`);
  const working = useDisk(who);
  if (typeof peer === 'string') void useNet(who, peer);
  system.onShutdown(async () => {
    stop = true;
    await working;
    console.log(`final ${versions.join(',')}`);
  });
  while (!stop) {
    console.log(`${rounds} rounds, ${echoes} datagrams`);
    await clock.sleep(TOLD_MS);
  }
  await working;
}
