// Programs in domains of their own, from `xl run` to its exit code, beside the same binary under node:wasi on the host
// and, of SQLite, beside the host's own sqlite3. What a row of inserts counts is without the program's start.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepareProgram } from '#pvbus';
import { tarOf } from '../support/archives.ts';
import { python } from '../support/programs/python.ts';
import { runOnNode } from '../support/programs/run-on-node.ts';
import { sqlite } from '../support/programs/sqlite.ts';
import { xlRun } from '../support/programs/xl-run.ts';
import { compileWasi } from '../support/wasi-cc.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';

const STARTS = 7;
const ROUNDS = 3;
const INSERTS = 100_000;
const INSERT = `create table t(a integer primary key, b text);
  with recursive n(x) as (select 1 union all select x + 1 from n where x < ${INSERTS})
  insert into t select x, hex(randomblob(8)) from n; create index i on t(b);`;
const NOTHING = 'select 1;';
/** Programs at once, and what each counts to: about half a second. */
const AT_ONCE = 4;
const TURNS = 600_000_000;

export async function programRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const echo = await compileWasi(fileURLToPath(new URL('../support/programs/c/echo.c', import.meta.url)));
  const inDomain = (...args: string[]) => timed(() => xlRun(rig.runDir, args));
  const onNode = (program: string, ...args: string[]) => timed(() => runOnNode(program, args, folder));
  /** The first run of each prepares the program, and is not counted. */
  const starts = async (program: string, code: number, options: string[], args: string[]) => {
    const found = { bare: [] as number[], ours: [] as number[] };
    for (let round = -1; round < STARTS; round++) {
      const [bare, ours] = [await onNode(program, ...args), await inDomain(...options, program, ...args)];
      for (const run of [bare, ours]) if (run.code !== code) throw new Error(`${program}: ${run.code} ${run.stderr}`);
      if (round < 0) continue;
      found.bare.push(bare.ms);
      found.ours.push(ours.ms);
    }
    return found;
  };
  const hello = await starts(echo, 7, [], []);
  const cpython = await starts(await python(), 0, ['-m', '512'], ['-c', 'pass']);
  const inserts = await sqliteInserts(await sqlite(), folder, inDomain, onNode);
  const several = await severalVcpus(folder, inDomain);
  const node = { yardstick: 'the same wasm under node:wasi' };
  return [
    { name: 'a program, start to end', unit: 'ms', ...node, ...hello, goal: { atMost: 5 } },
    { name: 'CPython, start to end', unit: 'ms', ...node, ...cpython, goal: { atMost: 3 } },
    {
      ...{ name: 'SQLite, inserts on a FAT disk', unit: '/s', ...node, goal: { atLeast: 0.3 } },
      ...{ bare: inserts.node, ours: inserts.guest },
    },
    {
      ...{ name: 'SQLite, inserts on a FAT disk', unit: '/s', yardstick: "the host's sqlite3", goal: { atLeast: 0.1 } },
      ...{ bare: inserts.native, ours: inserts.guest },
    },
    {
      ...{ name: `${AT_ONCE} programs that compute, 2 vCPUs`, unit: 'ms', yardstick: '1 vCPU', goal: { atMost: 0.75 } },
      ...several,
    },
  ];
}

/** The same script in a domain of one vCPU and of two, without what the domain takes by itself. */
async function severalVcpus(folder: string, inDomain: (...args: string[]) => Promise<Timed>) {
  const source = fileURLToPath(new URL('../support/programs/c/turns.c', import.meta.url));
  const program = prepareProgram(readFileSync(await compileWasi(source, { flags: ['-O1'] })));
  const root = join(folder, 'turns.tar');
  writeFileSync(root, tarOf([{ name: 'turns.wasm', data: program }]));
  const script = (turns: number): string => `${`/turns.wasm lines 1 ${turns} > /dev/null & `.repeat(AT_ONCE)}wait`;
  const took = async (vcpus: number): Promise<number> => {
    const run = async (turns: number): Promise<number> => {
      const { ms, code, stderr } = await inDomain(`--vcpus=${vcpus}`, root, 'sh', '-c', script(turns));
      if (code !== 0) throw new Error(`turns: ${code} ${stderr}`);
      return ms;
    };
    const [empty, full] = [await run(1), await run(TURNS)];
    return full - empty;
  };
  const found = { bare: [] as number[], ours: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    found.bare.push(await took(1));
    found.ours.push(await took(2));
  }
  return found;
}

type Timed = { readonly ms: number; readonly code: number | null; readonly stderr: string };
async function timed(run: () => Promise<{ readonly code: number | null; readonly stderr: string }>): Promise<Timed> {
  const from = performance.now();
  const { code, stderr } = await run();
  return { ms: performance.now() - from, code, stderr };
}

async function sqliteInserts(
  program: string,
  folder: string,
  inDomain: (...args: string[]) => Promise<Timed>,
  onNode: (program: string, ...args: string[]) => Promise<Timed>,
) {
  const found = { guest: [] as number[], node: [] as number[], native: [] as number[] };
  const image = join(folder, 'sqlite.img');
  const file = join(folder, 'native.db');
  for (let round = 0; round < ROUNDS; round++) {
    writeFileSync(image, '');
    truncateSync(image, 32 << 20);
    execFileSync('mkfs.vfat', [image], { stdio: 'ignore' });
    for (const name of ['node.db', 'native.db']) rmSync(join(folder, name), { force: true });
    const perSecond = async (run: (sql: string) => Promise<Timed>): Promise<number> => {
      const [empty, full] = [await run(NOTHING), await run(INSERT)];
      for (const { code, stderr } of [empty, full]) if (code !== 0) throw new Error(`sqlite: ${code} ${stderr}`);
      return (INSERTS / (full.ms - empty.ms)) * 1000;
    };
    found.guest.push(await perSecond(sql => inDomain('--disk', image, program, '/mnt/t.db', sql)));
    found.node.push(await perSecond(sql => onNode(program, '/node.db', sql)));
    const native = async (sql: string) => {
      execFileSync('sqlite3', [file, sql]);
      return { code: 0, stderr: '' };
    };
    found.native.push(await perSecond(sql => timed(() => native(sql))));
  }
  return found;
}
