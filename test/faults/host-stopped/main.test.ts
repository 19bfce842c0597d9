// What breaks: nothing; every process of a host, or the hypervisor alone, is stopped (SIGSTOP) for a while and goes on
// (SIGCONT), as when somebody presses ^Z, a debugger holds it, or a machine is overloaded. When: while guests wait for timers.
// What must survive: each timer fires once, in the order of their deadlines; an interval that missed many beats makes up
// for none of them and stays in step; the wall clock is right; and disks and events go on, with either ABI of events.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dist, HostRig } from '../../support/host-rig.ts';
import { eventually, signalAll } from '../../support/processes.ts';

const STOPPED_MS = 1500;
const PERIOD = 50;
const GUEST = `
import { clock } from 'xenolith';
const PERIOD = ${PERIOD};
// The most of some: between the two it may lose its CPU.
const base = () => Math.max(...Array.from({ length: 20 }, () => clock.date().getTime() - clock.now())).toFixed(3);
export default async function main() {
  const fired = [];
  const start = clock.now();
  for (const [name, ms] of [['d', 1300], ['b', 700], ['a', 400], ['c', 1000], ['c2', 1000]])
    setTimeout(() => fired.push(name), ms);
  const first = clock.now();
  let [beats, last, gap] = [0, first, 0];
  const beat = setInterval(() => {
    const now = clock.now();
    gap = Math.max(gap, now - last);
    last = now;
    beats++;
  }, PERIOD);
  const run = clock.virtual();
  console.log('base', base());
  console.log('armed');
  // However long it takes until it has stood still.
  for (let slept = 0; slept < 1500 || gap < 10 * PERIOD; slept += PERIOD) await clock.sleep(PERIOD);
  clearInterval(beat);
  const span = clock.now() - first;
  await clock.sleep(3 * PERIOD);
  console.log('fired', fired.join(' '));
  console.log('beats', beats, gap, span);
  console.log('base', base());
  console.log('ran less than it lived', clock.virtual() - run < clock.now() - start);
  console.log('done');
  await new Promise(() => {});
}
`;

let rig: HostRig;
let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-stopped-'));
  rig = await HostRig.start();
});
afterAll(async () => {
  await rig?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function create(name: string, extra: string): Promise<void> {
  const program = join(dir, 'guest.ts');
  writeFileSync(program, GUEST);
  const file = join(dir, `${name}.cfg`);
  writeFileSync(
    file,
    `name = "${name}"\nkernel = "${dist('domu-kernel.js')}"\nramdisk = "${program}"\nmemory = 32\nextra = "${extra}"\n`,
  );
  expect(await rig.xl('create', '-q', file)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
}
const said = (name: string): string => rig.consoleLog(name).replaceAll('\r', '');

it.each([
  ['fault 52', 'the whole host', () => rig.processes()],
  ['fault 2', 'the hypervisor', () => [rig.hypervisorPid]],
])(
  '%s: after a standstill of %s timers fire once each, in order, and the wall clock is right',
  async (_n, _who, who) => {
    const guests = ['two-level', 'fifo'];
    await create('two-level', '');
    await create('fifo', 'xen.fifo_events=1');
    await eventually('both wait', () => guests.every(name => said(name).includes('armed')));
    const processes = who();
    signalAll(processes, 'SIGSTOP');
    await new Promise(resolve => setTimeout(resolve, STOPPED_MS));
    signalAll(processes, 'SIGCONT');
    await eventually('both are done', () => guests.every(name => said(name).includes('done'))).catch(error => {
      throw new Error(`${error.message}\n${guests.map(said).join('\n')}\n${rig.logToQuote()}`);
    });
    for (const name of guests) {
      const text = said(name);
      expect(text).toContain('fired a b c c2 d\n');
      expect(text).toContain('ran less than it lived true\n');
      const [beats, gap, span] = /^beats (.*)$/m.exec(text)![1]!.split(' ').map(Number) as [number, number, number];
      expect(gap).toBeGreaterThanOrEqual(10 * PERIOD);
      // One beat told of all that were missed. A few more are those of a guest that had no CPU in the middle of one.
      expect(beats).toBeLessThanOrEqual((span - gap) / PERIOD + 4);
      const bases = [...text.matchAll(/^base ([\d.]+)$/gm)].map(([, base]) => Number(base));
      const own = Math.min(...Array.from({ length: 20 }, () => -Number(process.hrtime.bigint()) / 1e6 + Date.now()));
      expect(bases).toHaveLength(2);
      // What has to be added to the monotonic clock, which is the same one here: a standstill leaves it alone.
      for (const base of bases) expect(Math.abs(base - own)).toBeLessThan(100);
    }
    expect((await rig.domains()).map(domain => domain.name).sort()).toEqual(['Domain-0', 'fifo', 'two-level']);
    for (const name of guests) expect(await rig.xl('destroy', name)).toMatchObject({ exitCode: 0 });
    // What they have said is not what the next ones say.
    for (const name of guests) rmSync(join(rig.runDir, 'log', `console-${name}.log`));
  },
);
