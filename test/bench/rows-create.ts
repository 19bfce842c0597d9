// From the request to the toolstack until the guest program's first line is in its console's log: with a
// waiting shell, and cold, when Node has to be started first.
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, watch, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type DomainConfig, runPaths } from '#pvbus';
import { readConfig } from '../../tools/config/read-config.ts';
import { ToolstackClient } from '../../tools/toolstack-client.ts';
import { dist, type HostRig } from '../support/host-rig.ts';
import { eventually, isAlive } from '../support/processes.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';
import { nodeStart } from './yardsticks.ts';

const RUNS = 11;
/** The goal is 10 ms on a machine where node -e 0 takes 42: on another it is as much of what that takes there. */
const GOAL_OF_NODE_START = 10 / 42;

export async function createRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const program = join(folder, 'hello.js');
  writeFileSync(program, `console.log('hello');\nexport default () => new Promise(() => {});\n`);
  const client = await ToolstackClient.connect(runPaths(rig.runDir).toolstackSocket);
  const cold = { bare: [] as number[], ours: [] as number[] };
  const prepared = { bare: [] as number[], ours: [] as number[] };
  for (let run = 0; run < RUNS; run++) {
    const start = await nodeStart();
    cold.bare.push(start);
    process.kill(await waitingShell(rig), 'SIGKILL');
    await eventually('the host knows that its shell is gone', () => endedShells(rig) === run + 1);
    cold.ours.push(await firstLine(client, rig, program, `cold${run}`));
    prepared.bare.push(start * GOAL_OF_NODE_START);
    await waitingShell(rig);
    prepared.ours.push(await firstLine(client, rig, program, `warm${run}`));
  }
  client.close();
  return [
    { name: 'create to first line, cold', unit: 'ms', yardstick: 'node -e 0', ...cold, goal: { atMost: 2 } },
    {
      ...{ name: 'create to first line, prepared', unit: 'ms', yardstick: '10/42 of node -e 0' },
      ...{ ...prepared, goal: { atMost: 1 } },
    },
  ];
}

/** Milliseconds; the domain is destroyed afterwards. */
async function firstLine(client: ToolstackClient, rig: HostRig, program: string, name: string): Promise<number> {
  const config = helloConfig(name, program);
  const line = firstByte(runPaths(rig.runDir).consoleLog(name));
  const from = performance.now();
  const created = client.call('create', { config, paused: false, monitor: true });
  const ms = (await line) - from;
  const { domid } = await created;
  await client.call('destroy', { domid, force: false });
  return ms;
}
/** When the file is there and has a byte. Told by the file system: asking again and again takes a processor. */
function firstByte(path: string): Promise<number> {
  return new Promise(resolve => {
    const watcher = watch(dirname(path), (_, name) => {
      if (name !== basename(path) || !statSync(path, { throwIfNoEntry: false })?.size) return;
      resolve(performance.now());
      watcher.close();
    });
  });
}
function helloConfig(name: string, program: string): DomainConfig {
  const text = `name = "${name}"\nmemory = 32\nkernel = "${dist('domu-kernel.js')}"\nramdisk = "${program}"\n`;
  return readConfig(Buffer.from(text), name, [], { cwd: '/', random: randomBytes, warn: () => {} });
}
const endedShells = (rig: HostRig): number => rig.log().split('a prepared domain-shell').length - 1;
/** The pid of the shell that no domain has taken, once it waits in its receive. */
function waitingShell(rig: HostRig): Promise<number> {
  return eventually('a waiting shell', () => rig.processes().find(isWaitingShell));
}
function isWaitingShell(pid: number): boolean {
  if (!isAlive(pid) || !readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('domain-shell')) return false;
  // recvmsg is system call 47: it has started and waits for its memory.
  return readFileSync(`/proc/${pid}/syscall`, 'utf8').startsWith('47 ');
}
