// Which threads of a process are vCPUs of its domain, and what processor time those vCPUs have used.
import { PAGE_SIZE, processCpuTime, vcpu_page, vcpuFrame } from '#pvbus';
import type { Domain } from './domain.ts';
import { isRunnable, threadNumbered, threadsOf, threadTime } from './linux-threads.ts';

interface Thread {
  readonly tid: number;
  /** CPU time: what it had used that is not this vCPU's, and what is; ns. */
  from: number;
  used: number;
}
/** The process they are threads of. */
interface Whole {
  /** 0 before it is there. */
  readonly pid: number;
  readonly exited: boolean;
  readonly domain: Domain | undefined;
  readonly vcpus: readonly number[];
}

export class VcpuThreads {
  /** What its vCPUs used as threads of other processes; ns. */
  before = 0;
  private readonly process: Whole;
  private lastNs = 0;
  /** What of it is the first vCPU's. */
  private firstNs = 0;
  /** Of a domU with several vCPUs: their threads but the first. */
  private readonly threads = new Map<number, Thread>();
  /** Linux's numbers of its threads, by those they have in its own namespace. */
  private readonly numbers = new Map<number, number>();

  constructor(process: Whole) {
    this.process = process;
  }

  /**
   * The thread that is this vCPU, as Linux knows it, if there is one.
   * untrusted: the domain says which thread it is; it can say no other's than its own.
   */
  of(vcpu: number): number[] {
    const { domain, pid } = this.process;
    const page = vcpuFrame(domain!.layout, vcpu) * PAGE_SIZE;
    const tid = domain!.memory.view.getUint32(page + vcpu_page.at.tid, true);
    if (tid === 0) return [];
    const known = this.numbers.get(tid);
    if (known !== undefined && threadsOf(pid).includes(known)) return [known];
    const thread = threadNumbered(pid, tid);
    if (thread !== undefined) this.numbers.set(tid, thread);
    return thread === undefined ? [] : [thread];
  }

  /** What all vCPUs had used when it was last looked at, in this process and before; ns. */
  get usedNs(): number {
    return Math.max(this.lastNs, this.before);
  }
  /** A vCPU's CPU time; that of threads of its process that are no vCPU is the first vCPU's. */
  cpuTimeNs(vcpu: number): number {
    const { vcpus, pid, exited } = this.process;
    if (vcpu !== vcpus[0]) return this.threadTimeNs(vcpu);
    if (pid !== 0 && !exited) this.lastNs = Math.max(this.lastNs, this.before + (processCpuTime(pid) ?? 0));
    // order: the process, then its other vCPUs: what these use meanwhile would be the first one's, and charged twice.
    let others = 0;
    for (const other of vcpus) if (other !== vcpu) others += this.threadTimeNs(other);
    this.firstNs = Math.max(this.firstNs, this.usedNs - others);
    return this.firstNs;
  }
  /** dom0's threads are not told apart: theirs is the first one's. */
  private threadTimeNs(vcpu: number): number {
    const { domain, pid } = this.process;
    if (!domain || domain.domid === 0 || pid === 0) return 0;
    let thread = this.threads.get(vcpu);
    if (thread === undefined) {
      const [tid] = this.of(vcpu);
      if (tid === undefined) return 0;
      // What it used before it was known as a vCPU's has been the first one's.
      thread = { tid, from: threadTime(pid, tid), used: 0 };
      this.threads.set(vcpu, thread);
    }
    const time = threadTime(pid, thread.tid);
    // What it uses while its vCPU is down is the first one's.
    if (domain.vcpus[vcpu]!.up) thread.used = Math.max(thread.used, time - thread.from);
    else thread.from = time - thread.used;
    return thread.used;
  }
  sleeps(vcpu: number): boolean {
    const { vcpus, pid } = this.process;
    // A thread that is not there yet: it asks for a pCPU when it is.
    const tid = vcpu === vcpus[0] ? pid : this.threads.get(vcpu)?.tid;
    return pid === 0 || tid === undefined || !isRunnable(pid, tid);
  }
}
