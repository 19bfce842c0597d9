// dist/netback-thread.js: the netback thread of a backend domain.
import { runBlocking } from '../backend-loop.ts';
import { NetbackWorker } from './worker.ts';

runBlocking(context => new NetbackWorker(context));
