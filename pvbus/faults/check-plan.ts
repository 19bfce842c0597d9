// Faults and plans as somebody has written them -> as they are used. Everything wrong is named by its key.
import { XenError } from '../errors.ts';
import { nearName } from '../near-name.ts';
import {
  ACTIONS,
  CHANNEL_TYPES,
  deviceTypesOf,
  type Fault,
  type FaultPlan,
  isTimed,
  PARTS,
  type Part,
  type PartName,
} from './fault.ts';
import { TOOLSTACK_STEPS, type ToolstackOpName } from './steps.ts';

/** Where in what was given, and what is wrong there. */
export interface PlanProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

export const MAX_FAULTS = 256;
const MAX_MS = 365 * 86_400_000;
const MAX_COUNT = 2 ** 32;

type Report = (path: readonly (string | number)[], message: string) => undefined;
/** Returns what was meant, or undefined after a report. */
type Reader = (value: unknown, problem: (message: string) => undefined) => unknown;

/** Of a longer list only those are shown that begin as what was given does, or else so many. */
const READABLE = 24;
const FEW = 8;
const SHOWN_CHARACTERS = 40;

/** `expected rx or tx, not "write"`, or what may have been meant. */
function expected(list: readonly string[], value: unknown): string {
  const given = typeof value === 'string' ? value.slice(0, SHOWN_CHARACTERS) : '';
  const shownValue = typeof value === 'string' ? JSON.stringify(given) : `of type ${typeof value}`;
  const near = nearName(given, list);
  if (near !== undefined) return `there is no ${shownValue}; do you mean ${near}?`;
  const family = given.slice(0, given.indexOf('_') + 1);
  const alike = list.filter(one => family !== '' && one.startsWith(family));
  const shown = list.length <= READABLE ? list : alike.length > 0 ? alike : list.slice(0, FEW);
  const others = shown.length < list.length ? ` or ${list.length - shown.length} others` : '';
  return `expected ${shown.join(' or ')}${others}, not ${shownValue}`;
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `1500`, `1500ms`, `1.5s`, `2m`, `1h`, `1d`; undefined for anything else. */
export function milliseconds(value: unknown): number | undefined {
  const match = /^([+-]?[0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?$/.exec(String(value).trim());
  return match ? Number(match[1]) * UNITS[match[2] ?? 'ms']! : undefined;
}

const duration =
  (min: number): Reader =>
  (value, problem) => {
    const ms = typeof value === 'number' || typeof value === 'string' ? milliseconds(value) : undefined;
    if (ms !== undefined && ms >= min && Math.abs(ms) <= MAX_MS) return ms;
    return problem('expected a time, such as 200ms, 5s, 2m or 1h');
  };
const count =
  (min: number, max = MAX_COUNT): Reader =>
  (value, problem) => {
    const n = typeof value === 'string' && /^[0-9]+$/.test(value) ? Number(value) : value;
    if (Number.isSafeInteger(n) && (n as number) >= min && (n as number) <= max) return n;
    return problem(`expected a whole number from ${min} to ${max}`);
  };
const words =
  (list: readonly string[]): Reader =>
  (value, problem) =>
    list.includes(value as string) ? value : problem(expected(list, value));
const text =
  (pattern: RegExp, what: string): Reader =>
  (value, problem) =>
    typeof value === 'string' && value.length <= 255 && pattern.test(value) ? value : problem(`expected ${what}`);
/** `drop: true`; on a command line also `drop=1`. */
const set: Reader = (value, problem) =>
  value === true || value === 'true' || value === 1 || value === '1' ? true : problem('expected true');

// They are names of xenstore's nodes too.
const name = text(/^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/, "a name of letters, digits, '_' and '-', at most 64");
const domainName = text(/^[\x21-\x7e]+$/, 'the name of a domain, or its domid');
const domain: Reader = (value, problem) => {
  if (typeof value === 'number' || (typeof value === 'string' && /^[0-9]+$/.test(value)))
    return count(0, 0x7fef)(value, problem);
  return domainName(value, problem);
};
const device: Reader = (value, problem) => {
  if (typeof value === 'number' || (typeof value === 'string' && /^[0-9]+$/.test(value)))
    return count(0, 0x7fff_ffff)(value, problem);
  return text(/^(xvd|hd|sd|vif)[a-z0-9]*$/, 'a disk such as xvda, vif0, or the number of a device')(value, problem);
};
const nth: Reader = (value, problem) => {
  const list = typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : [value];
  const numbers = list.map(one => count(1)(one, () => undefined));
  if (list.length === 0 || list.length > 256 || numbers.includes(undefined))
    return problem('expected the number of an occurrence, from 1 on, or a list of them');
  return numbers;
};
const sectors: Reader = (value, problem) => {
  const parts = Array.isArray(value) ? value : String(value).split('-');
  const [first, last = first] = parts.map(one => count(0, Number.MAX_SAFE_INTEGER)(one, () => undefined) as number);
  if (parts.length > 2 || first === undefined || last === undefined || last < first)
    return problem('expected a sector, or the first and the last as 8-15');
  return [first, last];
};
const probability: Reader = (value, problem) => {
  const given = typeof value === 'string' ? value.replace(/%$/, '') : value;
  const p = (given === '' ? Number.NaN : Number(given)) / (String(value).endsWith('%') ? 100 : 1);
  return p >= 0 && p <= 1 ? p : problem('expected a probability from 0 to 1, or such as 30%');
};
const SIZE_UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const left: Reader = (value, problem) => {
  const [, digits, unit = ''] = /^([0-9]+)([KMG])?$/.exec(String(value)) ?? [];
  const n = Number(digits ?? Number.NaN) * (SIZE_UNITS[unit] ?? 1);
  return n < 2 ** 40 ? n : problem('expected a number of descriptors, or of bytes such as 16M');
};
const storePath = text(/^(\/|@)[\x21-\x7e]*$/, "a path, from '/' on");
const condition: Reader = (value, problem) => {
  const given = typeof value === 'string' ? { path: value.split('=', 1)[0], is: value.split('=').slice(1)[0] } : value;
  const { path, is, ...rest } = (given ?? {}) as Record<string, unknown>;
  if (storePath(path, () => undefined) === undefined || Object.keys(rest).length > 0)
    return problem('expected a path of xenstore, or one with what it is to hold: /local/node=value');
  return is === undefined ? { path } : { path, is: String(is) };
};

const FIELDS: Readonly<Record<keyof Fault, Reader>> = {
  name,
  part: words(Object.keys(PARTS)),
  domain,
  device,
  type: words(CHANNEL_TYPES),
  op: value => value, // of its part: below
  sectors,
  gref: count(0),
  port: count(1, 2 ** 17),
  path: storePath,
  process: words(['dom0', 'xenstored', 'hypervisor', 'domain', 'guest']),
  step: value => value, // of its op: below
  peer: domain,
  nth,
  every: value => value, // of its part: below
  from: count(1),
  after: duration(0),
  probability,
  while: condition,
  times: count(1),
  for: duration(1),
  error: value => value, // of its part: below
  drop: set,
  delay: duration(1),
  duplicate: count(1, 1_000_000),
  reorder: set,
  corrupt: (value, problem) => (typeof value === 'boolean' || value === 'true' ? set : count(0))(value, problem),
  short: count(1),
  torn: count(0),
  cache: (value, problem) =>
    value === true || value === 'true' || value === '1'
      ? true
      : probability(value, () => problem('expected true, or a share such as 50%')),
  atomic: (value, problem) => {
    const bytes = count(512)(value, () => undefined) as number | undefined;
    return bytes !== undefined && bytes <= 65536 && bytes % 512 === 0
      ? bytes
      : problem('expected sectors in bytes: 512, 4096');
  },
  lose: set,
  truncate: count(0, Number.MAX_SAFE_INTEGER),
  stall: set,
  kill: (value, problem) =>
    value === true || value === 'true' || value === '1' ? 'before' : words(['before', 'after'])(value, problem),
  stop: duration(1),
  shift: duration(-MAX_MS),
  exhaust: words(['descriptors', 'memory']),
  left,
};
/** Every key of a fault. */
const FAULT_KEYS: readonly string[] = Object.keys(FIELDS);
const EVERYWHERE = new Set(['name', 'part', 'op', ...'nth every from after probability while times for'.split(' ')]);

function noSuchKey(key: string): string {
  const near = nearName(key, FAULT_KEYS);
  if (near !== undefined) return `there is no such key; do you mean ${near}?`;
  return `a fault has no such key; it has ${FAULT_KEYS.join(' ')}`;
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** undefined after a report. `nameless`: what it is called when it does not say. */
function checkFault(given: unknown, at: readonly (string | number)[], nameless: string, report: Report) {
  if (!isMap(given)) return report(at, 'expected a map that describes a fault');
  const before = { count: 0 };
  const wrong: Report = (path, message) => {
    before.count++;
    return report(path, message);
  };
  const fault: Record<string, unknown> = { name: nameless };
  for (const [key, value] of Object.entries(given)) {
    const read = Object.hasOwn(FIELDS, key) ? FIELDS[key as keyof Fault] : undefined;
    if (value === undefined) continue;
    if (read === undefined) wrong([...at, key], noSuchKey(key));
    else fault[key] = read(value, message => wrong([...at, key], message));
  }
  if (!Object.hasOwn(given, 'part')) return wrong(at, `part is missing: one of ${Object.keys(PARTS).join(', ')}`);
  if (fault.part === undefined) return undefined;
  const part: Part = PARTS[fault.part as PartName];
  const timed = isTimed(fault as unknown as Fault);
  const actions = ACTIONS.filter(action => Object.hasOwn(given, action));
  if (actions.length !== 1) {
    const may = `what happens is one of ${part.actions.join(', ')}`;
    wrong(at, actions.length === 0 ? `${may}` : `${actions.join(' and ')} are two faults; ${may}`);
  }
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(FIELDS, key) || EVERYWHERE.has(key)) continue;
    const isAction = (ACTIONS as readonly string[]).includes(key);
    if (isAction ? !part.actions.includes(key as never) : !part.selectors.includes(key)) {
      const those = isAction ? part.actions : part.selectors;
      wrong([...at, key], `not of ${fault.part}; that has ${those.length > 0 ? those.join(', ') : 'none'}`);
    }
  }
  const { op, every, error } = given;
  if (op !== undefined && !part.ops.includes(op as string))
    wrong([...at, 'op'], part.ops.length === 0 ? `${fault.part} has none` : expected(part.ops, op));
  if (every !== undefined)
    fault.every = (timed ? duration(1) : count(1))(every, message => wrong([...at, 'every'], message));
  if (error !== undefined && part.actions.includes('error') && !part.errors.includes(error as string))
    wrong([...at, 'error'], expected(part.errors, error));
  if (timed) {
    for (const key of ['nth', 'from', 'probability'])
      if (Object.hasOwn(given, key))
        wrong([...at, key], `${fault.part} counts nothing: it has after, every, times, for`);
  }
  if (fault.part === 'process' && given.process === undefined)
    fault.process = given.domain === undefined ? wrong(at, 'process is missing') : 'domain';
  checkVictim(fault, at, wrong);
  if (fault.process === 'domain' && given.domain === undefined) wrong(at, 'domain is missing: which one');
  if (timed && fault.process !== undefined && fault.process !== 'domain' && given.domain !== undefined)
    wrong([...at, 'domain'], `${fault.process} is a process of the host's`);
  if (fault.part === 'process') checkExhaust(fault, at, wrong);
  if (fault.part === 'grant' && op === 'copy' && fault.type === 'vbd')
    wrong([...at, 'type'], 'the backend of a vbd copies nothing');
  if (fault.part === 'pvcalls' && fault.short !== undefined && ['connect', 'listen', 'accept'].includes(op as string))
    wrong([...at, 'short'], `${op} moves no bytes; send and receive do`);
  if (fault.part === 'grant' && fault.type !== undefined && fault.type !== 'vbd' && fault.type !== 'vif')
    wrong([...at, 'type'], 'expected vbd or vif');
  if (typeof fault.device === 'string') checkDeviceName(fault as unknown as Fault, at, wrong);
  if (fault.step !== undefined && part.selectors.includes('step')) checkStep(fault, at, wrong);
  if (fault.part === 'event' && fault.type === 'xenstore') checkXenstoreEvent(fault, at, wrong);
  if (fault.part === '9pfs') checkFolderFault(fault, at, wrong);
  if (fault.op !== undefined && part.actions.includes('torn')) checkDiskOp(fault, at, wrong);
  if (fault.atomic !== undefined && typeof fault.cache !== 'number')
    wrong([...at, 'atomic'], 'of what is kept in part: cache=50%');
  // What ends a process would else end every one that comes after it.
  if (fault.kill !== undefined && fault.times === undefined && fault.nth === undefined && fault.every === undefined)
    fault.times = 1;
  return before.count > 0 ? undefined : (fault as unknown as Fault); // key by key by the table of its type
}

/** A device's name tells its class, which its part may not have. */
function checkDeviceName(fault: Fault, at: readonly (string | number)[], wrong: Report): void {
  const type = String(fault.device).startsWith('vif') ? 'vif' : 'vbd';
  const types = deviceTypesOf(fault);
  if (PARTS[fault.part].selectors.includes('device' as never) && fault.type !== 'xenstore' && !types.includes(type))
    wrong([...at, 'device'], `${fault.device} is a ${type}: expected a ${types.join(' or ')}`);
}

/** By name or number; without an op, of any. */
function checkStep(fault: Record<string, unknown>, at: readonly (string | number)[], wrong: Report): void {
  const { op, step } = fault;
  const lists: readonly (readonly string[])[] = Object.hasOwn(TOOLSTACK_STEPS, String(op))
    ? [TOOLSTACK_STEPS[op as ToolstackOpName]]
    : Object.values(TOOLSTACK_STEPS);
  const problem = (message: string): undefined => wrong([...at, 'step'], message);
  if (typeof step === 'number' || /^-?[0-9]+$/.test(String(step)))
    fault.step = count(1, Math.max(...lists.map(list => list.length)))(step, problem);
  else words([...new Set(lists.flat())])(step, problem);
}

/** Whose process it is: the plan's own choice by time, the guest's at what a device does. */
function checkVictim(fault: Record<string, unknown>, at: readonly (string | number)[], wrong: Report): void {
  if (fault.process === undefined) return;
  const ofDevice = fault.part !== 'process';
  const mayBe = ofDevice ? ['guest'] : ['dom0', 'xenstored', 'hypervisor', 'domain'];
  if (!mayBe.includes(fault.process as string))
    wrong([...at, 'process'], `of ${fault.part}: expected ${mayBe.join(' or ')}`);
  if (ofDevice && fault.kill === undefined && fault.stop === undefined)
    wrong([...at, 'process'], 'what becomes of it? kill or stop is missing');
}

/** It lasts, and all of a host ends with its hypervisor. */
function checkExhaust(fault: Record<string, unknown>, at: readonly (string | number)[], wrong: Report): void {
  if (fault.exhaust === undefined) {
    if (fault.left !== undefined) wrong([...at, 'left'], 'of what? exhaust is missing');
    if (fault.process === 'hypervisor') wrong([...at, 'process'], 'the host ends with it; it can only be exhausted');
    return;
  }
  for (const key of ['every', 'times'])
    if (fault[key] !== undefined) wrong([...at, key], 'it lasts as long as the fault: it has after, for, while');
}

/** Not every operation of a disk can go wrong in each way. */
function checkDiskOp(fault: Record<string, unknown>, at: readonly (string | number)[], wrong: Report): void {
  const only: Readonly<Record<string, readonly string[]>> = {
    torn: ['write'],
    short: ['read', 'write'],
    corrupt: ['read', 'write'],
    truncate: ['read', 'write'],
  };
  for (const [action, ops] of Object.entries(only))
    if (fault[action] !== undefined && !ops.includes(fault.op as string))
      wrong([...at, action], `a ${fault.op} cannot be so; ${ops.join(' and ')} can`);
}

function checkXenstoreEvent(fault: Record<string, unknown>, at: readonly (string | number)[], wrong: Report): void {
  if (fault.device !== undefined)
    wrong([...at, 'device'], 'xenstored has no devices; domain and port choose a channel');
  for (const key of ['kill', 'stop'])
    if (fault[key] !== undefined) wrong([...at, key], 'of xenstored that is of part xenstore, at a request');
}
function checkFolderFault(fault: Record<string, unknown>, at: readonly (string | number)[], wrong: Report): void {
  const { op, short, path } = fault;
  if (short !== undefined && op !== undefined && op !== 'read' && op !== 'write')
    wrong([...at, 'short'], `${op} moves no bytes; read and write do`);
  if (path !== undefined && !(path as string).startsWith('/'))
    wrong([...at, 'path'], "expected a path in the folder, from '/' on");
}

const PLAN_KEYS = ['name', 'seed', 'duration', 'faults'];

/**
 * A plan, or what is wrong with it. A list is the plan's faults; a map is `name`, `seed`, `duration`, `faults`. `name`
 * is the plan's when it does not say.
 */
export function checkPlan(given: unknown, planName: string): { plan: FaultPlan } | { problems: PlanProblem[] } {
  const problems: PlanProblem[] = [];
  const report: Report = (path, message) => {
    problems.push({ path, message });
  };
  const plan = readPlan(given, planName, report);
  return problems.length > 0 || plan === undefined ? { problems } : { plan };
}

function readPlan(given: unknown, planName: string, report: Report): FaultPlan | undefined {
  const whole = Array.isArray(given) ? { faults: given } : given;
  if (!isMap(whole)) return report([], 'expected a plan: a list of faults, or a map with name, seed, duration, faults');
  for (const key of Object.keys(whole))
    if (!PLAN_KEYS.includes(key)) report([key], `a plan has no such key; it has ${PLAN_KEYS.join(' ')}`);
  const at = Array.isArray(given) ? [] : ['faults'];
  const list = whole.faults;
  if (!Array.isArray(list)) return report(at, 'expected a list of faults');
  if (list.length > MAX_FAULTS) return report(at, `expected at most ${MAX_FAULTS} faults`);
  const called = whole.name === undefined ? planName : name(whole.name, message => report(['name'], message));
  const seed = whole.seed === undefined ? 0 : count(0, 0xffff_ffff)(whole.seed, message => report(['seed'], message));
  const length = whole.duration === undefined ? undefined : duration(1)(whole.duration, m => report(['duration'], m));
  const faults: Fault[] = [];
  const names = new Set<string>();
  for (const [i, one] of list.entries()) {
    const fault = checkFault(one, [...at, i], `fault-${i + 1}`, report);
    if (fault === undefined) continue;
    if (names.has(fault.name)) report([...at, i, 'name'], `two faults are called ${fault.name}`);
    names.add(fault.name);
    faults.push(fault);
  }
  if (called === undefined || seed === undefined) return undefined;
  const timed = length === undefined ? {} : { duration: length as number };
  return { name: called as string, seed: seed as number, ...timed, faults };
}

/** untrusted: a plan of another process. Throws EINVAL with the first thing that is wrong. */
export function planShape(value: unknown, where: string): FaultPlan {
  const checked = checkPlan(value, 'plan');
  if ('plan' in checked) return checked.plan;
  const { path, message } = checked.problems[0]!; // no plan: there is one
  throw new XenError('EINVAL', `${[where, ...path].join('.')}: ${message}`);
}
