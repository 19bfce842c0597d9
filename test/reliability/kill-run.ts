// A host with guests under checked I/O, one of whose processes is killed after the other.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { HostRig } from '../support/host-rig.ts';
import { commandLine, eventually } from '../support/processes.ts';
import { seeded } from '../support/random.ts';
import { domainConfig } from '../unit/dom0/toolstack/domain-config.ts';
import { Guest } from './guests.ts';
import { ToolstackCalls } from './toolstack.ts';

/** What may be killed: a guest, or what serves them all. */
export const VICTIMS = ['guest', 'driver domain', 'dom0', 'xenstored'] as const;
export type Victim = (typeof VICTIMS)[number];
/** Longer than this is not recovered. */
const WITHIN_MS = 60_000;
/** How long all is well between two kills at most, ms. */
const PEACE_MS = 60;
/** How often it is looked whether a guest that was killed writes again, ms. */
const LOOK_MS = 2;
/** So much of the host's log is shown of a kill that was not recovered from. */
const LOG_LINES = 40;
const STORAGE = 'storage';

interface Outcome {
  readonly victim: Victim;
  /** From the last acknowledged write before to the first one after, the longest of the guests', ms. */
  readonly outageMs: number | undefined;
}

export class KillRun {
  readonly #folder: string;
  readonly #random: () => number;
  readonly #victims: readonly Victim[];
  readonly #outcomes: Outcome[] = [];
  /** Acknowledged writes that are lost, and whatever else must not be. */
  readonly #wrong: string[] = [];
  #rig: HostRig | undefined;
  #guests: Guest[] = [];

  constructor(folder: string, seed: number, victims: readonly Victim[] = VICTIMS) {
    this.#folder = folder;
    this.#random = seeded(seed);
    this.#victims = victims;
  }

  async start(): Promise<void> {
    const rig = await HostRig.start();
    this.#rig = rig;
    const toolstack = new ToolstackCalls(rig.runDir);
    const withStorage = this.#victims.includes('driver domain');
    // vCPUs: xenbus, blkback, netback.
    const storage = { name: STORAGE, uuid: randomUUID(), driver_domain: true, kernel: '', vcpus: 3 };
    if (withStorage) await toolstack.create(domainConfig(storage));
    const backends = withStorage ? [null, null, STORAGE, STORAGE] : [null, null];
    this.#guests = backends.map((backend, n) => new Guest(rig, toolstack, this.#folder, n, backend));
    for (const guest of this.#guests) await guest.start();
    await this.#allGetOn();
  }
  async stop(): Promise<void> {
    await this.#rig?.stop();
  }

  /** Kill one, any of them when none is named, wait until all get on, and look at what they have. */
  async kill(victim = this.#victims[Math.floor(this.#random() * this.#victims.length)]!): Promise<void> {
    const guest = this.#guests[Math.floor(this.#random() * this.#guests.length)]!;
    await sleep(this.#random() * PEACE_MS);
    for (const each of this.#guests) {
      each.listen();
      each.forgetPauses();
    }
    let outageMs: number | undefined;
    try {
      outageMs = victim === 'guest' ? await this.#killGuest(guest) : await this.#killServer(victim);
    } catch (error) {
      this.#wrong.push(
        `kill ${this.#outcomes.length + 1}, ${victim}: ${(error as Error).message}\n${await this.#evidence()}`,
      );
      await this.#anew();
    }
    this.#outcomes.push({ victim, outageMs });
    for (const each of this.#guests) this.#wrong.push(...each.check(), ...each.complaints.splice(0));
  }
  /** Who holds what of whom, and what the host has said. */
  async #evidence(): Promise<string> {
    const rig = this.#rig!;
    await rig.xl('debug-keys', 'g');
    const { stdout } = await rig.xl('dmesg');
    const last = [stdout, rig.log()].flatMap(text => text.trimEnd().split('\n').slice(-LOG_LINES));
    return last.map(line => `  ${line}`).join('\n');
  }
  async #killGuest(guest: Guest): Promise<number> {
    const { pid } = guest;
    const killed = performance.now();
    process.kill(pid, 'SIGKILL');
    await guest.destroy();
    const gone = performance.now();
    this.#wrong.push(...guest.check());
    // What this process has looked at meanwhile, nobody had to wait for.
    const lookedMs = performance.now() - gone;
    await guest.start();
    const { acked } = guest;
    await eventually(
      `${guest.name} writes again`,
      () => {
        guest.listen();
        return guest.acked > acked;
      },
      WITHIN_MS,
      LOOK_MS,
    );
    const outage = performance.now() - killed - lookedMs;
    await this.#allGetOn();
    return outage;
  }
  async #killServer(victim: Victim): Promise<number> {
    const program = { guest: '', 'driver domain': 'driver-domain.js', dom0: 'dom0.js', xenstored: 'xenstored.js' }[
      victim
    ];
    const processes = (): number[] => this.#rig!.processes();
    // The one killed last may just be coming back.
    const pid = await eventually(`${program} is there`, () =>
      processes().find(each => commandLine(each).includes(`/${program}`)),
    );
    process.kill(pid, 'SIGKILL');
    await this.#allGetOn();
    // Those that were cut off have told of the pause by now: they get on.
    return Math.max(...this.#guests.map(guest => guest.diskPause));
  }
  async #allGetOn(): Promise<void> {
    await Promise.all(this.#guests.map(guest => guest.getsOn(WITHIN_MS)));
  }
  /** One has not come back: the run goes on with new ones. */
  async #anew(): Promise<void> {
    for (const guest of this.#guests) await guest.startAnew();
    await this.#allGetOn();
  }

  get failed(): boolean {
    return this.#wrong.length > 0;
  }
  report(): string {
    const lines = [
      '',
      '| killed | times | recovered | outage p50 | p95 | longest |',
      '| --- | --- | --- | --- | --- | --- |',
    ];
    for (const victim of [...this.#victims, 'all'] as const) {
      const of = this.#outcomes.filter(outcome => victim === 'all' || outcome.victim === victim);
      const ms = of.flatMap(({ outageMs }) => (outageMs === undefined ? [] : [outageMs])).sort((a, b) => a - b);
      const at = (share: number): string =>
        `${(ms[Math.min(ms.length - 1, Math.floor(ms.length * share))] ?? 0).toFixed(0)} ms`;
      const recovered = of.length === 0 ? '–' : `${((100 * ms.length) / of.length).toFixed(2)} %`;
      lines.push(`| ${victim} | ${of.length} | ${recovered} | ${at(0.5)} | ${at(0.95)} | ${at(1)} |`);
    }
    const acked = this.#guests.reduce((sum, guest) => sum + guest.acked + 1, 0);
    const packets = this.#guests.reduce((sum, guest) => sum + guest.packets, 0);
    lines.push('', `${acked} writes acknowledged, ${packets} packets delivered; wrong: ${this.#wrong.length}`);
    lines.push(...this.#wrong.slice(0, 50));
    return lines.join('\n');
  }
}
