// The threads of a domain's further vCPUs, as the shell starts them: before anything of the domain is run, since a
// domain that is confined can start none.
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { type ControlMessage, receiveSiblings, VCPU_CODE_MIB } from '#pvbus';
import { type Mail, portMail } from './mail.ts';
import type { VcpuThreadData } from './vcpu-thread.ts';

/** V8 of Node 24 would lay half a GiB ready for each. */
const resourceLimits = { codeRangeSizeMb: VCPU_CODE_MIB };
/** Threads of which none has used this much processor time for so long, twice in a row, do not come. */
const LOOK_MS = 15_000;
const LEAST_US = 1000;
/** Of all threads of this process, us. */
const processorTime = (): number => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

export class VcpuThreads {
  private readonly ready = new Int32Array(new SharedArrayBuffer(4));
  private readonly count: number;
  /** By vCPU. */
  readonly mails = new Map<number, Mail>();

  /** A domain of one vCPU has none. `folder` holds the thread's file. */
  constructor(folder: string, controlFd: number, boot: ControlMessage) {
    const sockets = receiveSiblings(controlFd, boot);
    const file = join(folder, 'domain-vcpu.cjs');
    // A thread that cannot read it says so to this one's event loop, which waits for that thread. It may have been built anew
    // since the host said what may be read.
    if (sockets.size > 0) closeSync(openSync(file, 'r'));
    for (const [id, socket] of sockets) {
      const { port1, port2: mail } = new MessageChannel();
      this.mails.set(id, portMail(port1));
      const workerData: VcpuThreadData = { controlFd: socket, ready: this.ready, mail };
      // order: they come up while the domain is still being built. They need no turn of this thread's event loop.
      new Worker(file, { workerData, env: {}, resourceLimits, transferList: [mail] });
    }
    this.count = sockets.size;
  }
  /** Sleep until all of them are there. */
  awaitAll(): void {
    awaitThreads(this.ready, this.count);
  }
}

/**
 * Sleep until `ready` counts `count`. A clock does not say that nothing comes: a machine may have no time for this process,
 * or have stopped it for longer.
 */
export function awaitThreads(ready: Int32Array, count: number, usedUs = processorTime, lookMs = LOOK_MS): void {
  let idle = 0;
  for (let n = Atomics.load(ready, 0); n < count; n = Atomics.load(ready, 0)) {
    const before = usedUs();
    const timedOut = Atomics.wait(ready, 0, n, lookMs) === 'timed-out';
    idle = timedOut && usedUs() - before < LEAST_US ? idle + 1 : 0;
    // One may have come during the second look.
    if (idle >= 2 && Atomics.load(ready, 0) === n)
      throw new Error(`${n} of ${count} vCPU threads have started, and nothing is done for the others`);
  }
}
