// What a run may choose to do next: let a part run, have a program ask for something, let time pass, or break
// something. A choice is a verb, whom it is about, and a number that says the rest; a trace is a list of them.

import { Draw } from './draw.ts';
import { MAX_PACKET, MIN_PACKET } from './packet-ledger.ts';
import type { RingIndex } from './sim-guest.ts';
import type { SimHost } from './sim-host.ts';
import { DISK_SECTORS } from './sim-host.ts';

export interface Choice {
  readonly verb: Verb;
  /** A part's name, or a slot's number. */
  readonly target: string;
  /** What else there is to choose, drawn at random. */
  readonly arg: number;
}

interface Act {
  /** True when it did something. */
  do(host: SimHost, target: string, arg: number): boolean;
  /** For a reader. */
  tell?(arg: number): string;
}

const slotOf = (target: string): number => Number(target.slice(1));
const guestAt = (host: SimHost, target: string) => host.guests[slotOf(target)];
const sectors = (arg: number): { sector: number; count: number } => {
  const count = 1 + ((arg >>> 16) % 8 === 0 ? (arg >>> 20) % 32 : (arg >>> 20) % 8);
  return { sector: (arg & 0xffff) % (DISK_SECTORS - count), count };
};
const range = (arg: number): string => {
  const { sector, count } = sectors(arg);
  return `${count} sectors at ${sector}`;
};
const times = (arg: number): number => 1 + (arg % 3);
const DELAY_NS = (arg: number): number => 1e3 * 2 ** ((arg >>> 8) % 20);
const DISK_OPS = ['read', 'write', 'flush'] as const;
const WIRE_FAULTS = ['drop', 'double', 'damage', 'delay'] as const;
const EVENT_FAULTS = ['drop', 'double', 'delay'] as const;
const eventFault = (arg: number) => EVENT_FAULTS[(arg >>> 4) % 3]!;
const INDICES: readonly RingIndex[] = ['req_prod', 'req_prod', 'req_event', 'rsp_prod', 'rsp_event'];
const attackOf = (arg: number) => ({
  ring: (arg & 1) === 0 ? ('blk' as const) : ('net' as const),
  index: INDICES[(arg >>> 1) % INDICES.length]!,
  distance: (arg >>> 8) % 3 === 0 ? 2 ** 31 - 1 : 257 + ((arg >>> 10) % 2000),
});
/** System calls until the end; 0 now. */
const callsLeft = (arg: number): number => (arg % 4 === 0 ? 0 : 1 + ((arg >>> 2) % 12));
const timeOf = (arg: number): number => 1e3 * 2 ** (arg % 14);

