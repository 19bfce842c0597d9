// Guests that write files and sync them are killed at random moments: what they had been told is on the disk must be
// there when the image is mounted again, as it is, and the host's tool then finds nothing to repair.
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { VolumeFiles } from '../../domu-kernel/guest-api/volume-files.ts';
import { XenError } from '../../pvbus/errors.ts';
import { dist, HostRig } from '../support/host-rig.ts';
import { eventually, processOfDomain } from '../support/processes.ts';
import { seeded } from '../support/random.ts';
import { disk, domainConfig } from '../unit/dom0/toolstack/domain-config.ts';
import { ConsoleTail } from './console-tail.ts';
import { fileRecord, RECORD_BYTES } from './file-record.ts';
import { count } from './fsck.ts';
import { ToolstackCalls } from './toolstack.ts';
import type { VolumeKind } from './volumes.ts';

const PROGRAM = fileURLToPath(new URL('file-guest.ts', import.meta.url));
const IMAGE_BYTES = 8 << 20;
/** A guest lives so long at most after its first sync, ms. */
const LIFE_MS = 60;
const WITHIN_MS = 60_000;

export class FileKills {
  kills = 0;
  clean = 0;
  acked = 0;
  readonly lost: string[] = [];
  private readonly complaints = new Map<string, number>();
  readonly repairs = new Map<string, number>();
  private readonly folder: string;
  private readonly random: () => number;
  private rig: HostRig | undefined;
  private readonly own: boolean;
  private readonly kinds: readonly VolumeKind[];
  /** Kills on each of them. */
  private readonly killsOn = new Map<string, number>();

  /** `rig`: a host that is there already, and stays. */
  constructor(folder: string, seed: number, kinds: readonly VolumeKind[], rig?: HostRig) {
    this.kinds = kinds;
    this.rig = rig;
    this.own = rig === undefined;
    this.folder = folder;
    this.random = seeded(seed);
  }
  async start(): Promise<void> {
    this.rig ??= await HostRig.start();
  }
  async stop(): Promise<void> {
    if (this.own) await this.rig?.stop();
  }
  /** So many guests beside one another, until `goesOn` says no. */
  async run(guests: number, goesOn: () => boolean): Promise<void> {
    const { rig } = this;
    if (!rig) throw new Error('not started');
    await Promise.all(
      Array.from({ length: guests }, async (_, n) => {
        const kind = this.kinds[n % this.kinds.length];
        if (!kind) throw new Error('no volumes');
        const victim = new Victim(rig, this.folder, n, kind);
        while (goesOn()) {
          this.kills++;
          count(this.killsOn, kind.name);
          await victim.live(this.random() * LIFE_MS);
          this.look(victim);
        }
        this.acked += victim.acknowledged;
      }),
    );
  }
  private look(victim: Victim): void {
    const log = (line: string): void => count(this.repairs, line.replace(/^.*; /, '').replace(/\d+|'[^']*'/g, 'N'));
    this.lost.push(...victim.complaints.splice(0), ...victim.lookAtCopy(log));
    const seen = victim.kind.look(victim.image);
    if (seen === '') this.clean++;
    else if (seen !== undefined) count(this.complaints, seen);
  }
  report(): string {
    const listed = (of: Map<string, number>): string[] =>
      [...of].sort((a, b) => b[1] - a[1]).map(([line, times]) => `  ${times} × ${line}`);
    return [
      `${this.kills} guests killed${listedKinds(this.killsOn)}, ${this.acked} syncs acknowledged; lost: ${this.lost.length}`,
      `${this.clean} images with nothing to repair; of the others the host's tool said:`,
      ...listed(this.complaints),
      'the next mount said:',
      ...listed(this.repairs),
      ...this.lost.slice(0, 20),
    ].join('\n');
  }
}

const listedKinds = (of: Map<string, number>): string =>
  ` (${[...of].map(([kind, n]) => `${n} on ${kind}`).join(', ')})`;

/** A guest, again and again on the same image. */
export class Victim {
  readonly name: string;
  readonly image: string;
  readonly kind: VolumeKind;
  run = 0;
  /** Syncs it has told of. */
  acknowledged = 0;
  readonly complaints: string[] = [];
  /** By run: records that are on the disk. */
  private readonly acked = new Map<number, number>();
  private readonly rig: HostRig;
  private readonly toolstack: ToolstackCalls;
  private readonly tail: ConsoleTail;

