// Writes to its disk and reads back, for as long as it lives: every block is checked, and every thousandth is told of.
import { clock, console, disks, system } from 'xenolith';

const SECTORS = 16;

export default async function main(): Promise<void> {
  console.log(`${system.name} is up as dom${system.domid}`);
  const disk = [...disks][0];
  if (disk === undefined) return new Promise(() => {});
  const there = new Uint32Array((SECTORS * disk.sectorSize) / 4);
  const back = new Uint8Array(SECTORS * disk.sectorSize);
  const places = Math.floor(disk.sectors / SECTORS);
  for (let n = 0; ; n++) {
    for (let i = 0; i < there.length; i++) there[i] = Math.imul(n + 1, 0x9e3779b1) ^ i;
    const at = (n % places) * SECTORS;
    disk.write(at, new Uint8Array(there.buffer));
    disk.read(at, back);
    const words = new Uint32Array(back.buffer);
    if (!there.every((word, i) => word === words[i])) console.log(`block ${n} is wrong`);
    if (n % 1000 === 999) console.log(`${n + 1} blocks are right`);
    if (n % 10 === 9) await clock.sleep(0);
  }
}
