// Builds dom0's parts in their order and takes them down again: xenstore, consoled, backends, toolstack.
import {
  type Clock,
  crashForGood,
  dropInheritedOf,
  EventPump,
  type Log,
  PAGE_SIZE,
  type PumpThread,
  runPaths,
  SHUTDOWN_poweroff,
  StormGuard,
  type Vcpu,
  XenError,
  XenstoreClient,
  type XenstoreTransport,
} from '#pvbus';
import type { Backend } from './backends/backend-device.ts';
import type { BackendName, BackendThread } from './backends/backend-thread.ts';
import type { BackendThreads } from './backends/backend-threads.ts';
import { createBlkback } from './backends/blkback/device.ts';
import { ImagesInUse } from './backends/blkback/images-in-use.ts';
import { Consoled } from './backends/consoled/device.ts';
import { deviceCounters } from './backends/device-counters.ts';
import { NbdImages } from './backends/nbd/nbd-images.ts';
import { bridgesOf } from './backends/netback/bridges.ts';
import { createNetback } from './backends/netback/device.ts';
import { p9Backend } from './backends/p9/device.ts';
import { pvcallsBackend } from './backends/pvcalls/device.ts';
import { writeDom0Nodes } from './dom0-nodes.ts';
import { FileDisk } from './journal-file.ts';
import { connectStoreRing, goOnWithStoreRing } from './store-ring.ts';
import { DEFAULT_BRIDGE } from './toolstack/devices.ts';
import { Ledger } from './toolstack/ledger.ts';
import { ToolstackServer } from './toolstack/server.ts';
import { BRIDGE_PORTS, BRIDGES, Toolstack } from './toolstack/toolstack.ts';
import { Xc } from './toolstack/xc.ts';

export interface Dom0Options {
  /** vCPU 0, this thread's. */
  readonly vcpu: Vcpu;
  readonly threads: BackendThreads<BackendName>;
  readonly pumpThread: PumpThread;
  readonly runDir: string;
  /** Another process has ended in whose place this one is. */
  readonly successor: boolean;
  readonly log: Log;
  readonly clock: Clock;
}

/** Which vCPU each backend's thread is. */
export const DOM0_BACKENDS: Readonly<Record<BackendName, number>> = {
  ...{ blkback: 2, netback: 3, pvcalls: 4, nbd: 5, p9: 6 },
  'slow-blkback': 7,
};
/** The others are started for who needs them. */
export const ALWAYS_THERE = ['blkback', 'netback'] as const;
const NOT_ALWAYS_THERE = Object.entries(DOM0_BACKENDS)
  .filter(([name]) => !(ALWAYS_THERE as readonly string[]).includes(name))
  .map(([, vcpu]) => vcpu);
/** xenstored is started beside dom0. */
const XENSTORED_NS = 20e9;
const DEFAULT_MTU = 1500;
/** Guests have got on by then that a successor has kept waiting; the processors were theirs. */
const RECOVERED_MS = 1000;

