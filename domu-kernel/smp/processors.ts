// A domain's vCPUs as vCPU 0 has them: brought up and down, and given the program's tasks, one at a time each.
import {
  __HYPERVISOR_vcpu_op,
  cpu_user_regs,
  errnoName,
  type Gfn,
  PAGE_SIZE,
  setU64,
  VCPUOP_initialise,
  VCPUOP_is_up,
  VCPUOP_register_runstate_phys_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_up,
  type Vcpu,
  vcpu_guest_context,
  vcpu_register_vcpu_info,
  XEN_LEGACY_MAX_VCPUS,
  XenError,
} from '#pvbus';
import type { Tasks } from '../tasks.ts';
import type { Timers } from '../timers.ts';
import { SmpArea } from './area.ts';
import { Channel, carried, type FromSibling, type ToSibling } from './channel.ts';
import { PolledKicks } from './kicks.ts';
import type { Mail } from './mail.ts';
import type { Values } from './message.ts';
import { Placement, type Seat } from './placement.ts';
import { SharedHeap, SharedViews } from './shared-views.ts';

/** What the program has asked to be run. */
interface Job {
  /** A name that the program exports, and the function it is here. */
  readonly task: string;
  readonly here: (...args: unknown[]) => unknown;
  readonly args: readonly unknown[];
  resolve(value: unknown): void;
  reject(error: unknown): void;
}
type State = 'off' | 'starting' | 'idle' | 'busy' | 'leaving';

interface Sibling extends Seat {
  readonly channel: Channel<FromSibling, ToSibling>;
  /** Jobs for it before all others. */
  readonly own: Job[];
  state: State;
  initialised: boolean;
  wanted: boolean;
  job: Job | undefined;
}

export interface ProcessorsParts {
  readonly vcpu: Vcpu;
  readonly tasks: Tasks;
  readonly timers: Timers;
  /** Guest address of the kernel's image. */
  readonly kernel: number;
  /** What the others begin to hear events with, where that is by the FIFO ABI. */
  readonly fifo: Gfn | undefined;
  readonly write: (text: string) => void;
  /** By vCPU; those that have one run processes too. */
  readonly mails?: ReadonlyMap<number, Mail> | undefined;
  /** Of the domain. */
  readonly memoryBytes?: number;
  readonly collectGarbage?: (() => void) | undefined;
}

/** A vCPU that is to come up, but is still on its way down, is looked at this often. */
const DOWN_MS = 1;

export class Processors {
  readonly values: Values;
  readonly heap: SharedHeap;
  /** Of processes. */
  readonly placement: Placement | undefined;
  private readonly parts: ProcessorsParts;
  private readonly area: SmpArea;
  private readonly siblings: Sibling[];
  private readonly queue: Job[] = [];
  private readonly listeners: ((online: readonly number[]) => void)[] = [];
  private readonly settled: (() => void)[] = [];
  private news = false;

  /** Of a domain of several vCPUs. Throws ENOMEM. */
  constructor(parts: ProcessorsParts) {
    const { vcpu } = parts;
    const { memory, layout, frames, events } = vcpu;
    const nr = layout.maxVcpus;
    this.parts = parts;
    this.area = SmpArea.create(memory, frames.alloc(SmpArea.frames(nr)) * PAGE_SIZE, nr, parts.fifo);
    for (let id = 0; id < nr; id++) {
      this.area.setPorts(id, events.bindIpi(id), events.bindIpi(id));
      this.registerAreas(id);
    }
    const views = new SharedViews(memory);
    this.values = { views, kicks: new PolledKicks(vcpu, this.area) };
    this.heap = new SharedHeap(memory, views, frames);
    events.on(this.area.callPort(0), () => {
      this.news = true;
    });
    this.siblings = Array.from({ length: nr - 1 }, (_, i) => this.sibling(i + 1));
    const { mails, timers, memoryBytes = 0, collectGarbage = () => {} } = parts;
    const urgent = (): boolean => {
      events.poll();
      return this.news;
    };
    if (mails) this.placement = new Placement({ seats: this.siblings, timers, memoryBytes, urgent, collectGarbage });
  }
  private sibling(id: number): Sibling {
    const { area, values } = this;
    const port = area.callPort(id);
    const notify = (): void => this.parts.vcpu.events.notify(port);
    const channel = new Channel<FromSibling, ToSibling>(area.streams(id, 'near'), values, notify);
    const mail = this.parts.mails?.get(id);
    const [own, job]: [Job[], Job | undefined] = [[], undefined];
    return {
      ...{ id, channel, own, state: 'off', initialised: false, wanted: false, job },
      mail: mail ?? NO_MAIL,
      get open() {
        return mail !== undefined && this.wanted && this.state === 'idle';
      },
      send: message => channel.send(message),
    };
  }
  private registerAreas(id: number): void {
    const { area } = this;
    const { scratch } = this.parts.vcpu;
    if (id >= XEN_LEGACY_MAX_VCPUS) {
      const address = area.infoAddress(id);
      const at = scratch.reset().alloc(vcpu_register_vcpu_info.size);
      setU64(scratch.view, at + vcpu_register_vcpu_info.at.mfn, Math.floor(address / PAGE_SIZE));
      scratch.view.setUint32(at + vcpu_register_vcpu_info.at.offset, address % PAGE_SIZE, true);
      this.op(VCPUOP_register_vcpu_info, id, at);
    }
    const at = scratch.reset().alloc(8);
    setU64(scratch.view, at, area.runstateAddress(id));
    this.op(VCPUOP_register_runstate_phys_area, id, at);
  }
  /** Guest address of its runstate. */
  runstate(id: number): number {
    return this.area.runstateAddress(id);
  }

  // ---- up and down ----

