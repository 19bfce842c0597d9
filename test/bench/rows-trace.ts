// What tracing costs: nothing of it there, there but off, on as `xl trace` does it, and with every event recorded; both
// with a reader. "Nothing of it" is the guest's kernel built without the question whether it is on.
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { processCpuTime, TRC_ALL, TRC_XENOLITH_BRIEF } from '#pvbus';
import { commandLine } from '../support/processes.ts';
import { BenchDomain } from './bench-domain.ts';
import { buildKernels } from './build-kernels.ts';
import type { BenchHost } from './main.ts';
import { pin } from './pin.ts';
import { figure, median } from './table.ts';
import { traced } from './traced.ts';
import { sequentialLoop } from './yardsticks.ts';

const RUNS = 9;
/** The difference to be seen is smaller than what one run differs from the next by. */
const FRAME_RUNS = 24;
const SLEEPS = 10_000;
const SPINS = 400_000;
const CALLS = 20_000;
const MIB = 64;
const READS = 100_000;
const FRAMES_MS = 250;
/** Of a trace that is brief. */
const MAX_COST = 1.03;
setFlagsFromString('--expose-gc');
/** What this process has kept of one trace is not to be cleared away while the next run is measured. */
const clearAway = runInNewContext('gc') as () => void;

interface Measured {
  readonly name: string;
  readonly unit: string;
  readonly throughput: boolean;
  readonly absent: number[];
  readonly off: number[];
  readonly on: number[];
  readonly every: number[];
}

