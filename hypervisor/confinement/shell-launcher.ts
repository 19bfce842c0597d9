// The main thread's end of the thread that launches shells.
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeFd, openProcess, threadFile, XEN_ESRCH } from '#pvbus';
import { deniedCall } from './denied-call.ts';
import type { LauncherData, OfShell, SpawnShell } from './launcher-messages.ts';
import type { Layers } from './layers.ts';
import { StartingThread } from './starting-thread.ts';

interface Callbacks {
  spawned(id: number, pid: number, pidfd: number): void;
  fit(id: number): void;
  said(id: number, line: string): void;
  /** `detail`: what is known of how it came to that. */
  exited(
    id: number,
    code: number | undefined,
    signal: string | undefined,
    failure: string | undefined,
    detail: string | undefined,
  ): void;
  failed(error: Error): void;
}

export class ShellLauncher {
  readonly #thread: StartingThread<SpawnShell, OfShell>;
  readonly #callbacks: Callbacks;
  /** Those that are being killed because nothing can be done with them. */
  readonly #lost = new Set<number>();
  readonly #pids = new Map<number, number>();

  constructor({ bits, engineBytes, tools }: Layers, callbacks: Callbacks) {
    this.#callbacks = callbacks;
    const file = threadFile('hypervisor-launcher', import.meta.url);
    const dist = dirname(fileURLToPath(file));
    const workerData: LauncherData = { parent: process.pid, layers: bits, engineBytes, tools, dist };
    this.#thread = new StartingThread(file, workerData, {
      heard: message => this.#hear(message),
      failed: error => callbacks.failed(error),
    });
  }
  /** A shell with `socket` as its descriptor 3; the socket is the launcher's from here on. */
  spawn(id: number, socket: number): void {
    this.#thread.post({ op: 'spawn', id, socket });
  }
  /** SIGKILL to every shell; resolves when all have been reaped. */
  killAll(): Promise<void> {
    return this.#thread.killAll();
  }
  #hear(message: OfShell): void {
    if (message.op === 'spawned') this.#spawned(message.id, message.pid, message.launched);
    else if (message.op === 'said') this.#callbacks.said(message.id, message.line);
    else if (message.op === 'fit') this.#callbacks.fit(message.id);
    else {
      const { id, code, signal, failure, tried } = message;
      const lost = this.#lost.delete(id) ? 'its process cannot be started: no descriptors left' : undefined;
      const pid = this.#pids.get(id);
      this.#pids.delete(id);
      const denied = signal === 'SIGSYS' && pid !== undefined ? deniedCall(pid) : undefined;
      const details = [denied && `by its filter, of ${denied}`, tried && `while it tried ${tried}`];
      const detail = details.filter(text => text !== undefined).join(', ');
      this.#callbacks.exited(id, code, signal, failure ?? lost, detail || undefined);
    }
  }
  #spawned(id: number, pid: number, launched: number): void {
    const pidfd = openProcess(pid);
    // order: the descriptor, then the look: as long as its parent has not reaped it, the number is nobody else's.
    const parent = pidfd < 0 || pid === launched ? launched : parentOf(pid);
    if (pidfd >= 0 && parent === launched) {
      this.#pids.set(id, pid);
      this.#callbacks.spawned(id, pid, pidfd);
      return;
    }
    // Nobody could stop or end it; or it has ended, and the number may be another process's.
    if (pidfd >= 0) closeFd(pidfd);
    if (parent === UNSEEN || (pidfd < 0 && pidfd !== -XEN_ESRCH)) this.#lost.add(id);
    this.#thread.post({ op: 'kill', id });
  }
}

/** Of a process that may be there: nobody can look. */
const UNSEEN = -1;

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ESRCH' ? undefined : UNSEEN;
  }
}
