// Who gets how much of one pCPU, and how soon: cpupools of one pCPU, with guests that yield and one that never does.
// Beside them what Linux does with plain processes on that CPU in the same run.
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runPaths, socketTransport, XenstoreClient } from '#pvbus';
import { dist, type HostRig } from '../support/host-rig.ts';
import { eventually, processOfDomain } from '../support/processes.ts';
import type { BenchHost } from './main.ts';
import { figure, format } from './table.ts';

const CPU = 1;
const SHARES_MS = 20_000;
const CAP_MS = 6000;
const STUCK_MS = 10_000;
const WEIGHTS = [256, 512, 1024];
const CAP = 25;
const RTDS_PERIOD_MS = 10;
/** With the rival's one, 90 % of the pCPU are reserved. */
const RTDS_BUDGET_MS = 8;
const RIVAL_BUDGET_MS = 1;
/** Of the budget the job leaves a little for the kernel under it. */
const RTDS_WORK_MS = 6;
/** In turns with the bare thread, so that both have the same of what else the machine does. */
const RTDS_BURSTS = 20;
const RTDS_PERIODS = 100;
/** What is measured begins so long after it is ready: all that starts has started. */
const REST_MS = 2000;
const WAKES = 1000;
const WAKE_EVERY_MS = 5;

/** Runs in a guest and in plain Node: `sleepUntil` is what differs. */
const PERIODIC = `
const spin = ms => { const until = performance.now() + ms; while (performance.now() < until); };
/** Work for \`workMs\` in each period; how late each piece of work began, in µs, and how many ended too late. */
async function periodic(count, periodMs, workMs, sleepUntil) {
  const turns = calibrate(workMs);
  console.log('ready');
  await sleepUntil(performance.now() + ${REST_MS});
  const { late, missed } = await burst(turns, count, periodMs, sleepUntil);
  late.sort((a, b) => a - b);
  const at = q => late[Math.min(late.length - 1, Math.floor(late.length * q))];
  return { p50: at(0.5), p99: at(0.99), max: at(1), missed };
}
async function burst(turns, count, periodMs, sleepUntil) {
  const late = [];
  let missed = 0;
  let release = performance.now() + periodMs;
  for (let i = 0; i < count; i++, release += periodMs) {
    await sleepUntil(release);
    late.push((performance.now() - release) * 1000);
    compute(turns);
    if (performance.now() > release + periodMs) missed++;
  }
  return { late, missed };
}
let x = 1;
function compute(turns) {
  for (let n = 0; n < turns; n++) x = (x * 1103515245 + 12345) & 0x7fffffff;
}
/** Turns that take \`workMs\` of this process's CPU time: by the median of many short tries. */
function calibrate(workMs) {
  const sample = 1e5;
  const tries = [];
  for (let k = 0; k < 1000; k++) {
    const from = performance.now();
    compute(sample);
    tries.push(performance.now() - from);
  }
  return Math.floor((sample / tries.sort((a, b) => a - b)[500]) * workMs);
}
`;
const HOSTILE = `console.log('ready'); export default () => { setTimeout(() => { while (true); }, 100); return new Promise(() => {}); };`;
const STUCK = `
import { smp } from 'xenolith';
export function forever() { while (true); }
console.log('ready');
export default () => { void smp.runOn(1, forever); return new Promise(() => {}); };`;
const HOG = `
console.log('ready');
export default async () => {
  for (;;) {
    const until = performance.now() + 0.1;
    while (performance.now() < until);
    await new Promise(resolve => setImmediate(resolve));
  }
};`;
const guestPeriodic = (count: number, periodMs: number, workMs: number): string => `
import { clock } from 'xenolith';
${PERIODIC}
export default async () => {
  const sleepUntil = async at => {
    const ms = at - performance.now();
    if (ms > 0) await clock.sleep(ms);
  };
  console.log(JSON.stringify(await periodic(${count}, ${periodMs}, ${workMs}, sleepUntil)));
  return new Promise(() => {});
};`;
const plainPeriodic = (count: number, periodMs: number, workMs: number): string => `
${PERIODIC}
const word = new Int32Array(new SharedArrayBuffer(4));
const sleepUntil = at => { const ms = at - performance.now(); if (ms > 0) Atomics.wait(word, 0, 0, ms); };
periodic(${count}, ${periodMs}, ${workMs}, sleepUntil).then(result => console.log(JSON.stringify(result)));`;

