// The micro-benchmarks of "ARM Virtualization: Performance and Architectural Implications" (ISCA 2016), of which each
// stands for something a hypervisor does. Beside the published cycles of Xen and KVM; a cycle here is 1 ns times the
// processor's nominal frequency, since JavaScript cannot read its counter.
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TRC_XENOLITH_EVTCHN_UPCALL } from '#pvbus';
import { cpuKhz } from '../../hypervisor/cpu-frequency.ts';
import { Flows } from '../../tools/trace/flows.ts';
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import { pin } from './pin.ts';
import { figure, median } from './table.ts';
import { type Trace, traced } from './traced.ts';
import { sequentialLoop } from './yardsticks.ts';

const RUNS = 5;
const ROUNDS = 20_000;
const MIB = 64;
const READS = 5000;
const SWITCHES = 2000;
const SWITCHING_MS = 1500;

/** Cycles: KVM on ARM, Xen on ARM, KVM on x86, Xen on x86. */
const PUBLISHED = {
  hypercall: [6500, 376, 1300, 1228],
  trap: [7370, 1356, 2384, 1734],
  ipi: [11557, 5978, 5230, 5562],
  completion: [71, 71, 1556, 1464],
  switch: [10387, 8799, 4812, 10534],
  out: [6024, 16491, 560, 11262],
  in: [13872, 15650, 18923, 10050],
} as const;

interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}
interface Line {
  readonly name: string;
  readonly how: string;
  readonly published: readonly number[] | undefined;
  readonly runs: Percentiles[];
}

export async function virtTable({ rig, folder, pingPong }: BenchHost): Promise<string> {
  const mhz = Math.round(cpuKhz() / 1000);
  const lines = {
    hypercall: line('hypercall', 'xen_version, hypervisor on the same CPU', PUBLISHED.hypercall),
    hypercallAcross: line('hypercall', 'the same, hypervisor on another CPU', undefined),
    trap: line('interrupt controller trap', 'EVTCHNOP_unmask', PUBLISHED.trap),
    completion: line('virtual IRQ completion', 'clear and unmask, no trap', PUBLISHED.completion),
    ipi: line('virtual IPI', 'half a round trip of two vCPUs that run, two pCPUs', PUBLISHED.ipi),
    ipiAsleep: line('virtual IPI', 'the same, each waits in SCHEDOP_block', undefined),
    switch: line('VM switch', 'half a SCHEDOP_yield, two domains on a pCPU', PUBLISHED.switch),
    out: line('I/O latency out', 'blkfront notifies → blkback runs', PUBLISHED.out),
    in: line('I/O latency in', 'blkback notifies → blkfront runs', PUBLISHED.in),
    futex: line('yardstick', 'half a bare futex round trip, same CPU', undefined),
    futexAcross: line('yardstick', 'the same, across CPUs', undefined),
    spin: line('yardstick', 'half a bare spin round trip, across CPUs', undefined),
  };
  const image = join(folder, 'virt.img');
  writeFileSync(image, '');
  truncateSync(image, MIB << 20);
  sequentialLoop(image, MIB << 20, 1, true);
  const alone = await BenchDomain.create(rig, folder, 'virt', `kernel = "${folder}/virt.js"`);
  const disk = await BenchDomain.create(
    rig,
    folder,
    'virt-disk',
    `kernel = "${folder}/devices.js"\ndisk = ["${image},raw,xvda,r"]`,
  );
  let lost = 0;
  for (let run = 0; run < RUNS; run++) {
    lines.futex.runs.push(await bare(() => pingPong.roundTrip('asleep', 5000, 1, 1)));
    lines.futexAcross.runs.push(await bare(() => pingPong.roundTrip('asleep', 5000, 0, 1)));
    lines.spin.runs.push(await bare(() => pingPong.roundTrip('spinning', 200_000, 0, 1)));
    await Promise.all([pin(alone.pid, 1), pin(rig.hypervisorPid, 1)]);
    lines.hypercall.runs.push(await ask(alone, 'hypercall', ROUNDS));
    lines.trap.runs.push(await ask(alone, 'unmask', ROUNDS));
    lines.completion.runs.push(await ask(alone, 'complete', ROUNDS));
    await Promise.all([pin(alone.pid, 0), pin(rig.hypervisorPid, 1)]);
    lines.hypercallAcross.runs.push(await ask(alone, 'hypercall', ROUNDS));
    await Promise.all([pin(alone.pid, undefined), pin(rig.hypervisorPid, undefined)]);
    const { trace } = await traced(rig, () => disk.run('read', 1, READS, MIB));
    lost += trace.lost;
    lines.out.runs.push(latency(trace, disk.domid, 0));
    lines.in.runs.push(latency(trace, 0, disk.domid));
  }
  for (const domain of [alone, disk]) {
    domain.close();
    await rig.xl('destroy', domain.name);
  }
  const smp = await BenchDomain.create(
    rig,
    folder,
    'virt-smp',
    `kernel = "${folder}/ipi.js"\nvcpus = 2\ncpus = ["0", "1"]`,
  );
  for (let run = 0; run < RUNS; run++) {
    lines.ipi.runs.push(half(await ask(smp, 'round-trip', 'spinning', ROUNDS)));
    lines.ipiAsleep.runs.push(half(await ask(smp, 'round-trip', 'asleep', SWITCHES)));
  }
  smp.close();
  await rig.xl('destroy', smp.name);
  const pair = await Promise.all(
    ['a', 'b'].map(which =>
      BenchDomain.create(rig, folder, `switch-${which}`, `kernel = "${folder}/virt.js"\ncpus = "1"`),
    ),
  );
  for (let run = 0; run < RUNS; run++) {
    pair[1]!.start('keep-yielding', SWITCHING_MS);
    lines.switch.runs.push(half(await ask(pair[0]!, 'yield', SWITCHES)));
    await pair[1]!.finish();
  }
  for (const domain of pair) {
    domain.close();
    await rig.xl('destroy', domain.name);
  }
  const head = [
    ['metric', 'how', 'p50 ns', 'p99 ns', `p50 cycles at ${mhz} MHz`, 'p99 cycles'],
    ['KVM ARM', 'Xen ARM', 'KVM x86', 'Xen x86'],
  ].flat();
  const rows = Object.values(lines).map(one => cells(one, mhz));
  const table = [head, head.map(() => '---'), ...rows].map(row => `| ${row.join(' | ')} |`).join('\n');
  return `${table}\n\n${figure(lost)} records of the trace were lost.`;
}

