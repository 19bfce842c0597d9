// A program that uses the vbd: numbered sectors, each reported once it is acknowledged and flushed.
import { console, disks } from 'xenolith';

const SECTORS = 64;

export default async function main(): Promise<void> {
  const disk = disks.get('xvda');
  for (let sector = 0; sector < SECTORS; sector++) {
    await disk.submitWrite(sector, new Uint8Array(disk.sectorSize).fill(sector + 1));
    await disk.submitFlush();
    console.log(`kept ${sector}`);
  }
  console.log('done');
}
