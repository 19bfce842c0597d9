// Seccomp filters: from a list of system calls, by name, to the BPF program that Linux runs at each. The numbers are an
// architecture's; where there are none here, there is no filter.
import { SeccompFilter, whyNoFilter } from './linux-confinement.ts';
import { SYSCALLS_X64, type SyscallName } from './syscalls-x64.ts';

export type { SyscallName };

/** What becomes of a call. 'kill': of the whole process, by SIGSYS. A number: it fails with that errno. */
export type Verdict = 'allow' | 'kill' | number;

/** By an argument, of which the lower 32 bits are looked at: all that Linux uses of those that are asked for here. */
export type Rule =
  | Verdict
  | { readonly arg: number; readonly oneOf: readonly number[]; readonly otherwise: Verdict }
  /** Allowed when none of these bits is set, or when one of them is. */
  | { readonly arg: number; readonly without: number; readonly otherwise: Verdict }
  | { readonly arg: number; readonly having: number; readonly otherwise: Verdict };

export interface Policy {
  readonly rules: Readonly<Partial<Record<SyscallName, Rule>>>;
  /** Of calls that are not in `rules`. */
  readonly otherwise: Verdict;
  /** Linux's log (dmesg) is to name each call that fails. Not where the process may be hostile: it would fill that. */
  readonly inLog?: boolean;
}

const AUDIT_ARCH_X86_64 = 0xc000_003e;
/** From here on: calls of the x32 ABI, by which each call would have a second number. */
const X32 = 0x4000_0000;
const SECCOMP_RET_KILL_PROCESS = 0x8000_0000;
const SECCOMP_RET_ERRNO = 0x0005_0000;
const SECCOMP_RET_ALLOW = 0x7fff_0000;
// BPF: load a word of struct seccomp_data, compare with a constant, return one.
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
/** A jump has a byte for how far. */
const LONGEST_JUMP = 0xff;
const NR = 0;
const ARCH = 4;
const argument = (n: number): number => 16 + 8 * n;

interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}
const instruction = (code: number, k: number, jt = 0, jf = 0): Instruction => ({ code, jt, jf, k });

const verdict = (v: Verdict): Instruction =>
  instruction(
    RETURN,
    v === 'allow' ? SECCOMP_RET_ALLOW : v === 'kill' ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | v,
  );

/** What decides once the call is known; it returns on every way through. */
function body(rule: Rule): Instruction[] {
  if (typeof rule !== 'object') return [verdict(rule)];
  const load = instruction(LOAD, argument(rule.arg));
  const [good, bad] = [verdict('allow'), verdict(rule.otherwise)];
  if ('without' in rule) return [load, instruction(JUMP_ANY_BIT, rule.without, 1, 0), good, bad];
  if ('having' in rule) return [load, instruction(JUMP_ANY_BIT, rule.having, 0, 1), good, bad];
  const tests = rule.oneOf.flatMap(value => [instruction(JUMP_EQUAL, value, 0, 1), good]);
  return [load, ...tests, bad];
}

/** The program of a policy on x86-64: struct sock_filter after struct sock_filter. */
export function assemble({ rules, otherwise }: Policy): Uint8Array {
  const program = [
    instruction(LOAD, ARCH),
    instruction(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
    verdict('kill'),
    instruction(LOAD, NR),
    instruction(JUMP_AT_LEAST, X32, 0, 1),
    verdict('kill'),
  ];
  for (const [name, rule] of Object.entries(rules) as [SyscallName, Rule][]) {
    const then = body(rule);
    if (then.length > LONGEST_JUMP) throw new Error(`seccomp: the rule of ${name} has ${then.length} instructions`);
    program.push(instruction(JUMP_EQUAL, SYSCALLS_X64[name], 0, then.length), ...then);
  }
  program.push(verdict(otherwise));
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, i) => {
    view.setUint16(8 * i, code, true);
    view.setUint8(8 * i + 2, jt);
    view.setUint8(8 * i + 3, jf);
    view.setUint32(8 * i + 4, k >>> 0, true);
  });
  return bytes;
}

/** Of a number, in which Linux's log names it. */
export const syscallName = (nr: number): string =>
  Object.entries(SYSCALLS_X64).find(([, number]) => number === nr)?.[0] ?? `system call ${nr}`;

/** Why there can be no filter on this machine; undefined when there can. */
export function whyNoSeccomp(): string | undefined {
  if (process.arch !== 'x64') return `no table of system calls for ${process.arch}`;
  return whyNoFilter(SYSCALLS_X64.seccomp);
}

/**
 * A policy that has been made ready; what it returns puts it in force, for good: for the whole process, or for this thread
 * and what that starts.
 */
export function prepareFilter(policy: Policy): (whose?: 'process' | 'thread') => void {
  const filter = new SeccompFilter(assemble(policy));
  return (whose = 'process') => filter.install(SYSCALLS_X64.seccomp, whose === 'process', policy.inLog === true);
}
