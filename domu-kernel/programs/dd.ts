// dd for guests. On the command line: if=xvda of=xvdb bs=131072 count=100 (skip=, seek= in blocks). Without
// `of` it only reads, without `if` it writes zeros. Prints what was moved and how fast.
import { clock, console, type Disk, disks, system } from 'xenolith';

const word = (key: string): string | undefined => {
  const value = system.args[key];
  return typeof value === 'string' ? value : undefined;
};
function size(key: string, otherwise: number): number {
  const text = word(key);
  if (text === undefined) return otherwise;
  const [, digits, unit = ''] = /^(\d+)([kKMG]?)$/.exec(text) ?? [];
  if (digits === undefined) throw new Error(`dd: ${key}=${text} is no number`);
  return Number(digits) * ({ '': 1, k: 1024, K: 1024, M: 2 ** 20, G: 2 ** 30 }[unit] ?? 1);
}

export default async function dd(): Promise<void> {
  const from: Disk | undefined = word('if') ? disks.get(word('if')!) : undefined;
  const to: Disk | undefined = word('of') ? disks.get(word('of')!) : undefined;
  const disk = from ?? to;
  if (!disk) throw new Error('dd: give it if=DISK or of=DISK on the command line');
  const bs = size('bs', 131072);
  const sectors = bs / disk.sectorSize;
  if (!Number.isInteger(sectors) || sectors < 1) throw new Error(`dd: bs=${bs} is not whole sectors`);
  const blocks = Math.floor(Math.min(from?.sectors ?? Infinity, to?.sectors ?? Infinity) / sectors);
  const skip = size('skip', 0);
  const seek = size('seek', 0);
  const count = Math.min(size('count', blocks), blocks - (from ? skip : 0), blocks - (to ? seek : 0));
  const buffer = new Uint8Array(bs);
  const started = clock.now();
  for (let i = 0; i < count; i++) {
    from?.read((skip + i) * sectors, buffer);
    to?.write((seek + i) * sectors, buffer);
  }
  to?.flush();
  const ms = clock.now() - started;
  const mib = (count * bs) / 2 ** 20;
  console.log(
    `${count} blocks of ${bs} bytes: ${mib} MiB in ${ms.toFixed(1)} ms, ${((mib * 1000) / ms).toFixed(0)} MiB/s`,
  );
}
