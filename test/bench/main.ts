// `npm run bench [-- WORD…]`: one table, each row beside its yardstick measured in the same run, the runs of
// the two interleaved and both pinned alike. With words, only the groups they name.
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
import { type Row, table } from './table.ts';
import { PingPong } from './yardsticks.ts';

/** What every group of rows is given. */
export interface BenchHost {
  readonly rig: HostRig;
  /** For images, configs and built kernels; removed at the end. */
  readonly folder: string;
  readonly pingPong: PingPong;
}

/** Rows for the one table, or a table of the group's own. */
const GROUPS: Record<string, (host: BenchHost) => Promise<Row[] | string>> = {
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

const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (name in GROUPS) continue;
  console.error(`bench: no group ${name}; there are ${Object.keys(GROUPS).join(', ')}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'xenolith-bench-'));
const rig = await HostRig.start();
const pingPong = await PingPong.start();
try {
  await buildKernels(folder);
  const rows: Row[] = [];
  const tables: string[] = [];
  for (const [name, group] of Object.entries(GROUPS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    // The machine's weather: what the control says now, before each group.
    const spin = await pingPong.roundTrip('spinning', 200_000, 0, 1);
    const across = await pingPong.roundTrip('asleep', 5000, 0, 1);
    console.log(
      `${name}: load ${loadavg()[0]!.toFixed(1)}, bare spin round trip ${spin.toFixed(2)} µs, ` +
        `bare futex round trip across cores ${across.toFixed(1)} µs`,
    );
    const found = await group({ rig, folder, pingPong });
    if (typeof found === 'string') tables.push(found);
    else rows.push(...found);
  }
  if (rows.length > 0) tables.unshift(table(rows));
  for (const text of tables) console.log(`\n${text}`);
} finally {
  await pingPong.stop();
  await rig.stop();
  rmSync(folder, { recursive: true, force: true });
}