export const ACTS = {
  run: {
    do(host, target) {
      const part = host.part(target);
      return part?.ready() === true && part.step();
    },
  },
  write: {
    do(host, target, arg) {
      const { sector, count } = sectors(arg);
      return guestAt(host, target)?.write(sector, count) ?? false;
    },
    tell: range,
  },
  read: {
    do(host, target, arg) {
      const { sector, count } = sectors(arg);
      return guestAt(host, target)?.read(sector, count) ?? false;
    },
    tell: range,
  },
  flush: { do: (host, target) => guestAt(host, target)?.flush() ?? false },
  send: {
    do(host, target, arg) {
      const length = MIN_PACKET + ((arg >>> 8) % (MAX_PACKET - MIN_PACKET));
      return guestAt(host, target)?.send(arg % host.guests.length, length) ?? false;
    },
    tell: arg => `${MIN_PACKET + ((arg >>> 8) % (MAX_PACKET - MIN_PACKET))} bytes`,
  },
  store: {
    do: (host, target, arg) => guestAt(host, target)?.store(arg % 2) ?? false,
    tell: arg => (arg % 2 === 0 ? 'count up' : 'write its own'),
  },
  time: {
    do(host, _, arg) {
      host.clock.advance(timeOf(arg));
      return true;
    },
    tell: arg => `${timeOf(arg) / 1e3} us`,
  },
  /** Everybody runs until nobody has anything to do: Run does it. No seed chooses it; a shrunk trace is short by it. */
  rest: { do: () => true },

  // ---- faults ----

  'lose-events': {
    do(host, _, arg) {
      host.events.fault = eventFault(arg);
      host.events.left = times(arg);
      host.events.delayNs = DELAY_NS(arg);
      return true;
    },
    tell: arg => `${eventFault(arg)} the next ${times(arg)} notifications`,
  },
  'kill-dom0': {
    do(host, _, arg) {
      if (!host.dom0.process.alive || !host.dom0.started) return false;
      const left = callsLeft(arg);
      if (left === 0) host.dom0.process.kill();
      else host.dom0.process.killAfter(left - 1);
      return true;
    },
    tell: arg => (callsLeft(arg) === 0 ? 'now' : `in its system call ${callsLeft(arg)} from here`),
  },
  'kill-xenstored': {
    do(host, _, arg) {
      if (!host.xenstored.process.alive) return false;
      const left = callsLeft(arg);
      if (left === 0) host.xenstored.process.kill();
      else host.xenstored.process.killAfter(left - 1);
      return true;
    },
    tell: arg => (callsLeft(arg) === 0 ? 'now' : `in its system call ${callsLeft(arg)} from here`),
  },
  'kill-guest': {
    do(host, target) {
      const guest = guestAt(host, target);
      if (!guest?.process.alive) return false;
      host.saw('guest killed');
      guest.kill();
      host.xen.poke();
      return true;
    },
  },
  'destroy-guest': {
    do(host, target) {
      if (!guestAt(host, target)?.process.alive) return false;
      host.saw('guest destroyed alive');
      host.toolstack.doom(slotOf(target));
      return true;
    },
  },
  attack: {
    do(host, target, arg) {
      const guest = guestAt(host, target);
      const { ring, index, distance } = attackOf(arg);
      if (!guest || guest.hostile || !guest.attack(ring, index, distance)) return false;
      host.saw('guest attacked');
      return true;
    },
    tell: arg => {
      const { ring, index, distance } = attackOf(arg);
      return `its ${ring} ring's ${index} += ${distance}`;
    },
  },
  'fail-disk': {
    do(host, target, arg) {
      host.failDisk(slotOf(target), DISK_OPS[arg % 3]!, times(arg >>> 4));
      return true;
    },
    tell: arg => `EIO for the next ${times(arg >>> 4)} of ${DISK_OPS[arg % 3]}`,
  },
  'cut-power': {
    do(host, _, arg) {
      host.saw('power cut');
      for (const guest of host.guests) guest?.kill();
      host.dom0.process.kill();
      const draw = new Draw(arg);
      for (const disk of host.disks) disk.powerCut(draw);
      for (const model of host.models) model.powerCut();
      host.xen.poke();
      return true;
    },
  },
  'lose-packets': {
    do(host, _, arg) {
      host.wire.fault = WIRE_FAULTS[arg % 4]!;
      host.wire.left = times(arg >>> 4);
      return true;
    },
    tell: arg => `${WIRE_FAULTS[arg % 4]} the next ${times(arg >>> 4)}`,
  },
  'fail-map': {
    do(host) {
      host.failingMaps = 1;
      return true;
    },
  },
  'step-clock': {
    do(host, _, arg) {
      host.clock.wall += (arg & 1 ? 1 : -1) * 3_600_000;
      host.saw('wall clock stepped');
      return true;
    },
    tell: arg => (arg & 1 ? 'an hour ahead' : 'an hour back'),
  },
  'stop-host': {
    do(host) {
      host.clock.advance(5e9);
      host.saw('host stopped');
      return true;
    },
    tell: () => '5 s',
  },
  'write-short': {
    do(host) {
      host.files.shortWrites = 1;
      return true;
    },
  },
  wake: {
    do(host, target) {
      const part = host.part(target);
      if (!part || part.deadline() !== Number.POSITIVE_INFINITY) return false;
      host.saw('woken for nothing');
      part.step();
      return true;
    },
  },
} satisfies Record<string, Act>;

export type Verb = keyof typeof ACTS;
export const isVerb = (word: string): word is Verb => word in ACTS;
/** Those that break something, to be left out first when a trace is made shorter. */
const HARMLESS: ReadonlySet<Verb> = new Set(['run', 'write', 'read', 'flush', 'send', 'store', 'time', 'rest']);
export const isFault = (verb: Verb): boolean => !HARMLESS.has(verb);

export function act(host: SimHost, { verb, target, arg }: Choice): boolean {
  return (ACTS[verb] as Act).do(host, target, arg);
}
export function told({ verb, target, arg }: Choice): string {
  const more = (ACTS[verb] as Act).tell?.(arg);
  return `${verb} ${target} ${arg}${more === undefined ? '' : `  # ${more}`}`;
}
