// The process of xenstored, which may be replaced, as the core thread has it: what is started, what it is sent, and
// when the host gives up. The sockets are real; the main thread is only what it would have been told.
import { type ChildProcess, spawn as spawnProgram } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_xenolith_op,
  type ControlMessage,
  closeFd,
  domid,
  EXIT_FOR_GOOD,
  KIND_BOOT,
  KIND_DOORBELL,
  KIND_OVERLAY,
  KIND_POOL,
  KIND_VCPU,
  openProcess,
  PAGE_SIZE,
  receiveControl,
  setSoftLimit,
  softLimit,
  VCPU_CRASH_RECORD,
  VIRQ_XENOLITH_replacement,
  vcpu_page,
  vcpuFrame,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_EBUSY,
  XEN_ENOENT,
  XEN_EOPNOTSUPP,
  XENOLITH_SERVICE_driver_domain,
  XENOLITHOP_handover,
  XENOLITHOP_successor,
  XENOLITHOP_successor_waits,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
} from '#pvbus';
import { MAX_ENDS } from '../../../hypervisor/comeback.ts';
import { DOM0_VCPUS, ProcessTable } from '../../../hypervisor/domain-process.ts';
import { linuxCpus } from '../../../hypervisor/pcpus.ts';
import type { ToCore, ToMain } from '../../../hypervisor/process-messages.ts';
import { closeLink } from '../../../hypervisor/vcpu-sockets.ts';
import { CoreRig, DEFERRED, LineLog, StoppedClock } from '../../support/core-rig.ts';

type Spawn = Extract<ToMain, { op: 'spawn' }>;
const XENSTORED = 1;

let told: ToMain[];
let log: LineLog;
let table: ProcessTable;
let rig: CoreRig;
let exits: string[];
/** What the main thread has to say of processes that were started, and has not said. */
let born: ToCore[];
/** Of processes, by their descriptors. */
let ids: Map<number, number>;
let signalled: { readonly id: number; readonly signal: number }[];

beforeEach(() => {
  told = [];
  log = new LineLog();
  exits = [];
  signalled = [];
  born = [];
  ids = new Map();
  // Each process is there as soon as it is asked for; its descriptor is one of this process, which hears no signal.
  const spawn = (message: ToMain): void => {
    told.push(message);
    if (message.op !== 'spawn') return;
    const pidfd = openProcess(process.pid);
    ids.set(pidfd, message.id);
    born.push({ op: 'spawned', id: message.id, pid: 0, pidfd });
  };
  const clock = new StoppedClock();
  const signal = (pidfd: number, signal: number) => signalled.push({ id: ids.get(pidfd)!, signal });
  table = new ProcessTable(spawn, log, clock, () => log, signal);
  rig = new CoreRig({ processes: table, dom0Vcpus: DOM0_VCPUS, clock });
  table.onVacated = vcpu => rig.hypervisor.vacated(vcpu);
  table.onTaken = vcpu => rig.hypervisor.taken(vcpu);
  table.onExit = (domain, end) => exits.push(`dom${domain.domid}: ${end.crash ?? end.signal ?? end.code}`);
});
afterEach(() => {
  for (const { sockets } of spawned()) for (const socket of sockets) closeFd(socket);
  for (const { vcpus } of rig.hypervisor.domains.list()) for (const vcpu of vcpus) closeLink(vcpu);
  for (const pidfd of ids.keys()) if (opens(pidfd) === 'anon_inode:[pidfd]') closeFd(pidfd);
});
/** What a descriptor of this process leads to, if it is open. */
function opens(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

const { SIGCONT, SIGKILL, SIGSTOP } = constants.signals;
/** The main thread has spoken. */
function bear(): void {
  for (const message of born.splice(0)) table.hear(message);
}
const spawned = (): Spawn[] => told.filter(message => message.op === 'spawn');
const killed = (): number[] => {
  bear();
  return signalled.flatMap(({ id, signal }) => (signal === SIGKILL ? [id] : []));
};
const xenstored = (): Spawn[] => spawned().filter(({ program }) => program === 'xenstored.js');
const exited = ({ id }: Spawn): ToCore => ({ op: 'exited', id, code: undefined, signal: 'SIGKILL' });
const serves = (spawn: Spawn): void => table.hear({ op: 'served', id: spawn.id });
const ends = (spawn: Spawn, end: { code?: number; signal?: string } = { signal: 'SIGKILL' }): void =>
  table.hear({ op: 'exited', id: spawn.id, code: end.code, signal: end.signal });
const controlSeq = (): number =>
  rig.dom0.view.getUint32(vcpuFrame(rig.dom0.domain.layout, XENSTORED) * PAGE_SIZE + vcpu_page.at.control_seq, true);
/** What waits on a process's socket: as many messages as the vCPU's page counts. */
function received(socket: number): ControlMessage[] {
  const messages = Array.from({ length: controlSeq() }, () => receiveControl(socket)!);
  for (const { fd } of messages) if (fd >= 0) closeFd(fd);
  return messages;
}
const op = (cmd: number, vcpu = XENSTORED) => {
  rig.dom0.vcpuId = vcpu;
  return rig.dom0.trap(__HYPERVISOR_xenolith_op, cmd);
};

/** While `body` runs, this process gets no descriptor: those it has are the standard three, and higher ones. */
function withoutDescriptors(body: () => void): void {
  const before = softLimit(process.pid, 'nofile');
  setSoftLimit(process.pid, 'nofile', 3n);
  try {
    body();
  } finally {
    setSoftLimit(process.pid, 'nofile', before);
  }
}

/** In ns, without the threads that collect garbage. */
const usedByThisThread = (): number => Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]);

