// Tells which disks it has whenever that changes, and uses each that comes.
import { clock, console, type Disk, disks, system } from 'xenolith';

function use(disk: Disk): string {
  if (disk.readOnly) return `${disk.name} is read-only, ${disk.sectors} sectors`;
  const sector = new TextEncoder().encode(`${disk.name} was here`.padEnd(disk.sectorSize));
  disk.write(1, sector);
  disk.flush();
  const back = new Uint8Array(disk.sectorSize);
  disk.read(1, back);
  return `${disk.name} ${Buffer.compare(sector, back) === 0 ? 'works' : 'differs'}, ${disk.sectors} sectors`;
}

export default async function main(): Promise<void> {
  console.log(`${system.name} is up as dom${system.domid}`);
  let known: string[] = [];
  for (;;) {
    const now = disks.list().map(disk => disk.name);
    for (const name of now) if (!known.includes(name)) console.log(`came: ${use(disks.get(name))}`);
    for (const name of known) if (!now.includes(name)) console.log(`went: ${name}`);
    known = now;
    await clock.sleep(20);
  }
}
