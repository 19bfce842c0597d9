// Guests that write to their disks and talk to one another in pairs, and what they have said.
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dist, type HostRig } from '../support/host-rig.ts';
import { eventually, processOfDomain } from '../support/processes.ts';
import { disk, domainConfig, net } from '../unit/dom0/toolstack/domain-config.ts';
import { checkImage, IMAGE_BYTES } from './check-image.ts';
import { ConsoleTail } from './console-tail.ts';
import { addressOf } from './packets.ts';
import type { ToolstackCalls } from './toolstack.ts';

const PROGRAM = fileURLToPath(new URL('guest.ts', import.meta.url));

export class Guest {
  readonly name: string;
  domid = -1;
  /** The highest number known to be flushed; -1: none is. */
  acked = -1;
  /** Packets its present incarnation has had. */
  heard = 0;
  /** The longest pauses it has told of since `forgetPauses`, ms. */
  diskPause = 0;
  netPause = 0;
  /** Packets so far, and those nobody sent. */
  packets = 0;
  readonly complaints: string[] = [];
  readonly #rig: HostRig;
  readonly #toolstack: ToolstackCalls;
  readonly #image: string;
  readonly #tail: ConsoleTail;
  readonly #number: number;
  readonly #backend: string | null;
  #life = 0;

  /** `backend`: the driver domain that serves it, if not dom0. */
  constructor(rig: HostRig, toolstack: ToolstackCalls, folder: string, number: number, backend: string | null) {
    this.name = `guest${number}`;
    this.#rig = rig;
    this.#toolstack = toolstack;
    this.#number = number;
    this.#backend = backend;
    this.#image = join(folder, `${this.name}.img`);
    writeFileSync(this.#image, new Uint8Array(IMAGE_BYTES));
    this.#tail = new ConsoleTail(join(rig.runDir, 'log', `console-${this.name}.log`));
  }
  get pid(): number {
    return processOfDomain(this.domid, this.#rig.processes());
  }

  /** Create it; it goes on after what is acknowledged. */
  async start(): Promise<void> {
    const config = domainConfig({
      name: this.name,
      uuid: randomUUID(),
      memory: 32,
      kernel: dist('domu-kernel.js'),
      ramdisk: PROGRAM,
      cmdline: `from=${this.acked + 1} number=${this.#number} life=${++this.#life} ip=${addressOf(this.#number)}:::255.255.255.0`,
      disks: [disk({ target: this.#image, backend: this.#backend })],
      vifs: [net({ mac: `00:16:3e:09:00:0${this.#number}`, backend: this.#backend })],
    });
    this.heard = 0;
    this.domid = await this.#toolstack.create(config);
  }
  async destroy(): Promise<void> {
    await this.#toolstack.destroy(this.domid);
  }
  /** After something went wrong: nothing is left of it, then it is there. */
  async startAnew(): Promise<void> {
    await this.#toolstack.destroyNamed(this.name);
    await this.start();
  }

  /** Takes in what it has said. */
  listen(): void {
    for (const line of this.#tail.lines()) {
      const [, what, gap, number] = /^(acked|heard) (gap )?([\d.]+)$/.exec(line) ?? [];
      if (what === undefined) {
        if (line !== '' && line !== 'began' && !line.startsWith('xenolith: warning:'))
          this.complaints.push(`${this.name}: ${line}`);
      } else if (gap === undefined) {
        const n = Number(number);
        if (what === 'acked') this.acked = Math.max(this.acked, n);
        else {
          this.packets += Math.max(0, n - this.heard);
          this.heard = n;
        }
      } else if (what === 'acked') this.diskPause = Math.max(this.diskPause, Number(number));
      else this.netPause = Math.max(this.netPause, Number(number));
    }
  }
  forgetPauses(): void {
    this.diskPause = 0;
    this.netPause = 0;
  }
  /** Resolves when both its disk and its packets have got on from here. */
  async getsOn(withinMs: number): Promise<void> {
    this.listen();
    const { acked, heard } = this;
    await eventually(
      `${this.name} gets on`,
      () => {
        this.listen();
        return this.acked > acked && this.heard > heard;
      },
      withinMs,
    );
  }
  /** What is wrong with its image, given what it has said. */
  check(): string[] {
    this.listen();
    const { acked } = this;
    const first = new Set(checkImage(this.#image, acked));
    // Linux lets a reader see half of a write that is under way: what is wrong stays so.
    const wrong = first.size === 0 ? [] : checkImage(this.#image, acked).filter(what => first.has(what));
    return wrong.map(what => `${this.name}: ${what}`);
  }
}
