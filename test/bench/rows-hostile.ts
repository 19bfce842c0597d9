// What hostile acts cost an innocent: the 99th percentile of its checked disk writes (write, flush, read back) beside a
// domain that performs acts of one class without pause, over the same beside one that is as busy with what it may do: the
// rest of the price is what any busy neighbour costs. In turns, and once more with nobody beside it. So are requests
// to the toolstack, beside guests that use all of the processors.
import { rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { runPaths } from '#pvbus';
import { ToolstackClient } from '../../tools/toolstack-client.ts';
import { dist, type HostRig } from '../support/host-rig.ts';
import { eventually } from '../support/processes.ts';
import { buildKernels, createInnocent, createOffender, MALLORY } from '../topology/hostile-acts/kernels.ts';
import { createBackend, createVictim, KERNELS } from '../topology/hostile-backend/kernels.ts';
import type { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import { figure, format, median } from './table.ts';

const RUNS = 5;
const WINDOW_MS = 1000;
/** Writes of the innocent, and how long it is given for them. */
const ENOUGH = 20;
const MOST_WINDOWS = 20;
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

/** What a backend does to its guest, each at a device of its own, and then as often as there is time for. */
const BACKEND = {
  once: [30, 31, 32, 33, 40, 34, 35, 36, 'reset', 38, 39],
  ofOthers: ['net30', 'net31', 'calls30', 'calls31', 'calls32', 'calls35', 'streams', 'calls36'],
  again: [34, 39],
  storm: [37],
} as const;

type Act = number | string;
type Neighbour = (until: number) => Promise<void>;

/** The innocent's p99 while `neighbour` goes on, µs: over one window, or as many as it takes on a busy machine. */
async function p99(innocent: BenchDomain, neighbour: Neighbour): Promise<number> {
  await innocent.run('afresh');
  for (let window = 0; window < MOST_WINDOWS; window++) {
    await neighbour(performance.now() + WINDOW_MS);
    const { p99us, samples, wrong } = await innocent.run('count');
    if ((wrong as unknown as string[]).length > 0) throw new Error(`the innocent: ${wrong}`);
    if (samples! > ENOUGH) return p99us!;
  }
  throw new Error(`the innocent has not done ${ENOUGH} writes in ${MOST_WINDOWS * WINDOW_MS} ms`);
}

async function perform(offender: BenchDomain, act: Act, command: Act): Promise<void> {
  const outcome = await offender.run(command);
  if ('failed' in outcome) throw new Error(`act ${act}: ${outcome.failed}`);
  if (typeof act === 'string' && outcome.refused) throw new Error(`${act}: ${outcome.refused} things were refused`);
}
const inTurns =
  (acts: readonly Act[], act: (name: Act) => Promise<void>): Neighbour =>
  async until => {
    for (let n = 0; performance.now() < until; n++) await act(acts[n % acts.length]!);
  };
const nobody: Neighbour = () => setTimeout(WINDOW_MS);

/** A table of its own: each class has two yardsticks. */
export async function hostileTable({ rig, folder }: BenchHost): Promise<string> {
  await buildKernels(folder, [MALLORY, ...KERNELS]);
  const innocent = await createInnocent(rig, folder);
  const lines: string[][] = [];
  try {
    lines.push(...(await byGuests(rig, folder, innocent)), ...(await byBackends(rig, folder, innocent)));
  } finally {
    await end(rig, innocent);
    rmSync(`${folder}/innocent.img`, { force: true });
  }
  lines.push(await controlPlane(rig, folder));
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

async function byGuests(rig: HostRig, folder: string, innocent: BenchDomain): Promise<string[][]> {
  const mallory = await createOffender(rig, folder, 'mallory');
  const performing = (acts: readonly Act[]): Neighbour => inTurns(acts, act => perform(mallory, act, act));
  const lines: string[][] = [];
  try {
    for (const [name, { acts, honest }] of Object.entries(CLASSES)) {
      const values: [number[], number[], number[]] = [[], [], []];
      for (let run = 0; run < RUNS; run++)
        for (const [i, neighbour] of [nobody, performing([honest]), performing(acts)].entries())
          values[i]!.push(await p99(innocent, neighbour));
      lines.push(line(name, values));
    }
  } finally {
    await end(rig, mallory);
    for (const image of ['mallory.img', 'mallory-ro.img']) rmSync(join(folder, image), { force: true });
  }
  return lines;
}

/** Acts cost their guest its devices: each time there is another one, and another backend. */
async function byBackends(rig: HostRig, folder: string, innocent: BenchDomain): Promise<string[][]> {
  const [alone, honest, acts, storms]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let run = 0; run < RUNS; run++) {
    alone.push(await p99(innocent, nobody));
    await withBackend(rig, folder, `honest${run}`, async act => {
      honest.push(await p99(innocent, inTurns(['honest'], act)));
    });
    await withBackend(rig, folder, `hostile${run}`, async act => {
      const { once, ofOthers, again, storm } = BACKEND;
      let first: Act[] = [...once, ...ofOthers];
      const all: Neighbour = async until => {
        for (const name of first) await act(name);
        first = [];
        await inTurns(again, act)(until);
      };
      acts.push(await p99(innocent, all));
      storms.push(await p99(innocent, inTurns(storm, act)));
    });
  }
  return [line('a backend of another guest', [alone, honest, acts]), line('its storms', [alone, honest, storms])];
}
async function withBackend(
  rig: HostRig,
  folder: string,
  name: string,
  body: (act: (name: Act) => Promise<void>) => Promise<void>,
): Promise<void> {
  const backend = await createBackend(rig, folder, `${name}-backend`);
  const victim = await createVictim(rig, folder, backend, `${name}-victim`);
  await backend.run(`serve: ${victim.domid}`);
  await body(act => perform(backend, act, `act: ${act}`));
  await victim.run('report'); // it lives, and answers
  // A domain of which another one has something mapped is not gone before that one.
  await end(rig, backend);
  await end(rig, victim);
}
async function end(rig: HostRig, domain: BenchDomain): Promise<void> {
  domain.close();
  await rig.xl('destroy', domain.name);
}

/** A guest on each processor that computes: it yields now and then, or never does. */
const LOOPS = {
  yields: 'for (;;) { const until = performance.now() + 1; while (performance.now() < until); await clock.sleep(0); }',
  stuck: 'while (true);',
} as const;

/** Of requests to the toolstack, which xl waits for, beside guests that use all of the processors. */
async function controlPlane(rig: HostRig, folder: string): Promise<string[]> {
  const toolstack = await ToolstackClient.connect(runPaths(rig.runDir).toolstackSocket);
  const names = (kind: string): string[] => cpus().map((_, i) => `${kind}${i}`);
  const all = Object.keys(LOOPS).flatMap(names);
  const xl = async (...args: string[]): Promise<void> => {
    const { exitCode, stderr } = await rig.xl(...args);
    if (exitCode !== 0) throw new Error(`xl ${args.join(' ')}: ${stderr}`);
  };
  const p99of = async (running: readonly string[]): Promise<number> => {
    for (const name of running) await xl('unpause', name);
    const took: number[] = [];
    for (const until = performance.now() + WINDOW_MS; performance.now() < until || took.length < 100; ) {
      const from = performance.now();
      await toolstack.call('list', { domid: null });
      took.push((performance.now() - from) * 1000);
    }
    for (const name of running) await xl('pause', name);
    return took.sort((a, b) => a - b)[Math.floor(took.length * 0.99)]!;
  };
  try {
    for (const [kind, loop] of Object.entries(LOOPS)) {
      const ramdisk = join(folder, `${kind}.ts`);
      const program = `export default async () => { console.log('at work'); await clock.sleep(10); ${loop} };\n`;
      writeFileSync(ramdisk, `import { clock, console } from 'xenolith';\n${program}`);
      for (const name of names(kind)) {
        const keys = `memory = 16\nkernel = "${dist('domu-kernel.js')}"\nramdisk = "${ramdisk}"\n`;
        writeFileSync(join(folder, `${name}.cfg`), `name = "${name}"\n${keys}`);
        await xl('create', '-q', join(folder, `${name}.cfg`));
        await eventually(`${name} runs`, () => rig.consoleLog(name).includes('at work'));
        await xl('pause', name);
      }
    }
    const values: [number[], number[], number[]] = [[], [], []];
    for (let run = 0; run < RUNS; run++)
      for (const [i, kind] of [undefined, 'yields', 'stuck'].entries())
        values[i]!.push(await p99of(kind === undefined ? [] : names(kind)));
    return line('a guest that computes: requests to the toolstack', values);
  } finally {
    toolstack.close();
    for (const name of all) await rig.xl('destroy', name);
  }
}

/** Medians of the runs beside nobody, an honest one and a hostile one. */
function line(name: string, values: readonly (readonly number[])[]): string[] {
  const [alone, busy, hostile] = values.map(median) as [number, number, number];
  const ratio = hostile / busy;
  const times = (n: number): string => `${n.toFixed(2)}×`;
  const kept = `≤ ${GOAL}× ${ratio <= GOAL ? 'yes' : 'NO'}`;
  return [name, ...[alone, busy, hostile].map(figure), times(ratio), times(hostile / alone), kept];
}
