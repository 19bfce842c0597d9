// The kernel on a vCPU other than 0: it runs the program's tasks and the processes that vCPU 0 sends, has timers of its
// own, and no devices. Its console's lines go through vCPU 0.
import {
  __HYPERVISOR_vcpu_op,
  attachSibling,
  type Clock,
  crashExit,
  FrameAllocator,
  readModule,
  readStartInfo,
  VCPUOP_down,
  type Vcpu,
} from '#pvbus';
import { drive } from '../drive.ts';
import { GUEST_GLOBALS, guestGlobals } from '../globals.ts';
import { siblingApi } from '../guest-api/smp.ts';
import { GuestClock } from '../guest-clock.ts';
import type { HandedSibling } from '../guest-kernel.ts';
import { compileProgram } from '../program.ts';
import { Tasks } from '../tasks.ts';
import { type Timers, vcpuTimers } from '../timers.ts';
import { SmpArea } from './area.ts';
import { Channel, carry, type FromSibling, type ToSibling } from './channel.ts';
import { PolledKicks } from './kicks.ts';
import { Lodgers } from './lodgers.ts';
import type { LodgerKey } from './lodging.ts';
import type { Mail } from './mail.ts';
import type { Values } from './message.ts';
import { SharedViews } from './shared-views.ts';

export function startSibling({ controlFd, boot, argument, mail, collectGarbage }: HandedSibling): void {
  const vcpu = attachSibling(controlFd, boot, SmpArea.mappedAt(boot.fd, argument));
  const crash = (error: unknown): never => crashExit(vcpu, error);
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  try {
    drive(new SiblingKernel(vcpu, argument, { mail, collectGarbage }), crash);
  } catch (error) {
    crash(error);
  }
}

export interface SiblingParts {
  /** For processes. */
  readonly mail?: Mail | undefined;
  readonly collectGarbage?: (() => void) | undefined;
  /** The host's. */
  readonly clock?: Clock | undefined;
}
type Exports = Readonly<Record<string, unknown>>;

export class SiblingKernel {
  readonly vcpu: Vcpu;
  readonly values: Values;
  readonly clock: GuestClock;
  readonly timers: Timers;
  readonly tasks = new Tasks();
  private readonly channel: Channel<ToSibling, FromSibling>;
  private exports: Exports | undefined;
  private leaving = false;
  private busy = false;
  private readonly lodgers: Lodgers | undefined;
  private lodged = false;
  /** vCPU 0 has rung. */
  private news = false;
  /** What came while a program waited for memory. */
  private deferred: ToSibling[] = [];
  private pages: number | undefined;

  constructor(vcpu: Vcpu, areaAddress: number, { mail, collectGarbage = () => {}, clock }: SiblingParts = {}) {
    this.vcpu = vcpu;
    vcpu.frames = new FrameAllocator(0, 0); // they are vCPU 0's
    const area = new SmpArea(vcpu.memory, areaAddress);
    if (area.fifo !== undefined) vcpu.events.useFifo(area.fifo);
    this.values = { views: new SharedViews(vcpu.memory), kicks: new PolledKicks(vcpu, area) };
    this.clock = new GuestClock(vcpu, clock);
    this.timers = vcpuTimers(vcpu, this.clock);
    const notify = (): void => vcpu.events.notify(area.callPort(0));
    this.channel = new Channel(area.streams(vcpu.id, 'far'), this.values, notify);
    vcpu.events.on(area.callPort(vcpu.id), () => {
      this.news = true;
    });
    if (mail) this.lodgers = this.lodgersBy(mail, collectGarbage);
    this.channel.send({ op: 'up' });
  }
  private lodgersBy(mail: Mail, collectGarbage: () => void): Lodgers {
    return new Lodgers({
      clock: this.clock,
      mail,
      random: into => void crypto.getRandomValues(into),
      send: message => this.channel.send(message),
      askPages: (key, pages) => this.askPages(key, pages),
      urgent: () => {
        this.vcpu.events.poll();
        return this.news;
      },
      collectGarbage,
    });
  }
  /** As a lock is waited for: nothing else runs meanwhile. */
  private askPages(key: LodgerKey, pages: number): number {
    this.channel.send({ op: 'wants', key, pages });
    while (this.pages === undefined) {
      this.vcpu.yieldIfAsked();
      const polled = this.vcpu.events.poll();
      const came = this.channel.step(message => {
        if (message.op === 'pages') this.pages = message.pages;
        else this.deferred.push(message);
      });
      if (this.pages === undefined && !polled && !came) this.block();
    }
    const got = this.pages;
    this.pages = undefined;
    return got;
  }
  write(text: string): void {
    this.channel.send({ op: 'console', text });
  }

  step(): 'progress' | 'idle' {
    this.vcpu.yieldIfAsked();
    let progress = this.vcpu.events.poll();
    this.news = false;
    for (const message of this.deferred.splice(0)) this.hear(message);
    if (this.channel.step(message => this.hear(message))) progress = true;
    if (this.timers.expire()) progress = true;
    if (this.tasks.step() === 'progress') progress = true;
    if (this.leaving && !this.busy && this.channel.flushed) {
      this.goDown();
      progress = true;
    }
    this.lodged = this.lodgers?.step() === 'progress';
    return progress || this.lodged || this.deferred.length > 0 ? 'progress' : 'idle';
  }
  /** Processes have had a slice or so. */
  endsTurn(): boolean {
    return this.lodged;
  }
  /** Without a StormGuard: all that wakes it is of its own domain and the hypervisor. Peers' ports are vCPU 0's. */
  block(): void {
    this.timers.arm();
    this.vcpu.block();
  }

  private hear(message: ToSibling): void {
    if (message.op === 'run') this.start(message.task, message.args);
    else if (message.op !== 'down') this.lodgers?.hear(message);
    else {
      this.leaving = true;
      this.channel.send({ op: 'leaving' });
    }
  }
  /** Returns when vCPU 0 has brought this one up again. */
  private goDown(): void {
    this.leaving = false;
    this.vcpu.hypercall(__HYPERVISOR_vcpu_op, VCPUOP_down, this.vcpu.id);
    this.channel.send({ op: 'up' });
  }

  private start(task: string, args: readonly unknown[]): void {
    this.busy = true;
    try {
      const run = this.program()[task];
      if (typeof run !== 'function') throw new Error(`the program exports no function '${task}'`);
      const result: unknown = run(...args);
      if (isThenable(result)) {
        result.then(
          value => this.finish(value),
          error => this.fail(error),
        );
      } else this.finish(result);
    } catch (error) {
      this.fail(error);
    }
  }
  private finish(value: unknown): void {
    try {
      this.channel.send({ op: 'result', value });
      this.busy = false;
    } catch (error) {
      this.fail(error);
    }
  }
  private fail(error: unknown): void {
    this.busy = false;
    this.channel.send({ op: 'failed', error: carry(error) });
  }
  /** What the program exports, once its top level has run here too. */
  private program(): Exports {
    if (this.exports !== undefined) return this.exports;
    const text = readModule(this.vcpu, readStartInfo(this.vcpu));
    if (text === undefined) throw new Error('this domain has no program');
    const api = siblingApi(this);
    const globals = guestGlobals({ ...this, console: api.console });
    const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globals;
    const timers = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate };
    Object.assign(globalThis, timers, { console: api.console });
    const module = { exports: {} };
    compileProgram(text, GUEST_GLOBALS)(api, globals, module);
    this.exports = module.exports;
    return this.exports;
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