export class Dom0 {
  readonly #options: Dom0Options;
  readonly #xc: Xc;
  #consoled: Consoled | undefined;
  #toolstack: Toolstack | undefined;
  #server: ToolstackServer | undefined;
  #backends: Backend[] = [];
  #going: Promise<void> | undefined;
  #stepping = false;
  /** Against guests, of whose events only those of their consoles are this thread's. */
  readonly #storms: StormGuard;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: Dom0Options) {
    this.#options = options;
    this.#xc = new Xc(options.vcpu);
    this.#storms = new StormGuard(options.vcpu.wakeWords, options.clock, options.log);
  }

  /** Resolves when tools are served. */
  async start(): Promise<void> {
    const { vcpu, threads, runDir, successor, log, clock } = this.#options;
    log.info('starts'); // what is said from here on is of this process
    new EventPump(vcpu, this.#storms, () => {}, this.#options.pumpThread); // lives as long as the process
    const blkback = threads.start('blkback');
    const netback = threads.start('netback');
    const paths = runPaths(runDir);
    const disk = new FileDisk(paths.toolstackJournal);
    const ledger = successor ? this.#inherited(disk) : Ledger.begin(disk, log);
    // Pages that a thread had which nobody may start again would keep their domain from its end.
    if (successor) dropInheritedOf(vcpu, NOT_ALWAYS_THERE);
    const ring = successor ? goOnWithStoreRing(vcpu) : undefined;
    const connecting = (): Promise<XenstoreTransport> =>
      connectStoreRing(vcpu, paths.xenstoredSocket, clock, clock.now() + XENSTORED_NS);
    const xs = new XenstoreClient(ring ?? (await connecting()), log);
    xs.onClose(error => {
      // A daemon that dies comes back and goes on; one that gives up the ring does not.
      if (this.#going === undefined)
        throw new XenError('EPIPE', `dom0 has no xenstore any more: ${error.message}`, error);
    });
    if (ring === undefined) await writeDom0Nodes(xs, vcpu.layout.maxVcpus, (vcpu.layout.maxPages * PAGE_SIZE) / 1024);

    const wake = (): void => this.#wakeConsoled();
    this.#consoled = new Consoled({ vcpu, xs, log, clock, runDir, wake });

    const bridges = bridgesOf(netback);
    const others = ledger.table<number>(BRIDGES).entries();
    for (const [name, mtu] of [[DEFAULT_BRIDGE, DEFAULT_MTU] as const, ...others])
      await bridges.create(String(name), mtu);
    for (const [bridge, ports] of ledger.table<readonly string[]>(BRIDGE_PORTS).entries())
      for (const port of ports)
        await bridges
          .addPort(String(bridge), port, true)
          .catch(error => log.error(`port ${port} of bridge ${bridge}: ${error.message}`));
    // Said for who counts what this process has: a thread stays, whatever it was started for.
    const started = (name: Parameters<typeof threads.start>[0]): BackendThread => {
      log.info(`thread of ${name} starts`);
      return threads.start(name);
    };
    const nbd = new NbdImages({ startThread: () => started('nbd'), runDir, log });
    const blkbacks: BackendThread[] = [blkback];
    const startSlow = (): BackendThread => {
      const slow = started('slow-blkback');
      blkbacks.push(slow);
      return slow;
    };
    const images = new ImagesInUse();
    const vbds = createBlkback({ xs, log, thread: blkback, images, nbd, startSlow });
    const vifs = createNetback({ xs, log, thread: netback });
    this.#backends = [
      vbds,
      vifs,
      pvcallsBackend({ xs, log, startThread: () => started('pvcalls') }),
      p9Backend({ xs, log, startThread: () => started('p9') }),
    ];

    this.#toolstack = new Toolstack({
      xc: this.#xc,
      xs,
      log,
      clock,
      runDir,
      consoled: this.#consoled,
      ledger,
      bridges,
      images,
      backendsSettled: async () => {
        await Promise.all(this.#backends.map(backend => backend.settled()));
      },
      counters: deviceCounters({
        blkbacks: () => (nbd.started ? [...blkbacks, nbd.started] : blkbacks),
        netback,
        vbds,
        vifs,
      }),
    });
    // order: a device that ends its backend is not to do so again and again when its domain is dead already.
    if (successor) await this.#toolstack.letGoOfTheDead();
    await Promise.all(this.#backends.map(backend => backend.start()));
    if (successor) await this.#toolstack.goOn();
    else await this.#toolstack.start();
    const shutdown = (): void => void this.shutdownHost();
    this.#server = await ToolstackServer.listen(paths.toolstackSocket, this.#toolstack, log, shutdown);
    const prepare = (): void =>
      void this.#toolstack
        ?.prepare()
        .catch(error => log.error(`preparing for the first domain failed: ${error.stack}`));
    if (successor) setTimeout(prepare, RECOVERED_MS);
    else prepare();
  }

  /** The ledger of who was here before. When it cannot be read, nobody can go on. */
  #inherited(disk: FileDisk): Ledger {
    const { vcpu, runDir, log } = this.#options;
    try {
      return Ledger.goOn(disk, log);
    } catch (error) {
      if (!(error instanceof XenError && error.code === 'EINVAL')) throw error;
      const why = `${runPaths(runDir).toolstackJournal}: ${error.message}; what it would say of the domains is lost`;
      return crashForGood(vcpu, new XenError(error.code, why, error));
    }
  }

  /** End every domain, then dom0's parts, then the host: the hypervisor takes this process with it. */
  shutdownHost(): Promise<void> {
    this.#going ??= this.#shutdown();
    return this.#going;
  }

  async #shutdown(): Promise<void> {
    const { log } = this.#options;
    const tried = async (what: string, body: () => unknown): Promise<void> => {
      try {
        await body();
      } catch (error) {
        log.error(`host shutdown: ${what}: ${error instanceof Error ? error.message : error}`);
      }
    };
    await tried('domains', () => this.#toolstack?.destroyAll());
    await tried('toolstack', () => this.#server?.close());
    // Images are synced and closed by their backends.
    await tried('backends', () => Promise.all(this.#backends.map(backend => backend.stop())));
    await tried('backend threads', () => this.#options.threads.stop());
    await tried('consoles', () => this.#consoled?.close());
    this.#xc.shutdown(SHUTDOWN_poweroff);
  }

  /** Serve the consoles until there is nothing to do, with a turn of the event loop between two rounds. */
  #wakeConsoled(): void {
    if (this.#stepping) return;
    this.#stepping = true;
    setImmediate(() => {
      this.#stepping = false;
      clearTimeout(this.#timer);
      if (this.#consoled?.step() === 'progress') {
        this.#storms.turn(true, true);
        return this.#wakeConsoled();
      }
      const deadline = this.#consoled?.deadline();
      if (deadline === undefined) return;
      const ms = Math.max(1, (deadline - this.#options.clock.now()) / 1e6);
      this.#timer = setTimeout(() => this.#wakeConsoled(), ms);
    });
  }
}
