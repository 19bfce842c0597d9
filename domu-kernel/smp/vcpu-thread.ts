// The thread of a vCPU other than 0, before it runs anything of its domain: it is there before the domain's first
// instruction, and sleeps until that brings the vCPU up. The kernel is what the vCPU's context says.
import { type MessagePort, workerData } from 'node:worker_threads';
import { awaitStart, bootMemory, type ControlMessage, crashExit, receiveBoot } from '#pvbus';
import { evaluateKernel, KernelImage } from '../guest-kernel.ts';
import { portMail } from './mail.ts';

/** What the shell starts it with. */
export interface VcpuThreadData {
  readonly controlFd: number;
  /** A word that counts the threads that are there. */
  readonly ready: Int32Array;
  /** To vCPU 0's thread. */
  readonly mail: MessagePort;
}

// No program is to find it.
const collectGarbage = globalThis.gc;
Reflect.deleteProperty(globalThis, 'gc');

function run({ controlFd, ready, mail }: VcpuThreadData): void {
  const boot = receiveBoot(controlFd);
  Atomics.add(ready, 0, 1);
  Atomics.notify(ready, 0);
  const { entry, argument } = awaitStart(boot);
  try {
    const { startSibling } = evaluateKernel(new KernelImage(boot, entry).text());
    if (startSibling === undefined) throw new Error('the kernel knows of one vCPU only');
    startSibling({ controlFd, boot, argument, mail: portMail(mail), collectGarbage });
  } catch (error) {
    crash(boot, error);
  }
}
function crash(boot: ControlMessage, error: unknown): never {
  const { memory, layout, vcpu } = bootMemory(boot);
  return crashExit({ memory, layout, id: vcpu }, error);
}

run(workerData as VcpuThreadData);
