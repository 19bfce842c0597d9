// What breaks: the hypervisor or dom0's process is killed, or a thread of dom0 throws while its others sleep in system
// calls. What must be: without the hypervisor nothing of the host is left (D16); another process takes
// dom0's place, and nobody else's ends. A dom0 that never served ends the host, and the log names the culprit and says
// why (D6). Before, the end of dom0's process was the end of the host.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { emptyPvcalls } from '../../../tools/config/pvcalls-spec.ts';
import { hostEvents } from '../../../tools/host-events.ts';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist, root } from '../../support/host-rig.ts';
import { type Inventory, inventoryAtRest, takeInventory } from '../../support/inventory.ts';
import { commandLine, eventually, family, isAlive, processOfDomain, signalAll } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';
import { reactions } from '../../support/reactions.ts';
import { xl } from '../../support/xl.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';
import { disk, domainConfig, net } from '../../unit/dom0/toolstack/domain-config.ts';
import { BLOCK_BYTES, BLOCKS, fillBlock } from '../driver-domain/pattern.ts';

const KILLS = 5;

const pidOf = (program: string, pids: readonly number[]): number =>
  pids.find(pid => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`/${program}`))!;

/** libuv keeps a /dev/null open for each event loop that has ever had a socket: that of pvcalls has had some now. */
const comparable = (inventory: Inventory): Inventory => ({
  ...inventory,
  descriptors: inventory.descriptors.filter(line => !line.endsWith('/dev/null')),
});

/** Nobody has it at this moment. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}

/** A process that is not `old` serves tools: a connection to it, and what it knows. Who is `held` goes on after a refusal. */
async function another(host: LifecycleHost, old: number, held: readonly number[] = []) {
  await eventually('it is gone', () => !isAlive(old));
  const refusals = new Set<string>();
  return eventually('another one serves', async () => {
    try {
      // The last threads of the old one may still have its socket: then the question fails.
      const toolstack = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket);
      return { toolstack, list: await toolstack.call('list', { domid: null }), refusals: [...refusals] };
    } catch (error) {
      refusals.add((error as Error).message.replaceAll(host.rig.runDir, 'DIR'));
      signalAll(held, 'SIGCONT');
      return false;
    }
  });
}

describe('kill -9 of the hypervisor', () => {
  it('fault 1: ends the host and its domains', async () => {
    const host = await LifecycleHost.start();
    await host.create(host.config('bystander', 'spin'));
    await host.up('bystander');
    const all = host.rig.processes();
    host.ending();
    process.kill(pidOf('hypervisor.js', all), 'SIGKILL');
    await eventually('nothing of the host is left', () => !all.some(isAlive));
    await host.stop();
  });
});

