// A whole host in one thread: the real hypervisor core, xenstored, consoled, backends and toolstack, each on
// its vCPU of dom0, and guests that run the real kernel. No process, no shell, no sleeping: every vCPU has its
// turns in `turn`, and time moves when a test moves it. Real are the image files, the host's sockets and the
// event loop that carries promises.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  __HYPERVISOR_sched_op,
  type DomainConfig,
  type Domid,
  domid,
  type Machine,
  makeRunDir,
  runPaths,
  SCHEDOP_shutdown,
  Vcpu,
  XenstoreClient,
} from '#pvbus';
import type { Backend } from '../../dom0/backends/backend-device.ts';
import type { BackendContext, BackendName, BackendThread, BackendWorker } from '../../dom0/backends/backend-thread.ts';
import { createBlkback } from '../../dom0/backends/blkback/device.ts';
import { ImagesInUse } from '../../dom0/backends/blkback/images-in-use.ts';
import { BlkbackWorker } from '../../dom0/backends/blkback/worker.ts';
import { Consoled } from '../../dom0/backends/consoled/device.ts';
import { deviceCounters } from '../../dom0/backends/device-counters.ts';
import { bridgesOf } from '../../dom0/backends/netback/bridges.ts';
import { createNetback } from '../../dom0/backends/netback/device.ts';
import { NetbackWorker } from '../../dom0/backends/netback/worker.ts';
import { pvcallsBackend } from '../../dom0/backends/pvcalls/device.ts';
import { PvcallsWorker } from '../../dom0/backends/pvcalls/worker.ts';
import { FileDisk, type JournalDisk } from '../../dom0/journal-file.ts';
import { Ledger } from '../../dom0/toolstack/ledger.ts';
import { Toolstack } from '../../dom0/toolstack/toolstack.ts';
import { Xc } from '../../dom0/toolstack/xc.ts';
import { Server } from '../../dom0/xenstored/server.ts';
import { VcpuDoor } from '../../dom0/xenstored/vcpu-door.ts';
import { Kernel } from '../../domu-kernel/kernel.ts';
import { loadProgram } from '../../domu-kernel/run-program.ts';
import { readConfig } from '../../tools/config/read-config.ts';
import { CoreRig, DEFERRED, Guest, LineLog } from './core-rig.ts';
import { fatFsModule } from './fatfs.ts';
import { rigTransport } from './xenstore-rig.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A backend's worker as dom0's main thread knows it, in the same thread. */
class HereThread implements BackendThread {
  readonly name: BackendName;
  readonly vcpu: number;
  readonly worker: BackendWorker;
  readonly core: Vcpu;
  private listener: (event: unknown) => void = () => {};

  constructor(name: BackendName, vcpu: Vcpu, context: Pick<BackendContext, 'clock' | 'log'>, make: MakeWorker) {
    this.name = name;
    this.vcpu = vcpu.id;
    this.core = vcpu;
    this.worker = make({ ...context, vcpu, wake: () => {}, tell: event => this.listener(event) });
  }
  async call(message: unknown): Promise<unknown> {
    return this.worker.handle(message);
  }
  onEvent(listener: (event: unknown) => void): void {
    this.listener = listener;
  }
  async stop(): Promise<void> {}
  step(): boolean {
    const polled = this.core.events.poll();
    return this.worker.step() === 'progress' || polled;
  }
}
type MakeWorker = (context: BackendContext) => BackendWorker;

export const DOM0_PAGES = 4096;
export interface SimulatedHostOptions {
  /** All its memory, dom0's as well. */
  readonly hostPages?: number;
  /** Of the toolstack's journal. */
  readonly journal?: JournalDisk;
}

export class SimulatedHost {
  readonly dir = mkdtempSync(join(tmpdir(), 'xenolith-sim-'));
  readonly log = new LineLog();
  readonly core: CoreRig;
  readonly guests = new Map<number, SimulatedGuest>();
  readonly server: Server;
  readonly toolstack: Toolstack;
  readonly xs: XenstoreClient;
  readonly vcpu0: Vcpu;
  private readonly vcpu1: Vcpu;
  private readonly threads: HereThread[];
  private readonly backends: Backend[];
  readonly consoled: Consoled;

