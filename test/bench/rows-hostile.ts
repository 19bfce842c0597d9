// What hostile acts cost an innocent: the 99th percentile of its checked disk writes (write, flush, read back) beside a
// domain that performs acts of one class without pause, over the same beside one that is as busy with what it may do: the
// rest of the price is what any busy neighbour costs. In turns, and once more with nobody beside it.
import { rmSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { buildKernels, createInnocent, createOffender } from '../topology/hostile-acts/kernels.ts';
import type { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import { figure, format, median } from './table.ts';

const RUNS = 5;
const WINDOW_MS = 1000;
const GOAL = 2;

/** Acts as docs/hostile-acts.md numbers them, and the honest one of the same kind. */
const CLASSES = {
  'a frontend of disks': { acts: [1, 2, 3, 5, 7, 8, 9, 10, 11, 13, 14, 15], honest: 'honest disk' },
  'a frontend of interfaces': { acts: [19, 20, 21, 22, 23, 24], honest: 'honest vif' },
  'keys of devices': { acts: [27, 28], honest: 'honest keys' },
  'storms of events': { acts: [41], honest: 'honest events' },
  'a guest': { acts: [42, 44, 48, 49, 51, 52, 53], honest: 'honest guest' },
  'a xenstore client': { acts: [59, 61, 63, 64, 66, 67], honest: 'honest store' },
} as const;

/** The innocent's p99 while `neighbour` goes on, µs. */
async function p99(innocent: BenchDomain, neighbour: (until: number) => Promise<void>): Promise<number> {
  await innocent.run('afresh');
  const until = performance.now() + WINDOW_MS;
  await neighbour(until);
  const { p99us, samples, wrong } = await innocent.run('count');
  if ((wrong as unknown as string[]).length > 0) throw new Error(`the innocent: ${wrong}`);
  if (!(samples! > 20)) throw new Error(`the innocent has done ${samples} writes in ${WINDOW_MS} ms`);
  return p99us!;
}

/** A table of its own: each class has two yardsticks. */
export async function hostileTable({ rig, folder }: BenchHost): Promise<string> {
  await buildKernels(folder);
  const innocent = await createInnocent(rig, folder);
  const mallory = await createOffender(rig, folder, 'mallory');
  const performing = (acts: readonly (number | string)[]) => async (until: number) => {
    for (let n = 0; performance.now() < until; n++) {
      const act = acts[n % acts.length]!;
      const outcome = await mallory.run(act);
      if ('failed' in outcome) throw new Error(`act ${act}: ${outcome.failed}`);
      if (typeof act === 'string' && outcome.refused) throw new Error(`${act}: ${outcome.refused} things were refused`);
    }
  };
  const lines: string[][] = [];
  try {
    for (const [name, { acts, honest }] of Object.entries(CLASSES)) {
      const values = { alone: [] as number[], honest: [] as number[], hostile: [] as number[] };
      for (let run = 0; run < RUNS; run++) {
        values.alone.push(await p99(innocent, () => setTimeout(WINDOW_MS)));
        values.honest.push(await p99(innocent, performing([honest])));
        values.hostile.push(await p99(innocent, performing(acts)));
      }
      const [alone, busy, hostile] = [values.alone, values.honest, values.hostile].map(median) as [
        number,
        number,
        number,
      ];
      const ratio = hostile / busy;
      const kept = `≤ ${GOAL}× ${ratio <= GOAL ? 'yes' : 'NO'}`;
      const times = (n: number): string => `${n.toFixed(2)}×`;
      lines.push([name, ...[alone, busy, hostile].map(figure), times(ratio), times(hostile / alone), kept]);
    }
  } finally {
    for (const domain of [mallory, innocent]) {
      domain.close();
      await rig.xl('destroy', domain.name);
      rmSync(`${folder}/${domain.name}.img`, { force: true });
    }
  }
  const head = [
    "an innocent's p99, µs, beside",
    'nobody',
    'an honest one',
    'a hostile one',
    'over honest',
    'over nobody',
  ];
  return format([...head, 'goal'], lines);
}
