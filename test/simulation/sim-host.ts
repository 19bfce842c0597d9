// A whole host in one thread on a virtual clock: the real hypervisor core, xenstored, backends and drivers, with
// simulated disks and wires. Nothing moves but the part whose step is called.
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_xenolith_op,
  GNTST_no_space,
  GNTTABOP_map_grant_ref,
  gnttab_map_grant_ref,
  type Log,
  PAGE_SIZE,
  reservedViewsLeft,
  reserveViews,
  XENOLITHOP_pool_populate,
  xenolith_pool_populate,
} from '#pvbus';
import type { DiskImage } from '../../dom0/backends/blkback/disk-image.ts';
import type { Bridge } from '../../dom0/backends/netback/bridge.ts';
import type { JournalCalls } from '../../dom0/journal-file.ts';
import { checkInvariants } from '../support/core-invariants.ts';
import { CoreRig, type Guest, type StoppedClock } from '../support/core-rig.ts';
import { BlockModel } from './block-model.ts';
import { Coverage, type Sometimes } from './coverage.ts';
import { Draw, mixed } from './draw.ts';
import { EventWire } from './event-wire.ts';
import { Wire } from './lossy-bridge.ts';
import { PacketLedger } from './packet-ledger.ts';
import type { Part } from './part.ts';
import { SimDisk } from './sim-disk.ts';
import { SimDom0 } from './sim-dom0.ts';
import { SimFiles } from './sim-files.ts';
import { COUNTER, GUEST_PAGES, type SimGuest, TWICE } from './sim-guest.ts';
import type { SimProcess } from './sim-process.ts';
import { SimToolstack } from './sim-toolstack.ts';
import { SimXenstored } from './sim-xenstored.ts';
import { Violation } from './violation.ts';

export const DISK_SECTORS = 192;
const DOM0_PAGES = 4096;
/** Address space that the guests of some runs are laid into: making views one by one makes garbage collections. */
const VIEWS = 256 << 20;
const MIN_VIEWS = 64 << 20;
/** Log lines that are kept to be shown with a failure. */
const KEPT_LINES = 400;

/** Once there was an error, the directories for them stay. */
const ERRORS = '/local/domain/0/error';
const ERROR_DEPTH = `${ERRORS}/backend/vbd`.split('/').length;

/** Parts of the host in other parts' places, to see that a mistake in them is found. */
export interface Mutations {
  image?(image: DiskImage, process: SimProcess): DiskImage;
  bridge?(name: string, mtu: number, random: () => number, wire: Wire): Bridge;
  journalCalls?(calls: JournalCalls, process: SimProcess): JournalCalls;
}

class Xen implements Part {
  readonly name = 'xen';
  onStep: () => void = () => {};
  readonly #core: CoreRig;
  #progress = true;

  constructor(core: CoreRig) {
    this.#core = core;
  }
  ready(): boolean {
    const { hypervisor, processes, clock } = this.#core;
    return this.#progress || processes.killed.length > 0 || (hypervisor.nextDeadline() ?? Infinity) <= clock.now();
  }
  deadline(): number {
    return this.#core.hypervisor.nextDeadline() ?? Number.POSITIVE_INFINITY;
  }
  step(): boolean {
    const dead = this.#core.processes.killed.shift();
    this.onStep();
    if (dead) this.#core.hypervisor.domainExited(dead.domid, { signal: 'SIGKILL' });
    else this.#progress = this.#core.hypervisor.step() === 'progress';
    return dead !== undefined || this.#progress;
  }
  /** Somebody has asked something that takes longer. */
  poke(): void {
    this.#progress = true;
  }
}

