// The package as somebody has it who installed it: packed, and installed into an empty folder that belongs to an
// unprivileged user where we may become one.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { root } from '../support/host-view.ts';

/** Debian's nogroup and nobody. */
const NOBODY = 65_534;
/** npm's own words for a registry that cannot be reached. */
const UNREACHABLE = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED|E50\d)\b/;

export interface Run {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export class Installed {
  readonly folder = mkdtempSync(join(tmpdir(), 'xenolith-package-'));
  /** Why it could not be installed, where that is no fault of ours. */
  readonly unreachable: string | undefined;
  readonly #user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

  constructor() {
    chmodSync(this.folder, 0o755);
    for (const name of ['app', 'home', 'run']) this.#makeFolder(name);
    this.write('app/package.json', '{ "name": "app", "private": true, "type": "module" }\n');
    // Scripts are off in this checkout; prepack is to be tried as for a release.
    npm(root, 'pack', '--silent', '--ignore-scripts=false', '--pack-destination', this.folder);
    this.unreachable = this.#install();
  }

  get tarball(): string {
    const name = readdirSync(this.folder).find(file => file.endsWith('.tgz'));
    if (name === undefined) throw new Error('npm pack made nothing');
    return join(this.folder, name);
  }
  path(name: string): string {
    return join(this.folder, name);
  }
  write(name: string, content: string | Uint8Array): void {
    writeFileSync(this.path(name), content);
    this.#giveAway(this.path(name));
  }
  env(more: Record<string, string> = {}): Record<string, string> {
    // Of ours only what finds node: npm and vitest leave much in the environment.
    const { PATH = '' } = process.env;
    return {
      PATH,
      HOME: this.path('home'),
      XENOLITH_RUN_DIR: this.path('run/host'),
      npm_config_offline: 'true',
      ...more,
    };
  }
  start(file: string, args: readonly string[], env?: Record<string, string>) {
    return execa(file, args, {
      ...this.#user,
      cwd: this.path('app'),
      env: this.env(env),
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
    });
  }
  async run(file: string, ...args: string[]): Promise<Run> {
    const { exitCode, stdout, stderr } = await this.start(file, args);
    return { exitCode, stdout, stderr };
  }
  /** Pids of whatever runs out of the folder. */
  processes(): string[] {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter(pid => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(this.folder);
        } catch {
          return false;
        }
      });
  }
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #install(): string | undefined {
    try {
      npm(this.path('app'), 'install', '--prefer-offline', '--ignore-scripts', this.tarball);
      npm(this.folder, 'install', '--global', '--prefix', this.path('global'), '--prefer-offline', this.tarball);
      return undefined;
    } catch (error) {
      const { stderr } = error as { stderr?: Buffer };
      const line = String(stderr ?? error).match(UNREACHABLE)?.[0];
      if (line === undefined) throw error;
      return line;
    }
  }
  #makeFolder(name: string): void {
    mkdirSync(this.path(name), { mode: 0o700 });
    this.#giveAway(this.path(name));
  }
  #giveAway(path: string): void {
    if (this.#user.uid !== undefined) chownSync(path, NOBODY, NOBODY);
  }
}

const npm = (cwd: string, ...args: string[]): Buffer =>
  execFileSync('npm', [...args, '--no-audit', '--no-fund'], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
