// The guest of these tests: does what its command line says.
import { clock, console, disks, system } from 'xenolith';

export default async function main(): Promise<void> {
  console.log(`${system.name} is up as dom${system.domid}`);
  const { doing = 'idle' } = system.args;
  if (doing === 'return') return;
  if (doing === 'throw') throw new Error('out of teapots');
  if (doing === 'reboot') return system.reboot();
  if (doing === 'throw-once') {
    const disk = disks.get('xvda');
    const mark = new Uint8Array(disk.sectorSize);
    disk.read(0, mark);
    if (mark[0] !== 1) {
      disk.write(0, mark.fill(1));
      disk.flush();
      throw new Error('out of teapots');
    }
  }
  if (doing === 'reject') void Promise.reject(new Error('a promise nobody watches'));
  if (doing === 'spin') for (;;);
  if (doing === 'echo') for await (const line of console.lines()) console.log(`you said ${line}`);
  const kept: Uint8Array[] = [];
  if (doing === 'hoard') for await (const _ of console.lines()) kept.push(new Uint8Array(64 << 20));
  if (doing === 'write') {
    const disk = disks.get('xvda');
    disk.write(0, new TextEncoder().encode('written by a guest'.padEnd(disk.sectorSize)));
    disk.flush();
    console.log('flushed');
  }
  system.onShutdown(() => console.log('going down'));
  for (;;) await clock.sleep(3_600_000);
}
