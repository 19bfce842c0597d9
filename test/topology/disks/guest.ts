// Uses each disk that comes. xvdc is written and read for as long as it is there, and every byte is compared.
import { clock, console, type Disk, disks, system } from 'xenolith';

const BLOCK = 8;
const ROUNDS = 10;

function use(disk: Disk): string {
  if (disk.readOnly) return `${disk.name} is read-only, ${disk.sectors} sectors`;
  const sector = new TextEncoder().encode(`${disk.name} was here`.padEnd(disk.sectorSize));
  disk.write(1, sector);
  disk.flush();
  const back = new Uint8Array(disk.sectorSize);
  disk.read(1, back);
  return `${disk.name} ${Buffer.compare(sector, back) === 0 ? 'works' : 'differs'}, ${disk.sectors} sectors`;
}

/** Its new end holds what is written there. */
function useMore(disk: Disk): string {
  disk.write(disk.sectors - 1, new TextEncoder().encode(`the end of ${disk.name}`.padEnd(disk.sectorSize)));
  return use(disk);
}

async function check(disk: Disk): Promise<void> {
  const blocks = Math.floor(disk.sectors / BLOCK);
  const size = BLOCK * disk.sectorSize;
  const model = new Uint32Array(blocks);
  let stamp = 0;
  const bytesOf = (block: number): Uint8Array => {
    const words = new Uint32Array(size / 4);
    if (model[block] !== 0) words.fill(model[block]!).fill(block, 0, 1);
    return new Uint8Array(words.buffer);
  };
  for (let round = 0; ; round++) {
    // Block 0 has what `use` has written.
    const chosen = new Set(Array.from({ length: 6 }, () => 1 + Math.floor(Math.random() * (blocks - 1))));
    const [first, ...others] = [...chosen];
    const writes = others.map(block => {
      model[block] = ++stamp;
      return disk.submitWrite(block * BLOCK, bytesOf(block));
    });
    const back = new Uint8Array(size);
    await Promise.all([disk.submitRead(first! * BLOCK, back), ...writes]);
    for (const block of others) {
      const again = new Uint8Array(size);
      await disk.submitRead(block * BLOCK, again);
      if (Buffer.compare(again, bytesOf(block)) !== 0) console.log(`WRONG: block ${block} after it was written`);
    }
    if (Buffer.compare(back, bytesOf(first!)) !== 0) console.log(`WRONG: block ${first}`);
    if (round % 7 === 0) await disk.submitFlush();
    if (round % ROUNDS === ROUNDS - 1) console.log(`${disk.name}: ${(round + 1) / ROUNDS} times all rounds`);
  }
}

export default async function main(): Promise<void> {
  let known: string[] = [];
  const sizes = new Map<string, number>();
  console.log(`${system.name} is up as dom${system.domid}`);
  for (;;) {
    const now = disks.list().map(disk => disk.name);
    for (const name of now) {
      const disk = disks.get(name);
      const before = sizes.get(name);
      sizes.set(name, disk.sectors);
      if (known.includes(name)) {
        if (before !== disk.sectors) console.log(`grew: ${useMore(disk)}`);
        continue;
      }
      console.log(`came: ${use(disk)}`);
      if (name === 'xvdc') check(disk).catch(error => console.log(`xvdc: ${error.message}`));
    }
    for (const name of known) if (!now.includes(name)) console.log(`went: ${name}`);
    known = now;
    await clock.sleep(20);
  }
}
