// Uses every device it has, says so, and stays.
import { clock, console, disks, net, system } from 'xenolith';

export default async function main(): Promise<void> {
  for (const disk of disks) {
    const sector = new Uint8Array(disk.sectorSize).fill(system.domid & 0xff);
    disk.write(system.domid % disk.sectors, sector);
    disk.flush();
  }
  const { ping } = system.args;
  if (typeof ping === 'string') {
    // The other one may not be up yet.
    for (let answered = false; !answered; )
      answered = await net.ping(ping, { timeoutMs: 500 }).then(
        () => true,
        () => false,
      );
  }
  console.log(`dom${system.domid} has used its devices`);
  for (;;) await clock.sleep(3_600_000);
}
