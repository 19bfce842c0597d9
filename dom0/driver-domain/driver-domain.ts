// A domain that has backends and nothing else: blkback and netback as dom0 has them, each on a vCPU of its own, and
// xenbus on vCPU 0. It can do what any domain can. Xen: docs/misc/distro_mapping, "driver domains"; xl.cfg(5),
// driver_domain.
import {
  __HYPERVISOR_sched_op,
  dropInherited,
  EventPump,
  type GuestStartInfo,
  type Log,
  type PumpThread,
  RingTransport,
  readStartInfo,
  requestReconnect,
  SCHEDOP_shutdown,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  type ShutdownRequest,
  StormGuard,
  sched_shutdown,
  systemClock,
  type Vcpu,
  watchControl,
  XenError,
  XenstoreClient,
} from '#pvbus';
import type { Backend } from '../backends/backend-device.ts';
import type { BackendThreads } from '../backends/backend-threads.ts';
import { createBlkback } from '../backends/blkback/device.ts';
import { deviceCounters } from '../backends/device-counters.ts';
import { createNetback } from '../backends/netback/device.ts';
import { EagerRing } from '../store-ring.ts';
import { besideConsole } from './console-lines.ts';
import { reportFailures, takeBackFailures } from './failures.ts';
import { answerQuestions } from './questions.ts';

export interface DriverDomainOptions {
  /** vCPU 0, this thread's. */
  readonly vcpu: Vcpu;
  readonly threads: BackendThreads<keyof typeof DRIVER_BACKENDS>;
  readonly pumpThread: PumpThread;
  readonly log: Log;
  /** Another process was this domain's before. */
  readonly successor: boolean;
  /** So many before this one have ended without having served. */
  readonly failures: number;
}

/** Which vCPU each backend's thread is. The toolstack makes as many, and vCPU 0. */
export const DRIVER_BACKENDS = { blkback: 1, netback: 2 } as const;
/** A process that lives so long is not the next one of those that failed. */
const SERVED_MS = 250;

export class DriverDomain {
  readonly #options: DriverDomainOptions;
  readonly #home: string;
  readonly #storms: StormGuard;
  #backends: Backend[] = [];
  #ending = false;

  constructor(options: DriverDomainOptions) {
    this.#options = options;
    this.#home = `/local/domain/${options.vcpu.domid}`;
    this.#storms = new StormGuard(options.vcpu.wakeWords, systemClock, options.log);
  }

  /** Resolves when the devices that exist are known; each negotiates by itself from then on. */
  async start(): Promise<void> {
    const { vcpu, threads, pumpThread, successor, failures } = this.#options;
    vcpu.takeControlMessages();
    const info = readStartInfo(vcpu);
    new EventPump(vcpu, this.#storms, () => {}, pumpThread); // lives as long as the process
    const log = besideConsole(this.#options.log, vcpu, info.console);
    if (successor) dropInherited(vcpu, [info.store.port, info.console.port]);
    const xs = this.#connectStore(info.store, log);
    const blkback = threads.start('blkback');
    const netback = threads.start('netback');
    if (failures > 0) await reportFailures(xs, this.#home, failures);
    const { domid } = vcpu;
    const vbds = createBlkback({ xs, log, thread: blkback, domid });
    const vifs = createNetback({ xs, log, thread: netback, domid });
    this.#backends = [vbds, vifs];
    await Promise.all(this.#backends.map(backend => backend.start()));
    const counters = deviceCounters({ blkbacks: () => [blkback], netback, vbds, vifs });
    await answerQuestions({ xs, home: this.#home, log, backends: { vbds, vifs }, counters });
    await watchControl(xs, this.#home, log, request => void this.#shutdown(request));
    if (successor) setTimeout(() => void takeBackFailures(xs, this.#home), SERVED_MS);
    log.info(successor ? 'serves again' : 'serves');
  }

  #connectStore({ gfn, port }: GuestStartInfo['store'], log: Log): XenstoreClient {
    const { vcpu, successor } = this.#options;
    const page = vcpu.memory.page(gfn);
    const notify = (): void => vcpu.events.notify(port);
    // What the process before this one has asked, nobody waits for: its watches and transactions go with it.
    if (successor) requestReconnect(page, notify);
    const ring = new EagerRing(new RingTransport(page, notify));
    vcpu.events.on(port, () => {
      this.#storms.turn(true, true); // xenstored's events are none
      ring.step();
    });
    const xs = new XenstoreClient(ring, log);
    xs.onClose(error => {
      throw new XenError('EPIPE', `dom${vcpu.domid} has no xenstore any more: ${error.message}`, error);
    });
    return xs;
  }

  /** Images are synced and closed; the nodes stay as they are, for the toolstack to take away. */
  async #shutdown(request: ShutdownRequest): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const { vcpu, threads, log } = this.#options;
    try {
      await Promise.all(this.#backends.map(backend => backend.stop()));
      await threads.stop();
    } catch (error) {
      log.error(`shutdown: ${error instanceof Error ? error.message : error}`);
    }
    const at = vcpu.scratch.reset().alloc(sched_shutdown.size);
    vcpu.scratch.view.setUint32(at, request === 'reboot' ? SHUTDOWN_reboot : SHUTDOWN_poweroff, true);
    vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, at); // the domain is stopped there
  }
}