/** A burst each time this node says a number more. */
const GO = 'data/go';
const BURSTS_IN_GUEST = `
import { clock, system } from 'xenolith';
${PERIODIC}
export default async () => {
  const sleepUntil = async at => {
    const ms = at - performance.now();
    if (ms > 0) await clock.sleep(ms);
  };
  const turns = calibrate(${RTDS_WORK_MS});
  console.log('ready');
  for (let n = 1; ; n++) {
    while (Number(await system.store.read('${GO}').catch(() => 0)) < n) await clock.sleep(20);
    console.log(JSON.stringify({ n, ...(await burst(turns, ${RTDS_PERIODS}, ${RTDS_PERIOD_MS}, sleepUntil)) }));
  }
};`;
const BURSTS_IN_NODE = `
${PERIODIC}
const word = new Int32Array(new SharedArrayBuffer(4));
const sleepUntil = at => { const ms = at - performance.now(); if (ms > 0) Atomics.wait(word, 0, 0, ms); };
const turns = calibrate(${RTDS_WORK_MS});
console.log('ready');
process.stdin.on('data', async () => console.log(JSON.stringify(await burst(turns, ${RTDS_PERIODS}, ${RTDS_PERIOD_MS}, sleepUntil))));`;

/**
 * The same beside a process that never yields, with the least that can be done about it: a thread on the other CPU sleeps
 * until the period begins, stops that process, and wakes the one with the work.
 */
const BURSTS_BY_RELAY = `
const { Worker } = require('node:worker_threads');
${PERIODIC}
const memory = new SharedArrayBuffer(32);
const words = new Int32Array(memory);
const rest = new Float64Array(memory, 16);
const relay = () => {
  const { workerData: memory } = require('node:worker_threads');
  const { execFileSync, spawn } = require('node:child_process');
  const words = new Int32Array(memory);
  const rest = new Float64Array(memory, 16);
  const self = require('node:fs').readlinkSync('/proc/thread-self').split('/').pop();
  execFileSync('taskset', ['-cp', '${1 - CPU}', self]);
  const alone = ['--pdeathsig', 'KILL', 'taskset', '-c', '${CPU}'];
  const rival = spawn('setpriv', [...alone, process.execPath, '-e', 'while (true);']);
  setTimeout(() => {
    process.kill(rival.pid, 'SIGSTOP');
    Atomics.store(words, 3, 1);
    Atomics.notify(words, 3);
    for (let asked = 0; ; asked++) {
      Atomics.wait(words, 0, asked);
      const until = performance.now() + rest[0];
      if (words[2] === 0) continue;
      process.kill(rival.pid, 'SIGCONT');
      for (let ms = until - performance.now(); ms > 0; ms = until - performance.now()) Atomics.wait(words, 3, 1, ms);
      process.kill(rival.pid, 'SIGSTOP');
      Atomics.add(words, 1, 1);
      Atomics.notify(words, 1);
    }
  }, 500);
};
new Worker('(' + relay + ')()', { eval: true, workerData: memory });
Atomics.wait(words, 3, 0);
const ask = () => {
  Atomics.add(words, 0, 1);
  Atomics.notify(words, 0);
};
const sleepUntil = at => {
  const before = words[1];
  rest[0] = at - performance.now();
  ask();
  Atomics.wait(words, 1, before);
};
const turns = calibrate(${RTDS_WORK_MS});
console.log('ready');
process.stdin.on('data', async () => {
  words[2] = 1;
  const result = await burst(turns, ${RTDS_PERIODS}, ${RTDS_PERIOD_MS}, sleepUntil);
  words[2] = 0;
  ask();
  console.log(JSON.stringify(result));
});`;

interface Burst {
  /** µs */
  readonly late: readonly number[];
  readonly missed: number;
}