export class SimHost {
  readonly core: CoreRig;
  readonly clock: StoppedClock;
  /** For what is drawn while parts run; what they are asked to do is drawn elsewhere. */
  readonly draw: Draw;
  readonly mutations: Mutations;
  readonly coverage = new Coverage();
  readonly files = new SimFiles();
  readonly ledger = new PacketLedger();
  readonly wire = new Wire(this.ledger);
  readonly disks: readonly SimDisk[];
  readonly models: readonly BlockModel[];
  readonly events: EventWire;
  readonly xen: Xen;
  readonly xenstored: SimXenstored;
  readonly dom0: SimDom0;
  readonly toolstack: SimToolstack;
  /** All but the guests. */
  readonly fixed: readonly Part[];
  /** Steps taken. */
  step = 0;
  /** Of everything that happened, in order. */
  hash = 0x811c9dc5;
  failure: Violation | undefined;
  /** Something was answered that promises wait for. */
  promised = false;
  /** The hypervisor has done something: nobody else changes what it has. */
  trapped = false;
  /** A notification was dropped, doubled or late. */
  eventsFaulty = false;
  /** Packets that guests have got. */
  delivered = 0;
  readonly lines: string[] = [];
  /** The next maps of grants by dom0 that fail. */
  failingMaps = 0;
  /** By disk: errors that were made and that no guest has been told of. */
  readonly #untold = new Map<number, number>();
  #counted = 0;
  #lost = 0;
  #freePages = 0;
  #ports = 0;
  #mappings = 0;
  #paths: string[] = [];

  constructor(seed: number, slots: number, mutations: Mutations = {}) {
    if (reservedViewsLeft() < MIN_VIEWS) reserveViews(VIEWS);
    this.draw = new Draw(mixed(seed, 1));
    this.mutations = mutations;
    this.core = new CoreRig({ dom0Pages: DOM0_PAGES, hostPages: 20_000 });
    const { hypervisor } = this.core;
    const trap = hypervisor.trap.bind(hypervisor);
    hypervisor.trap = (...call) => {
      this.trapped = true;
      return trap(...call);
    };
    this.clock = this.core.clock;
    this.disks = Array.from({ length: slots }, (_, i) => new SimDisk(i, DISK_SECTORS));
    this.models = Array.from({ length: slots }, (_, i) => new BlockModel(i, DISK_SECTORS));
    for (const disk of this.disks) disk.onFault = () => this.diskErrorMade(disk.number);
    this.events = new EventWire(this.core);
    this.events.onFault = fault => {
      this.eventsFaulty = true;
      this.saw(`notification ${fault}`);
    };
    this.wire.onFault = fault => this.saw(`packet ${fault}`);
    this.xen = new Xen(this.core);
    this.xen.onStep = () => {
      this.trapped = true;
    };
    this.xenstored = new SimXenstored(this);
    this.files.onRename = () => this.saw('journal compacted');
    this.dom0 = new SimDom0(this);
    this.toolstack = new SimToolstack(this, slots);
    this.fixed = [this.xen, this.xenstored, ...this.dom0.parts, this.toolstack, this.events, this.files];
  }
  get guests(): readonly (SimGuest | undefined)[] {
    return this.toolstack.guests;
  }
  part(name: string): Part | undefined {
    return this.fixed.find(part => part.name === name) ?? this.guests.find(guest => guest?.name === name);
  }

  // ---- what is noted ----

  note(what: string, a: number, b: number): void {
    let h = this.hash;
    for (let i = 0; i < what.length; i++) h = Math.imul(h ^ what.charCodeAt(i), 0x01000193);
    h = Math.imul(h ^ a, 0x01000193);
    h = Math.imul(h ^ b, 0x01000193);
    this.hash = h ^ (h >>> 13);
    if (what === 'packet') {
      this.delivered++;
      this.saw('packet delivered');
    }
  }
  saw(what: Sometimes): void {
    this.coverage.saw(what);
  }
  fail(violation: Violation): void {
    this.failure ??= violation;
  }
  log(who: string, line: string): void {
    this.lines.push(`${String(this.step).padStart(6)} ${who}: ${line}`);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
  }
  logOf(who: string, process?: SimProcess): Log {
    const say = (line: string): void => {
      if (process?.alive !== false) this.log(who, line);
    };
    return { info: say, warn: say, error: say };
  }
  absenceNs(): number {
    return this.draw.below(3e6);
  }
  valueOf(path: string): string | undefined {
    let node = this.xenstored.server.store.tree.root;
    for (const name of path.split('/').slice(1)) {
      const child = node.children.get(name);
      if (!child) return undefined;
      node = child;
    }
    return node.value;
  }

