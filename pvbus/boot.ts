// How a thread becomes a vCPU: the control socket it was started with, the pages that come over it,
// and how it ends.
import {
  type DomainLayout,
  domain_control,
  domainLayout,
  KIND_BOOT,
  KIND_VCPU,
  PAGE_SIZE,
  VCPU_CRASH_RECORD,
  VCPU_CRASH_RECORD_SIZE,
  vcpu_page,
  vcpuFrame,
  XENOLITH_NOTE,
  XENOLITH_WANT_grant,
  XENOLITH_WANT_run,
} from './abi/xenolith.ts';
import { Arena } from './arena.ts';
import { domid } from './brands.ts';
import {
  type ControlMessage,
  closeFd,
  exitProcess,
  futexWait,
  futexWake,
  mapShared,
  receiveControl,
  threadId,
  viewOf,
} from './linux.ts';
import { getU64 } from './struct.ts';
import { type Machine, Vcpu } from './vcpu.ts';

const TRAP_SEQ = vcpu_page.at.trap_seq / 4;
const TRAP_SLEEPING = vcpu_page.at.trap_sleeping / 4;
const REPLY_SEQ = vcpu_page.at.reply_seq / 4;
const REPLY_SLEEPING = vcpu_page.at.reply_sleeping / 4;
const OP = vcpu_page.at.op / 4;
const ARG = vcpu_page.at.arg / 4;
const RESULT = vcpu_page.at.result / 4;
const CONTROL_SEQ = vcpu_page.at.control_seq / 4;
const WANT = vcpu_page.at.want / 4;
const GRANT = vcpu_page.at.grant / 4;
const TID = vcpu_page.at.tid / 4;

/** Looks at the reply word before the thread sleeps on it: about as long as a running hypervisor needs. */
const SPIN_CHECKS = 400;

/** The hypervisor in another process, reached through this vCPU's page and control socket. */
class ProcessMachine implements Machine {
  private readonly words: Int32Array;
  private readonly address: number;
  private readonly socket: number;
  private received = 1;

  constructor(socket: number, memory: Arena, layout: DomainLayout, vcpu: number) {
    const at = vcpuFrame(layout, vcpu) * PAGE_SIZE;
    this.socket = socket;
    this.words = memory.page(vcpuFrame(layout, vcpu)).words;
    this.address = memory.address + at;
    this.words[TID] = threadId();
  }
  trap(nr: number, a0: number, a1: number, a2: number, a3: number, a4: number): number {
    const { words } = this;
    words[OP] = nr;
    this.putArg(0, a0);
    this.putArg(1, a1);
    this.putArg(2, a2);
    this.putArg(3, a3);
    this.putArg(4, a4);
    const seq = (Atomics.add(words, TRAP_SEQ, 1) + 1) | 0;
    if (Atomics.load(words, TRAP_SLEEPING) !== 0) futexWake(this.address + 4 * TRAP_SEQ);
    this.awaitReply(seq);
    return words[RESULT + 1]! * 2 ** 32 + (words[RESULT]! >>> 0);
  }
  private putArg(i: number, value: number): void {
    this.words[ARG + 2 * i] = (value % 2 ** 32) | 0;
    this.words[ARG + 2 * i + 1] = Math.floor(value / 2 ** 32) | 0;
  }
  private awaitReply(seq: number): void {
    const { words } = this;
    for (let i = 0; i < SPIN_CHECKS; i++) if (Atomics.load(words, REPLY_SEQ) === seq) return;
    // order: flag, then the comparison in the kernel; the hypervisor stores the word, then reads the flag.
    Atomics.store(words, REPLY_SLEEPING, 1);
    for (let now = Atomics.load(words, REPLY_SEQ); now !== seq; now = Atomics.load(words, REPLY_SEQ))
      futexWait(this.address + 4 * REPLY_SEQ, now);
    Atomics.store(words, REPLY_SLEEPING, 0);
  }
  note(want: number): void {
    const { words } = this;
    words[WANT] = want;
    Atomics.add(words, TRAP_SEQ, XENOLITH_NOTE);
    if (Atomics.load(words, TRAP_SLEEPING) !== 0) futexWake(this.address + 4 * TRAP_SEQ);
  }
  awaitGrant(): void {
    this.note(XENOLITH_WANT_grant);
    // order: what it wants, then the comparison in the kernel; the hypervisor stores the grant, then reads the want.
    while (Atomics.load(this.words, GRANT) === 0) futexWait(this.address + 4 * GRANT, 0);
    this.words[WANT] = XENOLITH_WANT_run;
  }
  receive(): ControlMessage | undefined {
    // control_seq counts the messages sent, the boot message included: a receive never waits. A message is counted
    // after it was sent, so the count may be behind what has been received.
    if (((Atomics.load(this.words, CONTROL_SEQ) - this.received) | 0) <= 0) return undefined;
    this.received = (this.received + 1) | 0;
    return receiveControl(this.socket);
  }
}

const bootLayout = ({ b }: ControlMessage): DomainLayout => domainLayout(b % 2 ** 32, Math.floor(b / 2 ** 32));