interface Periodic {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  readonly missed: number;
}

class Bench {
  private readonly rig: HostRig;
  private readonly folder: string;
  private readonly names: string[] = [];
  private readonly store: XenstoreClient;

  constructor({ rig, folder }: BenchHost, store: XenstoreClient) {
    this.rig = rig;
    this.store = store;
    this.folder = folder;
  }
  async xl(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.rig.xl(...args);
    if (exitCode !== 0) throw new Error(`xl ${args.join(' ')}: ${stderr}`);
    return stdout;
  }
  /** A domain in pool `pool`; its pid. */
  async guest(name: string, program: string, pool: string, config = ''): Promise<number> {
    const file = join(this.folder, `${name}.js`);
    writeFileSync(file, program);
    const cfg = join(this.folder, `${name}.cfg`);
    const kernel = `kernel = "${dist('domu-kernel.js')}"\nramdisk = "${file}"`;
    writeFileSync(cfg, `name = "${name}"\nmemory = 32\npool = "${pool}"\n${kernel}\n${config}\n`);
    await this.xl('create', '-q', cfg);
    this.names.push(name);
    await eventually(`${name} runs`, () => this.rig.consoleLog(name).includes('ready'));
    return processOfDomain(Number(await this.xl('domid', name)), this.rig.processes());
  }
  /** The n-th burst of a domain that waits for it. */
  async burst(name: string, n: number): Promise<Burst> {
    const domid = (await this.xl('domid', name)).trim();
    await this.store.write(`/local/domain/${domid}/${GO}`, String(n));
    await sleep(RTDS_PERIODS * RTDS_PERIOD_MS);
    const find = (): string | undefined =>
      this.rig
        .consoleLog(name)
        .split('\n')
        .slice(0, -1) // what has no end yet
        .find(line => line.startsWith(`{"n":${n},`));
    return JSON.parse((await eventually(`burst ${n}`, find, 60_000))!) as Burst;
  }
  async end(): Promise<void> {
    for (const name of this.names.splice(0)) await this.xl('destroy', name);
  }
  /** There is a pool of the measured pCPU for as long as `body` takes. */
  async inPool(name: string, scheduler: string, body: () => Promise<void>): Promise<void> {
    await this.xl('cpupool-create', `name="${name}"`, `sched="${scheduler}"`, `cpus=["${CPU}"]`);
    try {
      await body();
    } finally {
      // What has failed may have been one of these; those that there are keep the pool.
      for (const left of this.names.splice(0)) await this.rig.xl('destroy', left);
      await this.xl('cpupool-destroy', name);
    }
  }
  /** What it has measured within `ms`; nobody looks before, which would take time from those who are measured. */
  async answer(name: string, ms: number): Promise<Periodic> {
    await sleep(ms);
    const line = await eventually(
      `${name} has measured`,
      () => /^\{.*\}$/m.exec(this.rig.consoleLog(name).replaceAll('\r', ''))?.[0],
      60_000,
    );
    return JSON.parse(line) as Periodic;
  }
}