describe('xenstored that ends', () => {
  beforeEach(() => serves(xenstored()[0]!));
  it.each([
    ['killed', { signal: 'SIGKILL' }, 'SIGKILL'],
    ['by itself', { code: 0 }, 'exit code 0'],
    ['with an error', { code: 1 }, 'exit code 1'],
  ])('%s is started again as the same vcpu, and the log says why', (_how, end, why) => {
    const [first] = xenstored();
    table.hear({ op: 'spawned', id: first!.id, pid: 4321, pidfd: -1 });
    ends(first!, end);
    const [, second] = xenstored();
    expect(second).toMatchObject({ vcpus: '1:3', start: 'successor' });
    expect(first).toMatchObject({ vcpus: '1:3', start: 'first' });
    const [boot, ...rest] = received(second!.sockets[0]!);
    expect([boot!.kind, boot!.a, rest]).toEqual([KIND_BOOT, XENSTORED << 16, []]);
    expect(log.lines).toEqual([`xenstored.js, process 4321, has ended: ${why}; another one takes its place`]);
    expect(exits).toEqual([]);
  });

  it('is replaced once the next one serves: dom0 hears that, and when the first of those was gone', () => {
    const port = rig.dom0.bindVirq(VIRQ_XENOLITH_replacement);
    table.onReplaced = () => rig.hypervisor.replaced();
    ends(xenstored()[0]!);
    expect(table.replacement(0)).toBeUndefined();
    table.hear({ op: 'spawned', id: xenstored()[1]!.id, pid: 4322, pidfd: -1 });
    ends(xenstored()[1]!);
    expect(rig.dom0.pending(port)).toBe(false);
    table.hear({ op: 'spawned', id: xenstored()[2]!.id, pid: 4323, pidfd: -1 });
    serves(xenstored()[2]!);
    expect(rig.dom0.pending(port)).toBe(true);
    expect(table.replacement(1)).toMatchObject({ number: 1, domid: 0, vcpu: XENSTORED, pid: 4323, ends: 2 });
    expect(table.replacement(2)).toBeUndefined();
  });

  it('says what its crash record says, which is not said of the next one', () => {
    const page = vcpuFrame(rig.dom0.domain.layout, XENSTORED) * PAGE_SIZE;
    rig.dom0.bytes.set(Buffer.from('out of teapots'), page + VCPU_CRASH_RECORD);
    rig.dom0.view.setUint32(page + vcpu_page.at.crash_length, 14, true);
    ends(xenstored()[0]!, { code: 1 });
    ends(xenstored()[1]!, { code: 1 });
    expect(log.lines[0]).toContain('has ended: vcpu1: out of teapots;');
    expect(log.lines[1]).toContain('has ended: exit code 1;');
  });

  it('saying that no other could go on is the end of the host', () => {
    ends(xenstored()[0]!, { code: EXIT_FOR_GOOD });
    expect(xenstored()).toHaveLength(1);
    expect(exits).toEqual([`dom0: ${EXIT_FOR_GOOD}`]);
  });

  it('leaves the next one the doorbells its vcpu hears', () => {
    // A guest whose shell is there already.
    const guest = rig.guest();
    const there = guest.allocUnbound(0);
    rig.dom0.vcpuId = XENSTORED;
    const here = rig.dom0.bindInterdomain(guest.domid, there);
    rig.dom0.vcpuId = 0;
    rig.hypervisor.trap(0, XENSTORED, 32, 8, bindVcpu(here));
    ends(xenstored()[0]!);
    const messages = received(xenstored()[1]!.sockets[0]!);
    expect(messages.map(({ kind, a }) => [kind, a])).toEqual([
      [KIND_BOOT, XENSTORED << 16],
      [KIND_DOORBELL, domid(guest.domid)],
    ]);
    expect(rig.dom0.pending(here)).toBe(true);
  });
  const bindVcpu = (port: number): number => {
    const at = rig.dom0.reset().alloc(8);
    rig.dom0.view.setUint32(at, port, true);
    rig.dom0.view.setUint32(at + 4, XENSTORED, true);
    return at;
  };

  it('keeps the processor time its vcpu has used', () => {
    const before = table.cpuTimeNs(rig.dom0.domain, XENSTORED);
    ends(xenstored()[0]!);
    expect(table.cpuTimeNs(rig.dom0.domain, XENSTORED)).toBeGreaterThanOrEqual(before);
  });

  it('before it has ever served is the end of the host, with the reason', () => {
    const dom0 = spawned().find(({ program }) => program === 'dom0.js')!;
    ends(dom0, { code: 1 });
    expect(spawned().filter(({ program }) => program === 'dom0.js')).toHaveLength(1);
    expect(exits).toEqual(['dom0: 1']);
  });

  it('when the host has no descriptor is started again once it has, as the same vcpu', () => {
    withoutDescriptors(() => ends(xenstored()[0]!));
    expect([xenstored().length, exits]).toEqual([1, []]);
    expect(log.lines.at(-1)).toMatch(/^nothing takes the place of xenstored\.js yet: /);
    withoutDescriptors(() => table.runDue(table.deadline!));
    expect(xenstored()).toHaveLength(1);
    table.runDue(table.deadline!);
    expect(xenstored()[1]).toMatchObject({ vcpus: '1:3', start: 'successor', failures: 0 });
  });

  describe('is run where it was', () => {
    let next: ChildProcess;
    beforeEach(() => {
      next = spawnProgram('sleep', ['60']);
    });
    afterEach(() => {
      next.kill('SIGKILL');
    });
    const cpusOf = (pid: number): string =>
      /^Cpus_allowed_list:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]!;
    const born = (spawn: Spawn): void =>
      table.hear({ op: 'spawned', id: spawn.id, pid: next.pid!, pidfd: openProcess(next.pid!) });

    it('by the next one', () => {
      table.place(rig.dom0.domain, XENSTORED, [0]);
      ends(xenstored()[0]!);
      born(xenstored()[1]!);
      expect(cpusOf(next.pid!)).toBe(String(linuxCpus[0]));
    });
    it('by one that it hands over to', () => {
      table.place(rig.dom0.domain, XENSTORED, [0]);
      op(XENOLITHOP_successor);
      born(xenstored()[1]!);
      expect(op(XENOLITHOP_handover)).toBe(DEFERRED);
      expect(cpusOf(next.pid!)).toBe(String(linuxCpus[0]));
    });
  });

  it('again and again without serving comes back later and later, and its domain stays', () => {
    for (let i = 0; i < MAX_ENDS; i++) ends(xenstored()[i]!);
    expect(xenstored()).toHaveLength(MAX_ENDS);
    const due = table.deadline!;
    table.runDue(due - 1);
    expect(xenstored()).toHaveLength(MAX_ENDS);
    table.runDue(due);
    expect(xenstored()[MAX_ENDS]).toMatchObject({ vcpus: '1:3', start: 'successor' });
    ends(xenstored()[MAX_ENDS]!);
    expect(table.deadline! - due).toBeGreaterThan(0);
    // The sixth one adds nothing new.
    expect(log.lines).toHaveLength(MAX_ENDS);
    expect(log.lines.at(-1)).toBe(
      'error: xenstored.js, process 0, has ended: SIGKILL; 5 in a row did not serve, another one comes in 0.25 s',
    );
    expect(exits).toEqual([]);
  });

  it('comes not back to a domain that dies meanwhile', () => {
    for (let i = 0; i < MAX_ENDS; i++) ends(xenstored()[i]!);
    for (const dom0 of spawned().filter(({ program }) => program === 'dom0.js')) table.hear(exited(dom0));
    exits.length = 0;
    table.kill(rig.dom0.domain);
    expect(exits).toEqual(['dom0: SIGKILL']);
    table.runDue(Number.MAX_SAFE_INTEGER);
    expect(xenstored()).toHaveLength(MAX_ENDS);
  });
});

