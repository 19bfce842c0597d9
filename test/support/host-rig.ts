// A real host on a run directory of its own: hypervisor, xenstored and dom0 as processes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { eventually, family, isAlive } from './processes.ts';

export const dist = (file: string): string => fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));
export const root = fileURLToPath(new URL('../../', import.meta.url));

export interface XlResult {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** One row of `xl list`; `state` as it prints it, `-b----`. */
export interface ListedDomain {
  readonly name: string;
  readonly domid: number;
  readonly memory: number;
  readonly state: string;
}

export class HostRig {
  readonly runDir: string;
  readonly hypervisorPid: number;
  /** Resolves with the exit code when the hypervisor process has ended. */
  readonly ended: Promise<number | null>;

  private constructor(runDir: string, pid: number, ended: Promise<number | null>) {
    this.runDir = runDir;
    this.hypervisorPid = pid;
    this.ended = ended;
  }
  /** Start a host and wait until its toolstack serves. The error of a failed start holds the host's log. */
  static async start(options: { mediated?: boolean } = {}): Promise<HostRig> {
    const runDir = mkdtempSync(join(tmpdir(), 'xenolith-test-'));
    const args = [
      dist('hypervisor.js'),
      '--run-dir',
      runDir,
      '--parent',
      String(process.pid),
      ...(options.mediated ? ['--mediated'] : []),
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit').then(([code]) => code as number | null);
    const rig = new HostRig(runDir, child.pid!, ended);
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
      throw new Error(`the host did not start (${(error as Error).message}); its log:\n${log}`);
    }
    return rig;
  }
  get env(): Record<string, string> {
    return { XENOLITH_RUN_DIR: this.runDir };
  }
  /** Run `xl` against this host. Never throws for its exit code. */
  xl(...args: string[]): Promise<XlResult> {
    return this.xlIn(root, ...args);
  }
  /** The same with another working directory. */
  async xlIn(cwd: string, ...args: string[]): Promise<XlResult> {
    const result = await execa(process.execPath, [dist('xl.js'), ...args], {
      env: this.env,
      cwd,
      reject: false,
      stdin: 'ignore',
      stripFinalNewline: false,
    });
    return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }
  /** What `xl list` shows. */
  async domains(): Promise<ListedDomain[]> {
    const { stdout } = await this.xl('list');
    return stdout
      .trimEnd()
      .split('\n')
      .slice(1)
      .map(line => {
        const [, name = '', domid, memory, , state = ''] = /^(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\S+)/.exec(line) ?? [];
        return { name, domid: Number(domid), memory: Number(memory), state };
      });
  }
  log(): string {
    try {
      return readFileSync(join(this.runDir, 'host.log'), 'utf8');
    } catch {
      return '(no log)';
    }
  }
  consoleLog(name: string): string {
    try {
      return readFileSync(join(this.runDir, 'log', `console-${name}.log`), 'utf8');
    } catch {
      return '';
    }
  }
  /** Every process of this host. */
  processes(): number[] {
    return family(this.hypervisorPid);
  }
  /** Names of what is in the run directory. */
  files(): string[] {
    return readdirSync(this.runDir, { recursive: true }).map(String).sort();
  }
  /** End the host and fail if anything of it outlives it. */
  async stop(): Promise<void> {
    const all = this.processes();
    try {
      if (isAlive(this.hypervisorPid)) process.kill(this.hypervisorPid, 'SIGTERM');
      await this.ended;
      await eventually('every process of the host has ended', () => !all.some(isAlive), 5000);
    } finally {
      for (const pid of all) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      rmSync(this.runDir, { recursive: true, force: true });
    }
  }
}
