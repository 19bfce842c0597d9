// `smp`: the domain's vCPUs, memory that they share, and what they wait for one another with.
import {
  __HYPERVISOR_vcpu_op,
  errnoName,
  getU64,
  VCPUOP_get_runstate_info,
  type Vcpu,
  vcpu_runstate_info,
  XenError,
} from '#pvbus';
import type { Kernel } from '../kernel.ts';
import type { Kicks } from '../smp/kicks.ts';
import { Barrier, LOCK_WORDS, Lock, Semaphore } from '../smp/locks.ts';
import { SharedHeap, SharedViews } from '../smp/shared-views.ts';
import type { SiblingKernel } from '../smp/sibling.ts';
import type { Xenolith } from './api.ts';
import { consoleApi } from './console.ts';
import { clockApi } from './system.ts';

type Smp = Xenolith['smp'];
type Task = (...args: unknown[]) => unknown;

/** Where there is one vCPU, nobody could end a wait. */
const alone: Kicks = {
  id: 0,
  wait() {
    throw new XenError('EDEADLK', 'this domain has one vCPU: nobody would end the wait');
  },
  forget() {},
  kick() {},
  runs: () => false,
};

export function smpApi(kernel: Kernel): Smp {
  const { vcpu, tasks } = kernel;
  let own: SharedHeap | undefined;
  const heap = (): SharedHeap => {
    own ??= kernel.processors?.heap ?? new SharedHeap(vcpu.memory, new SharedViews(vcpu.memory), vcpu.frames);
    return own;
  };
  const kicks = (): Kicks => kernel.processors?.values.kicks ?? alone;
  const words = (): Int32Array => {
    const { buffer, offset } = heap().alloc(4 * LOCK_WORDS);
    return new Int32Array(buffer, offset, LOCK_WORDS);
  };
  const run = async (task: Task, args: unknown[], on?: number): Promise<unknown> => {
    const name = exportedAs(kernel.program.exports, task);
    const { processors } = kernel;
    if (processors !== undefined) return processors.run(name, task, args, on);
    if (on !== undefined && on !== 0) throw new XenError('ENODEV', `vcpu ${on} is not on line`);
    return new Promise((resolve, reject) => {
      tasks.add(() => {
        try {
          resolve(task(...args));
        } catch (error) {
          reject(error);
        }
      });
    });
  };
  return {
    vcpu: 0,
    max: vcpu.layout.maxVcpus,
    get online() {
      return kernel.processors?.online ?? [0];
    },
    onChange: listener => kernel.processors?.onChange(listener),
    run: ((task: Task, ...args: unknown[]) => run(task, args)) as Smp['run'],
    runOn: ((on: number, task: Task, ...args: unknown[]) => run(task, args, on)) as Smp['runOn'],
    alloc(View, length) {
      const { buffer, offset } = heap().alloc(length * View.BYTES_PER_ELEMENT);
      return new View(buffer, offset, length);
    },
    free: view => heap().free(view),
    lock: () => new Lock(words(), kicks()),
    semaphore(permits) {
      const semaphore = new Semaphore(words(), kicks());
      if (permits > 0) semaphore.release(permits);
      return semaphore;
    },
    barrier(parties) {
      const barrier = new Barrier(words(), kicks());
      barrier.parties = parties;
      return barrier;
    },
    times: id => times(vcpu, id),
  };
}

/** Another vCPU finds a task by its name, in its own copy of the program. */
function exportedAs(exports: object, task: Task): string {
  for (const [name, value] of Object.entries(exports)) if (value === task) return name;
  throw new XenError('EINVAL', `run: the program does not export '${task.name || 'this function'}'`);
}

function times(vcpu: Vcpu, id = vcpu.id): ReturnType<Smp['times']> {
  const { scratch } = vcpu;
  const at = scratch.reset().alloc(vcpu_runstate_info.size);
  const rc = vcpu.hypercall(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, id, at);
  if (rc < 0) throw new XenError(errnoName(-rc), `times of vcpu ${id}`);
  const ms = (state: number): number => getU64(scratch.view, at + vcpu_runstate_info.at.time + 8 * state) / 1e6;
  return { running: ms(0), runnable: ms(1), blocked: ms(2), offline: ms(3) };
}

/** The module 'xenolith' on a vCPU other than 0: what needs devices, or gives anything out, is vCPU 0's. */
export function siblingApi(sibling: SiblingKernel): Xenolith {
  const { vcpu, clock, timers } = sibling;
  const only0 = (what: string): never => {
    throw new XenError('EOPNOTSUPP', `${what} is vCPU 0's; this is vCPU ${vcpu.id}`);
  };
  const readLine = (): never => only0('reading the console');
  const smp: Smp = {
    vcpu: vcpu.id,
    max: vcpu.layout.maxVcpus,
    get online() {
      return only0('smp.online');
    },
    onChange: () => only0('smp.onChange'),
    run: () => only0('smp.run'),
    runOn: () => only0('smp.runOn'),
    alloc: () => only0('smp.alloc'),
    free: () => only0('smp.free'),
    lock: () => only0('smp.lock'),
    semaphore: () => only0('smp.semaphore'),
    barrier: () => only0('smp.barrier'),
    times: id => times(vcpu, id),
  };
  return {
    smp,
    console: consoleApi({ write: text => sibling.write(text), readLine }),
    clock: clockApi({ clock, timers }),
    get disks() {
      return only0('disks');
    },
    get host() {
      return only0('host');
    },
    get files() {
      return only0('files');
    },
    get net() {
      return only0('net');
    },
    get http() {
      return only0('http');
    },
    get system() {
      return only0('system');
    },
    get processes() {
      return only0('processes');
    },
  };
}