  // ---- what goes wrong on purpose ----

  /** What dom0's process traps for; the result of a map that is made to fail. */
  mapFault(_process: SimProcess, nr: number, cmd: number, at: number, count: number): number | undefined {
    if (nr === __HYPERVISOR_xenolith_op || nr === __HYPERVISOR_grant_table_op) this.xen.poke();
    if (this.failingMaps === 0 || nr !== __HYPERVISOR_grant_table_op || cmd !== GNTTABOP_map_grant_ref)
      return undefined;
    this.failingMaps--;
    const { view } = this.core.dom0;
    for (let i = 0; i < count; i++) {
      const entry = at + i * gnttab_map_grant_ref.size;
      view.setInt16(entry + gnttab_map_grant_ref.at.status, GNTST_no_space, true);
    }
    const granter = view.getUint16(at + gnttab_map_grant_ref.at.dom, true);
    for (const guest of this.guests) if (guest?.domid === granter) guest.excused = true;
    this.saw('map failed');
    return 0;
  }
  failDisk(disk: number, op: 'read' | 'write' | 'flush', times: number): void {
    this.disks[disk]!.failing[op] += times;
  }
  diskErrorMade(disk: number): void {
    this.#untold.set(disk, (this.#untold.get(disk) ?? 0) + 1);
    this.saw('disk error');
  }
  /** A guest was told of an error of its disk. There are no more than were made. */
  diskErrorSeen(guest: SimGuest): void {
    if (guest.hostile || guest.excused) return;
    const untold = (this.#untold.get(guest.slot) ?? 0) - 1;
    this.#untold.set(guest.slot, untold);
    this.saw('disk error told to a guest');
    if (untold < 0) throw new Violation('innocent', `${guest.name} was told of an error that nobody made`);
  }

  /** Nothing breaks from here on. */
  calm(): void {
    this.events.left = 0;
    this.wire.left = 0;
    this.failingMaps = 0;
    this.files.shortWrites = 0;
    for (const disk of this.disks) Object.assign(disk.failing, { read: 0, write: 0, flush: 0 });
    for (const process of [this.dom0.process, this.xenstored.process]) process.spare();
  }

  // ---- I6 ----

  createdDomain(guest: Guest): void {
    if (!isBlank(guest.bytes, 0, GUEST_PAGES * PAGE_SIZE))
      throw new Violation('I6', `dom${guest.domid} was given memory with something in it`);
  }
  /** After a hypercall of a guest: pages it was given for a peer hold nothing. */
  guestTrapped(guest: SimGuest, nr: number, cmd: number, at: number, result: number): void {
    this.xen.poke();
    if (nr !== __HYPERVISOR_xenolith_op || cmd !== XENOLITHOP_pool_populate || result < 0) return;
    const field = xenolith_pool_populate.at;
    const { view, bytes } = guest.guest;
    const from = view.getUint32(at + field.gfn, true) * PAGE_SIZE;
    const length = view.getUint32(at + field.nr_frames, true) * PAGE_SIZE;
    if (!isBlank(bytes, from, length))
      this.fail(new Violation('I6', `dom${guest.domid} was given pages to share with something in them`));
  }

  // ---- I7: the counter ----

  counted(): void {
    this.#counted++;
    this.saw('counter counted');
  }
  /** Their guest is gone: they were done, or not. */
  lostIncrements(n: number): void {
    this.#lost += n;
  }
  /** All of a transaction is done or nothing: in the store itself, whatever the journal says. */
  #checkTwice(): void {
    const counter = this.valueOf(COUNTER);
    if (counter === undefined || !this.xenstored.process.alive) return;
    const twice = this.valueOf(TWICE);
    if (twice !== String(2 * Number(counter)))
      this.fail(new Violation('I7', `of one transaction ${COUNTER} is ${counter} and ${TWICE} is ${twice}`));
  }
  #checkCounter(underWay: number): void {
    const is = Number(this.valueOf(COUNTER) ?? 0);
    const most = this.#counted + this.#lost + underWay;
    if (is < this.#counted || is > most)
      throw new Violation('I7', `the counter is ${is}; ${this.#counted} increments were committed, at most ${most}`);
  }

