// Operations at random on a host, by xl's commands, and what must be so after each of them. What the host is to be like
// is kept here as well, so that of each command it is known whether it is to be refused.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { type DomainInfo, runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist, type HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';
import { seeded } from '../../support/random.ts';
import { xl } from '../../support/xl.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const SCHEDULERS = ['credit2', 'credit', 'rtds', 'null'] as const;
type Scheduler = (typeof SCHEDULERS)[number];
const CPUS = availableParallelism();
const POOL_0 = 'Pool-0';
const SETTLE_MS = 60_000;

interface Guest {
  readonly name: string;
  readonly maxvcpus: number;
  /** MiB */
  readonly memory: number;
  /** 'spin' has no end and no answers. */
  readonly doing: 'work' | 'echo' | 'spin';
  domid: number;
  vcpus: number;
  target: number;
  pool: string;
  paused: boolean;
}
interface Pool {
  readonly scheduler: Scheduler;
  readonly cpus: Set<number>;
}
export const KINDS = ['vcpu-set', 'mem-set', 'cpupool', 'other'] as const;
type Kind = (typeof KINDS)[number];

export class Turmoil {
  readonly done: string[] = [];
  private readonly dir = mkdtempSync(join(tmpdir(), 'xenolith-turmoil-'));
  private readonly guests: Guest[] = [];
  private readonly pools = new Map<string, Pool>();
  private readonly free = new Set<number>();
  private readonly host: HostRig;
  private readonly toolstack: ToolstackClient;
  private readonly random: () => number;
  private made = 0;