/** CPU time of a process, ns. */
function cpuNs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`))
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  return ns;
}
const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** What each of the processes used within `ms`, in ms of CPU time; and the time that passed. */
async function used(pids: readonly number[], ms: number): Promise<{ cpu: number[]; elapsed: number }> {
  const before = pids.map(cpuNs);
  const from = performance.now();
  await sleep(ms);
  const cpu = pids.map((pid, i) => (cpuNs(pid) - before[i]!) / 1e6);
  return { cpu, elapsed: performance.now() - from };
}

/** Those that have not ended yet: none outlives its group, also when that fails. */
const plains = new Set<ChildProcess>();
/** A plain Node process on the measured CPU. */
function plain(source: string): Plain {
  const child = spawn('taskset', ['-c', String(CPU), process.execPath, '-e', source], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  plains.add(child);
  child.on('close', () => plains.delete(child));
  let text = '';
  const output = new Promise<string>((resolve, reject) => {
    child.stdout.on('data', chunk => {
      text += chunk;
    });
    child.on('error', reject);
    child.on('close', () => resolve(text));
  });
  return {
    output,
    say: line => void child.stdin.write(`${line}\n`),
    line: async n => (await eventually('it has answered', () => text.split('\n').slice(0, -1).at(n), 60_000))!,
    kill: () => void child.kill('SIGKILL'),
  };
}
interface Plain {
  readonly output: Promise<string>;
  say(line: string): void;
  /** The n-th line that it prints. */
  line(n: number): Promise<string>;
  kill(): void;
}
async function plainAnswer(source: string): Promise<Periodic> {
  return JSON.parse((await plain(source).output).replace('ready', '')) as Periodic;
}

type Line = readonly [what: string, wanted: string, measured: string, kept: boolean];
const within = (value: number, goal: number, percent: number): boolean => Math.abs(value / goal - 1) * 100 <= percent;

async function shares(bench: Bench): Promise<Line[]> {
  const pids: number[] = [];
  for (const [i, weight] of WEIGHTS.entries())
    pids.push(await bench.guest(`w${weight}`, i === 1 ? HOSTILE : HOG, 'one', `cpu_weight = ${weight}`));
  await sleep(2000);
  const { cpu, elapsed } = await used(pids, SHARES_MS);
  await bench.end();
  const sum = cpu.reduce((a, b) => a + b);
  const weights = WEIGHTS.reduce((a, b) => a + b);
  return [
    ...WEIGHTS.map((weight, i): Line => {
      const share = cpu[i]! / sum;
      const name = `weight ${weight}${i === 1 ? ', never yields' : ''}`;
      return [name, percent(weight / weights), percent(share), within(share, weight / weights, 2)];
    }),
    ['all three together', '100 % of the pCPU', percent(sum / elapsed), sum / elapsed > 0.9],
  ];
}
/** One vCPU of two never yields: its domain has its share of the time all the same, against one that yields. */
async function stuck(bench: Bench): Promise<Line[]> {
  const pids = [
    await bench.guest('stuck', STUCK, 'one', 'vcpus = 2\ncpu_weight = 256'),
    await bench.guest('other', HOG, 'one', 'cpu_weight = 512'),
  ];
  await sleep(2000);
  const { cpu } = await used(pids, STUCK_MS);
  await bench.end();
  const share = cpu[0]! / (cpu[0]! + cpu[1]!);
  // Weights are a vCPU's; the other vCPU sleeps.
  const what = 'weight 256 beside 512, one vCPU of two never yields';
  return [[what, percent(1 / 3), percent(share), share <= (1 / 3) * 1.02]];
}
async function cap(bench: Bench): Promise<Line[]> {
  const lines: Line[] = [];
  for (const [name, program] of [
    ['yields', HOG],
    ['never yields', HOSTILE],
  ] as const) {
    const pid = await bench.guest('capped', program, 'one', `cap = ${CAP}`);
    await sleep(1500);
    const { cpu, elapsed } = await used([pid], CAP_MS);
    await bench.end();
    const share = cpu[0]! / elapsed;
    lines.push([`cap ${CAP} %, ${name}`, percent(CAP / 100), percent(share), within(share, CAP / 100, 2)]);
  }
  return lines;
}
/** Of two counts of rare happenings: is the first larger by what chance gives once in forty times, at most? */
const noMore = (a: number, b: number): boolean => a - b <= 2 * Math.sqrt(a + b);
async function rtds(bench: Bench): Promise<Line[]> {
  const [period, budget, rival] = [RTDS_PERIOD_MS, RTDS_BUDGET_MS, RIVAL_BUDGET_MS].map(ms => ms * 1000);
  await bench.guest('periodic', BURSTS_IN_GUEST, 'rt', `period = ${period}\nbudget = ${budget}`);
  await bench.guest('rival', HOSTILE, 'rt', `period = ${period}\nbudget = ${rival}\nextratime = 1`);
  await bench.xl('pause', 'rival');
  const control = plain(BURSTS_IN_NODE);
  await control.line(0);
  const relay = plain(BURSTS_BY_RELAY);
  await relay.line(0);
  const bare: Burst[] = [];
  const relayed: Burst[] = [];
  const ours: Burst[] = [];
  for (let n = 1; n <= RTDS_BURSTS; n++) {
    control.say('go');
    bare.push(JSON.parse(await control.line(n)) as Burst);
    relay.say('go');
    relayed.push(JSON.parse(await relay.line(n)) as Burst);
    await bench.xl('unpause', 'rival');
    await sleep(REST_MS / 10);
    ours.push(await bench.burst('periodic', n));
    await bench.xl('pause', 'rival');
  }
  control.kill();
  relay.kill();
  await bench.end();
  const missed = (bursts: Burst[]): number => bursts.reduce((sum, burst) => sum + burst.missed, 0);
  const late = (bursts: Burst[], q: number): string => {
    const all = bursts.flatMap(burst => burst.late).sort((a, b) => a - b);
    return `${figure(all[Math.floor(all.length * q)]!)} µs`;
  };
  const all = RTDS_BURSTS * RTDS_PERIODS;
  const what = `RTDS ${RTDS_BUDGET_MS} of ${RTDS_PERIOD_MS} ms beside one that never yields: missed of ${all}`;
  const relayName = '  beside a process that a thread on the other CPU stops: missed';
  return [
    [what, `${missed(bare)} alone on the CPU`, String(missed(ours)), noMore(missed(ours), missed(bare))],
    [relayName, String(missed(relayed)), String(missed(ours)), noMore(missed(ours), missed(relayed))],
    ...[0.5, 0.99].map((q): Line => {
      const name = `  its start after the beginning of the period, p${100 * q}`;
      return [name, `${late(bare, q)}, ${late(relayed, q)}`, late(ours, q), true];
    }),
  ];
}
async function latency(bench: Bench): Promise<Line[]> {
  const hog = `for (;;) { const until = performance.now() + 0.1; while (performance.now() < until); }`;
  const hogs = [plain(hog), plain(hog)];
  await sleep(500);
  const bare = await plainAnswer(plainPeriodic(WAKES, WAKE_EVERY_MS, 0));
  for (const { kill } of hogs) kill();
  await bench.guest('hog1', HOG, 'one');
  await bench.guest('hog2', HOG, 'one');
  await bench.guest('quick', guestPeriodic(WAKES, WAKE_EVERY_MS, 0), 'one');
  const ours = await bench.answer('quick', REST_MS + WAKES * WAKE_EVERY_MS);
  await bench.end();
  const row = (name: string, q: 'p50' | 'p99' | 'max', atMost: number): Line => [
    `wake-up beside two hogs, ${name}`,
    `${figure(bare[q])} µs under Linux`,
    `${figure(ours[q])} µs`,
    ours[q] <= atMost * bare[q],
  ];
  return [
    row('p50', 'p50', Number.POSITIVE_INFINITY),
    row('p99', 'p99', 2),
    row('worst', 'max', Number.POSITIVE_INFINITY),
  ];
}

const percent = (part: number): string => `${(100 * part).toFixed(2)} %`;

export async function schedulerTable(host: BenchHost): Promise<string> {
  const store = await socketTransport(runPaths(host.rig.runDir).xenstoredSocket);
  try {
    const lines = await measured(new Bench(host, new XenstoreClient(store)));
    const head = ['one pCPU', 'wanted', 'measured', 'kept'];
    return format(
      head,
      lines.map(([what, wanted, measured, kept]) => [what, wanted, measured, kept ? 'yes' : 'NO']),
    );
  } finally {
    for (const child of plains) child.kill('SIGKILL');
    store.close();
  }
}
async function measured(bench: Bench): Promise<Line[]> {
  await bench.xl('cpupool-cpu-remove', 'Pool-0', String(CPU));
  try {
    const all = [shares, stuck, cap, latency];
    const lines: Line[] = [];
    await bench.inPool('one', 'credit2', async () => {
      for (const measure of all) lines.push(...(await measure(bench)));
    });
    await bench.inPool('rt', 'rtds', async () => void lines.push(...(await rtds(bench))));
    return lines;
  } finally {
    await bench.xl('cpupool-cpu-add', 'Pool-0', String(CPU));
  }
}
