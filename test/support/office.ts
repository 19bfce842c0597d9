// `npm start` as a person runs it, in a folder that looks like the checkout: its own copy of the example and
// its images, its own run directory, a free port instead of 8080.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { freePort } from './host-peer.ts';
import { HostView, root } from './host-view.ts';
import { eventually, family, isAlive, signalAll } from './processes.ts';

const EXAMPLE = 'examples/small-office';
/** From the folder, as from the checkout. */
export const TOPOLOGY = `${EXAMPLE}/topology.yaml`;

export class Office {
  /** What the checkout is to the README's reader. */
  readonly dir: string;
  readonly port: number;
  readonly host: HostView;
  /** All that `npm start` has printed. */
  output = '';
  #npm: ChildProcess | undefined;
  #ended: Promise<number | NodeJS.Signals> | undefined;
  /** Every process that was ever seen below npm. */
  readonly #seen = new Set<number>();

  private constructor(dir: string, port: number) {
    this.dir = dir;
    this.port = port;
    this.host = new HostView(join(dir, 'run'), dir);
  }
  static async make(): Promise<Office> {
    const dir = mkdtempSync(join(tmpdir(), 'xenolith-office-'));
    const port = await freePort();
    for (const name of ['package.json', 'bin', 'dist', 'node_modules']) symlinkSync(join(root, name), join(dir, name));
    cpSync(join(root, EXAMPLE), join(dir, EXAMPLE), { recursive: true, filter: path => !path.endsWith('.img') });
    for (const name of readdirSync(join(dir, EXAMPLE))) {
      const path = join(dir, EXAMPLE, name);
      if (statSync(path).isFile()) writeFileSync(path, readFileSync(path, 'utf8').replaceAll('8080', String(port)));
    }
    return new Office(dir, port);
  }
  get npmPid(): number {
    return this.#npm!.pid!;
  }
  path(name: string): string {
    return join(this.dir, EXAMPLE, name);
  }
  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** `npm start`, or what that runs in the end; resolves when it says that it is done. */
  async start({ npm: withNpm = true } = {}): Promise<void> {
    const [program, ...args] = withNpm ? ['npm', 'start'] : [process.execPath, 'dist/xl.js', 'up', TOPOLOGY];
    const npm = spawn(program!, args, {
      cwd: this.dir,
      env: { ...process.env, ...this.host.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a group of its own, as a terminal's foreground job is
    });
    this.#npm = npm;
    this.output = '';
    // When all that it has printed is there, too.
    this.#ended = once(npm, 'close').then(([code, signal]) => (signal ?? code) as number | NodeJS.Signals);
    for (const stream of [npm.stdout, npm.stderr]) {
      stream.on('data', chunk => {
        this.output += chunk;
      });
    }
    await eventually('npm start has brought everything up', () => {
      if (this.output.includes('Ctrl-C ends it')) return true;
      if (isAlive(npm.pid!)) return false;
      throw new Error('npm start has ended');
    }).catch(error => {
      throw new Error(`${error.message}\n${this.output}\nThe host's log:\n${this.host.logToQuote()}`);
    });
  }
  /** npm and all below it. */
  processes(): number[] {
    const all = family(this.npmPid);
    for (const pid of all) this.#seen.add(pid);
    return all;
  }
  /** To all of the terminal's foreground job, as Ctrl-C does it. Resolves with how the job's first process ended. */
  async signal(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    this.processes();
    process.kill(-this.npmPid, signal);
    return this.exitCode();
  }
  /** Of the job's first process, or the signal that has ended it. */
  async exitCode(): Promise<number | NodeJS.Signals> {
    return this.#ended!;
  }
  /** Nothing stays, whatever a test has done. */
  remove(): void {
    if (this.#npm !== undefined) this.processes();
    signalAll(this.#seen, 'SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Debian's curl; resolves with status and body. A server that cannot be reached is status 0. */
  async curl(...args: string[]): Promise<{ status: number; body: string }> {
    const { stdout } = await execa('curl', ['-sS', '--max-time', '10', '-w', '\n%{http_code}', ...args], {
      reject: false,
    });
    const end = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
  }
}
