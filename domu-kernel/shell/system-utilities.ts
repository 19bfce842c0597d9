// ps, free, df, mount, umount, sync, uptime, dmesg, stty, poweroff, reboot.
import { XenError } from '#pvbus';
import { processTable } from '../process/process-table.ts';
import { attempt, type Waiting, writeText } from '../process/transfer.ts';
import { fromCwd } from './paths.ts';
import type { Call, UtilityProgram } from './utility.ts';

/** How `free` and `df` say sizes: in KiB, in MiB with -m, as people do with -h. */
function sizes(options: ReadonlyMap<string, string>): {
  readonly unit: string;
  readonly of: (bytes: number) => string;
} {
  if (options.has('h')) return { unit: '', of: humanSize };
  return options.has('m')
    ? { unit: 'MiB', of: bytes => String(Math.round(bytes / 2 ** 20)) }
    : { unit: 'KiB', of: bytes => String(Math.round(bytes / 2 ** 10)) };
}
function humanSize(bytes: number): string {
  let [n, unit] = [bytes / 1024, 0];
  for (; n >= 1024 && unit < 3; unit++) n /= 1024;
  return `${n < 10 && n % 1 !== 0 ? n.toFixed(1) : Math.round(n)}${'KMGT'[unit]}`;
}

function* ps({ system, io }: Call): Waiting<number> {
  yield* writeText(io[1], processTable(system.processes.list()));
  return 0;
}
function* free({ system, options, io }: Call): Waiting<number> {
  const { total, free } = system.machine.memory();
  const { unit, of } = sizes(options);
  const processes = system.processes.list().reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  const row = (...cells: string[]): string => `${cells.map(cell => cell.padStart(12)).join('')}\n`;
  yield* writeText(io[1], row(unit, 'total', 'used', 'free', 'processes'));
  yield* writeText(io[1], row('Mem:', of(total), of(total - free), of(free), of(processes)));
  return 0;
}
function* df({ system, options, io }: Call): Waiting<number> {
  const row = (name: string, ...cells: string[]): string =>
    `${name.padEnd(24)}${cells.map(cell => cell.padStart(12)).join('')}\n`;
  const { unit, of } = sizes(options);
  let text = row(`file system${unit && ` (${unit})`}`, 'total', 'used', 'free').replace('\n', '  on\n');
  for (const { path, fs } of system.mounts.list()) {
    const { free, total } = yield* attempt(() => fs.space());
    if (total === 0) continue;
    text += `${row(fs.name, of(total), of(total - free), of(free)).trimEnd()}  ${path}\n`;
  }
  yield* writeText(io[1], text);
  return 0;
}
/** `mount`, or `mount [-t TYPE] [-r] [-o ro] DEVICE DIRECTORY`. */
function* mount({ system, self, args, options, io }: Call): Waiting<number> {
  if (args.length === 0) {
    for (const { path, fs } of system.mounts.list())
      yield* writeText(io[1], `${fs.name} on ${path} (${fs.readOnly ? 'ro' : 'rw'})\n`);
    return 0;
  }
  const type = options.get('t');
  const readOnly = options.has('r') || (options.get('o')?.split(',').includes('ro') ?? false);
  const [device, directory] = args;
  if (device === undefined || directory === undefined)
    throw new XenError('EINVAL', 'a device and a directory are needed');
  const path = fromCwd(self.cwd, directory);
  yield* attempt(() => {
    const fs = system.machine.fileSystem(type, device, readOnly);
    try {
      system.mounts.mount(path, fs);
    } catch (error) {
      // One that was mounted before is another mount's.
      if (!system.mounts.list().some(mounted => mounted.fs === fs)) fs.close();
      throw error;
    }
  });
  return 0;
}
function* umount({ system, self, args }: Call): Waiting<number> {
  if (args.length === 0) throw new XenError('EINVAL', 'the name of a directory is missing');
  for (const word of args) yield* attempt(() => system.mounts.umount(fromCwd(self.cwd, word)));
  return 0;
}
function* sync({ system }: Call): Waiting<number> {
  yield* attempt(() => system.mounts.sync());
  return 0;
}
function* uptime({ system, io }: Call): Waiting<number> {
  const seconds = Math.floor((system.clock.now() - system.startedNs) / 1e9);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const running = system.processes.list().length;
  yield* writeText(
    io[1],
    `up ${hours}:${String(minutes).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}, ${running} processes\n`,
  );
  return 0;
}
function* dmesg({ system, io }: Call): Waiting<number> {
  yield* writeText(io[1], system.machine.messages());
  return 0;
}
/** The terminal: `raw`, or `sane`. */
function* stty({ system, args, io }: Call): Waiting<number> {
  if (args.length === 0) yield* writeText(io[1], `${system.terminal.raw ? 'raw' : 'sane'}\n`);
  for (const word of args) {
    if (word !== 'raw' && word !== 'sane') throw new XenError('EINVAL', `${word}: raw or sane`);
    system.terminal.raw = word === 'raw';
  }
  return 0;
}
function shutdown(how: 'poweroff' | 'reboot'): UtilityProgram {
  return {
    options: 'f',
    run({ system }) {
      system.machine.shutdown(how);
      return 0;
    },
  };
}

export const SYSTEM_UTILITIES: Readonly<Record<string, UtilityProgram>> = {
  ps: { options: 'aefx', run: ps },
  free: { options: 'hkm', run: free },
  df: { options: 'hkm', run: df },
  mount: { options: 't:ro:', run: mount },
  umount: { options: '', run: umount },
  sync: { options: '', run: sync },
  uptime: { options: '', run: uptime },
  dmesg: { options: '', run: dmesg },
  stty: { options: '', run: stty },
  poweroff: shutdown('poweroff'),
  halt: shutdown('poweroff'),
  reboot: shutdown('reboot'),
};