/** The memory a boot message describes. */
export function bootMemory(boot: ControlMessage): { memory: Arena; layout: DomainLayout; domid: number; vcpu: number } {
  const layout = bootLayout(boot);
  const memory = Arena.adopt(boot.fd, layout.frames * PAGE_SIZE);
  return { memory, layout, domid: boot.a & 0xffff, vcpu: boot.a >>> 16 };
}
/** The first message on a control socket. Ends the process when the hypervisor has gone. */
export function receiveBoot(controlFd: number): ControlMessage {
  const boot = receiveControl(controlFd);
  if (!boot || boot.kind !== KIND_BOOT) return exitProcess(1);
  return boot;
}
/** Become the vCPU whose control socket is `controlFd`. `boot` when its first message was received already. */
export function attachVcpu(controlFd: number, boot: ControlMessage = receiveBoot(controlFd)): Vcpu {
  const { memory, layout, domid: id, vcpu } = bootMemory(boot);
  return new Vcpu(new ProcessMachine(controlFd, memory, layout, vcpu), memory, layout, domid(id), vcpu);
}

/** The control sockets of a domain's other vCPUs, as they follow on the first message of vCPU 0's: by vCPU. */
export function receiveSiblings(controlFd: number, boot: ControlMessage): Map<number, number> {
  const sockets = new Map<number, number>();
  while (sockets.size < bootLayout(boot).maxVcpus - 1) {
    const message = receiveControl(controlFd);
    if (!message || message.kind !== KIND_VCPU) return exitProcess(1);
    sockets.set(message.a, message.fd);
  }
  return sockets;
}
/** Where a vCPU other than 0 is to begin. Sleeps until it is brought up for the first time. */
export function awaitStart(boot: ControlMessage): { entry: number; argument: number } {
  const frame = vcpuFrame(bootLayout(boot), boot.a >>> 16);
  const address = mapShared(boot.fd, PAGE_SIZE, frame * PAGE_SIZE);
  const page = viewOf(address, PAGE_SIZE);
  const words = new Int32Array(page);
  const { entry, argument } = vcpu_page.at;
  while (Atomics.load(words, entry / 4) === 0) futexWait(address + entry, 0);
  const view = new DataView(page);
  return { entry: getU64(view, entry), argument: getU64(view, argument) };
}
/** Sleep until the domain is unpaused for the first time. */
export function awaitRun({ memory, layout }: Pick<Vcpu, 'memory' | 'layout'>): void {
  const run = layout.control * PAGE_SIZE + domain_control.at.run;
  while (Atomics.load(memory.words, run / 4) === 0) futexWait(memory.address + run, 0);
}
/** Become another vCPU of a process whose vCPU 0 has mapped the domain's memory at `address`. */
export function attachSibling(controlFd: number, boot: ControlMessage, address: number): Vcpu {
  const layout = bootLayout(boot);
  const memory = Arena.sharing(address, layout.frames * PAGE_SIZE);
  const id = boot.a >>> 16;
  closeFd(boot.fd);
  return new Vcpu(new ProcessMachine(controlFd, memory, layout, id), memory, layout, domid(boot.a & 0xffff), id);
}

/** The vCPUs this process was started with: id -> control socket, from XENOLITH_VCPUS ("0:3,2:4"). */
export function vcpuSockets(env: NodeJS.ProcessEnv): Map<number, number> {
  const pairs = (env.XENOLITH_VCPUS ?? '').split(',').filter(pair => pair !== '');
  return new Map(pairs.map(pair => pair.split(':').map(Number) as [number, number]));
}

/** Exit code of a process in whose place no other one could go on either (sysexits.h: EX_CONFIG). */
export const EXIT_FOR_GOOD = 78;

/**
 * End the domain's process because of `error`, which the hypervisor reports as its crash. Works in
 * any thread, also while others are blocked in system calls, where Node itself would hang.
 */
export function crashExit(vcpu: Pick<Vcpu, 'memory' | 'layout' | 'id'>, error: unknown): never {
  return crash(vcpu, error instanceof Error ? (error.stack ?? error.message) : String(error), 1);
}
/** The same when another process of this program would end as well: it is the end of its domain. */
export function crashForGood(vcpu: Pick<Vcpu, 'memory' | 'layout' | 'id'>, error: Error): never {
  return crash(vcpu, error.message, EXIT_FOR_GOOD);
}
function crash(vcpu: Pick<Vcpu, 'memory' | 'layout' | 'id'>, text: string, code: number): never {
  const page = vcpuFrame(vcpu.layout, vcpu.id) * PAGE_SIZE;
  const record = vcpu.memory.bytes.subarray(
    page + VCPU_CRASH_RECORD,
    page + VCPU_CRASH_RECORD + VCPU_CRASH_RECORD_SIZE,
  );
  const { written } = new TextEncoder().encodeInto(text, record);
  Atomics.store(vcpu.memory.words, (page + vcpu_page.at.crash_length) / 4, written);
  return exitProcess(code);
}
/** In a thread with an event loop: whatever goes uncaught is the domain's crash. */
export function crashOnUncaught(vcpu: Vcpu): void {
  process.on('uncaughtException', error => crashExit(vcpu, error));
  process.on('unhandledRejection', error => crashExit(vcpu, error));
}
