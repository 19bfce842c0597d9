import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { assemble, type Policy } from '#pvbus';
import { SYSCALLS_X64 } from '../../../pvbus/syscalls-x64.ts';

const ALLOW = 0x7fff_0000;
const KILL = 0x8000_0000;
const errno = (n: number): number => 0x0005_0000 | n;
const X86_64 = 0xc000_003e;

/** What Linux's BPF machine makes of a call. */
function judge(policy: Policy, nr: number, args: readonly number[] = [], arch = X86_64): number {
  const program = assemble(policy);
  const code = new DataView(program.buffer);
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  args.forEach((arg, i) => {
    data.setBigUint64(16 + 8 * i, BigInt(arg), true);
  });
  let a = 0;
  for (let pc = 0; ; pc++) {
    const op = code.getUint16(8 * pc, true);
    const k = code.getUint32(8 * pc + 4, true);
    const jump = (yes: boolean): void => {
      pc += code.getUint8(8 * pc + (yes ? 2 : 3));
    };
    if (op === 0x20) a = data.getUint32(k, true);
    else if (op === 0x15) jump(a === k);
    else if (op === 0x35) jump(a >= k);
    else if (op === 0x45) jump((a & k) !== 0);
    else if (op === 0x06) return k;
    else throw new Error(`no such instruction: ${op}`);
  }
}

const policy: Policy = {
  rules: {
    read: 'allow',
    socket: 1,
    fcntl: { arg: 1, oneOf: [1, 1030], otherwise: 1 },
    mmap: { arg: 2, without: 4, otherwise: 1 },
    clone: { arg: 0, having: 0x10000, otherwise: 38 },
  },
  otherwise: 'kill',
};
const { read, socket, fcntl, mmap, clone, ptrace } = SYSCALLS_X64;

describe('a filter', () => {
  it('allows what is allowed, refuses what is refused, and ends who asks for anything else', () => {
    expect(judge(policy, read)).toBe(ALLOW);
    expect(judge(policy, socket)).toBe(errno(1));
    expect(judge(policy, ptrace)).toBe(KILL);
  });
  it('judges by an argument', () => {
    expect([1, 1030, 2, 0xffff_ffff].map(cmd => judge(policy, fcntl, [3, cmd]))).toEqual([
      ALLOW,
      ALLOW,
      errno(1),
      errno(1),
    ]);
    expect([0, 3, 4, 7].map(prot => judge(policy, mmap, [0, 4096, prot]))).toEqual([ALLOW, ALLOW, errno(1), errno(1)]);
    expect([0x10000, 0x11, 0x3d_0f00].map(flags => judge(policy, clone, [flags]))).toEqual([ALLOW, errno(38), ALLOW]);
  });
  it('is not fooled by what Linux ignores of an argument', () => {
    expect(judge(policy, fcntl, [3, 2 ** 32 + 1])).toBe(ALLOW); // fcntl's cmd is an int: this is F_GETFD
    expect(judge(policy, mmap, [0, 4096, 2 ** 40 + 4])).toBe(errno(1));
  });
  it('is not made where a list is longer than a jump', () => {
    const listOf = (length: number): Policy => ({
      rules: { fcntl: { arg: 1, oneOf: Array.from({ length }, (_, i) => i), otherwise: 1 } },
      otherwise: 'kill',
    });
    expect(judge(listOf(126), fcntl, [3, 125])).toBe(ALLOW);
    expect(() => judge(listOf(127), fcntl, [3, 125])).toThrow('the rule of fcntl has 256 instructions');
  });
  it('ends who calls by the numbers of another ABI', () => {
    expect(judge(policy, read, [], 0x4000_0003)).toBe(KILL); // i386
    expect(judge(policy, 0x4000_0000 + read)).toBe(KILL); // x32
    expect(judge({ rules: {}, otherwise: 'allow' }, 0x4000_0000 + ptrace)).toBe(KILL);
  });
});

const HEADER = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h';
it.skipIf(!existsSync(HEADER))('the numbers of calls are those of <asm/unistd_64.h>', () => {
  const theirs = [...readFileSync(HEADER, 'latin1').matchAll(/^#define __NR_(\w+) (\d+)$/gm)];
  expect(theirs.length).toBeGreaterThan(300);
  const ours: Record<string, number> = SYSCALLS_X64;
  for (const [, name, nr] of theirs)
    if (ours[name!] !== undefined) expect([name, ours[name!]]).toEqual([name, Number(nr)]);
});
