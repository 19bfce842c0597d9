// What a domain runs that was built without a ramdisk: says who it is, and waits to be shut down.
import type { Xenolith } from '../guest-api/api.ts';

export default async function init({ console, disks, net, system }: Xenolith): Promise<void> {
  console.log(`xenolith: domain ${system.domid} '${system.name}', ${system.memory} MiB, no program`);
  for (const { name, sectors, sectorSize, readOnly } of disks) {
    console.log(`${name}: ${(sectors * sectorSize) / 2 ** 20} MiB${readOnly ? ', read-only' : ''}`);
  }
  if (net.address) console.log(`net: ${net.address}, ${net.mac}`);
  console.log('give it one with ramdisk = "program.ts"; docs/guest-programs.md says how to write it');
  await new Promise(() => {});
}
