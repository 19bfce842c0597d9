// xenstored beside Debian's C and OCaml daemons: the same client program asks each in turn, in one run.
import { whyNot } from '../support/real-xenstored.ts';
import type { BenchHost } from './main.ts';
import { figure, median } from './table.ts';
import {
  control,
  debians,
  type LoadCommand,
  ours,
  residentMiB,
  type Subject,
  XenstoreLoad,
} from './xenstore-subjects.ts';

const RUNS = 5;
const MS = 250;
const CONNECTIONS = 64;
const FIRES = 2000;
const NODES = 100_000;
const WATCHES = 40_000;

/** What one row has found: of each subject, by name, one value a run. */
type Values = Map<string, number[]>;

interface Line {
  readonly name: string;
  readonly unit: string;
  readonly values: Values;
  /** What is to be kept, and whether it is; none for a row that is there to be looked at. */
  readonly goal?: { readonly text: string; readonly kept: boolean };
}

class Bench {
  readonly #load: XenstoreLoad;
  readonly subjects: readonly Subject[];

  constructor(load: XenstoreLoad, subjects: readonly Subject[]) {
    this.#load = load;
    this.subjects = subjects;
  }
  /** `op` on every subject in turn, RUNS times; the values of each field of the answers. */
  async measure(
    op: string,
    command: LoadCommand,
    subjects = this.subjects,
    runs = RUNS,
  ): Promise<Record<string, Values>> {
    const found: Record<string, Values> = {};
    for (let run = 0; run < runs; run++) {
      for (const subject of subjects) {
        for (const [field, value] of Object.entries(await this.#load.run(subject, op, command))) {
          found[field] ??= new Map();
          const values = found[field].get(subject.name) ?? [];
          values.push(value);
          found[field].set(subject.name, values);
        }
      }
    }
    return found;
  }
  get real(): readonly Subject[] {
    return this.subjects.filter(({ name }) => name !== 'control');
  }
}

const middle = (values: Values, name: string): number => median(values.get(name) ?? [Number.NaN]);
/** Ours against the better of Debian's: above 1 is ahead. */
function ratioOf(values: Values, lower: boolean): number {
  const others = ['c', 'ocaml'].map(name => middle(values, name)).filter(n => !Number.isNaN(n));
  const mine = middle(values, 'ours');
  return lower ? Math.min(...others) / mine : mine / Math.max(...others);
}
const ahead = (values: Values): Line['goal'] => ({ text: 'ahead', kept: ratioOf(values, false) > 1 });
const level = (values: Values): Line['goal'] => ({ text: 'level', kept: ratioOf(values, false) >= 0.97 });

async function rates(bench: Bench): Promise<Line[]> {
  const lines: Line[] = [];
  const ways = [
    { text: '1 connection', connections: 1, depth: 1, goal: ahead },
    { text: '8 connections', connections: 8, depth: 1, goal: level },
    { text: `${CONNECTIONS} connections`, connections: CONNECTIONS, depth: 1, goal: level },
    { text: '16 in flight', connections: 1, depth: 16, goal: ahead },
    { text: '8 connections, 16 in flight', connections: 8, depth: 16, goal: ahead },
  ];
  for (const op of ['read', 'write', 'directory']) {
    for (const { text, connections, depth, goal } of ways) {
      const { perSecond } = await bench.measure(op, { connections, depth, ms: MS });
      lines.push({ name: `${op}, ${text}`, unit: '/s', values: perSecond!, goal: goal(perSecond!)! });
    }
  }
  return lines;
}

async function events(bench: Bench): Promise<Line[]> {
  const { p50, p99 } = await bench.measure('fire', { count: FIRES }, bench.real);
  return [
    { name: 'write to watch event, p50', unit: 'µs', values: p50! },
    { name: 'write to watch event, p99', unit: 'µs', values: p99! },
  ];
}

async function transactions(bench: Bench): Promise<Line[]> {
  const lines: Line[] = [];
  for (const connections of [1, 8, CONNECTIONS]) {
    const { perSecond } = await bench.measure('transactions', { connections, ms: MS }, bench.real);
    lines.push({ name: `transactions of ${connections}, each its own node`, unit: '/s', values: perSecond! });
  }
  for (const connections of [8, CONNECTIONS]) {
    const { perSecond, retries } = await bench.measure('contended', { connections, ms: MS }, bench.real);
    const share = new Map([...retries!].map(([name, all]) => [name, all.map(n => n * 100)]));
    lines.push({ name: `transactions of ${connections} on one node`, unit: '/s', values: perSecond! });
    const goal = { text: '< 20 %', kept: middle(share, 'ours') < 20 };
    lines.push({ name: 'of these, tried in vain', unit: '%', values: share, goal });
  }
  return lines;
}

/** How much slower writes are with many watches that do not concern them. */
async function unrelatedWatches(bench: Bench): Promise<Line> {
  const writes = { depth: 16, ms: MS }; // pipelined: what a write costs, without the waits for one another
  const before = (await bench.measure('write', writes, bench.real)).perSecond!;
  await bench.measure('watches', { count: WATCHES }, bench.real, 1);
  const after = (await bench.measure('write', writes, bench.real)).perSecond!;
  const values = new Map(bench.real.map(({ name }) => [name, [middle(before, name) / middle(after, name)]]));
  const goal = { text: '≤ 1.1×', kept: middle(values, 'ours') <= 1.1 };
  return { name: `a write with ${figure(WATCHES)} unrelated watches`, unit: '×', values, goal };
}

/** Once only, for it takes some of them long. `bench` is of daemons that have done nothing else. */
async function manyNodes(bench: Bench): Promise<Line[]> {
  await bench.measure('prepare', { connections: 1 }, bench.real, 1);
  const before = new Map(bench.real.map(({ name, pid }) => [name, residentMiB(pid)]));
  await bench.measure('build', { count: NODES }, bench.real, 1);
  const memory = new Map(bench.real.map(({ name, pid }) => [name, [residentMiB(pid) - before.get(name)!]]));
  const { ms, longest } = await bench.measure('remove', {}, bench.real, 1);
  const goal = { text: '≤ 10 ms', kept: middle(longest!, 'ours') <= 10 };
  return [
    { name: `memory for ${figure(NODES)} nodes`, unit: 'MiB', values: memory },
    { name: 'their removal', unit: 'ms', values: ms! },
    { name: 'the longest wait of another client meanwhile', unit: 'ms', values: longest!, goal },
  ];
}

function table(lines: readonly Line[], names: readonly string[]): string {
  const rows = lines.map(({ name, unit, values, goal }) => {
    const ratio = ratioOf(values, unit !== '/s');
    return [
      name,
      ...names.map(subject => (values.has(subject) ? `${figure(middle(values, subject))} ${unit}` : '')),
      Number.isFinite(ratio) ? `${ratio.toFixed(2)}×` : '',
      goal ? `${goal.text} ${goal.kept ? 'yes' : 'NO'}` : '',
    ];
  });
  const head = ['xenstored', ...names, 'ahead by', 'goal'];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]!.length)));
  const format = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [format(head), format(widths.map(width => '-'.repeat(width))), ...rows.map(format)].join('\n');
}

