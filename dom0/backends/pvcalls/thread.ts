// The thread of pvcalls.
import { runWithEventLoop } from '../backend-loop.ts';
import { PvcallsWorker } from './worker.ts';

runWithEventLoop(context => new PvcallsWorker(context));