  private constructor(options: SimulatedHostOptions) {
    makeRunDir(this.dir);
    this.core = new CoreRig({ dom0Pages: DOM0_PAGES, ...options });
    const { core, log } = this;
    const { clock, dom0 } = core;
    this.vcpu0 = dom0.kernel(0);
    this.vcpu1 = dom0.kernel(1);
    this.server = new Server({ door: new VcpuDoor(this.vcpu1), clock, log, onWork: () => {} });
    this.xs = new XenstoreClient(rigTransport(this), log);
    const thread = (name: BackendName, vcpu: number, make: MakeWorker): HereThread =>
      new HereThread(name, dom0.kernel(vcpu), { clock, log }, make);
    const blkback = thread('blkback', 2, context => new BlkbackWorker(context));
    const netback = thread('netback', 3, context => new NetbackWorker(context));
    const pvcalls = thread('pvcalls', 4, context => new PvcallsWorker(context));
    this.threads = [blkback, netback, pvcalls];
    const { xs } = this;
    const images = new ImagesInUse();
    const vbds = createBlkback({ xs, log, thread: blkback, images });
    const vifs = createNetback({ xs, log, thread: netback });
    this.backends = [vbds, vifs, pvcallsBackend({ xs, log, startThread: () => pvcalls })];
    this.consoled = new Consoled({ vcpu: this.vcpu0, xs, log, clock, runDir: this.dir, wake: () => {} });
    this.toolstack = new Toolstack({
      xc: new Xc(this.vcpu0),
      xs,
      log,
      clock,
      runDir: this.dir,
      consoled: this.consoled,
      ledger: Ledger.begin(options.journal ?? new FileDisk(runPaths(this.dir).toolstackJournal), log),
      bridges: bridgesOf(netback),
      images,
      backendsSettled: async () => void (await Promise.all(this.backends.map(backend => backend.settled()))),
      counters: deviceCounters({ blkbacks: () => [blkback], netback, vbds, vifs }),
    });
  }
  static async start(options: SimulatedHostOptions = {}): Promise<SimulatedHost> {
    const host = new SimulatedHost(options);
    await host.run(host.bringUp());
    return host;
  }
  private async bringUp(): Promise<void> {
    await Promise.all(this.backends.map(backend => backend.start()));
    await this.threads[1]!.call({ op: 'createBridge', name: 'xenbr0', mtu: 1500 });
    await this.toolstack.start();
  }

  // ---- domains ----

  /** Build a domain of an xl.cfg and run its kernel. `kernel` and `name` are given where the text has none. */
  async create(config: string): Promise<SimulatedGuest> {
    const id = await this.run(this.toolstack.create(this.config(config), { paused: false, monitor: true }));
    await this.until(() => this.guests.has(id), `dom${id} running`);
    return this.guests.get(id)!;
  }
  config(text: string): DomainConfig {
    // No shell evaluates a kernel here: the guest's is this process's own.
    const kernel = join(this.dir, 'kernel.js');
    writeFileSync(kernel, '// the kernel of a simulated host is the test process itself\n');
    const lines = /^kernel/m.test(text) ? text : `kernel = "${kernel}"\n${text}`;
    const options = { cwd: root, random: (n: number) => new Uint8Array(n).fill(7), warn: () => {} };
    const uuid = `uuid = "00000000-0000-4000-8000-${String(this.guests.size + 1).padStart(12, '0')}"\n`;
    return readConfig(Buffer.from(uuid + lines), 'test.cfg', [], options);
  }
  /** A program's file. */
  program(source: string, name = 'program.ts'): string {
    const path = join(this.dir, name);
    writeFileSync(path, source);
    return path;
  }
  toolstackConsole(id: Domid): string {
    return this.consoled.socketPath(id);
  }
  consoleLog(name: string): string {
    try {
      return readFileSync(runPaths(this.dir).consoleLog(name), 'utf8').replaceAll('\r\n', '\n');
    } catch {
      return '';
    }
  }

  // ---- time and turns ----

