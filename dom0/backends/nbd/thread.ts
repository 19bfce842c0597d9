// The thread of disks over NBD.
import { runWithEventLoop } from '../backend-loop.ts';
import { connectTo } from './host-stream.ts';
import { NbdWorker } from './worker.ts';

runWithEventLoop(context => new NbdWorker(context, connectTo));
