// poll_oneoff: until a time has come, or a descriptor can be read or written.
import { type Clock, XenError } from '#pvbus';
import { FileSystemBusy } from '../fs/file-system.ts';
import type { OpenFile } from '../process/open-file.ts';
import type { Process } from '../process/process.ts';
import { Wait } from '../process/wait.ts';
import type { WaitQueue } from '../wait-queue.ts';
import {
  CLOCKID_MONOTONIC,
  CLOCKID_REALTIME,
  EVENTRWFLAGS_FD_READWRITE_HANGUP,
  EVENTTYPE_CLOCK,
  EVENTTYPE_FD_READ,
  EVENTTYPE_FD_WRITE,
  event,
  event_fd_readwrite,
  type Layouts,
  RIGHTS_FD_READ,
  RIGHTS_FD_WRITE,
  RIGHTS_POLL_FD_READWRITE,
  SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME,
  subscription_fd_readwrite,
} from './abi.ts';
import { realtimeNs } from './clock.ts';
import { errnoOfThrown, wasiErrno } from './errno.ts';
import { descriptorOf } from './fd.ts';
import type { Outcome, WasiKernel } from './kernel.ts';
import { at, storeU64 } from './memory.ts';

/** More than there can be descriptors, by far. */
const MAX_SUBSCRIPTIONS = 4096;
/** Somebody may step the wall clock: who waits for a time of it looks again. */
const LOOK_AT_WALL_NS = 1e9;

interface ClockSubscription {
  readonly type: typeof EVENTTYPE_CLOCK;
  readonly userdata: bigint;
  readonly id: number;
  readonly timeout: bigint;
  readonly absolute: boolean;
}
interface FdSubscription {
  readonly type: typeof EVENTTYPE_FD_READ | typeof EVENTTYPE_FD_WRITE;
  readonly userdata: bigint;
  readonly fd: number;
}
type Subscription = ClockSubscription | FdSubscription;

interface Event {
  readonly of: Subscription;
  readonly error: number;
  readonly nbytes: number;
  readonly flags: number;
}

/** Of a call, from its first try on. */
class Polling {
  readonly subscriptions: readonly Subscription[];
  readonly beganNs: number;
  constructor(subscriptions: readonly Subscription[], beganNs: number) {
    this.subscriptions = subscriptions;
    this.beganNs = beganNs;
  }
}

function subscriptionsAt(view: DataView, base: number, count: number, layouts: Layouts): Subscription[] {
  const { subscription, subscription_u } = layouts;
  return Array.from({ length: count }, (_, i): Subscription => {
    const one = base + i * subscription.size;
    const userdata = view.getBigUint64(one + subscription.at.userdata, true);
    const type = view.getUint8(one + subscription.at.u + subscription_u.at.tag);
    const u = one + subscription.at.u + subscription_u.at.u;
    if (type === EVENTTYPE_CLOCK) return { type, userdata, ...clockAt(view, u, layouts) };
    if (type !== EVENTTYPE_FD_READ && type !== EVENTTYPE_FD_WRITE) throw new XenError('EINVAL', `event type ${type}`);
    return { type, userdata, fd: view.getInt32(u + subscription_fd_readwrite.at.file_descriptor, true) };
  });
}
function clockAt(view: DataView, u: number, { subscription_clock }: Layouts) {
  const flags = view.getUint16(u + subscription_clock.at.flags, true);
  if (flags & ~SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME) throw new XenError('EINVAL', `clock flags ${flags}`);
  return {
    id: view.getUint32(u + subscription_clock.at.id, true),
    timeout: view.getBigUint64(u + subscription_clock.at.timeout, true),
    absolute: flags !== 0,
  };
}

/** System time at which it is over. ENOTSUP for a clock that stands still while the process waits. */
function deadlineOf(clock: Clock, beganNs: number, { id, timeout, absolute }: ClockSubscription): number {
  if (id !== CLOCKID_REALTIME && id !== CLOCKID_MONOTONIC) throw new XenError('ENOTSUP', `to wait for clock ${id}`);
  if (!absolute) return beganNs + Number(timeout);
  if (id === CLOCKID_MONOTONIC) return Number(timeout);
  return clock.now() + Number(timeout - realtimeNs(clock));
}