  /** Everybody once, but for `except`, which is in the middle of its own. True when anything moved. */
  turn(except?: SimulatedGuest): boolean {
    let moved = false;
    this.core.settle();
    for (const vcpu of [this.vcpu0, this.vcpu1]) if (vcpu.events.poll()) moved = true;
    if (this.server.step() === 'progress') moved = true;
    if (this.consoled.step() === 'progress') moved = true;
    for (const thread of this.threads) if (thread.step()) moved = true;
    for (const domain of this.core.hypervisor.domains.list()) this.boot(domain.domid);
    for (const guest of this.guests.values()) if (guest !== except && guest.step()) moved = true;
    return moved;
  }
  /** What a domain's shell does: wait for its first unpause, then start the kernel. */
  private boot(id: number): void {
    if (id === 0 || this.guests.has(id)) return;
    const domain = this.core.hypervisor.domains.byId(id);
    if (!domain?.hasMemory || Atomics.load(domain.memory.words, domain.controlWord('run')) === 0) return;
    const guest = new SimulatedGuest(this, new Guest(this.core, domain));
    this.guests.set(id, guest);
    guest.start();
  }
  async until(condition: () => boolean, what: string | (() => string) = 'what the test waits for'): Promise<void> {
    const deadline = Date.now() + 60_000;
    while (!condition()) {
      while (this.turn());
      await new Promise(resolve => setImmediate(resolve));
      if (Date.now() < deadline) continue;
      const awaited = typeof what === 'string' ? what : what();
      throw new Error(`${awaited} has not happened\n${this.log.lines.join('\n')}`);
    }
  }
  async run<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const done = work.finally(() => {
      settled = true;
    });
    done.catch(() => {});
    await this.until(() => settled);
    return done;
  }
  /** Let what is on its way arrive. */
  async rest(turns = 30): Promise<void> {
    for (let i = 0; i < turns; i++) {
      while (this.turn());
      await new Promise(resolve => setImmediate(resolve));
    }
  }
  /** Time passes, `stepMs` at a time. */
  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.core.clock.advance(Math.min(left, stepMs) * 1e6);
      await this.rest(5);
    }
  }

  async stop(): Promise<void> {
    await this.run(this.toolstack.destroyAll());
    await this.run(Promise.all(this.backends.map(backend => backend.stop())));
    await this.run(this.consoled.close());
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export class SimulatedGuest {
  readonly host: SimulatedHost;
  readonly domid: Domid;
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  kernel: Kernel | undefined;
  /** What came out of the program, or out of the kernel. */
  crash: unknown;
  /** Reason of its SCHEDOP_shutdown. */
  stopped = false;
  /** Its kernel is in the middle of something: not to be entered again. */
  private stepping = false;
  private readonly name: string;

  constructor(host: SimulatedHost, guest: Guest) {
    this.host = host;
    this.name = host.toolstack.config(domid(guest.domid))?.name ?? '';
    this.guest = guest;
    this.domid = domid(guest.domid);
    const link = guest.link();
    const machine: Machine = {
      trap: (nr, a0, a1, a2, a3, a4) => {
        guest.vcpuId = 0;
        if (nr !== __HYPERVISOR_sched_op || a0 !== SCHEDOP_shutdown) return guest.call(nr, a0, a1, a2, a3, a4);
        this.stopped = true;
        const result = guest.trap(nr, a0, a1, a2, a3, a4);
        return result === DEFERRED ? 0 : result;
      },
      receive: () => link.receive(),
      note: () => {},
      awaitGrant: () => {
        throw new Error(`dom${guest.domid} has no pCPU`);
      },
    };
    const { memory, layout } = guest.domain;
    this.vcpu = new Vcpu(machine, memory.again(), layout, this.domid, 0);
  }

  /** As domu-kernel/main.ts does. */
  start(): void {
    void this.bringUp().catch(error => this.fail(error));
  }
  private async bringUp(): Promise<void> {
    const { host, vcpu } = this;
    this.kernel = new Kernel({
      vcpu,
      clock: host.core.clock,
      random: () => 0.5,
      fatFs: () => fatFsModule,
      block: () => this.sleep(),
    });
    const program = loadProgram(this.kernel);
    await this.kernel.start();
    await program().ended;
    this.kernel.shutdown('poweroff');
  }
  /** In the middle of a call that waits: everybody else runs; nobody having anything to do is a deadlock. */
  private sleep(): void {
    const outer = this.stepping;
    this.stepping = true;
    try {
      for (let i = 0; i < 3; i++) if (this.host.turn(this)) return;
    } finally {
      this.stepping = outer;
    }
    if (!this.vcpu.events.pending() && !this.vcpu.wakeWords.changed()) {
      throw new Error(`dom${this.domid} waits for what nobody will do`);
    }
  }
  private fail(error: unknown): void {
    if (this.crash !== undefined) return;
    this.crash = error;
    this.kernel?.lastWords(error);
    this.stopped = true;
    this.host.core.hypervisor.domainExited(this.domid, { crash: String(error), code: 1 });
  }

  step(): boolean {
    if (this.stopped || !this.kernel || this.stepping || this.guest.domain.dying) return false;
    this.stepping = true;
    try {
      const progress = this.kernel.step() === 'progress';
      // As the driver does before it sleeps.
      if (!progress) this.kernel.arm();
      return progress;
    } catch (error) {
      this.fail(error);
      return true;
    } finally {
      this.stepping = false;
    }
  }
  get console(): string {
    return this.host.consoleLog(this.name);
  }
  /** Resolves when the console has said so. */
  async says(text: string | RegExp): Promise<void> {
    const said = (): boolean => (typeof text === 'string' ? this.console.includes(text) : text.test(this.console));
    await this.host.until(said, () => `dom${this.domid} saying ${text}; it said:\n${this.console}\n`);
  }
}
