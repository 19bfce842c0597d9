// The domain beside: writes blocks of its disk, flushes, reads them back. A byte that is wrong is its crash.
import { clock, console, disks } from 'xenolith';
import { BLOCK_BYTES, BLOCK_SECTORS, BLOCKS, fillBlock, sameBytes } from '../driver-domain/pattern.ts';

const SAY_MS = 20;

export default async function main(): Promise<void> {
  const disk = disks.get('xvda');
  const [written, read] = [new Uint8Array(BLOCK_BYTES), new Uint8Array(BLOCK_BYTES)];
  for (let round = 0; ; round++) {
    const block = round % BLOCKS;
    fillBlock(written, 1, block, round);
    await disk.submitWrite(block * BLOCK_SECTORS, written);
    await disk.submitFlush();
    await disk.submitRead(block * BLOCK_SECTORS, read);
    if (!sameBytes(written, read)) throw new Error(`block ${block} is not what was written`);
    console.log(`${round} rounds`);
    await clock.sleep(SAY_MS);
  }
}
