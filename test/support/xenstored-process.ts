// A xenstored of its own, without a host: the built daemon as a process.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { socketTransport, whyNoSeccomp, XenstoreClient } from '#pvbus';
import { dist } from './host-view.ts';
import { commandLine, isAlive, signalAll } from './processes.ts';

const CONFINE = new URL('confine-xenstored.ts', import.meta.url).href;
const HOLD = new URL('hold-successor.mjs', import.meta.url).href;

export class XenstoredProcess {
  readonly folder = mkdtempSync(join(tmpdir(), 'xenstored-'));
  readonly socket = join(this.folder, 'socket');
  readonly journal = join(this.folder, 'journal');
  /** What the daemons have logged. */
  log = '';
  #child: ChildProcess | undefined;

  /**
   * Resolves when clients can connect. `confined`: with the filter that it has under a hypervisor; there is no live update then.
   * `holds`: one that is to take over does not begin before `letGo`.
   */
  async start({ journal = true, confined = false, holds = false } = {}): Promise<void> {
    const before = confined ? ['--import', 'tsx', '--import', CONFINE] : holds ? ['--import', HOLD] : [];
    const own = ['--socket', this.socket, ...(journal ? ['--journal', this.journal] : [])];
    const all = [...before, dist('xenstored.js'), ...own];
    const child = spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', chunk => {
      this.log += chunk;
    });
    const ended = once(child, 'close').then(() => {
      throw new Error(`xenstored did not start: ${this.log}`);
    });
    await Promise.race([once(child.stdout, 'data'), ended]);
    ended.catch(() => {}); // its end, later, is no failure
    if (
      confined &&
      whyNoSeccomp() === undefined &&
      !/^Seccomp:\t2$/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'))
    )
      throw new Error(`xenstored has no filter: ${this.log}`);
  }
  letGo(): void {
    writeFileSync(`${this.socket}-next.go`, '');
  }
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
  /** Every daemon on this socket: after a live update it is another process than the one that was started. */
  processes(): number[] {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(Number)
      .filter(pid => commandLine(pid).includes(this.socket) && isAlive(pid));
  }
  async connect(): Promise<XenstoreClient> {
    return new XenstoreClient(await socketTransport(this.socket));
  }
  async remove(): Promise<void> {
    await this.kill();
    signalAll(this.processes(), 'SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