const line = (name: string, how: string, published: readonly number[] | undefined): Line => ({
  name,
  how,
  published,
  runs: [],
});

async function ask(domain: BenchDomain, ...command: (string | number)[]): Promise<Percentiles> {
  const { p50, p99 } = await domain.run(...command);
  return { p50: p50!, p99: p99! };
}
const half = ({ p50, p99 }: Percentiles): Percentiles => ({ p50: p50 / 2, p99: p99 / 2 });
/** Of a round trip only the mean is known. */
async function bare(trip: () => Promise<number>): Promise<Percentiles> {
  return { p50: (await trip()) * 500, p99: Number.NaN };
}

/** From a notification by a vCPU of one domain to the handler it ran in the other, ns. */
function latency(trace: Trace, from: number, to: number): Percentiles {
  const flows = new Flows();
  const samples: number[] = [];
  for (const record of trace.records) {
    const [cause] = flows.hear(record);
    if (cause === undefined || record.event !== TRC_XENOLITH_EVTCHN_UPCALL) continue;
    if (!('domid' in record.source) || !('domid' in cause.source)) continue;
    if (cause.source.domid === from && record.source.domid === to) samples.push(record.at - cause.at);
  }
  samples.sort((a, b) => a - b);
  // Who still looks need not be notified: there may be fewer than reads.
  if (samples.length < READS / 10) throw new Error(`${samples.length} notifications of dom${from} to dom${to}`);
  return { p50: samples[Math.floor(samples.length / 2)]!, p99: samples[Math.floor(samples.length * 0.99)]! };
}

function cells({ name, how, published, runs }: Line, mhz: number): string[] {
  const p50 = median(runs.map(run => run.p50));
  const p99 = median(runs.map(run => run.p99));
  const show = (n: number): string => (Number.isNaN(n) ? '–' : figure(n));
  const ghz = mhz / 1000;
  const theirs = (published ?? ['', '', '', '']).map(String);
  return [name, how, show(p50), show(p99), show(p50 * ghz), show(p99 * ghz), ...theirs];
}
