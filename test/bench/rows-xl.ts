// xl itself: a listing beside the start of Node, one of many domains beside one of a single one, and topologies.
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { dist, type HostRig } from '../support/host-rig.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';
import { nodeStart } from './yardsticks.ts';

const LISTINGS = 21;
const MANY = 200;
const ROUNDS = 3;
const TOGETHER = 50;
const XL = dist('cli/xl.js');

export async function xlRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const program = join(folder, 'waits.js');
  writeFileSync(program, 'export default () => new Promise(() => {});\n');
  const topology = (name: string, count: number, paused: boolean): string => {
    const keys = `{ kernel: "${dist('domu-kernel.js')}", ramdisk: "${program}", memory: 8, paused: ${paused} }`;
    const domains = Array.from({ length: count }, (_, i) => `  ${name}${i}: ${keys}\n`).join('');
    const path = join(folder, `${name}.yaml`);
    writeFileSync(path, `domains:\n${domains}`);
    return path;
  };
  const one = topology('one', 1, true);
  await xl(rig, 'up', '-q', one);
  const list = { bare: [] as number[], ours: [] as number[] };
  for (let i = 0; i < LISTINGS; i++) {
    list.bare.push(await nodeStart());
    list.ours.push(await xl(rig, 'list'));
  }
  await xl(rig, 'down', '-q', one);

  const fifty = topology('fifty', TOGETHER, false);
  const up = { bare: [] as number[], ours: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    up.bare.push((await manyNodes(TOGETHER)) / TOGETHER);
    up.ours.push((await xl(rig, 'up', '-q', fifty)) / TOGETHER);
    await xl(rig, 'down', '-q', fifty);
  }

  const many = topology('many', MANY, true);
  await xl(rig, 'up', '-q', many);
  const listMany: number[] = [];
  for (let i = 0; i < LISTINGS; i++) listMany.push(await xl(rig, 'list'));
  await xl(rig, 'down', '-q', many);
  return [
    { name: 'xl list, one domain', unit: 'ms', yardstick: 'node -e 0', ...list, goal: { atMost: 1.5 } },
    {
      ...{ name: `xl list, ${MANY} domains`, unit: 'ms', yardstick: 'xl list, one domain' },
      ...{ bare: list.ours, ours: listMany, goal: { atMost: 2 } },
    },
    {
      ...{ name: `xl up of ${TOGETHER} domains, each`, unit: 'ms', yardstick: `${TOGETHER} node -e 0 at once, each` },
      ...{ ...up, goal: { atMost: 2 } },
    },
  ];
}

/** Milliseconds from its start to its end; throws unless it succeeds. */
async function xl(rig: HostRig, ...args: string[]): Promise<number> {
  const from = performance.now();
  await execa(process.execPath, [XL, ...args], { env: rig.env, stdin: 'ignore' });
  return performance.now() - from;
}

/** Milliseconds that `count` starts of Node take, as many at a time as `xl up` makes domains. */
async function manyNodes(count: number): Promise<number> {
  const from = performance.now();
  let left = count;
  const one = async (): Promise<void> => {
    while (left-- > 0) await nodeStart();
  };
  await Promise.all(Array.from({ length: 2 * availableParallelism() }, one));
  return performance.now() - from;
}
