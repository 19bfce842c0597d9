// Bytes that nobody should send.
import { describe, expect, test } from 'vitest';
import { seedOfThisRun } from '../../support/random.ts';
import type { Explored } from './explore.ts';
import { type Act, actLine, exploreWire, PAYLOADS, parseAct, TYPES, WireRun } from './wire.ts';

function expectNothing({ failure }: Explored): void {
  if (failure !== undefined) throw new Error(`save this and \`npm run fuzz -- --replay FILE\`:\n${failure}`);
}
const frame = (on: 'socket' | 'ring', type: number, payload: string, tx = 0, cuts: number[] = []): Act => ({
  kind: 'frame',
  on,
  type,
  tx,
  payload,
  cuts,
});

describe.each(['socket', 'ring'] as const)('on a %s', on => {
  test('every message with every payload, in and out of transactions, is answered', () => {
    const run = new WireRun();
    for (const type of TYPES) {
      for (const payload of PAYLOADS) run.play([0, 1, 0xffffffff].map(tx => frame(on, type, payload, tx)));
    }
    expect(run.requests).toBeGreaterThanOrEqual(3 * TYPES.length * PAYLOADS.length);
  });

  test('every message after every other is answered', () => {
    const run = new WireRun();
    const sequence = TYPES.flatMap((first, i) =>
      TYPES.flatMap((second, j) => [first, second].map((t, k) => [t, i + j + k] as const)),
    );
    run.play(sequence.map(([type, n]) => frame(on, type, PAYLOADS[(7 * n) % PAYLOADS.length]!, n % 2)));
    expect(run.requests).toBeGreaterThanOrEqual(sequence.length);
  });

  test('every message cut at every byte is answered', () => {
    const run = new WireRun();
    for (const type of TYPES) {
      for (const payload of ['', '/d\0', '/d\0t\0', '3\0']) {
        for (let cut = 1; cut < 16 + payload.length; cut++) run.play([frame(on, type, payload, 0, [cut])]);
      }
    }
    expect(run.requests).toBeGreaterThan(16 * TYPES.length);
  });

  test.each([4097, 2 ** 31, 2 ** 32 - 1])('a claim of %i bytes in a message of any type ends the connection', len => {
    const run = new WireRun();
    for (const type of TYPES) run.play([frame(on, 2, '/d\0'), { kind: 'claim', on, type, len, payload: '/d\0' }]);
    expect(run.requests).toBe(TYPES.length);
  });
});

test('no attack of a seed of always succeeds', () => {
  const explored = exploreWire(1, 200);
  expectNothing(explored);
  expect(explored.requests).toBeGreaterThan(5000);
});

const seed = seedOfThisRun();
test(`and none of one of today (XENOLITH_SEED=${seed})`, () => {
  expectNothing(exploreWire(seed, 150));
});

test('an attack can be read back', () => {
  const acts: Act[] = [
    frame('ring', 11, '/d\0 x\xff{}|"', 7, [1, 20]),
    { kind: 'claim', on: 'socket', type: 77, len: 4097, payload: '' },
    { kind: 'noise', on: 'ring', bytes: '\0\\aaaaaaaaaaaaaaaaaaaaaaaa' },
    { kind: 'flood', on: 'ring', type: 2, payload: 'x' },
    { kind: 'poke', word: 'req_prod', value: 0xffffffff },
    { kind: 'deaf', on: 'socket' },
  ];
  expect(acts.map(act => parseAct(actLine(act)))).toEqual(acts);
});
