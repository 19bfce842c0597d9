// Reads its second disk for ever, in a loop that never gives its promises a turn.
import { disks } from 'xenolith';

export default function main(): Promise<void> {
  const disk = disks.get('xvdb');
  const into = new Uint8Array(4096);
  console.log('reads');
  try {
    for (let sector = 0; ; sector = (sector + 8) % 2048) disk.read(sector, into);
  } catch (error) {
    console.log(`the read failed: ${(error as { code: string }).code}`);
  }
  disks.get('xvda').write(0, new Uint8Array(512).fill(0x21));
  disks.get('xvda').flush();
  console.log('lives on');
  return new Promise(() => {});
}