  private constructor(host: HostRig, toolstack: ToolstackClient, seed: number) {
    this.host = host;
    this.toolstack = toolstack;
    this.random = seeded(seed);
    this.pools.set(POOL_0, { scheduler: 'credit2', cpus: new Set(Array.from({ length: CPUS }, (_, cpu) => cpu)) });
  }
  static async start(host: HostRig, seed: number): Promise<Turmoil> {
    const toolstack = await ToolstackClient.connect(runPaths(host.runDir).toolstackSocket);
    // As with libxl, the first pool leaves xenstore's /local/pool behind.
    await toolstack.call('createPool', { name: 'first', scheduler: 'credit2', cpus: [] });
    await toolstack.call('destroyPool', { pool: 'first' });
    return new Turmoil(host, toolstack, seed);
  }
  close(): void {
    this.toolstack.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  private below(n: number): number {
    return Math.floor(this.random() * n);
  }
  private one<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  private between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  // ---- commands ----

  /** What it prints. `refused`: it is to fail, and to say why. */
  private async xl(argv: readonly (string | number)[], refused = false): Promise<string> {
    const words = argv.map(String);
    this.done.push(`${words.join(' ')}${refused ? ' (to be refused)' : ''}`);
    const { code, stdout, stderr } = await xl(words, { dir: this.host.runDir, cwd: this.dir });
    if (refused) expect([code !== 0, stderr !== '']).toEqual([true, true]);
    else expect([code, stderr]).toEqual([0, '']);
    return stdout;
  }

  /** A guest, in Pool-0; resolves when it is at work. */
  async create(doing: Guest['doing'], vcpus: number, maxvcpus: number): Promise<Guest> {
    const n = this.made++;
    const name = `${doing}${n}`;
    const memory = 24;
    writeFileSync(join(this.dir, `${name}.img`), '');
    truncateSync(join(this.dir, `${name}.img`), 4 << 20);
    const address = (i: number): string => `10.11.0.${i + 1}`;
    const peer = doing === 'work' ? ` to=${address(0)}` : '';
    const cmdline = `doing=${doing}${doing === 'spin' ? '' : ` ip=${address(n)}:::255.255.255.0${peer}`}`;
    const devices =
      doing === 'spin' ? '' : `disk = [ "${name}.img,raw,xvda,w" ]\nvif = [ "bridge=xenbr0" ]\non_crash = "preserve"\n`;
    const config = { memory, vcpus, maxvcpus, kernel: dist('domu-kernel.js'), ramdisk: GUEST, cmdline };
    const lines = Object.entries({ name, ...config }).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
    writeFileSync(join(this.dir, `${name}.cfg`), `${lines.join('')}${devices}`);
    await this.xl(['create', '-q', `${name}.cfg`]);
    const { domid } = await this.toolstack.call('domid', { name });
    const guest: Guest = { name, maxvcpus, memory, doing, domid, vcpus, target: memory, pool: POOL_0, paused: false };
    this.guests.push(guest);
    const words = doing === 'spin' ? 'spins' : 'is at work';
    await eventually(`${name} ${words}`, () => this.host.consoleLog(name).includes(words), SETTLE_MS);
    return guest;
  }
  private async destroy(guest: Guest): Promise<void> {
    await this.xl(['destroy', guest.name]);
    this.guests.splice(this.guests.indexOf(guest), 1);
  }

  async next(kind: Kind): Promise<void> {
    const guest = this.one(this.guests);
    if (kind === 'vcpu-set') await this.vcpuSet(guest);
    else if (kind === 'mem-set') await this.memSet(guest);
    else if (kind === 'cpupool') await this.cpupool(guest);
    else await this.other(guest);
  }
  private async vcpuSet(guest: Guest): Promise<void> {
    guest.vcpus = this.between(1, guest.maxvcpus);
    await this.xl(['vcpu-set', '-i', guest.name, guest.vcpus]);
    await this.perhapsFollows(guest);
  }
  private async memSet(guest: Guest): Promise<void> {
    guest.target = this.between(guest.memory - 12, guest.memory);
    await this.xl(['mem-set', guest.name, `${guest.target}m`]);
    await this.perhapsFollows(guest);
  }
  /** Some of what is asked for is waited for, the rest overtaken by what comes next. */
  private async perhapsFollows(guest: Guest): Promise<void> {
    // Null has no pCPU for the second of two.
    const alone = this.pools.get(guest.pool)!.scheduler === 'null';
    if (this.random() < 0.25 && guest.doing !== 'spin' && !guest.paused && !alone) await this.follows(guest);
  }
  /** It becomes as it was asked to be. */
  private async follows({ name, domid, vcpus, target }: Guest): Promise<void> {
    let now = {};
    const is = async (): Promise<boolean> => {
      const info = (await this.list()).find(one => one.domid === domid)!;
      now = { vcpus: info.vcpu_online, kib: info.current_kb };
      return info.vcpu_online === vcpus && info.current_kb === target * 1024;
    };
    await eventually(`${name} is as it was asked to be`, is, SETTLE_MS).catch(() =>
      expect({ name, ...now }).toEqual({ name, vcpus, kib: target * 1024 }),
    );
  }

  private domainsIn(pool: string): number {
    return this.guests.filter(guest => guest.pool === pool).length + (pool === POOL_0 ? 1 : 0);
  }
  private async cpupool(guest: Guest): Promise<void> {
    const [name, pool] = this.one([...this.pools]);
    const cpu = this.below(CPUS);
    const what = this.below(10);
    if (what === 0 && this.pools.size < 4) {
      const scheduler = this.one(SCHEDULERS);
      const created = `pool${this.made++}`;
      const first = [...this.free].sort((a, b) => a - b)[0];
      const refused = first === undefined;
      await this.xl(['cpupool-create', `name="${created}"`, `sched="${scheduler}"`], refused);
      if (refused) return;
      this.free.delete(first);
      this.pools.set(created, { scheduler, cpus: new Set([first]) });
    } else if (what === 1) {
      const refused = this.domainsIn(name) > 0;
      await this.xl(['cpupool-destroy', name], refused);
      if (refused) return;
      for (const one of pool.cpus) this.free.add(one);
      this.pools.delete(name);
    } else if (what <= 3) {
      const refused = !pool.cpus.has(cpu) || (pool.cpus.size === 1 && this.domainsIn(name) > 0);
      await this.xl(['cpupool-cpu-remove', name, cpu], refused);
      if (refused) return;
      pool.cpus.delete(cpu);
      this.free.add(cpu);
    } else if (what <= 5) {
      const refused = !this.free.has(cpu);
      await this.xl(['cpupool-cpu-add', name, cpu], refused);
      if (refused) return;
      pool.cpus.add(cpu);
      this.free.delete(cpu);
    } else {
      const refused = pool.cpus.size === 0;
      await this.xl(['cpupool-migrate', guest.name, name], refused);
      if (!refused) guest.pool = name;
    }
  }

  private async other(guest: Guest): Promise<void> {
    const what = this.below(7);
    if (what <= 1) await this.setParameters(guest);
    else if (what <= 3) {
      const cpu = this.below(CPUS + 1);
      const there = [...this.pools.get(guest.pool)!.cpus];
      const where = cpu === CPUS ? 'all' : String(cpu);
      const refused = cpu < CPUS && !there.includes(cpu);
      await this.xl(['vcpu-pin', guest.name, this.below(guest.maxvcpus), where, '-'], refused);
    } else if (what <= 5) {
      await this.xl([guest.paused ? 'unpause' : 'pause', guest.name]);
      guest.paused = !guest.paused;
    } else {
      const passing = this.guests.filter(({ doing }) => doing === 'spin');
      if (passing.length > 1) await this.destroy(this.one(passing));
      else await this.create('spin', 1, this.between(1, 2));
    }
  }
  private async setParameters({ name, pool }: Guest): Promise<void> {
    const { scheduler } = this.pools.get(pool)!;
    if (scheduler === 'rtds') {
      const period = this.between(5, 50) * 1000;
      const budget = Math.round(period * (0.1 + 0.4 * this.random()));
      await this.xl(['sched-rtds', '-d', name, '-p', period, '-b', budget, '-e', this.below(2)]);
    } else if (scheduler !== 'null') {
      const cap = this.random() < 0.5 ? 0 : this.between(20, 120);
      await this.xl([`sched-${scheduler}`, '-d', name, '-w', this.between(1, 1024), '-c', cap]);
    }
  }

  // ---- what must be so ----

  private list(): Promise<DomainInfo[]> {
    return this.toolstack.call('list', { domid: null });
  }
  /** Every page is a domain's or free, and none is both. */
  private async memoryAddsUp(): Promise<void> {
    const had = (list: readonly DomainInfo[]): number => list.reduce((kib, domain) => kib + domain.current_kb, 0);
    let sum = { total: -1, sum: -1 };
    // One that gives or takes pages between two questions is asked again.
    await eventually('memory adds up', async () => {
      const before = had(await this.list());
      const info = await this.toolstack.call('info', {});
      if (had(await this.list()) !== before) return false;
      sum = { total: info.total_memory, sum: Math.floor(before / 1024 + info.free_memory) };
      return sum.total === sum.sum;
    }).catch(() => expect(sum.sum).toBe(sum.total));
  }
  /** The listings say what is so, of every domain, vCPU and pool. */
  async check(): Promise<void> {
    await this.memoryAddsUp();
    const rows = (text: string): string[][] =>
      text
        .trim()
        .split('\n')
        .slice(1)
        .map(line => line.trim().split(/\s+/));
    const listed = new Map(rows(await this.xl(['list', '-c'])).map(row => [row[0]!, row]));
    expect([...listed.keys()]).toEqual(['Domain-0', ...this.guests.map(({ name }) => name)]);
    for (const { name, domid, paused, maxvcpus, memory, pool } of this.guests) {
      const [, id, mem, vcpus, state, time, cpupool] = listed.get(name)!;
      expect([name, Number(id), cpupool]).toEqual([name, domid, pool]);
      expect([name, state]).toEqual([name, expect.stringMatching(paused ? /^[-r][-b]p---$/ : /^[-r][-b]----$/)]);
      expect(Number(mem)).toBeLessThanOrEqual(memory + 1);
      expect(Number(vcpus)).toBeLessThanOrEqual(maxvcpus);
      expect(Number(time)).toBeGreaterThanOrEqual(0);
    }
    const vcpus = rows(await this.xl(['vcpu-list', ...this.guests.map(({ name }) => name)]));
    expect(vcpus.map(row => [row[0], Number(row[2])])).toEqual(
      this.guests.flatMap(({ name, maxvcpus }) => Array.from({ length: maxvcpus }, (_, id) => [name, id])),
    );
    const pools = rows(await this.xl(['cpupool-list'])).map(row => [row[0], Number(row[1]), row[2], Number(row[4])]);
    expect(pools).toEqual(
      [...this.pools].map(([name, { cpus, scheduler }]) => [name, cpus.size, scheduler, this.domainsIn(name)]),
    );
    this.done.splice(-3);
    this.checkLogs();
  }
  private checkLogs(): void {
    expect(
      this.host
        .log()
        .split('\n')
        .filter(line => /: (error|warning): |crash/.test(line)),
    ).toEqual([]);
    for (const { name } of this.guests) expect(this.host.consoleLog(name)).not.toContain('WRONG');
  }

  // ---- the end ----

  /** Left to themselves, all do what they were asked to. */
  async settles(): Promise<void> {
    for (const guest of this.guests) {
      if (guest.paused) await this.xl(['unpause', guest.name]);
      guest.paused = false;
      if (this.pools.get(guest.pool)!.scheduler !== 'null') continue;
      // One for which there is no pCPU left would wait for ever.
      await this.xl(['cpupool-migrate', guest.name, POOL_0]);
      guest.pool = POOL_0;
    }
    for (const guest of this.guests) if (guest.doing !== 'spin') await this.follows(guest);
    await this.check();
  }
  /** Of each worker what it has done: all of it was right. */
  async results(): Promise<Record<string, unknown>> {
    const results: Record<string, unknown> = {};
    for (const { name, domid, doing } of this.guests) {
      if (doing === 'spin') continue;
      await this.xl(['store', 'write', `/local/domain/${domid}/data/end`, '1']);
      const done = await eventually(
        `${name} has come to its end`,
        () => /has done (\{.*\})/.exec(this.host.consoleLog(name))?.[1],
        SETTLE_MS,
      );
      results[name] = JSON.parse(done);
    }
    this.checkLogs();
    return results;
  }
  async destroyAll(): Promise<void> {
    for (const guest of [...this.guests]) await this.destroy(guest);
    for (const [name, { cpus }] of [...this.pools]) {
      if (name === POOL_0) continue;
      await this.xl(['cpupool-destroy', name]);
      for (const cpu of cpus) this.free.add(cpu);
      this.pools.delete(name);
    }
    for (const cpu of this.free) await this.xl(['cpupool-cpu-add', POOL_0, cpu]);
    await this.memoryAddsUp();
  }
}
