// One vCPU's page, the hypervisor's side: traps are taken once and answered once, and those of a thread that is
// gone neither served nor answered.

import { beforeEach, expect, it } from 'vitest';
import { Arena, domainLayout, PAGE_SIZE, vcpu_page, vcpuFrame, XENOLITH_NOTE } from '#pvbus';
import { TrapPage } from '../../../hypervisor/transport.ts';

const layout = domainLayout(16, 1);
let words: Int32Array;
let page: TrapPage;
let served: number[];

beforeEach(() => {
  const memory = Arena.create('transport-test', layout.frames * PAGE_SIZE);
  const first = (vcpuFrame(layout, 0) * PAGE_SIZE) / 4;
  words = memory.words.subarray(first, first + PAGE_SIZE / 4);
  words[at('trap_seq')] = words[at('reply_seq')] = -2; // the wrap is near
  page = new TrapPage(memory, layout, 7, 0);
  served = [];
  noted = [];
});
const at = (field: keyof typeof vcpu_page.at): number => vcpu_page.at[field] / 4;
/** What a thread does to trap; the number its answer is to have. */
function trap(op: number): number {
  words[at('op')] = op;
  words[at('arg')] = 1;
  return (Atomics.add(words, at('trap_seq'), 1) + 1) | 0;
}
let noted: number[];
const take = (): boolean =>
  page.take(
    (_, op) => served.push(op),
    (_, want) => noted.push(want),
  );
/** What a thread does to say what it wants. */
function note(want: number): void {
  words[at('want')] = want;
  Atomics.add(words, at('trap_seq'), XENOLITH_NOTE);
}
const answered = (seq: number): boolean => words[at('reply_seq')] === seq;

it('a trap is taken once, and its answer has its number', () => {
  for (const op of [10, 11, 12, 13]) {
    const seq = trap(op);
    expect(take()).toBe(true);
    expect(take()).toBe(false);
    expect(answered(seq)).toBe(false);
    page.reply(2 ** 32 * 3 + op);
    expect(answered(seq)).toBe(true);
    expect([words[at('result')], words[at('result') + 1]]).toEqual([op, 3]);
  }
  expect(served).toEqual([10, 11, 12, 13]);
});

it('what a dead thread asked and nobody took is not served, and the next one is served from its first trap on', () => {
  const dead = trap(10);
  page.forget();
  expect(take()).toBe(false);
  const next = trap(11);
  expect(take()).toBe(true);
  page.reply(0);
  expect([answered(dead), answered(next)]).toEqual([false, true]);
  expect(served).toEqual([11]);
});

it('a thread that died in a trap that was taken leaves no answer to the next one', () => {
  const dead = trap(10);
  take();
  page.forget();
  const next = trap(11);
  expect(next).not.toBe(dead);
  expect(answered(next)).toBe(false);
  take();
  page.reply(0);
  expect(answered(next)).toBe(true);
});

it('a note is no trap, and a trap is no note', () => {
  note(2);
  expect([take(), take()]).toEqual([true, false]);
  expect([served, noted]).toEqual([[], [2]]);
  const seq = trap(11);
  expect(take()).toBe(true);
  page.reply(0);
  expect([answered(seq), served, noted]).toEqual([true, [11], [2]]);
});

it('of notes that were not taken the last one counts, and a trap after them is served with its answer', () => {
  note(0);
  note(1);
  const seq = trap(12);
  expect([take(), take()]).toEqual([true, false]);
  page.reply(0);
  expect([answered(seq), served, noted]).toEqual([true, [12], [1]]);
});
