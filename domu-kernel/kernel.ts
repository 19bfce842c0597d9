// A guest from its first instruction to its last: start of day in order, then steps.
import {
  __HYPERVISOR_sched_op,
  type Clock,
  earlier,
  type Gfn,
  type GuestStartInfo,
  type Log,
  moduleBytes,
  PAGE_SIZE,
  parseDecimal,
  RingTransport,
  readKey,
  readStartInfo,
  SCHEDOP_shutdown,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  type ShutdownRequest,
  StormGuard,
  sched_shutdown,
  type Vcpu,
  watchControl,
  XenError,
  XenstoreClient,
} from '#pvbus';
import { Balloon } from './balloon.ts';
import type { BlockDevice, Blocking } from './block-device.ts';
import { type Arguments, isOn, parseCmdline } from './cmdline.ts';
import { Devices } from './devices.ts';
import { Hvc } from './drivers/hvc/device.ts';
import { LOOK_NS } from './drivers/patience.ts';
import { CacheFrames } from './fs/cache-frames.ts';
import { compileExt4 } from './fs/ext4/core.ts';
import { Ext4Volume } from './fs/ext4/volume.ts';
import { FatVolume } from './fs/fat-volume.ts';
import { type FoundVolume, mountFirst } from './fs/find-volume.ts';
import { ReadOnlyDevice, type SectorDevice } from './fs/sector-device.ts';
import type { Volume } from './fs/volume.ts';
import { GuestClock } from './guest-clock.ts';
import type { Threads } from './guest-kernel.ts';
import { FrameCharge, freeFrames, reclaimModule } from './memory-frames.ts';
import { processTable } from './process/process-table.ts';
import type { WasmModule } from './process/web-assembly.ts';
import type { ProgramModule } from './program.ts';
import { watchAvailability } from './smp/hotplug.ts';
import { Processors } from './smp/processors.ts';
import { pressSysrq, type SysrqActions, watchSysrq } from './sysrq.ts';
import { Tasks } from './tasks.ts';
import { type Timers, vcpuTimers } from './timers.ts';
import type { Userland } from './userland.ts';
import { realtimeNs } from './wasi/clock.ts';
import { Watchdog } from './watchdog.ts';

export interface KernelOptions {
  readonly vcpu: Vcpu;
  /** FatFs, compiled when the first file system is mounted. */
  readonly fatFs: () => WasmModule;
  /** The driver of ext4, where the host has built it. */
  readonly ext4?: Uint8Array | undefined;
  /** The machine's clock, under the guest's. */
  readonly clock?: Clock;
  /** In [0, 1). */
  readonly random?: () => number;
  /** How the vCPU sleeps until an event or the deadline. A simulation runs the others meanwhile. */
  readonly block?: (deadline?: number) => void;
}

/** How long an end waits for peers to acknowledge what they were sent: a lost segment is sent again within 200 ms. */
const DELIVERY_MS = 1000;
/** How long a DHCP server may take to hear that a lease is given back. */
const LEAVE_MS = 5;
/** How long the shutdown hooks of a program may take together. */
const HOOKS_MS = 10_000;
/** What is kept of a disk: so much of the domain's memory, within bounds. It lies outside of that memory. */
const CACHE_SHARE = 16;
const CACHE_MIN = 1 << 20;
const CACHE_MAX = 16 << 20;
/** With that, a domain's page caches have up to a quarter of its memory, as long as nobody else wants it. */
const MORE_CACHE_SHARE = 3 / 16;
const MORE_CACHE_MAX = 64 << 20;
/** How long what was written may be the guest's alone, where nobody asks for a sync. */
const WRITE_BACK_MS = 1000;
/** How long a dying guest waits for its last words to be read. */
const LAST_WORDS_NS = 200e6;

/** Of a network interface, with xen_netfront.max_queues. */
const MOST_QUEUES = 8;

const drawn = new Uint32Array(2);
/** 53 bits that nobody can tell from those before: sequence numbers, ports and ids of the network hang on them. */
function unguessable(): number {
  crypto.getRandomValues(drawn);
  return (drawn[0]! * 2 ** 21 + (drawn[1]! >>> 11)) / 2 ** 53;
}

export type ShutdownHook = () => unknown;

