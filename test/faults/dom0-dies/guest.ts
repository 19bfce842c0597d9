// Uses everything that dom0 serves, over and over: writes blocks of its disk, flushes, reads them back; sends datagrams
// to its peer; answers HTTP on a port of the host; says on its console how far it is, in lines that are numbered. A byte
// that is wrong is its crash.
import { clock, console, disks, http, net, system } from 'xenolith';
import { BLOCK_BYTES, BLOCK_SECTORS, BLOCKS, fillBlock, sameBytes } from '../driver-domain/pattern.ts';

const AT_ONCE = 8;
const PORT = 7;
const SAY_MS = 10;

const versions = new Array<number>(BLOCKS).fill(0);
const who = Number(system.args.who);
let rounds = 0;
let datagrams = 0;
let stop = false;

async function useDisk(): Promise<void> {
  const disk = disks.get('xvda');
  const buffers = Array.from({ length: AT_ONCE }, () => new Uint8Array(BLOCK_BYTES));
  const expected = new Uint8Array(BLOCK_BYTES);
  while (!stop) {
    const blocks = buffers.map((_, i) => (rounds * 5 + i) % BLOCKS);
    await Promise.all(
      blocks.map((block, i) => {
        fillBlock(buffers[i]!, who, block, versions[block]! + 1);
        return disk.submitWrite(block * BLOCK_SECTORS, buffers[i]!);
      }),
    );
    await disk.submitFlush();
    for (const block of blocks) versions[block]!++;
    // This one waits in the call.
    disk.read(blocks[0]! * BLOCK_SECTORS, expected);
    fillBlock(buffers[0]!, who, blocks[0]!, versions[blocks[0]!]!);
    if (!sameBytes(buffers[0]!, expected)) throw new Error(`block ${blocks[0]} is not what was written`);
    rounds++;
    await clock.sleep(2);
  }
}

async function useNet(peer: string): Promise<void> {
  const socket = net.udp(PORT);
  void (async () => {
    while (!stop) {
      socket.send(`from ${who}`, peer, PORT); // may be lost, as any
      await clock.sleep(4);
    }
  })();
  for await (const { data, address } of socket) {
    if (address !== peer || new TextDecoder().decode(data) !== `from ${3 - who}`) throw new Error('a foreign datagram');
    datagrams++;
  }
}

export default async function main(): Promise<void> {
  const working = useDisk();
  void useNet(String(system.args.peer));
  void http.serve(80, () => `guest ${who}`);
  system.onShutdown(async () => {
    stop = true;
    await working;
    console.log(`final ${versions.join(',')}`);
  });
  for (let n = 1; !stop; n++) {
    console.log(`${n}: ${rounds} rounds, ${datagrams} datagrams`);
    await clock.sleep(SAY_MS);
  }
  await new Promise(() => {});
}