  constructor(rig: HostRig, folder: string, n: number, kind: VolumeKind) {
    this.kind = kind;
    this.name = `files${n}`;
    this.rig = rig;
    this.toolstack = new ToolstackCalls(rig.runDir);
    this.image = join(folder, `${this.name}.img`);
    writeFileSync(this.image, kind.make(IMAGE_BYTES));
    this.tail = new ConsoleTail(join(rig.runDir, 'log', `console-${this.name}.log`));
  }

  /** From its creation to its end, `ms` after it has told of the first sync. */
  async live(ms: number): Promise<void> {
    const domid = await this.begin();
    await sleep(ms);
    try {
      process.kill(processOfDomain(domid, this.rig.processes()), 'SIGKILL');
    } catch (error) {
      this.complaints.push(`${this.name} has ended by itself: ${error instanceof Error ? error.message : error}`);
    }
    await this.toolstack.destroy(domid);
    this.listen();
  }
  /** Resolves when it has told of the first sync. */
  async begin(): Promise<number> {
    this.run++;
    const config = domainConfig({
      name: this.name,
      uuid: randomUUID(),
      memory: 32,
      kernel: dist('domu-kernel.js'),
      ramdisk: PROGRAM,
      cmdline: `root=/dev/xvda run=${this.run}`,
      disks: [disk({ target: this.image })],
      on_crash: 'preserve',
    });
    const domid = await this.toolstack.create(config);
    try {
      await eventually(`${this.name} has synced`, () => this.listen(), WITHIN_MS);
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}: ${this.complaints.join(' | ')}`);
    }
    return domid;
  }
  /** True when the present run has told of a sync. */
  listen(): boolean {
    for (const line of this.tail.lines()) {
      const [, run, records] = /^acked (\d+) (\d+)$/.exec(line) ?? [];
      if (records !== undefined) {
        this.acknowledged++;
        this.acked.set(Number(run), Number(records));
      } else if (line !== '' && !/^(acked|xenolith: warning:)/.test(line))
        this.complaints.push(`${this.name}: ${line}`);
    }
    return this.acked.has(this.run);
  }

  /** What the next guest will find; its own kernel repairs the image. */
  lookAtCopy(log: (line: string) => void): string[] {
    const image = new Uint8Array(readFileSync(this.image));
    const lost = this.compare(image, log);
    const copy = `${this.image}.repaired.img`;
    writeFileSync(copy, image);
    const left = this.kind.look(copy) ?? '';
    return left === '' ? lost : [...lost, `${this.name}, run ${this.run}: after the repair: ${left}`];
  }
  /** Mounts, and so repairs, the image. */
  private compare(image: Uint8Array, log: (line: string) => void): string[] {
    const where = `${this.name}, run ${this.run}`;
    try {
      const volume = this.kind.mount(image, log);
      const files = new VolumeFiles(volume);
      const lost = [...this.acked].flatMap(([run, records]) => {
        // Guests remove those of long ago.
        if (run < this.run - 3) return [];
        const found = files.readFile(`logs/records of run ${run}.log`);
        for (let n = 0; n < records; n++) {
          const at = n * RECORD_BYTES;
          if (Buffer.compare(found.subarray(at, at + RECORD_BYTES), fileRecord(run, n)) === 0) continue;
          return [`${where}: record ${n} of ${records} of run ${run} is not there`];
        }
        return [];
      });
      if (volume.readOnly) lost.push(`${where}: not repaired`);
      volume.close();
      return lost;
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      return [`${where}: ${error.message}`];
    }
  }
}