describe("kill -9 of dom0's process", () => {
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-dom0-dies-'));
  const { seed, random } = seededRandom();
  const ports: number[] = [];
  const domids: number[] = [];
  let host: LifecycleHost;
  let empty: Inventory;
  let toolstack: ToolstackClient;

  const on = (...argv: string[]) => xl(argv, { dir: host.rig.runDir, cwd: dir });
  const dom0 = (): number => pidOf('dom0.js', host.rig.processes());
  async function guest(who: number): Promise<void> {
    const image = join(dir, `g${who}.img`);
    writeFileSync(image, '');
    truncateSync(image, BLOCKS * BLOCK_BYTES);
    ports[who] = await freePort();
    domids[who] = await host.create(
      host.config(`g${who}`, '', {
        ramdisk: fileURLToPath(new URL('guest.ts', import.meta.url)),
        cmdline: `who=${who} peer=10.8.0.${3 - who} ip=10.8.0.${who}:::255.255.255.0`,
        disks: [disk({ target: image })],
        vifs: [net({ mac: `00:16:3e:00:08:0${who}`, bridge: 'theirs' })],
        // Its thread is started for who has one: when that one is dead, by nobody.
        p9:
          who === 2
            ? [{ devid: 0, tag: 'shared', path: dir, security_model: 'none', backend: null, read_only: null }]
            : [],
        pvcalls: [
          {
            devid: 0,
            backend: null,
            listen: [{ host: ports[who], guest: 80 }],
            connect: [],
            sockets: null,
            allow: [],
            resolver: null,
          },
        ],
        on_reboot: 'restart',
      }),
    );
  }
  /** What the guest has said last. */
  function said(who: number): { rounds: number; datagrams: number } {
    const [, rounds, datagrams] = /.*\n\d+: (\d+) rounds, (\d+) datagrams/s.exec(host.rig.consoleLog(`g${who}`)) ?? [];
    return { rounds: Number(rounds ?? 0), datagrams: Number(datagrams ?? 0) };
  }
  const answers = (who: number): Promise<boolean> =>
    fetch(`http://127.0.0.1:${ports[who]}/`, { headers: { connection: 'close' } }).then(
      async reply => (await reply.text()) === `guest ${who}`,
      () => false,
    );
  /** Both go on with all that they do. */
  async function goOn(): Promise<void> {
    const then = [1, 2].map(said);
    const goes = (who: number, i: number): boolean =>
      said(who).rounds > then[i]!.rounds + 1 && said(who).datagrams > then[i]!.datagrams;
    try {
      await eventually('the guests go on', () => [1, 2].every(goes));
      for (const who of [1, 2]) await eventually(`guest ${who} answers`, () => answers(who));
    } catch (error) {
      const logs = [1, 2].map(who => host.rig.consoleLog(`g${who}`).slice(-500));
      throw new Error(`${(error as Error).message}; seed ${seed}\n${logs.join('\n')}\n${host.rig.log().slice(-3000)}`);
    }
  }
  const names = async (): Promise<(string | null)[]> =>
    (await toolstack.call('list', { domid: null })).map(({ name }) => name);

  beforeAll(async () => {
    host = await LifecycleHost.start();
    host.ending(); // its connection is dom0's, and goes with it
    toolstack = host.toolstack;
    empty = await inventoryAtRest(host.rig);
    await toolstack.call('createBridge', { name: 'theirs', mtu: 1500 });
    await guest(1);
    await guest(2);
    await goOn();
  });
  afterAll(async () => {
    toolstack?.close();
    await host?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it(`fault 33: ${KILLS} times in a row costs the guests a pause and nobody anything else`, async () => {
    const isOther = (pid: number): boolean => /xenstored\.js|shell/.test(commandLine(pid));
    // By its number: what the hypervisor is starting looks like itself, for a moment.
    const others = [host.rig.hypervisorPid, ...host.rig.processes().filter(isOther)];
    const refusals = new Set<string>();
    for (let i = 0; i < KILLS; i++) {
      await pause(random() * 100);
      const old = dom0();
      // An heir may be faster than whoever asks meanwhile, but for the last time.
      const heirs = i < KILLS - 1 ? [] : host.rig.processes().filter(pid => /\/heir\.js dom0 /.test(commandLine(pid)));
      signalAll(heirs, 'SIGSTOP');
      process.kill(old, 'SIGKILL');
      toolstack.close();
      const next = await another(host, old, heirs);
      toolstack = next.toolstack;
      for (const refusal of next.refusals) refusals.add(refusal);
      expect(next.list.map(({ name }) => name)).toEqual(['Domain-0', 'g1', 'g2']);
      await goOn();
    }
    expect(others.filter(pid => !isAlive(pid))).toEqual([]);
    // Who asked meanwhile heard at once why there was no answer.
    expect([...refusals]).toContain('dom0 of the host on DIR is being started again, try again in a moment');
    expect(await toolstack.call('config', { domid: domids[1]! })).toMatchObject({ name: 'g1', on_reboot: 'restart' });
    const history = await hostEvents(toolstack);
    expect(history.flatMap(event => (event.event === 'domain' ? [event.what] : []))).toEqual(['created', 'created']);
    // What the host has done about it is in the events, once.
    const served = new RegExp(`^process ${dom0()} serves as dom0, \\d+ ms after the end of the one before`);
    const anew = new RegExp(`^vbd 51712 of dom${domids[1]}: connected anew, \\d+ ms after the end of its backend$`);
    await eventually('its disk is there again', async () => (await reactions(toolstack, anew)).length >= 1);
    expect(await reactions(toolstack, served)).toHaveLength(1);
    const rows = (await on('block-list', 'g1')).stdout.trim().split('\n');
    expect(rows.at(-1)).toMatch(/^51712 0 +\d+ +4 /);
    expect(host.rig.log()).toMatch(/dom0\.js, process \d+, has ended: SIGKILL; another one takes its place/);
  });

  it('lets what ends meanwhile be acted upon', async () => {
    const old = dom0();
    const shell = processOfDomain(domids[2]!, host.rig.processes());
    process.kill(old, 'SIGKILL');
    process.kill(shell, 'SIGKILL');
    toolstack.close();
    toolstack = (await another(host, old)).toolstack;
    const ofG2 = async () => (await hostEvents(toolstack)).filter(event => 'name' in event && event.name === 'g2');
    await eventually('its end was acted upon', async () => (await ofG2()).length > 2);
    expect(await ofG2()).toMatchObject([{ what: 'created' }, { what: 'shutdown', reason: 3 }, { what: 'destroyed' }]);
    expect(await names()).toEqual(['Domain-0', 'g1']);
  });

  it('has put on the image what was acknowledged, and on the log what was said', async () => {
    const ended = toolstack.call('wait', { domid: domids[1]!, until: 'destroyed' });
    await toolstack.call('shutdown', { domid: domids[1]! });
    await ended;
    const text = host.rig.consoleLog('g1');
    const [, list = ''] = /final ([\d,]+)/.exec(text) ?? [];
    const versions = list.split(',').map(Number);
    expect(versions, `seed ${seed}`).toHaveLength(BLOCKS);
    const bytes = readFileSync(join(dir, 'g1.img'));
    const expected = new Uint8Array(BLOCK_BYTES);
    const wrong = versions.flatMap((version, block) => {
      fillBlock(expected, 1, block, version);
      return bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES).equals(expected) ? [] : [block];
    });
    expect(wrong, `seed ${seed}`).toEqual([]);
    const lines = text.split('\n').filter(line => /rounds/.test(line));
    const broken = lines.findIndex((line, i) => !line.startsWith(`${i + 1}: `));
    expect(broken < 0 ? [] : lines.slice(broken - 2, broken + 2)).toEqual([]);
  });

  it('leaves nothing', async () => {
    await toolstack.call('deleteBridge', { name: 'theirs' });
    let rest = comparable(await takeInventory(host.rig));
    const same = async (): Promise<boolean> => {
      rest = comparable(await takeInventory(host.rig));
      return JSON.stringify(rest) === JSON.stringify(comparable(empty));
    };
    await eventually('all is as it was', same).catch(() => {});
    expect(rest).toEqual(comparable(empty));
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
    const ended = once(child, 'exit');
    const crash = `vcpu${vcpu}: Error: out of teapots`;
    const path = join(runDir, 'host.log');
    const log = (): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
    // Its thread is there when somebody has such a device; the creation ends with dom0.
    if (file === 'pvcalls-thread.js') {
      await once(child.stdout!, 'data');
      const toolstack = await ToolstackClient.connect(runPaths(runDir).toolstackSocket);
      const config = domainConfig({ name: 'caller', kernel: dist('domu-kernel.js'), pvcalls: [emptyPvcalls(0)] });
      toolstack.call('create', { config, paused: false, monitor: false }).catch(() => {});
    }
    await eventually('it is reported', () => log().includes(crash), 60_000);
    // A dom0 that has served before the thread came so far is started again, and the host goes on.
    if (!log().includes(`a process of dom0 ended: ${crash}`)) child.kill('SIGKILL');
    const [code] = await ended;
    clearInterval(watching);
    expect(code).not.toBe(0);
    await eventually('nothing of the host is left', () => !all.some(isAlive));
  });
});
