// The thread of blkback.
import { runBlocking } from '../backend-loop.ts';
import { BlkbackWorker } from './worker.ts';

runBlocking(context => new BlkbackWorker(context));