it('the end of a process of dom0 that never served is not made good', () => {
  const dom0 = spawned().find(({ program }) => program === 'dom0.js')!;
  ends(dom0);
  expect(spawned().filter(({ program }) => program === 'dom0.js')).toHaveLength(1);
  expect(exits).toEqual(['dom0: SIGKILL']);
});

describe('a successor beside a process that lives', () => {
  beforeEach(() => serves(xenstored()[0]!));
  it('waits without its memory until it takes over, and the other one is ended and not missed', () => {
    expect(op(XENOLITHOP_successor)).toBe(0);
    expect(op(XENOLITHOP_successor)).toBe(-XEN_EBUSY);
    expect(op(XENOLITHOP_successor_waits)).toBe(1);
    const [first, heir] = xenstored();
    expect(heir).toMatchObject({ vcpus: '1:3', start: 'take-over' });
    expect(controlSeq()).toBe(1); // the first one's
    received(first!.sockets[0]!);
    expect(op(XENOLITHOP_handover)).toBe(DEFERRED);
    expect(received(heir!.sockets[0]!).map(({ kind }) => kind)).toEqual([KIND_BOOT]);
    expect(killed()).toEqual([first!.id]);
    ends(first!);
    expect(xenstored()).toHaveLength(2);
    expect([exits, log.lines.filter(line => line.includes('has ended'))]).toEqual([[], []]);
    // It is the process of the vCPU now.
    expect(op(XENOLITHOP_successor_waits)).toBe(0);
    ends(heir!);
    expect(xenstored()).toHaveLength(3);
    expect(xenstored()[2]!.start).toBe('successor');
  });

  it('that ends leaves the other one going on, awake, and free to ask for another', () => {
    op(XENOLITHOP_successor);
    const word = (vcpuFrame(rig.dom0.domain.layout, XENSTORED) * PAGE_SIZE + vcpu_page.at.event_seq) / 4;
    const before = Atomics.load(rig.dom0.domain.memory.words, word);
    ends(xenstored()[1]!, { code: 1 });
    expect(Atomics.load(rig.dom0.domain.memory.words, word)).not.toBe(before);
    expect(op(XENOLITHOP_successor_waits)).toBe(0);
    expect(op(XENOLITHOP_handover)).toBe(-XEN_ENOENT);
    expect(log.lines).toEqual(['a prepared xenstored.js ended: exit code 1']);
    expect(op(XENOLITHOP_successor)).toBe(0);
    expect([killed(), exits]).toEqual([[], []]);
  });

  it('ends with the one it waits for, whose place another one takes that does not wait', () => {
    op(XENOLITHOP_successor);
    const [first, heir] = xenstored();
    ends(first!);
    expect(killed()).toEqual([heir!.id]);
    expect(xenstored()[2]!.start).toBe('successor');
    ends(heir!);
    expect(xenstored()).toHaveLength(3);
    expect(op(XENOLITHOP_successor_waits)).toBe(0);
  });

  it('is not for a process that does not hand over', () => {
    expect(op(XENOLITHOP_successor, 0)).toBe(-XEN_EOPNOTSUPP);
    expect(op(XENOLITHOP_successor_waits, 0)).toBe(0);
    expect(op(XENOLITHOP_handover, 0)).toBe(-XEN_ENOENT);
    expect(xenstored()).toHaveLength(1);
  });
});

