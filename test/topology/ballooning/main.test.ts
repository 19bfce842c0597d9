// Memory that moves between guests and the host, with real processes: it leaves a guest's process when it is given
// back, nothing else is lost while it does, a guest that touches it again is found, and a host makes more domains
// than it has memory for. No page is in two places or in none at any time.
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DomainInfo, runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist, HostRig } from '../../support/host-rig.ts';
import { eventually, processOfDomain } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const ROUNDS = 100;
const MIB = 1 << 20;
const DOM0_MIB = 16;
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-balloon-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A host of `mib` MiB, with a connection to its toolstack. */
class Host {
  readonly rig: HostRig;
  readonly mib: number;
  private readonly toolstack: ToolstackClient;
  private constructor(rig: HostRig, mib: number, toolstack: ToolstackClient) {
    this.rig = rig;
    this.mib = mib;
    this.toolstack = toolstack;
  }
  static async start(mib: number): Promise<Host> {
    const rig = await HostRig.start({ mem: `${mib}M` });
    return new Host(rig, mib, await ToolstackClient.connect(runPaths(rig.runDir).toolstackSocket));
  }
  async stop(): Promise<void> {
    this.toolstack.close();
    await this.rig.stop();
  }
  create(name: string, keys: Record<string, string | number>): ReturnType<HostRig['xl']> {
    const all = { name: `"${name}"`, kernel: `"${dist('domu-kernel.js')}"`, ramdisk: `"${GUEST}"`, ...keys };
    const file = join(dir, `${name}.cfg`);
    writeFileSync(
      file,
      Object.entries(all)
        .map(([key, value]) => `${key} = ${value}\n`)
        .join(''),
    );
    return this.rig.xl('create', '-q', file);
  }
  /** Resolves with its domid once its guest runs. */
  async up(name: string, keys: Record<string, string | number>): Promise<number> {
    expect(await this.create(name, keys)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    await eventually(`${name} is up`, () => this.rig.consoleLog(name).includes('is up as dom'));
    return (await this.toolstack.call('domid', { name })).domid;
  }
  list(): Promise<DomainInfo[]> {
    return this.toolstack.call('list', { domid: null });
  }
  async kibOf(domid: number): Promise<number | undefined> {
    return (await this.list()).find(info => info.domid === domid)?.current_kb;
  }
  /** The guest has got there. */
  async set(domid: number, mib: number): Promise<void> {
    await this.toolstack.call('setMemoryTarget', { domid, kib: mib * 1024 });
    await eventually(`dom${domid} has ${mib} MiB`, async () => (await this.kibOf(domid)) === mib * 1024);
  }
  /** What all domains have and what is free is the host. */
  async checkSum(): Promise<void> {
    const [all, info] = [await this.list(), await this.toolstack.call('info', {})];
    const had = all.reduce((kib, domain) => kib + domain.current_kb, 0) / 1024;
    expect({ total: info.total_memory, sum: had + info.free_memory }).toEqual({ total: this.mib, sum: this.mib });
  }
  processOf(domid: number): number {
    return processOfDomain(domid, this.rig.processes());
  }
}
/** The file that is a domain's memory, as its own process has it open. */
function memoryFile(pid: number, domid: number): string {
  const fd = readdirSync(`/proc/${pid}/fd`).find(n =>
    readlinkSync(`/proc/${pid}/fd/${n}`).startsWith(`/memfd:xenolith-dom${domid} `),
  );
  return `/proc/${pid}/fd/${fd}`;
}
const heldMib = (file: string): number => (statSync(file).blocks * 512) / MIB;
const residentMib = (pid: number): number =>
  Number(/^RssShmem:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

describe('a guest of 24 MiB', () => {
  let host: Host;
  beforeAll(async () => {
    host = await Host.start(96);
  });
  afterAll(async () => {
    await host?.stop();
  });

  it('whose program was large gives the machine that memory back', async () => {
    const filler = 8;
    const program = join(dir, 'large.ts');
    const text = `import main from '${GUEST}';\nconst filler = '${'x'.repeat(filler * MIB)}';\n`;
    writeFileSync(program, `${text}export default () => (filler.length > 0 ? main() : undefined);\n`);
    const domid = await host.up('large', { memory: 24, ramdisk: `"${program}"` });
    const pid = host.processOf(domid);
    const file = memoryFile(pid, domid);
    const before = { held: heldMib(file), resident: residentMib(pid) };
    expect(before.held).toBeGreaterThan(filler);
    await host.set(domid, 10);
    expect(heldMib(file)).toBeLessThan(before.held - filler + 0.5);
    expect(residentMib(pid)).toBeLessThan(before.resident - filler + 1);
    await host.checkSum();
    await host.set(domid, 24);
    expect(heldMib(file)).toBeLessThan(before.held - filler + 0.5);
    await host.checkSum();
    expect((await host.rig.xl('destroy', 'large')).exitCode).toBe(0);
    await host.checkSum();
  });

  it(`is set up and down ${ROUNDS} times while it writes to its disk and checks what it reads`, async () => {
    const { seed, random } = seededRandom();
    const image = join(dir, 'disk.img');
    writeFileSync(image, '');
    truncateSync(image, 4 * MIB);
    const domid = await host.up('busy', { memory: 16, maxmem: 24, disk: `["${image},raw,xvda,w"]` });
    for (let round = 0; round < ROUNDS; round++) {
      const mib = 5 + Math.floor(random() * 20);
      await host.set(domid, mib).catch(error => {
        throw new Error(`seed ${seed}, round ${round}: ${error.message}`);
      });
      if (round % 10 === 0) await host.checkSum();
    }
    await host.set(domid, 16);
    await host.checkSum();
    const lines = (): string[] => host.rig.consoleLog('busy').split('\n');
    const right = (): number => lines().filter(line => line.includes('are right')).length;
    const sofar = right();
    await eventually('it goes on', () => right() > sofar);
    expect(lines().filter(line => line.includes('wrong'))).toEqual([]);
    expect(host.rig.log()).not.toContain('beyond');
    expect((await host.rig.xl('destroy', 'busy')).exitCode).toBe(0);
  });

  it('that touches what it gave back loses it, and the second time its life; others notice nothing', async () => {
    const domid = await host.up('hostile', { memory: 24, on_crash: '"destroy"' });
    const neighbour = await host.up('neighbour', { memory: 16 });
    const file = memoryFile(host.processOf(domid), domid);
    await host.set(domid, 8);
    // Its own process has the file open and mapped as a whole; what it could do with that is done here.
    const fd = openSync(file, 'r+');
    const frames = new Uint8Array(14 * MIB).fill(0xbb);
    const first = 3 * MIB; // behind its kernel
    // The hypervisor looks once a second: it is to find all of it at once.
    process.kill(host.rig.hypervisorPid, 'SIGSTOP');
    writeSync(fd, frames, 0, frames.length, first);
    process.kill(host.rig.hypervisorPid, 'SIGCONT');
    const found = await eventually('it is found', () =>
      /dom\d+ uses \d+ pages beyond the 2048 it has; they/.exec(host.rig.log()),
    );
    expect(found[0]).toContain(`dom${domid} `);
    expect(heldMib(file)).toBeLessThan(9);
    writeSync(fd, frames, 0, frames.length, first);
    await eventually('it is gone', async () => (await host.kibOf(domid)) === undefined);
    closeSync(fd);
    expect(host.rig.log()).toContain(`dom${domid}: shut down, crash: dom${domid} uses `);
    expect(await host.kibOf(neighbour)).toBe(16 * 1024);
    await host.checkSum();
    expect((await host.rig.xl('destroy', 'neighbour')).exitCode).toBe(0);
  });
});

describe('a host of 128 MiB', () => {
  it('has eight domains of 16 MiB that may have 64 each, and says so when there can be no more', async () => {
    const host = await Host.start(128);
    try {
      for (let i = 0; i < 8; i++) await host.up(`g${i}`, { memory: 16, maxmem: 64 });
      await host.checkSum();
      const had = (await host.list()).filter(({ domid }) => domid !== 0).map(({ current_kb }) => current_kb / 1024);
      expect(had.at(-1)).toBe(16);
      expect(Math.min(...had)).toBeGreaterThanOrEqual(13);
      const refused = await host.create('tenth', { memory: 100 });
      expect(refused.exitCode).toBe(3);
      expect(refused.stderr).toMatch(
        /: memory: 100 MiB asked for, \d+ MiB of this host are free, and its guests did not/,
      );
      expect(refused.stderr.trimEnd().split('\n').at(-1)).toBe('failed to free memory for the domain');
      await host.checkSum();
      // One that may grow does so only as far as there is memory.
      const [last] = (await host.list()).filter(({ name }) => name === 'g7');
      expect((await host.rig.xl('mem-set', 'g7', '64')).exitCode).toBe(0);
      await eventually('all is had', async () => (await host.rig.xl('info', 'free_memory')).stdout === '0\n');
      await host.checkSum();
      expect((await host.rig.xl('mem-set', 'g7', '65')).stderr).toBe(
        'libxl: error: memory_dynamic_max must be less than or equal to memory_static_max\n' +
          `cannot set domid ${last!.domid} dynamic max memory to : 65\n`,
      );
      for (let i = 0; i < 8; i++) expect((await host.rig.xl('destroy', `g${i}`)).exitCode).toBe(0);
      expect((await host.rig.xl('info', 'free_memory')).stdout).toBe(`${128 - DOM0_MIB}\n`);
    } finally {
      await host.stop();
    }
  });
});
