// Programs in C that move between vCPUs while they run: all vCPUs in one thread, on a real clock; no kernel, no host.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prepareProgram, systemClock } from '#pvbus';
import type { ExitStatus, Process } from '../../../../domu-kernel/process/process.ts';
import { seededRandom } from '../../../support/random.ts';
import { SmpRig } from '../../../support/smp-rig.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';
import { compileWasi, whyNoWasi } from '../../../support/wasi-cc.ts';

const missing = whyNoWasi();
const FRAMES = 32_768;
const programs = new Map<string, Uint8Array>();
let smp: SmpRig;
let rig: UserlandRig;
/** The vCPUs that a process with these arguments has been seen on, one after the other. */
let seen: Map<string, number[]>;
const on = (args: string): readonly number[] => seen.get(args) ?? [];
/** Run `line` until a process with these arguments was elsewhere: on a fast machine it may end before there is room. */
function shMovesAway(line: string, args: string): ReturnType<UserlandRig['sh']> {
  for (let i = 0; i < 20; i++) {
    const result = rig.sh(line);
    if (on(args).some(vcpu => vcpu > 0)) return result;
  }
  throw new Error(`${line}: it stays`);
}

/** What the programs compute. */
function spin(from: number, turns: number): number {
  let x = from;
  for (let i = 0; i < turns; i++) x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
  return x;
}
/** What `turns grow` and `turns filter` print. */
function grown(blocks: number, turns: number): string {
  let [x, sum] = [1, 0];
  for (let i = 0; i < blocks * 25_000; i++) {
    x = spin(x, turns);
    sum = (sum + x) >>> 0;
  }
  return `${sum}`;
}
function filtered(lines: number, turns: number): string[] {
  let [x, y] = [1, 1];
  return Array.from({ length: lines }, () => {
    x = spin(x, turns);
    y = spin((x ^ y) >>> 0, turns);
    return `${y}`;
  });
}
function look(): void {
  for (const { argv, elsewhere } of rig.userland.processes.list()) {
    const args = argv.slice(1).join(' ');
    const vcpus = seen.get(args) ?? [];
    const vcpu = elsewhere?.vcpu ?? 0;
    if (vcpus.at(-1) !== vcpu) seen.set(args, [...vcpus, vcpu]);
  }
}
async function begin(seed: number): Promise<void> {
  seen = new Map();
  smp = new SmpRig(3, seed, false, true);
  smp.want(1, 2);
  await smp.settled();
  rig = new UserlandRig({
    ...{ clock: systemClock, frames: FRAMES },
    smp: { placement: smp.processors.placement, turn: () => smp.turn() },
  });
  smp.also = () => {
    rig.userland.step();
    look();
  };
  rig.sh('mkdir /bin /tmp');
  for (const [name, bytes] of programs) rig.write(`/bin/${name}.wasm`, bytes);
}

/** A program beside the test. */
function start(line: string) {
  const { terminal } = rig.userland;
  const started: { process: Process; status: ExitStatus | undefined } = {
    process: rig.userland.spawn({
      argv: line.split(' '),
      stdio: [terminal, terminal, terminal],
      onEnd: status => {
        started.status = status;
      },
    }),
    status: undefined,
  };
  return started;
}

beforeAll(async () => {
  if (missing !== undefined) return;
  for (const source of ['../process/acts.c', '../../../support/programs/c/turns.c']) {
    const path = fileURLToPath(new URL(source, import.meta.url));
    const name = /(\w+)\.c$/.exec(source)![1]!;
    programs.set(name, prepareProgram(readFileSync(await compileWasi(path, { flags: ['-O1'] }))));
  }
});
beforeEach(async () => {
  if (missing === undefined) await begin(1);
});

