// Tells which disks it has whenever that changes, uses each that comes, and what one that grows has more.
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

/** Its last sector, written and read. */
function useEnd(disk: Disk): string {
  const sector = new TextEncoder().encode(`the end of ${disk.name}`.padEnd(disk.sectorSize));
  disk.write(disk.sectors - 1, sector);
  disk.flush();
  const back = new Uint8Array(disk.sectorSize);
  disk.read(disk.sectors - 1, back);
  return `${disk.name} ${Buffer.compare(sector, back) === 0 ? 'works' : 'differs'}, ${disk.sectors} sectors`;
}

export default async function main(): Promise<void> {
  console.log(`${system.name} is up as dom${system.domid}`);
  let known: string[] = [];
  const sizes = new Map<Disk, number>();
  for (;;) {
    const now = disks.list().map(disk => disk.name);
    for (const name of now) if (!known.includes(name)) console.log(`came: ${use(disks.get(name))}`);
    for (const name of known) if (!now.includes(name)) console.log(`went: ${name}`);
    known = now;
    for (const disk of disks) {
      const before = sizes.get(disk) ?? disk.sectors;
      sizes.set(disk, disk.sectors);
      if (disk.sectors > before) console.log(`grew: ${useEnd(disk)}`);
    }
    await clock.sleep(20);
  }
}
