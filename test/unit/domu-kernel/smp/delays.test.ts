// How long programs that compute keep one waiting whose bytes have come: in slices of theirs, on each of the vCPUs that it needs.
// Time passes by looks at the clock only, so that a run is the same on any machine.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Clock, prepareProgram } from '#pvbus';
import type { OpenFile } from '../../../../domu-kernel/process/open-file.ts';
import { Pipe } from '../../../../domu-kernel/process/pipe.ts';
import type { Process } from '../../../../domu-kernel/process/process.ts';
import { SLICE_NS } from '../../../../domu-kernel/process/processes.ts';
import { SmpRig } from '../../../support/smp-rig.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';
import { compileWasi, whyNoWasi } from '../../../support/wasi-cc.ts';

const missing = whyNoWasi();
const programs = new Map<string, Uint8Array>();
/** What a program computes between two looks at the clock. */
const LOOK_NS = 1e6;
/** A slice, and the looks of the scheduler before and after it. */
const ONE_SLICE = SLICE_NS + 2 * LOOK_NS;
const LINES = 30;

beforeAll(async () => {
  if (missing !== undefined) return;
  for (const source of ['../process/acts.c', '../../../support/programs/c/turns.c']) {
    const path = fileURLToPath(new URL(source, import.meta.url));
    const name = /(\w+)\.c$/.exec(source)![1]!;
    programs.set(name, prepareProgram(readFileSync(await compileWasi(path, { flags: ['-O1'] }))));
  }
});

/** Programs that compute, each for ever, and one that is given a line at a time and computes a while for each. */
class Delays {
  readonly smp: SmpRig;
  readonly rig: UserlandRig;
  readonly pipe = new Pipe();
  readonly hogs: Process[] = [];
  readonly filter: Process;
  /** ns that hogs have run on each vCPU since `mark`. */
  private readonly ran: number[] = [];
  private readonly used = new Map<Process, number>();

  private constructor(smp: SmpRig, clock: Clock) {
    this.smp = smp;
    this.rig = new UserlandRig({
      ...{ clock, frames: 32_768 },
      smp: { placement: smp.processors.placement, turn: () => this.turn() },
    });
    smp.also = () => void this.rig.userland.step();
    this.rig.sh('mkdir /bin');
    for (const [name, bytes] of programs) this.rig.write(`/bin/${name}.wasm`, bytes);
    this.filter = this.spawn('turns filter 0 1000000', this.pipe.reader);
  }
  private spawn(line: string, stdin: OpenFile): Process {
    const { terminal } = this.rig.userland;
    return this.rig.userland.spawn({ argv: line.split(' '), stdio: [stdin, terminal, terminal] });
  }
  hog(): void {
    this.hogs.push(this.spawn('acts spin', this.rig.userland.terminal));
  }
  static async begin(vcpus: number, seed: number): Promise<Delays> {
    let ns = 1e12;
    const clock: Clock = { now: () => (ns += LOOK_NS), wallMs: () => ns / 1e6 };
    const smp = new SmpRig(vcpus, seed, false, true, clock);
    smp.want(...Array.from({ length: vcpus - 1 }, (_, i) => i + 1));
    await smp.settled();
    return new Delays(smp, clock);
  }

  private turn(): void {
    this.smp.turn();
    for (const hog of this.hogs) {
      const vcpu = hog.elsewhere?.vcpu ?? 0;
      this.ran[vcpu] = (this.ran[vcpu] ?? 0) + hog.usedNs - (this.used.get(hog) ?? 0);
      this.used.set(hog, hog.usedNs);
    }
  }
  get vcpu(): number {
    return this.filter.elsewhere?.vcpu ?? 0;
  }
  /** Until that is so; for how long hogs ran on that vCPU meanwhile. */
  hogged(vcpu: number, until: () => boolean): number {
    this.ran.length = 0;
    this.rig.run({ until });
    return this.ran[vcpu] ?? 0;
  }
  /** Its last line is done, and it waits for another one. */
  waits(): void {
    this.rig.run({ until: () => this.pipe.length === 0 && !this.pipe.queue.isEmpty });
  }
  /** Each hog has had slices where it stays. */
  spread(): void {
    this.rig.run({ until: () => this.hogs.every(({ usedNs }) => usedNs > 20 * SLICE_NS) });
  }
  give(line: string): void {
    this.pipe.put(new TextEncoder().encode(`${line}\n`));
  }
}

describe.skipIf(missing !== undefined)(`programs that compute${missing ? ` (${missing})` : ''}`, () => {
  it.each([
    [1, 2],
    [2, 3],
    [3, 4],
  ])(
    'keep one that waits for bytes waiting for a slice at most, wherever they and it are: seed %i, %i vCPUs',
    async (seed, vcpus) => {
      const delays = await Delays.begin(vcpus, seed);
      delays.waits();
      // It has computed enough to be elsewhere when the others come.
      delays.give('0 1');
      delays.waits();
      for (let n = 0; n < 3 * vcpus; n++) delays.hog();
      delays.spread();
      const places = new Set<number>();
      const hogged = new Set<number>();
      for (let line = 1; line < LINES; line++) {
        delays.waits();
        const { vcpu } = delays;
        places.add(vcpu);
        for (const hog of delays.hogs) hogged.add(hog.elsewhere?.vcpu ?? 0);
        const { usedNs } = delays.filter;
        delays.give(`${line} 1`);
        // The kernel, which is vCPU 0's, reads for it; then its own vCPU goes on with it.
        expect(delays.hogged(0, () => delays.pipe.length === 0)).toBeLessThanOrEqual(ONE_SLICE);
        expect(delays.hogged(vcpu, () => delays.filter.usedNs > usedNs)).toBeLessThanOrEqual(ONE_SLICE);
      }
      expect(hogged.size).toBe(vcpus);
      expect([...places].some(vcpu => vcpu > 0)).toBe(true);
    },
  );
});