  /** vCPUs that run the kernel, vCPU 0 among them. */
  get online(): number[] {
    return [0, ...this.siblings.filter(isUp).map(({ id }) => id)];
  }
  onChange(listener: (online: readonly number[]) => void): void {
    this.listeners.push(listener);
  }
  private changed(): void {
    const { online } = this;
    for (const listener of this.listeners) this.parts.tasks.add(() => listener(online));
  }
  /** Whether a vCPU is to be up. vCPU 0 always is. */
  want(id: number, wanted: boolean): void {
    const sibling = this.siblings[id - 1];
    if (sibling === undefined || sibling.wanted === wanted) return;
    sibling.wanted = wanted;
    this.reconcile(sibling);
    // Nobody may be left for what waits.
    this.dispatch();
  }
  /** Resolves when every vCPU is as it is wanted. */
  whenSettled(): Promise<void> {
    return new Promise(resolve => {
      this.settled.push(resolve);
      this.checkSettled();
    });
  }
  private checkSettled(): void {
    if (this.siblings.some(({ wanted, state }) => wanted !== (state === 'idle' || state === 'busy'))) return;
    for (const resolve of this.settled.splice(0)) resolve();
  }
  private reconcile(sibling: Sibling): void {
    const { id, state, wanted } = sibling;
    if (state === 'off' && wanted) {
      if (!sibling.initialised) this.initialise(sibling);
      else if (this.op(VCPUOP_is_up, id) !== 0) {
        // It has said that it goes, and has not yet.
        this.parts.timers.after(DOWN_MS, () => this.reconcile(sibling));
        return;
      }
      sibling.state = 'starting';
      this.op(VCPUOP_up, id);
    } else if (state === 'idle' && !wanted) {
      sibling.state = 'leaving';
      this.placement?.evict(id);
      sibling.channel.send({ op: 'down' });
      this.changed();
    }
    this.checkSettled();
  }
  private initialise(sibling: Sibling): void {
    const { vcpu, kernel } = this.parts;
    const { scratch } = vcpu;
    const at = scratch.reset().alloc(vcpu_guest_context.size);
    const regs = at + vcpu_guest_context.at.user_regs;
    setU64(scratch.view, regs + cpu_user_regs.at.rip, kernel);
    setU64(scratch.view, regs + cpu_user_regs.at.rsi, this.area.address);
    this.op(VCPUOP_initialise, sibling.id, at);
    sibling.initialised = true;
  }
  private op(cmd: number, id: number, arg = 0): number {
    const rc = this.parts.vcpu.hypercall(__HYPERVISOR_vcpu_op, cmd, id, arg);
    if (rc < 0) throw new XenError(errnoName(-rc), `vcpu_op ${cmd} of vcpu ${id}`);
    return rc;
  }

  // ---- work ----

  /** Run `here`, which the program exports as `task`, on another vCPU: on `on`, or whichever is free first. */
  run(task: string, here: Job['here'], args: readonly unknown[], on?: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const job: Job = { task, here, args, resolve, reject };
      const pinned = on === undefined ? undefined : this.siblings[on - 1];
      if (on === 0) this.runHere(job);
      else if (on !== undefined && !pinned?.wanted) reject(new XenError('ENODEV', `vcpu ${on} is not on line`));
      else {
        (pinned?.own ?? this.queue).push(job);
        this.dispatch();
      }
    });
  }
  private dispatch(): void {
    for (const sibling of this.siblings) {
      // It goes: what waits for it alone is for all.
      if (!sibling.wanted) this.queue.unshift(...sibling.own.splice(0));
    }
    for (const sibling of this.siblings) {
      while (sibling.state === 'idle' && sibling.wanted) {
        const job = sibling.own.shift() ?? this.queue.shift();
        if (job === undefined) break;
        this.give(sibling, job);
      }
    }
    if (this.siblings.some(({ wanted }) => wanted)) return;
    for (const job of this.queue.splice(0)) this.runHere(job);
  }
  private give(sibling: Sibling, job: Job): void {
    try {
      // A task may take as long as it wants.
      this.placement?.evict(sibling.id);
      sibling.channel.send({ op: 'run', task: job.task, args: job.args });
    } catch (error) {
      job.reject(error);
      return;
    }
    sibling.state = 'busy';
    sibling.job = job;
  }
  private runHere({ here, args, resolve, reject }: Job): void {
    this.parts.tasks.add(() => {
      try {
        resolve(here(...args));
      } catch (error) {
        reject(error);
      }
    });
  }

  // ---- what the others say ----

  step(): 'progress' | 'idle' {
    this.placement?.step();
    if (!this.news) return 'idle';
    // order: before the rings are looked at; what comes later says so again.
    this.news = false;
    let progress = false;
    for (const sibling of this.siblings) {
      if (sibling.channel.step(message => this.hear(sibling, message))) progress = true;
    }
    return progress ? 'progress' : 'idle';
  }
  private hear(sibling: Sibling, message: FromSibling): void {
    const { job } = sibling;
    switch (message.op) {
      case 'console':
        this.parts.write(message.text);
        return;
      case 'up':
        sibling.state = 'idle';
        this.changed();
        break;
      case 'leaving':
        sibling.state = 'off';
        break;
      case 'result':
      case 'failed':
        sibling.state = 'idle';
        sibling.job = undefined;
        if (message.op === 'result') job?.resolve(message.value);
        else job?.reject(carried(message.error));
        break;
      default:
        this.placement?.hear(sibling, message);
        return;
    }
    this.reconcile(sibling);
    this.dispatch();
  }
}

const NO_MAIL: Mail = { post() {}, take: () => undefined };
const isUp = ({ state }: Sibling): boolean => state === 'idle' || state === 'busy';