export class Kernel implements Blocking {
  readonly vcpu: Vcpu;
  readonly info: GuestStartInfo;
  readonly args: Arguments;
  readonly clock: GuestClock;
  readonly timers: Timers;
  readonly tasks = new Tasks();
  readonly console: Hvc;
  readonly log: Log;
  readonly xs: XenstoreClient;
  /** This domain's directory in xenstore. */
  readonly home: string;
  readonly devices: Devices;
  /** Every volume that is mounted, each once for its disk. */
  readonly volumes = new Map<BlockDevice, Volume>();
  readonly program: ProgramModule = { exports: {} };
  /** Of a domain that may have several vCPUs, once it has started. */
  processors: Processors | undefined;
  /** What it has in common with the threads of the others, from before its start. */
  threads: Threads = {};
  /** As the toolstack called it. */
  name = '';
  root: Volume | undefined;
  /** Of a domain that runs processes. */
  userland: Userland | undefined;
  /** With xen.fifo_events: what the other vCPUs begin to hear events with. */
  fifoDirectory: Gfn | undefined;
  private readonly cacheFrames: CacheFrames;
  private readonly balloon: Balloon;
  private watchdog: Watchdog | undefined;
  private readonly store: RingTransport;
  private readonly fatFs: () => WasmModule;
  private readonly ext4: Uint8Array | undefined;
  private readonly sleep: (deadline?: number) => void;
  private readonly storms: StormGuard;
  private stepped = false;
  private readonly hooks: ShutdownHook[] = [];
  private ending = false;

  /** The part of start of day that waits for nobody. */
  constructor({ vcpu, fatFs, ext4, clock, random = unguessable, block }: KernelOptions) {
    this.vcpu = vcpu;
    this.fatFs = fatFs;
    this.ext4 = ext4;
    this.sleep = block ?? (deadline => vcpu.block(deadline));
    this.info = readStartInfo(vcpu);
    this.args = parseCmdline(this.info.cmdline);
    vcpu.frames = freeFrames(this.info);
    const mostCached = Math.min(Math.floor(this.info.nr_pages * MORE_CACHE_SHARE), MORE_CACHE_MAX / PAGE_SIZE);
    this.cacheFrames = new CacheFrames(new FrameCharge(vcpu.frames), mostCached);
    vcpu.frames.holder = this.cacheFrames;
    this.clock = new GuestClock(vcpu, clock);
    this.console = new Hvc(vcpu, this.info.console, this.args.debug === true);
    this.log = this.console.log;
    this.storms = new StormGuard(vcpu.wakeWords, this.clock, this.log);
    this.timers = vcpuTimers(vcpu, this.clock);
    const { store } = this.info;
    this.store = new RingTransport(vcpu.memory.page(store.gfn), () => vcpu.events.notify(store.port));
    vcpu.events.on(store.port, () => {}); // only to be woken: step looks at the ring itself
    this.xs = new XenstoreClient(this.store, this.log);
    this.home = `/local/domain/${vcpu.domid}`;
    const { xs, log, home, timers } = this;
    const { cmdline } = this.info;
    this.balloon = new Balloon({ vcpu, xs, home, log, timers, nrPages: this.info.nr_pages });
    const maxQueues = Math.min(MOST_QUEUES, parseDecimal(String(this.args['xen_netfront.max_queues'])) || 1);
    this.devices = new Devices({ xs, log, vcpu, cmdline, clock: this.clock, random, blocking: this, maxQueues });
  }

  /** The part that waits for xenstore and the backends. Resolves when a program can run. */
  async start(): Promise<void> {
    const { watchdog } = this.args;
    if (watchdog !== undefined) this.watchdog = new Watchdog(this.vcpu, this.clock, watchdog);
    if (isOn(this.args['xen.fifo_events'])) this.fifoDirectory = this.vcpu.events.useFifo();
    // Side by side: each costs a round trip, and none needs another.
    const [name] = await Promise.all([
      readKey(this.xs, `${this.home}/name`),
      this.devices.start(this.timers),
      this.startProcessors(),
    ]);
    this.name = name ?? '';
    this.mountRoot();
    // The program need not wait for this.
    watchControl(this.xs, this.home, this.log, request => this.shutdown(request)).catch(error =>
      this.log.error(`control/shutdown: ${error instanceof Error ? error.message : error}`),
    );
    watchSysrq(this.xs, this.home, this.log, letter =>
      pressSysrq(letter, this.sysrq, line => this.console.write(`${line}\n`)),
    ).catch(error => this.log.error(`control/sysrq: ${error instanceof Error ? error.message : error}`));
    this.balloon
      .start()
      .catch(error => this.log.error(`memory/target: ${error instanceof Error ? error.message : error}`));
  }

  /** Resolves when the vCPUs are up that xenstore says. */
  private async startProcessors(): Promise<void> {
    const { vcpu, tasks, timers, log, console } = this;
    const { maxVcpus } = vcpu.layout;
    if (maxVcpus === 1) return;
    const kernel = this.info.kernel.address;
    const write = (text: string): void => console.write(text);
    const memoryBytes = this.info.nr_pages * PAGE_SIZE;
    const { mails, collectGarbage } = this.threads;
    const more = { mails, collectGarbage, memoryBytes };
    this.processors = new Processors({ vcpu, tasks, timers, kernel, fifo: this.fifoDirectory, write, ...more });
    await watchAvailability(this.xs, this.home, maxVcpus, this.processors, log);
  }

