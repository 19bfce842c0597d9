// One host with an innocent at work and offenders beside it: what every act is measured by.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import type { BenchDomain } from '../../bench/bench-domain.ts';
import { HostRig } from '../../support/host-rig.ts';
import { type Inventory, inventoryAtRest, takeInventory } from '../../support/inventory.ts';
import { commandLine, eventually, processOfDomain } from '../../support/processes.ts';
import { buildKernels, createInnocent, createOffender } from './kernels.ts';

export interface Progress {
  readonly disk: number;
  readonly net: number;
  readonly store: number;
  readonly lost: number;
  readonly wrong: readonly string[];
  readonly p50us: number;
  readonly p99us: number;
  readonly samples: number;
}

/** The offenders do nothing: nothing of what an act is known by may be seen then. See docs/hostile-acts.md. */
export const IDLE = process.env.XENOLITH_IDLE_ACTS === '1';
/** What an idle offender has not done by now it never does. */
const IDLE_PATIENCE_MS = 200;

/** Without the grants one by one, which are more than the console ring holds; how many are in use the pools say. */
const KEYS = 'qema';
const SETTLE_MS = 60_000;

const gotOn = (from: Progress, now: Progress): boolean =>
  now.disk > from.disk && now.net > from.net && now.store > from.store;

/** Timers are the innocent's, which is at work. A device's last error stays in xenstore, as with Linux. */
function comparable(inventory: Inventory): Inventory {
  return {
    ...inventory,
    hypervisor: inventory.hypervisor.filter(line => !line.endsWith('timers pending')),
    nodes: inventory.nodes.filter(path => !path.startsWith('/local/domain/0/error/')),
  };
}

/** But for who of dom0's vCPUs serves the innocent, which changes with what there is to do. */
export const lasting = ({ processes, nodes, files, hypervisor }: Inventory): object => ({
  ...{ processes, files, nodes: nodes.filter(path => !path.startsWith('/local/domain/0/error/')) },
  counts: hypervisor.filter(line => /^pool |^dom\d+: \d+ ports|grant frames/.test(line)),
});

export class Stage {
  readonly host: HostRig;
  readonly folder: string;
  readonly innocent: BenchDomain;
  /** Processes of the host and of the innocent. */
  private readonly own: readonly number[];
  private mark = 0;
  /** Of each inventory: how many disks had gone to another thread, since the machine was slow. */
  private readonly moves = new WeakMap<Inventory, number>();
  /** Acts that were contained. */
  contained = 0;

