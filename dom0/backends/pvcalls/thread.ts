// The pvcalls backend's thread.
import { runWithEventLoop } from '../backend-loop.ts';
import { PvcallsWorker } from './worker.ts';

runWithEventLoop(context => new PvcallsWorker(context));