function fileOf(process: Process, { type, fd }: FdSubscription): OpenFile {
  const right = type === EVENTTYPE_FD_READ ? RIGHTS_FD_READ : RIGHTS_FD_WRITE;
  return descriptorOf(process, fd).need(right | RIGHTS_POLL_FD_READWRITE).file;
}

/** What has happened of the subscriptions, and what to wait for where nothing has. */
class Look {
  readonly events: Event[] = [];
  private readonly queues = new Set<WaitQueue>();
  private deadlineNs = Number.POSITIVE_INFINITY;
  private readonly clock: Clock;
  private readonly process: Process;
  private readonly beganNs: number;

  constructor(clock: Clock, process: Process, beganNs: number) {
    this.clock = clock;
    this.process = process;
    this.beganNs = beganNs;
  }
  at(of: Subscription): void {
    try {
      if (of.type === EVENTTYPE_CLOCK) this.atClock(of);
      else this.atFile(of, fileOf(this.process, of));
    } catch (error) {
      // Like any other that is not ready: the times and the other files are looked at all the same.
      if (error instanceof FileSystemBusy) this.queues.add(error.idle);
      else this.events.push({ of, error: errnoOfThrown(error), nbytes: 0, flags: 0 });
    }
  }
  private atClock(of: ClockSubscription): void {
    const now = this.clock.now();
    const deadlineNs = deadlineOf(this.clock, this.beganNs, of);
    if (deadlineNs <= now) this.events.push({ of, error: 0, nbytes: 0, flags: 0 });
    const steps = of.absolute && of.id === CLOCKID_REALTIME;
    this.deadlineNs = Math.min(this.deadlineNs, steps ? Math.min(deadlineNs, now + LOOK_AT_WALL_NS) : deadlineNs);
  }
  private atFile(of: FdSubscription, file: OpenFile): void {
    const nbytes = of.type === EVENTTYPE_FD_READ ? file.readable() : file.writable();
    const hungUp = file.hungUp();
    if (nbytes > 0 || hungUp || !file.queue) {
      // With it wasi-libc takes POLLOUT away, by which who connects is to hear of a failure.
      const hangup = hungUp && (of.type === EVENTTYPE_FD_READ || file.kind !== 'socket');
      this.events.push({ of, error: 0, nbytes, flags: hangup ? EVENTRWFLAGS_FD_READWRITE_HANGUP : 0 });
    } else this.queues.add(file.queue);
  }
  get wait(): Wait {
    return new Wait([...this.queues], Number.isFinite(this.deadlineNs) ? this.deadlineNs : undefined);
  }
}

function storeEvent(view: DataView, base: number, { of, error, nbytes, flags }: Event): void {
  for (let i = 0; i < event.size; i += 8) view.setBigUint64(base + i, 0n, true);
  view.setBigUint64(base + event.at.userdata, of.userdata, true);
  view.setUint16(base + event.at.error, error, true);
  view.setUint8(base + event.at.type, of.type);
  storeU64(view, base + event.at.fd_readwrite + event_fd_readwrite.at.nbytes, nbytes);
  view.setUint16(base + event.at.fd_readwrite + event_fd_readwrite.at.flags, flags, true);
}

export const pollCalls = ({ clock }: Pick<WasiKernel, 'clock'>, layouts: Layouts) => ({
  poll_oneoff(process: Process, subscriptions: number, events: number, count: number, result: number): Outcome {
    const n = count >>> 0;
    if (n === 0 || n > MAX_SUBSCRIPTIONS) return wasiErrno('EINVAL');
    const from = at(process, subscriptions, n * layouts.subscription.size);
    const into = at(process, events, n * event.size);
    const resultAt = at(process, result, 4);
    // untrusted: read once; the events may be put where the subscriptions are.
    const polling =
      process.call instanceof Polling
        ? process.call
        : new Polling(subscriptionsAt(process.view, from, n, layouts), clock.now());
    const look = new Look(clock, process, polling.beganNs);
    for (const subscription of polling.subscriptions) look.at(subscription);
    if (look.events.length === 0) {
      process.call = polling;
      return look.wait;
    }
    for (const [i, one] of look.events.entries()) storeEvent(process.view, into + i * event.size, one);
    process.view.setUint32(resultAt, look.events.length, true);
    return 0;
  },
});
