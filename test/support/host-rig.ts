// A real host on a run directory of its own: hypervisor, xenstored and dom0 as processes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { dist, HostView, root } from './host-view.ts';
import { ownFolder } from './own-folders.ts';
import { eventually, family, isAlive, signalAll } from './processes.ts';

export { dist, root, type XlResult } from './host-view.ts';

export interface HostOptions {
  readonly mediated?: boolean;
  /** What its domains can have together, as hypervisor.js --mem takes it. */
  readonly mem?: string;
  /** Who runs it, and its xl, when this is root. */
  readonly user?: number;
  /** Another build than the checkout's. */
  readonly dist?: string;
  /** A program, with its arguments, that becomes the one it is told to: what it gives up, all of the host has not. */
  readonly under?: readonly string[];
}

export class HostRig extends HostView {
  readonly hypervisorPid: number;
  /** Resolves with the exit code when the hypervisor process has ended. */
  readonly ended: Promise<number | null>;
  /** What the hypervisor process has printed as errors. */
  errors = '';

  private constructor(runDir: string, pid: number, ended: Promise<number | null>, user?: number) {
    super(runDir, root, user);
    this.hypervisorPid = pid;
    this.ended = ended;
  }
  /** Start a host and wait until its toolstack serves. The error of a failed start holds the host's log. */
  static async start(options: HostOptions = {}): Promise<HostRig> {
    const runDir = ownFolder();
    const args = [
      join(options.dist ?? dist('.'), 'hypervisor.js'),
      '--run-dir',
      runDir,
      '--parent',
      String(process.pid),
      ...(options.mediated ? ['--mediated'] : []),
      ...(options.mem === undefined ? [] : ['--mem', options.mem]),
    ];
    const { user } = options;
    const identity = user === undefined ? {} : { uid: user, gid: user };
    if (user !== undefined) chownSync(runDir, user, user);
    const [program = '', ...words] = [...(options.under ?? []), process.execPath, ...args];
    const child = spawn(program, words, { ...identity, stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(child, 'close').then(([code]) => code as number | null);
    const rig = new HostRig(runDir, child.pid!, ended, user);
    child.stderr.on('data', chunk => {
      rig.errors += chunk;
    });
    let ready = false;
    child.stdout.on('data', chunk => {
      if (String(chunk).includes('ready')) ready = true;
    });
    try {
      await eventually(
        'the host is ready',
        () => ready || (!isAlive(child.pid!) && Promise.reject(new Error('it ended'))),
      );
    } catch (error) {
      const log = rig.log();
      await rig.stop();
      throw new Error(`the host did not start (${(error as Error).message}); its log:\n${log}${rig.errors}`);
    }
    return rig;
  }
  /** Every process of this host. */
  processes(): number[] {
    return family(this.hypervisorPid);
  }
  /** End the host and fail if anything of it outlives it. */
  async stop(): Promise<void> {
    const all = this.processes();
    try {
      if (isAlive(this.hypervisorPid)) process.kill(this.hypervisorPid, 'SIGTERM');
      await this.ended;
      await eventually('every process of the host has ended', () => !all.some(isAlive));
    } finally {
      signalAll(all, 'SIGKILL');
      rmSync(this.runDir, { recursive: true, force: true });
    }
  }
}
