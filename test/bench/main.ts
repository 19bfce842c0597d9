// `npm run bench [-- GROUP…]`: prints docs/benchmarks.md, or the sections of some groups. Each row is beside its yardstick
// measured in the same run, the runs of the two interleaved and both pinned alike.
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { HostRig } from '../support/host-rig.ts';
import { buildKernels } from './build-kernels.ts';
import { createRows } from './rows-create.ts';
import { diskRows } from './rows-disk.ts';
import { eventRows } from './rows-events.ts';
import { fileRows } from './rows-files.ts';
import { hostRows } from './rows-host.ts';
import { hostileTable } from './rows-hostile.ts';
import { idleRows } from './rows-idle.ts';
import { nbdRows } from './rows-nbd.ts';
import { netRows } from './rows-net.ts';
import { programRows } from './rows-programs.ts';
import { schedulerTable } from './rows-scheduler.ts';
import { tcpRows } from './rows-tcp.ts';
import { traceTable } from './rows-trace.ts';
import { virtTable } from './rows-virt.ts';
import { xenstoredTable } from './rows-xenstored.ts';
import { xlRows } from './rows-xl.ts';
import { type Group, heading, page, SECTIONS } from './sections.ts';
import { type Row, table } from './table.ts';
import { PingPong } from './yardsticks.ts';

/** What every group of rows is given. */
export interface BenchHost {
  readonly rig: HostRig;
  /** For images, configs and built kernels; removed at the end. */
  readonly folder: string;
  readonly pingPong: PingPong;
}

/** Rows, or a table of the group's own. */
const GROUPS: Record<Group, (host: BenchHost) => Promise<Row[] | string>> = {
  events: eventRows,
  disk: diskRows,
  files: fileRows,
  nbd: nbdRows,
  net: netRows,
  tcp: tcpRows,
  host: hostRows,
  create: createRows,
  programs: programRows,
  idle: idleRows,
  hostile: hostileTable,
  scheduler: schedulerTable,
  trace: traceTable,
  virt: virtTable,
  xenstored: xenstoredTable,
  xl: xlRows,
};

const all = Object.keys(SECTIONS) as Group[];
const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (name in GROUPS) continue;
  console.error(`bench: no group ${name}; there are ${all.join(', ')}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'xenolith-bench-'));
const rig = await HostRig.start();
const pingPong = await PingPong.start();
try {
  await buildKernels(folder);
  if (wanted.length === 0) console.log(page());
  for (const group of all) {
    if (wanted.length > 0 && !wanted.includes(group)) continue;
    console.error(`bench: ${group}`);
    // The machine's weather: what the control says now, before each group.
    const load = loadavg()[0]!;
    const spin = await pingPong.roundTrip('spinning', 200_000, 0, 1);
    const across = await pingPong.roundTrip('asleep', 5000, 0, 1);
    const began = rig.log().length;
    const found = await GROUPS[group]({ rig, folder, pingPong }).catch(async error => {
      // The tables of the other groups are not lost by it.
      console.error(`bench: ${group} failed: ${error instanceof Error ? error.stack : error}`);
      console.error(`bench: the host's log since it began:\n${rig.log().slice(began)}${rig.errors}`);
      process.exitCode = 1;
      for (const { domid } of await rig.domains()) if (domid !== 0) await rig.xl('destroy', String(domid));
    });
    if (found === undefined) continue;
    const weather = `Load ${load.toFixed(1)}; spinning ${spin.toFixed(2)} µs, asleep ${across.toFixed(1)} µs.`;
    console.log(`\n${heading(group)}\n\n${weather}\n\n${typeof found === 'string' ? found : table(found)}`);
  }
} finally {
  await pingPong.stop();
  await rig.stop();
  rmSync(folder, { recursive: true, force: true });
}