  private mountRoot(): void {
    const root = this.args.root;
    if (typeof root !== 'string') return;
    const name = root.replace(/^\/dev\//, '');
    const disk = this.devices.disks().find(d => d.name === name);
    if (!disk) throw new XenError('ENODEV', `root=${root}: this domain has no such disk`);
    this.root = this.mount(disk, this.args.ro === true);
  }

  /** The volume on a disk; the one that is mounted already, if it is. Throws EINVAL when there is none. */
  mount(disk: BlockDevice, readOnly = false): Volume {
    const mounted = this.volumes.get(disk);
    if (mounted) return mounted;
    const device = readOnly ? new ReadOnlyDevice(disk) : disk;
    const mountFound = ({ type, device }: FoundVolume): Volume =>
      type === 'ext4' ? this.mountExt4(device) : FatVolume.mount(device, this.fatOptions);
    const volume = mountFirst(device, mountFound, line => this.log.warn(line));
    if (disk.readOnly && !readOnly) {
      volume.whyReadOnly = 'its disk is';
      this.log.info(`${volume.name}: read-only, since ${volume.whyReadOnly}`);
    }
    this.volumes.set(disk, volume);
    return volume;
  }
  format(disk: BlockDevice, label: string): void {
    if (this.volumes.has(disk)) throw new XenError('EBUSY', `format ${disk.name}: it is mounted`);
    FatVolume.format(disk, this.fatOptions, label);
  }
  private mountExt4(device: SectorDevice): Ext4Volume {
    if (!this.ext4) {
      const how = "'xl build-ext4' on the host builds it (docs/disks.md)";
      throw new XenError(
        'ENOSYS',
        `${device.name} has an ext4 file system, and there is no driver for it here: ${how}`,
      );
    }
    return Ext4Volume.mount(device, {
      ...this.mountOptions,
      module: compileExt4(this.ext4),
      wallNs: () => realtimeNs(this.clock),
    });
  }
  private get fatOptions() {
    return { ...this.mountOptions, module: this.fatFs(), wallMs: () => this.clock.wallMs() };
  }
  private get mountOptions() {
    return {
      cacheBytes: Math.min(Math.max((this.info.nr_pages * PAGE_SIZE) / CACHE_SHARE, CACHE_MIN), CACHE_MAX),
      cacheFrames: this.cacheFrames,
      onDirty: (volume: Volume) => this.timers.after(WRITE_BACK_MS, () => volume.writeBack()),
      log: (line: string) => this.log.warn(line),
    };
  }

  /** What the domain was built with, in its memory: valid until `releaseModule`. */
  module(): Uint8Array | undefined {
    return moduleBytes(this.vcpu, this.info);
  }
  /** It lives in the JavaScript engine from here on; its frames can hold rings. */
  releaseModule(): void {
    reclaimModule(this.info, this.vcpu.frames);
  }

  // ---- running ----

  /** One turn over everything. 'idle': nothing to do before the next event or deadline. */
  step(): 'progress' | 'idle' {
    let progress = this.stepDrivers() === 'progress';
    if (this.timers.expire()) progress = true;
    if (this.tasks.step() === 'progress') progress = true;
    this.stepped = this.userland?.step() === 'progress';
    return progress || this.stepped ? 'progress' : 'idle';
  }
  /** Processes have had a slice or so. */
  endsTurn(): boolean {
    return this.stepped;
  }
  /** The part that runs none of the program's code. */
  private stepDrivers(): 'progress' | 'idle' {
    this.vcpu.yieldIfAsked();
    this.watchdog?.step();
    const polled = this.vcpu.events.poll();
    if (this.timers.takeRung()) this.devices.tick(this.clock.now());
    let progress = this.store.step() === 'progress';
    if (this.devices.step() === 'progress') progress = true;
    if (this.console.step() === 'progress') progress = true;
    if (this.processors?.step() === 'progress') progress = true;
    if (this.balloon.step() === 'progress') progress = true;
    return this.storms.turn(polled, progress) ? 'progress' : 'idle';
  }
  /** Have the hypervisor wake us at the next deadline. */
  arm(): void {
    this.timers.arm(earlier(this.driversDeadline(), this.userland?.processes.deadline()));
    this.armLook();
  }
  private driversDeadline(): number | undefined {
    return earlier(this.devices.deadline(), this.watchdog?.deadline);
  }
  /** A peer that does not notify, or a notification that is lost, costs a second and not the device. */
  private armLook(): void {
    if (this.devices.waits() || this.xs.outstanding > 0 || !this.console.drained) this.timers.armWithin(LOOK_NS);
  }
  /** Sleep until the next event or deadline. */
  block(): void {
    this.arm();
    this.rest();
  }
  private rest(): void {
    this.sleep(this.storms.rest());
  }
  /** A driver of its own for calls that return with their answer. The program's timers and tasks wait; processes run. */
  waitUntil(condition: () => boolean): void {
    if (condition()) return;
    do {
      if (this.stepDrivers() !== 'idle' || condition()) continue;
      const processes = this.userland?.processes;
      if (processes?.stepNested() === 'progress') continue;
      // A timer that is due is nothing to wake for: it would be due again at once.
      this.timers.armFor(earlier(this.driversDeadline(), processes?.nestedDeadline()));
      this.armLook();
      this.rest();
    } while (!condition());
    // What the caller takes from its ring itself is news of a peer too, of which no driver's turn tells.
    this.storms.turn(true, true);
  }

  // ---- the end ----

  /** Run at shutdown, the last added first. */
  onShutdown(hook: ShutdownHook): void {
    this.hooks.push(hook);
  }

  /** The program's hooks, then everything onto the disks, then the hypercall. Later calls change nothing. */
  shutdown(request: ShutdownRequest): void {
    if (this.ending) return;
    this.ending = true;
    void this.end(request);
  }
  private async end(request: ShutdownRequest): Promise<void> {
    const late = new Promise<void>(resolve => {
      this.timers.after(HOOKS_MS, () => {
        this.log.warn(`shutdown: the program's hooks take longer than ${HOOKS_MS / 1000} s`);
        resolve();
      });
    });
    await Promise.race([this.runHooks(), late]);
    this.userland?.processes.killAll();
    await this.deliver(request !== 'reboot');
    this.sync('shutdown');
    this.stop(request === 'reboot' ? SHUTDOWN_reboot : SHUTDOWN_poweroff);
  }
  /** What programs have written to connections, and their ends: a peer that is there has them. */
  private async deliver(isLast: boolean): Promise<void> {
    const { devices, timers } = this;
    const passed = (ms: number): Promise<void> => new Promise(resolve => timers.after(ms, resolve));
    const net = devices.net;
    await Promise.race([Promise.all([net?.tcp.delivered(), devices.host()?.deliver()]), passed(DELIVERY_MS)]);
    if (isLast && net?.leave()) await passed(LEAVE_MS);
  }
  private sync(who: string): void {
    try {
      this.userland?.mounts.sync();
    } catch (error) {
      this.log.error(`${who}: ${error instanceof Error ? error.message : error}`);
    }
    for (const [disk, volume] of this.volumes) {
      try {
        if (!disk.readOnly && !volume.readOnly) volume.settle();
      } catch (error) {
        this.log.error(`${who}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
  /** SHUTDOWN_*, now. */
  private stop(reason: number): void {
    this.drainConsole();
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(sched_shutdown.size);
    scratch.view.setUint32(at, reason, true);
    // Does not return, unless the toolstack resumes a domain that it has not destroyed.
    this.vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, at);
  }
  private readonly sysrq: SysrqActions = {
    crash: () => this.stop(SHUTDOWN_crash),
    reboot: () => this.stop(SHUTDOWN_reboot),
    poweroff: () => this.stop(SHUTDOWN_poweroff),
    memory: () => {
      const { nr_pages } = this.info;
      const free = this.vcpu.frames.available;
      return `Mem-Info: ${nr_pages} pages RAM, ${free} pages free, ${this.volumes.size} volumes mounted`;
    },
    tasks: () => (this.userland ? processTable(this.userland.processes.list()) : 'no processes'),
    sync: () => {
      this.sync('sysrq');
      this.console.write('Emergency Sync complete\n');
    },
  };
  private async runHooks(): Promise<void> {
    for (let hook = this.hooks.pop(); hook; hook = this.hooks.pop()) {
      try {
        await hook();
      } catch (error) {
        this.log.error(`shutdown hook: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
      }
    }
  }

  /** What killed the guest, on its console. The caller ends the process. */
  lastWords(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.console.write(`${text}\nxenolith: the program failed; this domain has crashed\n`);
    this.drainConsole();
  }
  /** Bounded: a console that nobody reads is not waited for. */
  private drainConsole(): void {
    const deadline = this.clock.now() + LAST_WORDS_NS;
    while (!this.console.drained && this.clock.now() < deadline) {
      if (this.console.step() === 'idle' && !this.vcpu.events.poll()) this.sleep(deadline);
    }
  }
}
