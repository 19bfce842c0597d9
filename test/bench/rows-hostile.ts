// What hostile acts cost an innocent: the 99th percentile of its checked disk writes (write, flush, read back) beside a
// domain that performs acts of one class without pause, over the same while nobody attacks, in turns.
import { rmSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { buildKernels, createInnocent, createOffender } from '../topology/hostile-acts/kernels.ts';
import type { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';

const RUNS = 5;
const WINDOW_MS = 1000;

/** Acts as docs/hostile-acts.md numbers them. */
const CLASSES = {
  'a frontend of disks': [1, 2, 3, 5, 7, 8, 9, 10, 11, 13, 14, 15],
  'a frontend of interfaces': [19, 20, 21, 22, 23, 24],
  'keys of devices': [27, 28],
  'storms of events': [41],
  'a guest': [42, 44, 48, 49, 51, 52, 53],
  'a xenstore client': [59, 61, 63, 64, 66, 67],
} as const;

/** The innocent's p99 while `attack` goes on, µs. */
async function p99(innocent: BenchDomain, attack: (until: number) => Promise<void>): Promise<number> {
  await innocent.run('afresh');
  const until = performance.now() + WINDOW_MS;
  await attack(until);
  const { p99us, samples, wrong } = await innocent.run('count');
  if ((wrong as unknown as string[]).length > 0) throw new Error(`the innocent: ${wrong}`);
  if (!(samples! > 20)) throw new Error(`the innocent has done ${samples} writes in ${WINDOW_MS} ms`);
  return p99us!;
}

export async function hostileRows({ rig, folder }: BenchHost): Promise<Row[]> {
  await buildKernels(folder);
  const innocent = await createInnocent(rig, folder);
  const mallory = await createOffender(rig, folder, 'mallory');
  const rows: Row[] = [];
  try {
    for (const [name, acts] of Object.entries(CLASSES)) {
      const [bare, ours]: [number[], number[]] = [[], []];
      for (let run = 0; run < RUNS; run++) {
        bare.push(await p99(innocent, () => setTimeout(WINDOW_MS)));
        const attack = async (until: number): Promise<void> => {
          for (let n = 0; performance.now() < until; n++) {
            const outcome = await mallory.run(acts[n % acts.length]!);
            if ('failed' in outcome) throw new Error(`act ${acts[n % acts.length]}: ${outcome.failed}`);
          }
        };
        ours.push(await p99(innocent, attack));
      }
      const row = `an innocent's p99 beside ${name}`;
      rows.push({ name: row, unit: 'µs', yardstick: 'nobody attacks', bare, ours, goal: { atMost: 2 } });
    }
  } finally {
    for (const domain of [mallory, innocent]) {
      domain.close();
      await rig.xl('destroy', domain.name);
      rmSync(`${folder}/${domain.name}.img`, { force: true });
    }
  }
  return rows;
}