describe('the process of a driver domain', () => {
  const VCPUS = [0, 1, 2];
  const driver = (): Spawn[] => spawned().filter(({ program }) => program === 'driver-domain.js');
  const made = () => {
    const domid = rig.createDomain({ vcpus: VCPUS.length });
    const domain = rig.hypervisor.domains.byId(domid)!;
    domain.service = XENOLITH_SERVICE_driver_domain;
    rig.dom0.reset().domctl(XEN_DOMCTL_max_vcpus, domid, xen_domctl_max_vcpus, { max: VCPUS.length });
    rig.dom0.reset().domctl(XEN_DOMCTL_max_mem, domid, xen_domctl_max_mem, { max_memkb: 256 });
    return domain;
  };
  const bootOf = (socket: number): number[] => {
    const { kind, a, fd } = receiveControl(socket)!;
    closeFd(fd);
    return [kind, a];
  };

  it('is a program with a socket for each of its vCPUs, and so is the one that takes its place', () => {
    const domain = made();
    const [first] = driver();
    expect(first).toMatchObject({ vcpus: '0:3,1:4,2:5', start: 'first', failures: 0 });
    const boots = VCPUS.map(vcpu => [KIND_BOOT, domain.domid | (vcpu << 16)]);
    expect(first!.sockets.map(bootOf)).toEqual(boots);
    serves(first!);
    ends(first!);
    const [, next] = driver();
    expect(next).toMatchObject({ vcpus: '0:3,1:4,2:5', start: 'successor', failures: 0 });
    expect(next!.sockets.map(bootOf)).toEqual(boots);
    expect(log.lines.at(-1)).toMatch(
      new RegExp(`^dom${domain.domid}: driver-domain\\.js, process 0, has ended: SIGKILL;`),
    );
    expect(exits).toEqual([]);
  });

  it('that has ended too often comes late, and is told how often', () => {
    const domain = made();
    for (let i = 0; i < MAX_ENDS; i++) ends(driver()[i]!);
    expect(driver()).toHaveLength(MAX_ENDS);
    expect(driver().map(({ failures }) => failures)).toEqual(new Array(MAX_ENDS).fill(0));
    // Nobody is there who would use a pCPU.
    expect(VCPUS.map(vcpu => table.sleeps(domain, vcpu))).toEqual([true, true, true]);
    table.runDue(table.deadline!);
    expect(driver()[MAX_ENDS]).toMatchObject({ start: 'successor', failures: MAX_ENDS });
    expect(exits).toEqual([]);
  });

  it('is not replaced once the domain is to die', () => {
    const domain = made();
    rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, domain.domid);
    expect(killed()).toContain(driver()[0]!.id);
    ends(driver()[0]!);
    expect(driver()).toHaveLength(1);
    expect(exits).toEqual([`dom${domain.domid}: SIGKILL`]);
  });
});

