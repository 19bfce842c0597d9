// A domain of several vCPUs, each a thread: they work on memory they share, wait for one another without holding a
// processor, come and go by xl vcpu-set, and end together.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist, HostRig } from '../../support/host-rig.ts';
import { inventoryAtRest } from '../../support/inventory.ts';
import { eventually, openFiles as filesOf, isAlive, isShell, processOfDomain } from '../../support/processes.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-smp-'));
let host: HostRig;
let unused: { files: string[]; processes: number };
beforeAll(async () => {
  host = await HostRig.start();
  await eventually('a shell waits', () => host.processes().filter(isShell).length === 1);
  await inventoryAtRest(host); // the hypervisor has opened the process, too
  unused = { files: openFiles(), processes: host.processes().length };
});
afterEach(async () => {
  for (const { name, domid } of await host.domains()) if (domid !== 0) await host.xl('destroy', name);
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What the hypervisor has open. */
const openFiles = (): string[] => filesOf(host.hypervisorPid);

async function create(does: string, keys: Record<string, string | number> = {}): Promise<string> {
  const name = `smp-${does}`;
  const all = { memory: 32, vcpus: 4, on_crash: '"preserve"', on_poweroff: '"preserve"', ...keys };
  const lines = Object.entries(all).map(([key, value]) => `${key} = ${value}\n`);
  const images = `kernel = "${dist('domu-kernel.js')}"\nramdisk = "${join(import.meta.dirname, 'guest.ts')}"\n`;
  const file = join(dir, `${name}.cfg`);
  writeFileSync(
    file,
    `name = "${name}"\n${images}extra = "does=${does}${keys.extra ?? ''}"\n${lines.filter(line => !line.startsWith('extra')).join('')}`,
  );
  expect(await host.xl('create', '-q', file)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
  return name;
}
async function says(name: string, text: string, withinMs = 60_000): Promise<string> {
  const said = () => host.consoleLog(name).includes(text);
  await eventually(`${name} says ${text}`, said, withinMs).catch(error => {
    throw new Error(`${error.message}; it said:\n${host.consoleLog(name)}\n${host.logToQuote()}`);
  });
  return host.consoleLog(name).replaceAll('\r', '');
}
/** The columns VCPUs and state of `xl list`. */
async function listed(name: string): Promise<{ vcpus: number; state: string }> {
  const { stdout } = await host.xl('list', name);
  const [, vcpus, state] = /(\d+)\s+(\S{6})\s+[\d.]+\s*$/.exec(stdout) ?? [];
  return { vcpus: Number(vcpus), state: state ?? '' };
}
const domidOf = async (name: string): Promise<number> =>
  (await host.domains()).find(domain => domain.name === name)!.domid;

it('a lock that four vCPUs contend for loses nothing', async () => {
  const said = await says(await create('sums'), 'done');
  expect(said).toContain('0 of 4, on line: 0,1,2,3\n');
  expect(said).toContain('sum 80000 of vCPUs 1,2,3\n');
});

it('100,000 round trips of interrupts between two vCPUs come to their end', async () => {
  expect(await says(await create('ping-pong'), 'done', 200_000)).toContain('200000 turns of vCPUs 1,2\n');
}, 240_000);

it('a barrier lets nobody run ahead', async () => {
  expect(await says(await create('walks'), 'done')).toContain('in step: true,true,true, 2000,2000,2000\n');
});

it('values go over as copies, shared memory and locks as themselves, and errors with their words', async () => {
  const said = await says(await create('carries'), 'done');
  const lines = [
    'shared 7,9 copied 1,2 1,x,null,undefined,1180591620717411303424 5',
    'long 300000',
    'RangeError: a bug on vCPU 1, EBUG, true',
    "EOPNOTSUPP files is vCPU 0's; this is vCPU 1",
    "EINVAL run: the program does not export 'this function'",
    '() => 1 could not be cloned.',
    'ENODEV vcpu 9 is not on line',
    'vCPU 2 naps',
    'nap on 2',
    'EDEADLK',
    'EPERM',
  ];
  for (const line of lines) expect(said).toContain(`${line}\n`);
});

it('maxvcpus are there, vcpus of them are up; xl vcpu-set brings them up and down', async () => {
  const name = await create('waits', { vcpus: 2, maxvcpus: 3 });
  expect(await says(name, 'done')).toContain('0 of 3, on line: 0,1\n');
  expect((await listed(name)).vcpus).toBe(2);
  for (const count of [3, 1, 2, 3]) {
    expect(await host.xl('vcpu-set', '-i', name, String(count))).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    await eventually(`${count} vCPUs are up`, async () => (await listed(name)).vcpus === count);
  }
  expect(await host.xl('vcpu-set', '-i', name, '4')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('Requested 4 VCPUs, however maxcpus is 3!'),
  });
  // Not even if it is asked for.
  expect((await host.xl('vcpu-set', name, '0')).exitCode).toBe(0);
  await eventually('one is left', async () => (await listed(name)).vcpus === 1);
  expect((await host.xl('shutdown', '-w', name)).exitCode).toBe(0);
});

it('vCPUs that come and go forty times under a contended lock lose no work', async () => {
  const name = await create('hotplug');
  await says(name, 'begins');
  const domid = await domidOf(name);
  const toolstack = await ToolstackClient.connect(runPaths(host.runDir).toolstackSocket);
  try {
    // What xl vcpu-set asks for, as fast as it is answered or with time to be acted upon.
    for (let i = 0; i < 40; i++) {
      const count = 1 + ((i * 7) % 4);
      await toolstack.call('setVcpus', { domid, count });
      if (i % 4 === 0) await eventually(`${count} are up`, async () => (await listed(name)).vcpus === count);
    }
  } finally {
    toolstack.close();
  }
  await host.xl('vcpu-set', '-i', name, '3');
  await eventually('the last one is as it was asked for', async () => (await listed(name)).vcpus === 3);
  await host.xl('store', 'write', `/local/domain/${domid}/data/end`, '1');
  expect(await says(name, 'done')).toMatch(/sum \d+ is right; changes: true\n/);
}, 240_000);

it('an exception on another vCPU is the crash of its domain, with its words', async () => {
  const name = await create('throws');
  await eventually('it has crashed', async () => (await listed(name)).state === '---sc-');
  expect((await host.xl('dmesg')).stdout).toMatch(/dom\d+: shut down, crash: vcpu2: RangeError: a bug on vCPU 2\n/);
  const line = /domain 'smp-throws' \(dom\d+\) has crashed: RangeError: a bug on vCPU 2;/;
  await eventually('the log names domain and exception', () => line.test(host.log()));
});

it('a vCPU that never comes back does not keep vCPU 0 from its console', async () => {
  const name = await create('spins');
  await says(name, 'vCPU 1 spins');
  const console = connect(runPaths(host.runDir).consoleSocket(await domidOf(name))).on('error', () => {});
  console.write('you\r');
  await says(name, 'heard you');
  console.destroy();
});

describe.skipIf(availableParallelism() < 2)('a vCPU that never yields, on a pCPU with another domain', () => {
  const CPU = String(availableParallelism() - 1);
  beforeAll(async () => {
    await fine('cpupool-cpu-remove', 'Pool-0', CPU);
    await fine('cpupool-create', 'name="one"', `cpus=["${CPU}"]`);
  });
  afterAll(async () => {
    await fine('cpupool-destroy', 'one');
    await fine('cpupool-cpu-add', 'Pool-0', CPU);
  });

  it('has its domain stopped for its share, and paid for by itself', async () => {
    const stuck = await create('spins', { vcpus: 2, pool: '"one"' });
    await says(stuck, 'vCPU 1 spins');
    const pid = processOfDomain(await domidOf(stuck), host.processes());
    const works = await create('works', { vcpus: 1, pool: '"one"' });
    await says(works, 'turn 2000');
    for (const isStopped of [true, false, true, false])
      await eventually(`it is ${isStopped ? '' : 'not '}stopped`, () => (stateOf(pid) === 'T') === isStopped);
    // Both get on: the other domain, and of the stuck one also the vCPU that has something else to do.
    const turns = host.consoleLog(works).length;
    const used = await times(stuck);
    const console = connect(runPaths(host.runDir).consoleSocket(await domidOf(stuck))).on('error', () => {});
    console.write('you\r');
    await says(stuck, 'heard you');
    console.destroy();
    await eventually('the other one gets on', () => host.consoleLog(works).length > turns);
    await eventually('the stuck one gets on', async () => (await times(stuck))[1]! > used[1]!);

    await fine('pause', stuck);
    await eventually('it stands still', () => stateOf(pid) === 'T');
    // What Linux has counted for the threads, one by one, is what the vCPUs have used.
    const [first, second] = await times(stuck);
    const threads = readdirSync(`/proc/${pid}/task`).map(tid => usedBy(pid, tid));
    expect(first! + second!).toBe(threads.reduce((a, b) => a + b));
    expect(second).toBeLessThanOrEqual(Math.max(...threads));
    expect(second).toBeGreaterThan(used[1]!);
    await fine('unpause', stuck);
    await eventually('it goes on', async () => (await times(stuck))[1]! > second!);
  });
});
/** CPU time of each vCPU, ns. */
async function times(name: string): Promise<number[]> {
  const { stdout } = await host.xl('vcpu-list', '--json', name);
  return (JSON.parse(stdout) as { cpu_time_ns: number }[]).map(vcpu => vcpu.cpu_time_ns);
}
async function fine(...args: string[]): Promise<void> {
  expect(await host.xl(...args)).toMatchObject({ exitCode: 0, stderr: '' });
}
const stateOf = (pid: number): string => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))![1]!;
const usedBy = (pid: number, tid: string): number =>
  Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'latin1').split(' ')[0]);

it('events by the FIFO ABI serve them as well', async () => {
  const said = await says(await create('sums', { extra: ' xen.fifo_events' }), 'done');
  expect(said).toContain('sum 80000 of vCPUs 1,2,3\n');
});

it('nothing of such a domain is left when it is destroyed, whatever its vCPUs do', async () => {
  const name = await create('spins');
  await says(name, 'vCPU 1 spins');
  const all = host.processes();
  await host.xl('destroy', name);
  await eventually('its process has ended, and another shell waits', () => {
    return all.some(pid => !isAlive(pid)) && host.processes().length === unused.processes;
  });
  await eventually(
    'the hypervisor has closed what it had for it',
    () => openFiles().length === unused.files.length,
  ).catch(() => expect(openFiles()).toEqual(unused.files));
});