/** Ours and those of Debian's that can run here, all with empty stores, while `body` lasts. */
async function withSubjects<T>(folder: string, body: (bench: Bench) => Promise<T>): Promise<T> {
  const subjects: Subject[] = [];
  let load: XenstoreLoad | undefined;
  try {
    subjects.push(await ours(folder));
    for (const which of ['c', 'ocaml'] as const) {
      const subject = await debians(which);
      if (subject) subjects.push(subject);
    }
    subjects.push(await control(folder));
    load = await XenstoreLoad.start();
    return await body(new Bench(load, subjects));
  } finally {
    await load?.stop();
    for (const subject of subjects) await subject.stop();
  }
}

/** A table of its own, for it has more columns than the others. */
export async function xenstoredTable({ folder }: Pick<BenchHost, 'folder'>): Promise<string> {
  for (const which of ['c', 'ocaml'] as const) {
    const reason = whyNot(which);
    if (reason !== undefined) console.error(`bench: xenstored: not beside the ${which} daemon: ${reason}`);
  }
  const lines = await withSubjects(folder, async bench => {
    await bench.measure('prepare', { connections: CONNECTIONS }, bench.real, 1);
    return [
      ...(await rates(bench)),
      ...(await events(bench)),
      ...(await transactions(bench)),
      await unrelatedWatches(bench),
    ];
  });
  lines.push(...(await withSubjects(folder, manyNodes)));
  return table(lines, ['ours', 'c', 'ocaml', 'control']);
}
