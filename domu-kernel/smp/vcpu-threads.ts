// The threads of a domain's further vCPUs, as the shell starts them: before anything of the domain is run, since a
// domain that is confined can start none.
import { join } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { type ControlMessage, receiveSiblings, VCPU_CODE_MIB } from '#pvbus';
import { type Mail, portMail } from './mail.ts';
import type { VcpuThreadData } from './vcpu-thread.ts';

/** V8 of Node 24 would lay half a GiB ready for each. */
const resourceLimits = { codeRangeSizeMb: VCPU_CODE_MIB };
/** Many times what a loaded machine needs. */
const START_MS = 30_000;

export class VcpuThreads {
  private readonly ready = new Int32Array(new SharedArrayBuffer(4));
  private readonly count: number;
  /** By vCPU. */
  readonly mails = new Map<number, Mail>();

  /** A domain of one vCPU has none. `folder` holds the thread's file. */
  constructor(folder: string, controlFd: number, boot: ControlMessage) {
    const sockets = receiveSiblings(controlFd, boot);
    for (const [id, socket] of sockets) {
      const { port1, port2: mail } = new MessageChannel();
      this.mails.set(id, portMail(port1));
      const workerData: VcpuThreadData = { controlFd: socket, ready: this.ready, mail };
      // order: they come up while the domain is still being built. They need no turn of this thread's event loop.
      new Worker(join(folder, 'domain-vcpu.cjs'), { workerData, env: {}, resourceLimits, transferList: [mail] });
    }
    this.count = sockets.size;
  }
  /** Sleep until all of them are there. */
  awaitAll(): void {
    const { ready, count } = this;
    for (let n = Atomics.load(ready, 0); n < count; n = Atomics.load(ready, 0)) {
      if (Atomics.wait(ready, 0, n, START_MS) === 'timed-out')
        throw new Error(`${n} of ${count} vCPU threads have started within ${START_MS / 1000} s`);
    }
  }
}
