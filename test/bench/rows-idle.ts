// What domains cost that do nothing.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dist } from '../support/host-rig.ts';
import { eventually, processOfDomain } from '../support/processes.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';

const DOMAINS = 20;
/** A new host goes on compiling for a while. */
const SETTLING_MS = 20_000;
const WATCHED_MS = 20_000;
const MIB = 2 ** 10;

export async function idleRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const program = join(folder, 'idle.js');
  writeFileSync(program, `console.log(JSON.stringify({ ready: 1 }));\nexport default () => new Promise(() => {});\n`);
  for (let i = 0; i < DOMAINS; i++) {
    const file = join(folder, `idle${i}.cfg`);
    writeFileSync(
      file,
      `name = "idle${i}"\nmemory = 32\nkernel = "${dist('domu-kernel.js')}"\nramdisk = "${program}"\n`,
    );
    const { exitCode, stderr } = await rig.xl('create', '-q', file);
    if (exitCode !== 0) throw new Error(stderr);
  }
  for (let i = 0; i < DOMAINS; i++)
    await eventually(`idle${i} runs`, () => rig.consoleLog(`idle${i}`).includes('ready'));
  const bare = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1e9)']);
  await once(bare.stdout, 'data');
  console.error(`bench: a bare idle Node has ${privateMiB(bare.pid!).toFixed(1)} MiB of its own`);
  bare.kill('SIGKILL');
  const all = rig.processes();
  await new Promise(resolve => setTimeout(resolve, SETTLING_MS));
  const from = cpuMs(all);
  const start = performance.now();
  await new Promise(resolve => setTimeout(resolve, WATCHED_MS));
  const percent = ((cpuMs(all) - from) / (performance.now() - start)) * 100;
  const idle = (await rig.domains()).filter(({ name }) => name.startsWith('idle'));
  const memory = idle.map(({ domid }) => privateMiB(processOfDomain(domid, all)));
  for (let i = 0; i < DOMAINS; i++) await rig.xl('destroy', `idle${i}`);
  return [
    {
      name: 'private memory per idle domU',
      unit: 'MiB',
      yardstick: '16 MiB',
      bare: [16],
      ours: memory,
      goal: { atMost: 1 },
    },
    {
      name: `CPU of ${DOMAINS} idle domUs, whole host`,
      unit: '%',
      yardstick: '1 %',
      bare: [1],
      ours: [percent],
      goal: { atMost: 1 },
    },
  ];
}

function privateMiB(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)![1]);
  return (kib('Private_Clean') + kib('Private_Dirty')) / MIB;
}
/** CPU time of processes with all their threads. */
function cpuMs(pids: readonly number[]): number {
  let ns = 0;
  for (const pid of pids) {
    try {
      for (const task of readdirSync(`/proc/${pid}/task`))
        ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    } catch {
      // It has ended.
    }
  }
  return ns / 1e6;
}
