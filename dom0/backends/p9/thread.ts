// The thread of shared folders.
import { runBlocking } from '../backend-loop.ts';
import { P9Worker } from './worker.ts';

runBlocking(context => new P9Worker(context));