describe.skipIf(missing !== undefined)(
  `a WASI program of a domain of several vCPUs${missing ? ` (${missing})` : ''}`,
  () => {
    it('goes to another vCPU when it computes, says the same, and leaves nothing', () => {
      expect(shMovesAway('acts sum 60000000', 'sum 60000000').out).toBe(`${spin(1, 60_000_000)}\n`);
      expect(rig.frames.available).toBe(FRAMES);
    });

    it('has its calls made by the kernel: files, memory, streams, arguments', () => {
      const files = 'files 20 2000000 x';
      expect(shMovesAway(`turns ${files}; ls /tmp`, files).out).toBe(`${spin(1, 40_000_000)}\n`);
      const lines = 'lines 10 5000000';
      expect(shMovesAway(`turns ${lines} | turns filter 0 5000000 | wc -l`, lines).out).toBe('10\n');
      const grow = 'grow 60 50';
      expect(shMovesAway(`turns ${grow}`, grow).out).toBe(`${grown(60, 50)}\n`);
      expect(rig.frames.available).toBe(FRAMES);
    });

    it('comes back when it asks much of the kernel', () => {
      expect(shMovesAway('turns calls 3000 60000000', 'calls 3000 60000000').status).toBe(0);
      expect(on('calls 3000 60000000').at(-1)).toBe(0);
    });

    it('has no more memory than its domain, and its limit, wherever it is', () => {
      expect(shMovesAway('ulimit -v 8192; turns grow 1000 50', 'grow 1000 50')).toEqual({
        out: expect.stringMatching(/^no memory at \d\d\n$/),
        status: 1,
      });
      expect(rig.frames.available).toBe(FRAMES);
    });

    it('is ended, stopped and continued by signals, and its traps are its own', () => {
      const { processes } = rig.userland;
      for (const signal of ['SIGINT', 'SIGKILL'] as const) {
        const spins = start('acts spin');
        rig.run({ until: () => spins.process.elsewhere !== undefined });
        processes.kill(spins.process, signal);
        expect(spins.status).toEqual({ code: 0, signal });
      }
      const sums = start('acts sum 100000000');
      rig.run({ until: () => (sums.process.elsewhere?.cpuNs ?? 0) > 0 });
      processes.kill(sums.process, 'SIGSTOP');
      // A slice may have begun.
      for (let i = 0; i < 50; i++) smp.turn();
      const stopped = sums.process.usedNs;
      for (let i = 0; i < 50; i++) smp.turn();
      expect([sums.status, sums.process.usedNs]).toEqual([undefined, stopped]);
      processes.kill(sums.process, 'SIGCONT');
      rig.run({ until: () => sums.status !== undefined });
      expect(sums.status).toEqual({ code: 0 });
      expect(rig.screen.endsWith(`${spin(1, 100_000_000)}\n`)).toBe(true);
      expect(rig.sh('acts sum 60000000 trap')).toMatchObject({ status: 134 });
      expect(rig.sh('acts exit 3').status).toBe(3);
      expect(rig.frames.available).toBe(FRAMES);
    });

    it('says the same however its vCPUs come and go', async () => {
      const { seed, random } = seededRandom();
      await begin(seed);
      let left = 400;
      smp.meanwhile = () => {
        if (left === 0) smp.want(1, 2);
        else if (random() < 0.03 && left-- > 0) smp.processors.want(1 + Math.floor(random() * 2), random() < 0.6);
      };
      const script = [
        'turns lines 10 3000000 | turns filter 0 3000000 > /tmp/filtered &',
        'turns files 30 1000000 x > /tmp/files & turns grow 20 80 > /tmp/grown & acts sum 60000000 > /tmp/sum & wait',
      ];
      expect(rig.sh(script.join('\n')).status).toBe(0);
      expect(rig.read('/tmp/sum')).toBe(`${spin(1, 60_000_000)}\n`);
      expect(rig.read('/tmp/files')).toBe(`${spin(1, 30_000_000)}\n`);
      expect(rig.read('/tmp/grown')).toBe(`${grown(20, 80)}\n`);
      expect(rig.read('/tmp/filtered')).toBe(`${filtered(10, 3_000_000).join('\n')}\n`);
      expect(rig.frames.available).toBe(FRAMES);
      left = 0;
      await smp.settled();
    });
  },
);
