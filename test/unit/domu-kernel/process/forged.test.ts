// Programs that say in their file that they are prepared, and are not: what they do costs themselves, and neither the kernel
// nor another process.
import { describe, expect, it } from 'vitest';
import { PREPARED_SECTION, PREPARED_VERSION, systemClock } from '#pvbus';
import type { ExitStatus } from '../../../../domu-kernel/process/process.ts';
import { SmpRig } from '../../../support/smp-rig.ts';
import { moduleOf, text } from '../../../support/tiny-module.ts';
import { UserlandRig } from '../../../support/userland-rig.ts';

const [I32, I64, F32, F64, FUNCREF] = [0x7f, 0x7e, 0x7d, 0x7c, 0x70];
const [RUNS, UNWINDS] = [0, 1];
const GLOBALS = ['state', 'fuel', 'sp', 'end', 'pages'] as const;
type Name = (typeof GLOBALS)[number];
const END = 2 * 65536;
const FIRST = { state: RUNS, fuel: 0, sp: 65536, end: END, pages: 1 };

interface Forgery {
  /** What `_start` does. */
  readonly code?: readonly number[];
  /** In place of a global of ours. */
  readonly globals?: Partial<Record<Name, readonly number[]>>;
  readonly ends?: number;
  /** Exports besides: each with its bytes. */
  readonly exports?: readonly (readonly number[])[];
  /** Sections in place of those that a prepared program has. */
  readonly sections?: Readonly<Record<number, readonly number[]>>;
}

const sleb = (n: number): number[] => {
  const out = [];
  for (let rest = n; ; rest >>= 7) {
    if (rest >= -0x40 && rest < 0x40) return [...out, rest & 0x7f];
    out.push((rest & 0x7f) | 0x80);
  }
};
const i32 = (value: number, mutable = 1): number[] => [I32, mutable, 0x41, ...sleb(value), 0x0b];
/** Counts to ten thousand, so that it takes time, and says that it was suspended. */
const SPINS = [
  ...[
    0x41,
    0,
    0x24,
    1,
    0x03,
    0x40,
    0x23,
    1,
    0x41,
    1,
    0x6a,
    0x24,
    1,
    0x23,
    1,
    0x41,
    ...sleb(10_000),
    0x49,
    0x0d,
    0,
    0x0b,
  ],
  ...[0x41, UNWINDS, 0x24, 0],
];

function forged({ code = SPINS, globals = {}, ends = END, exports = [], sections = {} }: Forgery): Uint8Array {
  const layout = [PREPARED_VERSION, 1, 16, 1, 1];
  const all = GLOBALS.flatMap(name => globals[name] ?? i32({ ...FIRST, end: ends }[name]));
  const body = [0, ...code, 0x0b];
  const named = [
    [...text('_start'), 0, 0],
    [...text('memory'), 2, 0],
    ...GLOBALS.map((name, i) => [...text(`xenolith_${name}`), 3, i]),
    ...exports,
  ];
  const those: Record<number, readonly number[]> = {
    1: [1, 0x60, 0, 0],
    3: [1, 0],
    5: [1, 0, 2],
    6: [GLOBALS.length, ...all],
    7: [named.length, ...named.flat()],
    10: [1, body.length, ...body],
    ...sections,
  };
  const order = [1, 3, 4, 5, 13, 6, 7, 10];
  return moduleOf(
    [0, [...text(PREPARED_SECTION), ...layout]],
    ...order.flatMap(id => (those[id] === undefined ? [] : [[id, those[id]] as const])),
  );
}

/** An exception, and its throwing. */
const TAG = [1, 0, 0];
const THROWS = [0x08, 0];
const plain = moduleOf(
  [1, [1, 0x60, 0, 0]],
  [3, [1, 0]],
  [5, [1, 0, 1]],
  [13, TAG],
  [7, [1, ...text('_start'), 0, 0]],
  [10, [1, 2 + THROWS.length, 0, ...THROWS, 0x0b]],
);

/** What becomes of it, beside a shell that goes on. */
function outcome(program: Uint8Array): { status: number; out: string } {
  const rig = new UserlandRig({ frames: 4096 });
  rig.write('/forged.wasm', program);
  const done = rig.sh('/forged.wasm; status=$?; echo goes on; exit $status');
  expect(rig.frames.available).toBe(4096);
  return done;
}