export async function traceTable({ rig, folder }: BenchHost): Promise<string> {
  const bare = join(folder, 'untraced');
  await buildKernels(bare, { untraced: true });
  const image = join(folder, 'trace.img');
  writeFileSync(image, '');
  truncateSync(image, MIB << 20);
  sequentialLoop(image, MIB << 20, 1, true);

  const events = await Promise.all(
    [bare, folder].map(async (kernels, i) => {
      const config = `kernel = "${kernels}/events.js"`;
      const ping = await BenchDomain.create(rig, folder, `tping${i}`, config);
      const echo = await BenchDomain.create(rig, folder, `techo${i}`, config);
      const { port } = await echo.run('listen', ping.domid);
      await ping.run('bind', echo.domid, port!);
      return { ping, echo };
    }),
  );
  const disks = await Promise.all(
    [bare, folder].map((kernels, i) =>
      BenchDomain.create(rig, folder, `tdisk${i}`, `kernel = "${kernels}/devices.js"\ndisk = ["${image},raw,xvda,r"]`),
    ),
  );
  const nets = await Promise.all(
    [bare, folder].map(async (kernels, i) => {
      const config = `kernel = "${kernels}/devices.js"\nvif = ["bridge=bench${i}"]`;
      const from = await BenchDomain.create(rig, folder, `tfrom${i}`, config);
      return { from, to: await BenchDomain.create(rig, folder, `tto${i}`, config) };
    }),
  );

  const trip = async (i: number, mode: 'asleep' | 'spinning'): Promise<number> => {
    const { ping, echo } = events[i]!;
    await Promise.all([pin(ping.pid, mode === 'asleep' ? 1 : 0), pin(echo.pid, 1)]);
    await echo.run('echo', mode);
    const { us } = await ping.run('ping', mode, mode === 'asleep' ? SLEEPS : SPINS);
    await echo.run('echo', 'asleep');
    return us!;
  };
  const hypercall = async (i: number): Promise<number> => {
    const { ping } = events[i]!;
    await Promise.all([pin(ping.pid, 1), pin(rig.hypervisorPid, 1)]);
    const { us } = await ping.run('hypercall', CALLS);
    await pin(rig.hypervisorPid, undefined);
    return us!;
  };
  const read = async (i: number, depth: number): Promise<number> =>
    (await disks[i]!.run('read', depth, depth > 1 ? READS : READS / 4, MIB)).perSecond!;
  const dom0 = rig.processes().find(pid => commandLine(pid).includes('dom0.js'))!;
  /** Of all who have to do with it, the reader of the trace (this process) too: the machine's other work is not in it. */
  const frames = async (i: number): Promise<number> => {
    const { from, to } = nets[i]!;
    // Three who want two CPUs: who shares one is not to be another thing each time.
    await Promise.all([pin(from.pid, 0), pin(to.pid, 0), pin(dom0, 1)]);
    const all = [from.pid, to.pid, dom0, rig.hypervisorPid, process.pid];
    const before = cpuTime(all);
    to.start('receive', FRAMES_MS);
    from.start('send', FRAMES_MS + 200);
    await to.finish();
    const { sent } = await from.finish();
    const spent = cpuTime(all) - before;
    await pin(dom0, undefined);
    return spent / sent!;
  };

  const row = (name: string, unit: string, throughput: boolean, run: (i: number) => Promise<number>, runs = RUNS) => ({
    row: { name, unit, throughput, absent: [], off: [], on: [], every: [] } as Measured,
    run,
    runs,
  });
  const all = [
    row('event round trip, asleep', 'µs', false, i => trip(i, 'asleep')),
    row('event round trip, spinning', 'µs', false, i => trip(i, 'spinning')),
    row('null hypercall', 'µs', false, hypercall),
    row('vbd 4 KiB read, depth 32', '/s', true, i => read(i, 32)),
    row('vbd 4 KiB read, depth 1', '/s', true, i => read(i, 1)),
    row('vif 1500-byte frame, CPU time', 'ns', false, frames, FRAME_RUNS),
  ];
  const modes = [
    { name: 'on' as const, mask: TRC_ALL | TRC_XENOLITH_BRIEF, records: 0, lost: 0, untold: 0 },
    { name: 'every' as const, mask: TRC_ALL, records: 0, lost: 0, untold: 0 },
  ];
  for (const { run } of all) for (const i of [0, 1]) await run(i);
  for (let round = 0; round < FRAME_RUNS; round++) {
    for (const { row, run, runs } of all) {
      if (round >= runs) continue;
      const steps = [
        async () => row.absent.push(await run(0)),
        async () => row.off.push(await run(1)),
        ...modes.map(mode => async () => {
          const { result, trace } = await traced(rig, () => run(1), mode.mask);
          row[mode.name].push(result);
          mode.records += trace.records.length;
          mode.lost += trace.lost;
          mode.untold += trace.untold;
        }),
      ];
      // None of them always follows the same other one.
      if (round % 2 === 1) steps.reverse();
      for (const step of steps) {
        clearAway();
        await step();
      }
    }
  }
  const domains = [...events.flatMap(e => [e.ping, e.echo]), ...disks, ...nets.flatMap(n => [n.from, n.to])];
  for (const domain of domains) {
    domain.close();
    await rig.xl('destroy', domain.name);
  }
  const ratios = ['off ÷ absent', 'on ÷ off', `cost ≤ ${MAX_COST}×`, 'every event ÷ off'];
  const head = ['metric', 'absent', 'off', 'on', 'every event', ...ratios];
  const lines = all.map(({ row }) => cells(row));
  const table = [head, head.map(() => '---'), ...lines].map(line => `| ${line.join(' | ')} |`).join('\n');
  const counts = modes.map(
    ({ name, records, lost, untold }) =>
      `${name}: ${figure(records)} records, ${figure(lost)} lost, ${figure(untold)} not told`,
  );
  return `${table}\n\n${counts.join('; ')}.`;
}

const cpuTime = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + processCpuTime(pid)!, 0);

function cells({ name, unit, throughput, absent, off, on, every }: Measured): string[] {
  // Ratios of costs, so that more than 1 is worse in every line; of runs that followed each other, since the machine's
  // other work comes and goes.
  const cost = (a: number[], b: number[]): number => median(a.map((n, i) => (throughput ? b[i]! / n : n / b[i]!)));
  const show = (values: number[]): string => `${figure(median(values))} ${unit}`;
  return [
    name,
    show(absent),
    show(off),
    show(on),
    show(every),
    `${cost(off, absent).toFixed(3)}×`,
    `${cost(on, off).toFixed(3)}×`,
    cost(on, off) <= MAX_COST ? 'yes' : 'NO',
    `${cost(every, off).toFixed(3)}×`,
  ];
}
