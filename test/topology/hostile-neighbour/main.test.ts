// Two domains on one pCPU, of which one computes and never looks at anything else. Both get on, the one that does not
// yield by being stopped and continued; and of both nothing is left.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dist, HostRig } from '../../support/host-rig.ts';
import { cpuTimeNs, eventually, isAlive, processOfDomain } from '../../support/processes.ts';

const HOSTILE = `
console.log('at work');
export default () => {
  setTimeout(() => { while (true); }, 10);
  return new Promise(() => {});
};
`;
const GOOD = `
import { smp } from 'xenolith';
export default async () => {
  for (let done = 0; ; done++) {
    if (done % 100 === 0) console.log('done', done, 'stolen', Math.floor(smp.times().runnable * 1000));
    const until = performance.now() + 0.2;
    while (performance.now() < until);
    await new Promise(resolve => setImmediate(resolve));
  }
};
`;

const dir = mkdtempSync(join(tmpdir(), 'xenolith-hostile-'));
let host: HostRig;
beforeAll(async () => {
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function create(name: string, program: string): Promise<number> {
  const file = join(dir, `${name}.ts`);
  writeFileSync(file, program);
  const config = join(dir, `${name}.cfg`);
  const kernel = `kernel = "${dist('domu-kernel.js')}"\nramdisk = "${file}"\n`;
  writeFileSync(config, `name = "${name}"\nmemory = 16\ncpus = "0"\n${kernel}`);
  const { exitCode, stderr } = await host.xl('create', '-q', config);
  expect([exitCode, stderr]).toEqual([0, '']);
  // It maps the domain's memory a moment after the create has returned.
  await eventually(`${name} has begun`, () => host.consoleLog(name) !== '');
  return processOfDomain(Number((await host.xl('domid', name)).stdout), host.processes());
}
const stateOf = (pid: number): string => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))![1]!;
const progress = (): { done: number; stolen: number } => {
  const last = /(?:done (\d+) stolen (\d+)\s+)+$/.exec(host.consoleLog('good').replaceAll('\r', ''));
  return { done: Number(last?.[1] ?? -1), stolen: Number(last?.[2] ?? 0) };
};

it('fault 42: both get on; who does not yield is stopped and continued, and the other one knows what it has lost', async () => {
  const hostile = await create('hostile', HOSTILE);
  const good = await create('good', GOOD);
  await eventually('both run', () => progress().done > 0 && host.consoleLog('hostile').includes('at work'));
  let rounds = 0;
  for (let was = cpuTimeNs(hostile); rounds < 10; ) {
    const before = progress().done;
    await eventually('the hostile one is stopped', () => stateOf(hostile) === 'T');
    await eventually('it goes on', () => stateOf(hostile) !== 'T' && cpuTimeNs(hostile) > was);
    await eventually('the other one does, too', () => progress().done > before);
    was = cpuTimeNs(hostile);
    rounds++;
  }
  // What the hostile one has used the other one has waited for.
  await eventually('it knows', () => progress().stolen > 0);
  expect((await host.xl('destroy', 'hostile')).exitCode).toBe(0);
  expect((await host.xl('destroy', 'good')).exitCode).toBe(0);
  await eventually('both processes have ended', () => !isAlive(hostile) && !isAlive(good));
  expect((await host.domains()).map(({ domid }) => domid)).toEqual([0]);
});
