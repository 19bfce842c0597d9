// What breaks: the hypervisor or dom0's process is killed, or a thread of dom0 throws while its others sleep in system
// calls. What must be: without the hypervisor nothing of the host is left within 2 s (D16); another process takes
// dom0's place, and nobody else's ends. A dom0 that never served ends the host, and the log names the culprit and says
// why (D6). Before, the end of dom0's process was the end of the host.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type DomainInfo, runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist, root } from '../../support/host-rig.ts';
import { commandLine, eventually, family, isAlive } from '../../support/processes.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';

const pidOf = (program: string, pids: readonly number[]): number =>
  pids.find(pid => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`/${program}`))!;

/** A process that is not `old` serves tools: a connection to it, and what it knows. */
async function another(host: LifecycleHost, old: number): Promise<{ toolstack: ToolstackClient; list: DomainInfo[] }> {
  await eventually('it is gone', () => !isAlive(old));
  return eventually('another one serves', async () => {
    try {
      // The last threads of the old one may still have its socket: then the question fails.
      const toolstack = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket);
      return { toolstack, list: await toolstack.call('list', { domid: null }) };
    } catch {
      return false;
    }
  });
}

describe('kill -9 of the hypervisor', () => {
  it('ends the host and its domains within 2 s', async () => {
    const host = await LifecycleHost.start();
    await host.create(host.config('bystander', 'spin'));
    await host.up('bystander');
    const all = host.rig.processes();
    host.ending();
    process.kill(pidOf('hypervisor.js', all), 'SIGKILL');
    await eventually('nothing of the host is left', () => !all.some(isAlive), 2000);
    await host.stop();
  });
});

describe("kill -9 of dom0's process", () => {
  it('leaves the domains alone, and who takes its place knows them', async () => {
    const host = await LifecycleHost.start();
    const domid = await host.create(host.config('guest', 'idle'));
    await host.up('guest');
    const all = host.rig.processes();
    const dom0 = pidOf('dom0.js', all);
    const others = all.filter(pid => /hypervisor\.js|xenstored\.js|domain-shell/.test(commandLine(pid)));
    host.ending();
    process.kill(dom0, 'SIGKILL');
    const { toolstack, list } = await another(host, dom0);
    expect(list.map(({ name }) => name)).toEqual(['Domain-0', 'guest']);
    expect(others.filter(pid => !isAlive(pid))).toEqual([]);
    const ended = toolstack.call('wait', { domid, until: 'destroyed' });
    await toolstack.call('shutdown', { domid });
    expect(await ended).toMatchObject({ what: 'destroyed' });
    expect(host.rig.consoleLog('guest')).toContain('going down');
    expect(host.rig.log()).toContain('has ended: SIGKILL; another one takes its place');
    toolstack.close();
    await host.stop();
  });
});

describe('a thread of dom0 that throws', () => {
  const dirs: string[] = [];
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
  });
  /** The build with one of its files changed. It lies where it finds the same packages. */
  function faultyBuild(file: string, change: (text: string) => string): string {
    const cache = join(root, 'node_modules/.cache');
    mkdirSync(cache, { recursive: true });
    const dir = mkdtempSync(join(cache, 'faulty-'));
    dirs.push(dir);
    cpSync(dist('.'), join(dir, 'dist'), { recursive: true });
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
    const path = join(dir, 'dist', file);
    const before = readFileSync(path, 'utf8');
    const after = change(before);
    expect(after).not.toBe(before);
    writeFileSync(path, after);
    return join(dir, 'dist/hypervisor.js');
  }

  it.each([
    ['netback-thread.js', 'step() {', 3],
    ['blkback-thread.js', 'step() {', 2],
    ['pvcalls-thread.js', 'step() {', 4],
  ])('in %s is reported as the crash of that vCPU, with its message', async (file, where, vcpu) => {
    const hypervisor = faultyBuild(file, text => {
      // The worker's own step: the last of the file, which only it has.
      const at = text.lastIndexOf(where);
      return `${text.slice(0, at)}${where} throw new Error('out of teapots');${text.slice(at + where.length)}`;
    });
    const runDir = mkdtempSync(join(tmpdir(), 'xenolith-fault-'));
    dirs.push(runDir);
    const child = spawn(process.execPath, [hypervisor, '--run-dir', runDir], { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    let all: number[] = [];
    const watching = setInterval(() => {
      if (isAlive(child.pid!)) all = [...new Set([...all, ...family(child.pid!)])];
    }, 20);
    const [code] = await once(child, 'exit');
    clearInterval(watching);
    expect(code).not.toBe(0);
    const log = readFileSync(join(runDir, 'host.log'), 'utf8');
    expect(log).toContain(`a process of dom0 ended: vcpu${vcpu}: Error: out of teapots`);
    await eventually('nothing of the host is left', () => !all.some(isAlive), 2000);
  });
});
