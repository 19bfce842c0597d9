// The main thread's end of the thread that starts xenstored.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeFd, threadFile } from '#pvbus';
import { withoutCapabilities } from './host-capabilities.ts';
import type { Command } from './launch-command.ts';
import { type FromStartingThread, StartingThread, type ToStartingThread } from './starting-thread.ts';

export interface StoreThreadData {
  /** XENOLITH_LAYER_* */
  readonly layers: number;
  readonly runDir: string;
  readonly logFd: number;
  /** Where our built files are. */
  readonly dist: string;
}
/** `sockets` are the thread's from here on. */
interface Spawn {
  readonly op: 'spawn';
  readonly id: number;
  readonly command: Command;
  readonly vcpus: string;
  readonly sockets: readonly number[];
}
export type ToStoreThread = Spawn | ToStartingThread;
type Heard =
  | { readonly op: 'spawned'; readonly id: number; readonly pid: number; readonly pidfd: number }
  | { readonly op: 'serves'; readonly id: number }
  | {
      readonly op: 'exited';
      readonly id: number;
      readonly code: number | undefined;
      readonly signal: string | undefined;
      /** Why it has not come to be. */
      readonly failure: string | undefined;
    };
export type FromStoreThread = Heard | FromStartingThread;

interface Callbacks {
  /** `pidfd`: -1 where there is none. */
  spawned(id: number, pid: number, pidfd: number): void;
  exited(id: number, code: number | undefined, signal: string | undefined, failure: string | undefined): void;
  serves(id: number): void;
  failed(error: Error): void;
}

export class StoreLauncher {
  readonly #thread: StartingThread<Spawn, Heard>;
  readonly #callbacks: Callbacks;
  readonly #runDir: string;

  constructor(host: Omit<StoreThreadData, 'dist'>, callbacks: Callbacks) {
    this.#callbacks = callbacks;
    this.#runDir = host.runDir;
    const file = threadFile('hypervisor-store-launcher', import.meta.url);
    const workerData: StoreThreadData = { ...host, dist: dirname(fileURLToPath(file)) };
    this.#thread = new StartingThread(file, workerData, {
      heard: message => this.#hear(message),
      failed: error => callbacks.failed(error),
    });
  }
  /** Start it with `sockets` as its descriptors 3, 4, …; they are the launcher's from here on. */
  spawn(id: number, command: Command, vcpus: string, sockets: readonly number[]): void {
    try {
      this.#thread.post({ op: 'spawn', id, command: withoutCapabilities(command, this.#runDir), vcpus, sockets });
    } catch (error) {
      for (const socket of sockets) closeFd(socket);
      const failure = `its process cannot be started: ${(error as Error).message}`; // its run directory is gone
      this.#callbacks.exited(id, undefined, undefined, failure);
    }
  }
  /** SIGKILL. */
  kill(id: number): void {
    this.#thread.post({ op: 'kill', id });
  }
  /** SIGKILL to each that there is; resolves when all have been reaped. */
  killAll(): Promise<void> {
    return this.#thread.killAll();
  }
  #hear(message: Heard): void {
    const { op } = message;
    if (op === 'spawned') this.#callbacks.spawned(message.id, message.pid, message.pidfd);
    else if (op === 'serves') this.#callbacks.serves(message.id);
    else this.#callbacks.exited(message.id, message.code, message.signal, message.failure);
  }
}