describe('the heir of a process that guests would wait for', () => {
  const all = (name: string): Spawn[] => spawned().filter(({ program }) => program === name);
  const dom0s = (): Spawn[] => all('dom0.js');
  const ALL = { vcpus: '0:3,2:4,3:5,4:6,5:7,6:8,7:9' };
  const boots = [0, 2, 3, 4, 5, 6, 7].map(vcpu => [KIND_BOOT, vcpu << 16]);
  const later = (): void => void table.runDue(Number.MAX_SAFE_INTEGER / 2);
  const bootOf = (socket: number): number[] => {
    const { kind, a, fd } = receiveControl(socket)!;
    if (fd >= 0) closeFd(fd);
    return [kind, a];
  };
  beforeEach(() => serves(dom0s()[0]!));

  it('waits once there is a guest, and ends with the last one', () => {
    later();
    expect(dom0s()).toHaveLength(1);
    rig.guest();
    const [shell] = all('domain-shell.cjs');
    expect(dom0s()).toHaveLength(1);
    later();
    later();
    expect(dom0s()).toHaveLength(2);
    expect(dom0s()[1]).toMatchObject({ ...ALL, start: 'heir', failures: 0 });
    expect(killed()).toEqual([]);
    ends(shell!);
    expect(killed()).toEqual([dom0s()[1]!.id]);
    ends(dom0s()[1]!);
    later();
    expect([dom0s().length, log.lines]).toEqual([2, []]);
  });

  it('becomes the vcpus of the one that ends, and another one comes when it serves', () => {
    rig.guest();
    later();
    const heir = dom0s()[1]!;
    ends(dom0s()[0]!);
    expect(heir.sockets.map(bootOf)).toEqual(boots);
    later();
    expect(dom0s()).toHaveLength(2);
    serves(heir);
    later();
    const next = dom0s()[2]!;
    expect(next).toMatchObject({ ...ALL, start: 'heir' });
    ends(heir);
    expect(next.sockets.map(bootOf)).toEqual(boots);
    expect([dom0s().length, exits]).toEqual([3, []]);
  });

  it('that ends before it is needed is not missed, and another one comes', () => {
    rig.guest();
    later();
    ends(dom0s()[1]!);
    expect(log.lines).toEqual(['a prepared dom0.js ended: SIGKILL']);
    ends(dom0s()[0]!);
    expect(dom0s()[2]).toMatchObject({ ...ALL, start: 'successor' });
    serves(dom0s()[2]!);
    later();
    expect(dom0s()[3]!.start).toBe('heir');
  });

  it('that is not to be had for want of descriptors is not missed, and comes later', () => {
    rig.guest();
    withoutDescriptors(later);
    expect(log.lines).toContainEqual(expect.stringMatching(/^no process waits to take the place of dom0\.js: /));
    expect([dom0s().length, exits]).toEqual([1, []]);
    table.runDue(Number.MAX_SAFE_INTEGER);
    expect(dom0s()[1]!.start).toBe('heir');
  });

  // Linux counts descriptors under way for everybody else.
  const why = process.getuid?.() === 0 ? '' : ': not root';
  it.skipIf(why)(`takes over although the host has no descriptor then${why}`, () => {
    rig.guest();
    later();
    withoutDescriptors(() => ends(dom0s()[0]!));
    expect(dom0s()[1]!.sockets.map(bootOf)).toEqual(boots);
    expect([dom0s().length, exits]).toEqual([2, []]);
  });

  it('is dead already when it is made the next one: its end is heard then, and one that did not wait follows', () => {
    rig.guest();
    later();
    bear();
    // Its ends are closed: these are not to be closed again afterwards.
    for (const socket of (dom0s()[1]!.sockets as number[]).splice(0)) closeFd(socket);
    ends(dom0s()[0]!);
    ends(dom0s()[1]!);
    expect(dom0s()[2]).toMatchObject({ ...ALL, start: 'successor' });
    expect(dom0s()[2]!.sockets.map(bootOf)).toEqual(boots);
    expect(exits).toEqual([]);
  });

  it('does not live on when the host ends', () => {
    rig.guest();
    later();
    ends(dom0s()[0]!, { code: EXIT_FOR_GOOD });
    expect(exits).toEqual([`dom0: ${EXIT_FOR_GOOD}`]);
    later();
    expect(dom0s()).toHaveLength(2);
  });

  it('that ends as it takes over is followed by one that did not wait', () => {
    rig.guest();
    later();
    ends(dom0s()[0]!);
    ends(dom0s()[1]!);
    expect(dom0s()[2]).toMatchObject({ ...ALL, start: 'successor' });
    expect(exits).toEqual([]);
  });

  it('does not take the place of one that has kept ending: the next one is told how often', () => {
    rig.guest();
    for (let i = 0; i < MAX_ENDS; i++) ends(dom0s()[i]!);
    later(); // both are due
    expect(dom0s().filter(({ failures }) => failures === MAX_ENDS)).toMatchObject([{ ...ALL, start: 'successor' }]);
  });

  it('is one for all driver domains, and stands still if the one is paused that it becomes', () => {
    const driver = (): Spawn[] => all('driver-domain.js');
    const domids = [1, 2].map(() => {
      const domid = rig.createDomain({ vcpus: 3 });
      rig.hypervisor.domains.byId(domid)!.service = XENOLITH_SERVICE_driver_domain;
      rig.dom0.reset().domctl(XEN_DOMCTL_max_vcpus, domid, xen_domctl_max_vcpus, { max: 3 });
      rig.dom0.reset().domctl(XEN_DOMCTL_max_mem, domid, xen_domctl_max_mem, { max_memkb: 256 });
      return domid;
    });
    later();
    expect(driver().map(({ start }) => start)).toEqual(['first', 'first', 'heir']);
    bear();
    const before = signalled.length;
    ends(driver()[1]!);
    expect(driver()[2]!.sockets.map(bootOf)).toEqual([0, 1, 2].map(vcpu => [KIND_BOOT, domids[1]! | (vcpu << 16)]));
    // It has not been unpaused.
    expect(signalled.slice(before)).toEqual([{ id: driver()[2]!.id, signal: SIGSTOP }]);
    ends(driver()[0]!);
    expect(driver()[3]!.start).toBe('successor');
  });
});