  // ---- judging ----

  /** After every step. */
  checkStep(): void {
    this.#checkTwice();
    const { log } = this.core;
    if (log.lines.length > this.#heard) {
      for (; this.#heard < log.lines.length; this.#heard++) {
        const line = log.lines[this.#heard]!;
        this.log('xen', line);
        if (line.includes('internal error')) this.fail(new Violation('xen', line));
      }
      if (log.lines.length > KEPT_LINES) {
        log.lines.length = 0;
        this.#heard = 0;
      }
    }
  }
  #heard = 0;

  /** What the hypervisor has is what it says it has. Throws a Violation. */
  checkXen(): void {
    try {
      checkInvariants(this.core.hypervisor);
    } catch (error) {
      throw new Violation('xen', error instanceof Error ? error.message : String(error));
    }
  }
  /** That, and what takes longer. Throws a Violation. */
  check(): void {
    this.checkXen();
    this.xenstored.check();
    let underWay = 0;
    for (const guest of this.guests) underWay += guest?.increments ?? 0;
    this.#checkCounter(underWay);
  }
  /** Of a guest that has broken its rings, before it is destroyed. */
  judgeHostile({ domid, attacked }: SimGuest): void {
    if (attacked === undefined || this.dom0.connected(domid, attacked)) return;
    this.saw(attacked === 'vbd' ? 'guest lost its disk for an attack' : 'guest lost its vif for an attack');
  }
  /** What there is before there is any guest. */
  rememberBaseline(): void {
    const { domain } = this.core.dom0;
    this.#freePages = this.core.hypervisor.host.freePages;
    this.#ports = domain.ports.open;
    this.#mappings = domain.grants.mappings;
    this.#paths = this.xenstored.paths();
  }
  /** I5: all guests are gone, and with them everything of them. */
  checkBaseline(): void {
    const { domain } = this.core.dom0;
    const { hypervisor } = this.core;
    const same = (what: string, is: number, was: number): void => {
      if (is !== was) throw new Violation('I5', `${is} ${what}, there were ${was}`);
    };
    same('domains', hypervisor.domains.list().length, 1);
    same('pools', [...hypervisor.pools.list()].length, 0);
    same('free pages', hypervisor.host.freePages, this.#freePages);
    same('open ports of dom0', domain.ports.open, this.#ports);
    same('mappings of dom0', domain.grants.mappings, this.#mappings);
    const before = new Set(this.#paths);
    const left = this.xenstored.paths().filter(path => !before.has(path) && !this.#mayStay(path));
    if (left.length > 0) throw new Violation('I5', `left in xenstore: ${left.join(' ')}`);
  }
  /** An error of a backend that was killed before it could take it away. */
  #mayStay(path: string): boolean {
    return path.startsWith(ERRORS) && (this.coverage.count('dom0 died') > 0 || path.split('/').length <= ERROR_DEPTH);
  }
  /** Give its memory back. */
  close(): void {
    for (const guest of this.guests) guest?.process.kill();
    this.dom0.process.kill();
    this.xenstored.process.kill();
    this.core.dom0.domain.memory.release();
  }
}

/** Of every page the beginning: what is left over is hardly ever elsewhere alone. */
const LOOKED_AT = new Uint8Array(512);
function isBlank(bytes: Uint8Array, from: number, length: number): boolean {
  for (let at = from; at < from + length; at += PAGE_SIZE)
    if (Buffer.compare(bytes.subarray(at, at + LOOKED_AT.length), LOOKED_AT) !== 0) return false;
  return true;
}
