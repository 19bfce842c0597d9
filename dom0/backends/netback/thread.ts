// The thread of netback.
import { runBlocking } from '../backend-loop.ts';
import { NetbackWorker } from './worker.ts';

runBlocking(context => new NetbackWorker(context));