describe('a program that lies about being prepared', () => {
  it('suspends itself as one that does not: what is told here would be found', () => {
    const rig = new UserlandRig({ frames: 4096 });
    rig.write('/forged.wasm', forged({}));
    expect(rig.sh('/forged.wasm & sleep 0.05; kill $!; wait $!').status).toBe(143);
  });
  it.each<[string, Forgery]>([
    ['a global that cannot be changed', { globals: { state: i32(0, 0) } }],
    ['fuel of 64 bits', { globals: { fuel: [I64, 1, 0x42, 0, 0x0b] } }],
    ['pages with a point', { globals: { pages: [F32, 1, 0x43, 0, 0, 0, 0x3f, 0x0b] } }],
    ['a state with a point', { globals: { state: [F64, 1, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b] } }],
    ['an end that is a reference', { globals: { end: [FUNCREF, 1, 0xd0, FUNCREF, 0x0b] } }],
    ['more memory than it says', { sections: { 5: [1, 0, 3] } }],
    ['no memory', { sections: { 5: [0], 7: [1, ...text('_start'), 0, 0] }, code: [] }],
  ])('with %s is not run', (_, how) => {
    const code = how.code ?? [];
    expect(outcome(forged({ ...how, code }))).toEqual({
      status: 126,
      out: expect.stringMatching(/ENOEXEC.*\ngoes on\n$/),
    });
  });
  it.each([
    ['what does', forged({ code: THROWS, sections: { 13: TAG } })],
    ['what does not', plain],
  ])('and %s, which throws what nobody catches, is ended', (_, program) => {
    const why = '/forged.wasm: it threw what nobody catches\ngoes on\n';
    expect(outcome(program)).toEqual({ status: 134, out: why });
  });
});

const newer = Number(process.versions.node.split('.')[0]) >= 24;

describe('one that would move to another vCPU', () => {
  async function begin() {
    const smp = new SmpRig(3, 1, false, true);
    smp.want(1, 2);
    await smp.settled();
    const rig = new UserlandRig({
      ...{ clock: systemClock, frames: 4096 },
      smp: { placement: smp.processors.placement, turn: () => smp.turn() },
    });
    smp.also = () => void rig.userland.step();
    const start = (program: Uint8Array) => {
      rig.write('/forged.wasm', program);
      const { terminal } = rig.userland;
      const started: { status: ExitStatus | undefined } = { status: undefined };
      const onEnd = (status: ExitStatus): void => {
        started.status = status;
      };
      const process = rig.userland.spawn({ argv: ['/forged.wasm'], stdio: [terminal, terminal, terminal], onEnd });
      return { process, started };
    };
    return { rig, smp, start };
  }
  it('moves as one that does not lie', async () => {
    const { rig, start } = await begin();
    const { process, started } = start(forged({}));
    rig.run({ until: () => process.elsewhere !== undefined });
    rig.run({ until: () => (process.elsewhere?.cpuNs ?? 0) > 0 });
    rig.userland.processes.kill(process, 'SIGKILL');
    expect(started.status).toEqual({ code: 0, signal: 'SIGKILL' });
    expect(rig.frames.available).toBe(4096);
  });
  it.each<[string, Forgery]>([
    ['whose saved frames end beyond its memory', { ends: 0x40000000 }],
    ['whose saved frames end within a page', { ends: 65537 }],
    [
      'with a reference in a global',
      {
        exports: [[...text('xenolith_global_5'), 3, 5]],
        sections: { 6: [6, ...GLOBALS.flatMap(name => i32(FIRST[name])), FUNCREF, 1, 0xd2, 0, 0x0b] },
      },
    ],
  ])('%s stays', async (_, how) => {
    const { rig, start } = await begin();
    const { process, started } = start(forged(how));
    rig.run({ until: () => process.usedNs > 60e6 });
    expect([process.elsewhere, started.status]).toEqual([undefined, undefined]);
    rig.userland.processes.kill(process, 'SIGKILL');
    expect(rig.frames.available).toBe(4096);
  });
  it.skipIf(!newer).each<[string, Forgery, ExitStatus | undefined]>([
    [
      'that reads from a second memory',
      { code: [0x41, 0, 0x28, 0x42, 1, 0, 0x1a, ...SPINS], sections: { 5: [2, 0, 2, 0, 2] } },
      undefined,
    ],
    [
      'that reads from a memory of 64 bits',
      { code: [0x42, 0, 0x28, 2, 0, 0x1a, ...SPINS], sections: { 5: [1, 4, 2] } },
      { code: 0, signal: 'SIGKILL' },
    ],
  ])('%s stays, or is ended', async (_, how, ended) => {
    const { rig, smp, start } = await begin();
    const { process, started } = start(forged(how));
    rig.run({ until: () => process.usedNs > 60e6 || started.status !== undefined });
    for (let i = 0; i < 500; i++) smp.turn();
    expect([process.elsewhere, started.status]).toEqual([undefined, ended]);
    rig.userland.processes.kill(process, 'SIGKILL');
    expect(rig.frames.available).toBe(4096);
  });
  it('and cannot come back is ended', async () => {
    const { rig, smp, start } = await begin();
    // When it has been gone on with ten thousand times, its memory ends where it does not.
    const count = [0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0];
    const lies = [0x41, 0, 0x28, 2, 0, 0x41, ...sleb(10_000), 0x4a, 0x04, 0x40, 0x41, 3, 0x24, 3, 0x0b];
    const { process, started } = start(forged({ code: [...SPINS, ...count, ...lies] }));
    rig.run({ until: () => process.elsewhere !== undefined && process.bytes.length > 0 });
    rig.run({ until: () => process.view.getInt32(0, true) > 10_000 });
    smp.processors.placement!.evict(process.elsewhere!.vcpu);
    rig.run({ until: () => started.status !== undefined });
    expect(started.status).toEqual({ code: 0, signal: 'SIGKILL' });
    expect(rig.screen).toMatch(/forged.wasm: it cannot go on/);
    expect(rig.frames.available).toBe(4096);
  });
});