describe('the process of a domain', () => {
  const heard = (): number[] => signalled.map(({ signal }) => signal);

  it('is told to go on when it has been stopped, and only then', () => {
    const { domain } = rig.guest();
    bear();
    const before = heard().length;
    table.cont(domain);
    table.stop(domain);
    table.stop(domain);
    table.cont(domain);
    table.cont(domain);
    expect(heard().slice(before)).toEqual([SIGSTOP, SIGCONT]);
  });

  it('gets a control socket for each of its vCPUs, those of the others through that of vCPU 0, and one view of what is shared', () => {
    const smp = rig.guest({ vcpus: 3 });
    // The one that waits when a domain is made is this domain's.
    const shell = spawned().findLast(({ program }) => program === 'domain-shell.cjs')!;
    const [socket] = shell.sockets;
    const boot = receiveControl(socket!)!;
    expect([boot.kind, boot.a]).toEqual([KIND_BOOT, smp.domid]);
    const siblings = [1, 2].map(() => receiveControl(socket!)!);
    expect(siblings.map(({ kind, a }) => [kind, a])).toEqual([
      [KIND_VCPU, 1],
      [KIND_VCPU, 2],
    ]);
    for (const { a, fd } of siblings) {
      const theirs = receiveControl(fd)!;
      expect([theirs.kind, theirs.a]).toEqual([KIND_BOOT, smp.domid | (a << 16)]);
      closeFd(theirs.fd);
    }
    // These threads look through vCPU 0's mapping.
    expect(smp.poolPopulate(0, 5)).toBe(0);
    const counted = [0, 1, 2].map(vcpu =>
      smp.view.getUint32(vcpuFrame(smp.domain.layout, vcpu) * PAGE_SIZE + vcpu_page.at.control_seq, true),
    );
    expect(counted).toEqual([3, 1, 1]);
    expect([receiveControl(socket!), receiveControl(socket!)].map(message => message!.kind)).toEqual([
      KIND_POOL,
      KIND_OVERLAY,
    ]);
    // A crash record of any of them is the domain's.
    const page = vcpuFrame(smp.domain.layout, 2) * PAGE_SIZE;
    smp.bytes.set(new TextEncoder().encode('a bug'), page + VCPU_CRASH_RECORD);
    smp.view.setUint32(page + vcpu_page.at.crash_length, 5, true);
    table.hear({ op: 'exited', id: shell.id, code: 1, signal: undefined });
    expect(exits).toEqual([`dom${smp.domid}: vcpu2: a bug`]);
    closeFd(boot.fd);
    for (const { fd } of siblings) closeFd(fd);
  });

  it('has for its first vCPU what the thread of another one uses that is down', () => {
    const { domain, view } = rig.guest({ vcpus: 2 });
    const shell = spawned().findLast(({ program }) => program === 'domain-shell.cjs')!;
    // Its process is this one, and its vCPU 1 the thread that runs this.
    table.hear({ op: 'spawned', id: shell.id, pid: process.pid, pidfd: openProcess(process.pid) });
    view.setUint32(vcpuFrame(domain.layout, 1) * PAGE_SIZE + vcpu_page.at.tid, process.pid, true);
    const [, second] = domain.vcpus;
    const times = (): number[] => [0, 1].map(vcpu => table.cpuTimeNs(domain, vcpu));
    /** This thread computes; how much of that each vCPU has. */
    const computed = (): number[] => {
      const before = times();
      const until = usedByThisThread() + 20e6;
      while (usedByThisThread() < until);
      return times().map((ns, i) => ns - before[i]!);
    };
    rig.hypervisor.life.bringUp(second!);
    expect(computed()[1]).toBeGreaterThan(10e6);
    for (let i = 0; i < 2; i++) {
      rig.hypervisor.life.bringDown(second!);
      const [first, down] = computed();
      expect([down, first! > 10e6]).toEqual([0, true]);
      rig.hypervisor.life.bringUp(second!);
      expect(computed()[1]).toBeGreaterThan(10e6);
    }
    table.hear({ op: 'exited', id: shell.id, code: 0, signal: undefined });
  });

  it('has no thread that would use a pCPU before it is there', () => {
    const { domain } = rig.guest({ vcpus: 2 });
    const shell = spawned().findLast(({ program }) => program === 'domain-shell.cjs')!;
    expect([0, 1].map(vcpu => table.sleeps(domain, vcpu))).toEqual([true, true]);
    table.hear({ op: 'spawned', id: shell.id, pid: process.pid, pidfd: openProcess(process.pid) });
    // This process runs; of the second vCPU no thread is known.
    expect([0, 1].map(vcpu => table.sleeps(domain, vcpu))).toEqual([false, true]);
    table.hear({ op: 'exited', id: shell.id, code: 0, signal: undefined });
  });

  it('that is not there yet is stopped or killed once it is, by what was last asked for', () => {
    const { domain } = rig.guest();
    const before = heard().length;
    table.stop(domain);
    table.cont(domain);
    bear();
    expect(heard().slice(before)).toEqual([]);
    const { domain: other } = rig.guest();
    table.stop(other);
    bear();
    expect(heard().slice(before)).toEqual([SIGSTOP]);
    const { domain: third } = rig.guest();
    table.kill(third);
    bear();
    expect(heard().slice(before)).toEqual([SIGSTOP, SIGKILL]);
  });

  it.each([
    ['killed', 0, [SIGKILL]],
    ['stopped', 1000, [SIGSTOP]],
  ])('that is not there yet is %s by a fault once it is', (_how, stopMs, signals) => {
    const { domain } = rig.guest();
    const before = heard().length;
    expect(table.strike(domain.vcpus[0]!, stopMs)).toBe(0);
    bear();
    expect(heard().slice(before)).toEqual(signals);
  });
});