  private constructor(host: HostRig, folder: string, innocent: BenchDomain, own: readonly number[]) {
    this.host = host;
    this.folder = folder;
    this.innocent = innocent;
    this.own = own;
  }
  /** `kernels`: the sources of the offenders'. */
  static async start(kernels?: string[]): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), 'xenolith-hostile-'));
    await buildKernels(folder, kernels);
    const host = await HostRig.start();
    const innocent = await createInnocent(host, folder);
    const own = host.processes().filter(pid => /hypervisor|xenstored|dom0/.test(commandLine(pid)));
    return new Stage(host, folder, innocent, [...own, processOfDomain(innocent.domid, host.processes())]);
  }
  async stop(): Promise<void> {
    this.innocent.close();
    try {
      await this.host.stop();
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  async offender(name: string, more = ''): Promise<BenchDomain> {
    const mallory = await createOffender(this.host, this.folder, name, more);
    await this.told(mallory);
    return mallory;
  }
  /** An offender is idle where all are to be. */
  async told(offender: BenchDomain): Promise<void> {
    if (IDLE) await offender.run('idle');
  }
  /** What somebody does who is no domain: undefined when offenders are idle. */
  async does<T>(act: () => Promise<T>): Promise<T | undefined> {
    return IDLE ? undefined : act();
  }
  /** What an act is known by; of an idle offender it is not seen. */
  async seen(check: () => unknown): Promise<void> {
    if (!IDLE) {
      await check();
      return;
    }
    const error = await Promise.resolve()
      .then(check)
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    if (error === undefined) throw new Error('nothing was done, and it is taken for the act');
  }
  /** Until it holds. */
  eventually(what: string, condition: () => unknown): Promise<unknown> {
    return eventually(what, condition, IDLE ? IDLE_PATIENCE_MS : undefined);
  }
  /** On its console. */
  async says(domain: BenchDomain, what: string): Promise<void> {
    await this.eventually(`${domain.name} says ${what}`, () => this.host.consoleLog(domain.name).includes(what));
  }
  processOf(domain: BenchDomain): number {
    return processOfDomain(domain.domid, this.host.processes());
  }
  async destroy(domain: BenchDomain): Promise<void> {
    domain.close();
    const { exitCode, stderr } = await this.host.xl('destroy', domain.name);
    // A domain that has crashed may be gone by itself.
    if (exitCode !== 0) expect(stderr).toMatch(/is an invalid domain identifier|does not exist/);
    await eventually(
      `${domain.name} is gone`,
      async () => !(await this.host.domains()).some(({ name }) => name === domain.name),
    );
  }

  /** What there is, but for what changes by itself and what is kept on purpose. */
  async inventory(): Promise<Inventory> {
    const moved = this.moved();
    const inventory = comparable(await inventoryAtRest(this.host, KEYS));
    this.moves.set(inventory, moved);
    return inventory;
  }
  async leavesNothing(before: Inventory): Promise<void> {
    let now = before;
    const seen = (inventory: Inventory): object =>
      this.moved() === this.moves.get(before) ? inventory : lasting(inventory);
    const same = async (): Promise<boolean> => {
      now = comparable(await takeInventory(this.host, KEYS));
      return isDeepStrictEqual(seen(now), seen(before));
    };
    await eventually('the inventory is what it was', same, SETTLE_MS).catch(() => {}); // the difference says more
    expect(seen(now)).toEqual(seen(before));
  }
  private moved(): number {
    return this.host.log().split(': its image is slow').length;
  }
  /** What the host says from here on is about the next act. */
  listen(): void {
    this.mark = this.host.log().length;
  }
  /** The offender is named, with the reason; N in `what` is its number. The log says it at a doubling: `again` comes nearer. */
  async names(what: string, { domid }: BenchDomain, again: () => Promise<unknown> = async () => {}): Promise<void> {
    const pattern = new RegExp(what.replaceAll('domN', `dom${domid}`).replaceAll('vifN', `vif${domid}`));
    await this.eventually(`the log says ${pattern}`, async () => {
      if (pattern.test(this.said())) return true;
      await again();
      return pattern.test(this.said());
    }).catch(error => {
      throw new Error(`${error.message}; it says:\n${this.said()}`);
    });
  }
  /** It does what anybody may. */
  blamesNobody({ domid }: BenchDomain): void {
    expect(this.said()).not.toMatch(new RegExp(`(warning|error): .*\\b(dom|vif)${domid}\\b`));
  }
  /** Since `listen`. */
  said(): string {
    return this.host.log().slice(this.mark);
  }
  async progress(): Promise<Progress> {
    return (await this.innocent.run('count')) as unknown as Progress;
  }
  /**
   * Do it again and again, until the innocent has got on meanwhile with its disk, its packets and its nodes: what came of the
   * last time.
   */
  async beside<T>(act: () => Promise<T>, network = false): Promise<T> {
    const from = await this.progress();
    let outcome!: T;
    await eventually('the innocent gets on during the act', async () => {
      outcome = await act();
      return gotOn(from, await this.progress());
    });
    this.harmed(from, await this.progress(), network);
    return outcome;
  }
  /** What was begun goes on: the innocent has seen no error, and gets on. */
  async othersGetOn(): Promise<void> {
    const from = await this.progress();
    let now = from;
    await eventually('the innocent gets on', async () => {
      now = await this.progress();
      return gotOn(from, now);
    });
    this.harmed(from, now);
  }
  /** Nothing it has is wrong; packets get lost only where the network is full. */
  private harmed(from: Progress, now: Progress, network = false): void {
    expect(now.wrong).toEqual([]);
    if (!network) expect(now.lost, 'packets of the innocent were lost').toBe(from.lost);
    expect(this.host.processes()).toEqual(expect.arrayContaining([...this.own]));
  }
}
