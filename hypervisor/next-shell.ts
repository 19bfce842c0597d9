// The process that waits to become the next domU's: a shell, started when nobody needs the processor.
import { type Clock, closeFd, type Log, socketPair } from '#pvbus';
import type { HostProcess } from './host-process.ts';
import type { HostProcesses } from './host-processes.ts';
import type { Shortage } from './shortage.ts';

/** Starting a shell takes a processor that the domain just created can use better for so long. */
const SHELL_DELAY_NS = 100e6;
/** After one that ended by itself, or could not be started. */
const SHELL_RETRY_NS = 5e9;

export interface Shell {
  readonly process: HostProcess;
  readonly socket: number;
}

export class NextShell {
  private readonly processes: HostProcesses;
  private readonly log: Log;
  private readonly clock: Clock;
  private readonly shortage: Shortage;
  private shell: Shell | undefined;
  /** How a shell that waited has ended; until another one's self-test goes well, no domain gets one. */
  unfit: string | undefined;
  /** When there is to be one (monotonic ns). */
  deadline: number | undefined;

  constructor(processes: HostProcesses, log: Log, clock: Clock, shortage: Shortage) {
    this.processes = processes;
    this.log = log;
    this.clock = clock;
    this.shortage = shortage;
  }

  /** Have one wait. */
  prepare(): void {
    this.deadline = undefined;
    try {
      this.get();
    } catch (error) {
      this.shortage('a shell for the next domain', error);
      this.deadline = this.clock.now() + SHELL_RETRY_NS;
    }
  }
  /** True when one was due. */
  runDue(now: number): boolean {
    if (this.deadline === undefined || this.deadline > now) return false;
    this.prepare();
    return true;
  }
  /** The one that waits, or a new one. Throws SystemCallError. */
  get(): Shell {
    this.shell ??= this.start();
    return this.shell;
  }
  /** It is a domain's now. */
  taken(): void {
    this.shell = undefined;
    this.deadline = this.clock.now() + SHELL_DELAY_NS;
  }
  private start(): Shell {
    const [near, far] = socketPair();
    const process = this.processes.spawn({ program: 'domain-shell.cjs', vcpus: [0], sockets: [far], start: 'first' });
    return { process, socket: near };
  }

  /** This process has ended. `how`: by itself; this Node, under this machine's filter, is none for a domain. */
  ended(process: HostProcess, how: string | undefined): boolean {
    if (this.shell?.process !== process) return false;
    closeFd(this.shell.socket);
    this.shell = undefined;
    this.deadline = this.clock.now() + SHELL_RETRY_NS;
    if (how === undefined) return true;
    if (how !== this.unfit) this.log.error(`a shell has ended before it was a domain's: ${how}; domains get none`);
    this.unfit = how;
    return true;
  }
  /** The self-test of one went well. */
  fit(): void {
    this.unfit = undefined;
  }
}
