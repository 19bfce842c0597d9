// The thread of a backend, whichever it is started as, with a bug in its ring loop: it throws as soon as a
// device is connected. The loop around it, the worker and the rest of dom0 are the real ones.
import { workerData } from 'node:worker_threads';
import { runBlocking, runWithEventLoop } from '../../../dom0/backends/backend-loop.ts';
import type {
  BackendContext,
  BackendName,
  BackendThreadData,
  BackendWorker,
} from '../../../dom0/backends/backend-thread.ts';
import { BlkbackWorker } from '../../../dom0/backends/blkback/worker.ts';
import { connectTo } from '../../../dom0/backends/nbd/host-stream.ts';
import { NbdWorker } from '../../../dom0/backends/nbd/worker.ts';
import { NetbackWorker } from '../../../dom0/backends/netback/worker.ts';
import { P9Worker } from '../../../dom0/backends/p9/worker.ts';
import { PvcallsWorker } from '../../../dom0/backends/pvcalls/worker.ts';

const { name } = workerData as BackendThreadData;
const WORKERS: Readonly<Record<BackendName, (context: BackendContext) => BackendWorker>> = {
  blkback: context => new BlkbackWorker(context),
  'slow-blkback': context => new BlkbackWorker(context),
  netback: context => new NetbackWorker(context),
  pvcalls: context => new PvcallsWorker(context),
  nbd: context => new NbdWorker(context, connectTo),
  p9: context => new P9Worker(context),
};
const run = name === 'pvcalls' || name === 'nbd' ? runWithEventLoop : runBlocking;

run((context: BackendContext): BackendWorker => {
  const worker: BackendWorker = WORKERS[name](context);
  let connected = false;
  return {
    handle(message) {
      if ((message as { op: string }).op === 'connect') connected = true;
      return worker.handle(message);
    },
    step() {
      if (connected) throw new RangeError(`a bug in ${name}`);
      return worker.step();
    },
    deadline: () => worker.deadline?.(),
  };
});
