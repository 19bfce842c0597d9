// A host, and around it the machine that software which shells out to xl expects: every run of a consumer is in a
// mount namespace of its own where /usr/sbin/xl is ours and what such software writes to is private.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { dist, HostRig, root } from './host-rig.ts';
import { eventually } from './processes.ts';

/** What consumers write to, and where they look for configs. Each is there where Debian's xen-utils-common is. */
const PRIVATE_FOLDERS = ['/etc/xen', '/var/lib/xen', '/var/log', '/run'];
const XL = '/usr/sbin/xl';

export interface Consumed {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why consumers that are these `files` of Debian's `package` cannot run here; undefined when they can. */
export function whyNot(debianPackage: string, ...files: string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'not run as root';
  for (const [name, needed] of [
    [debianPackage, files],
    ['xen-utils-common', [XL, ...PRIVATE_FOLDERS]],
  ] as const) {
    const missing = needed.find(file => !existsSync(file));
    if (missing !== undefined) return `no ${missing} (Debian: ${name})`;
  }
  const namespace = spawnSync('unshare', ['-m', 'true'], { encoding: 'utf8' });
  return namespace.status === 0
    ? undefined
    : `no mount namespace: ${(namespace.stderr || `${namespace.error}`).trim()}`;
}

/** What consumers start: a guest that stays up, and goes down when asked to. */
export const guestFiles = (): { kernel: string; program: string } => ({
  kernel: dist('domu-kernel.js'),
  program: fileURLToPath(new URL('../consumers/guest.ts', import.meta.url)),
});

export class ConsumerRig {
  readonly host: HostRig;
  /** The test's own folder. The host sees it too: kernels and images are named by paths below it. */
  readonly dir: string;
  readonly #mounts: [what: string, where: string][] = [];

  private constructor(host: HostRig, dir: string) {
    this.host = host;
    this.dir = dir;
  }
  static async start(): Promise<ConsumerRig> {
    const rig = new ConsumerRig(await HostRig.start(), mkdtempSync(join(tmpdir(), 'xenolith-consumer-')));
    for (const folder of PRIVATE_FOLDERS) {
      mkdirSync(rig.at(folder), { recursive: true });
      rig.#mounts.push([rig.at(folder), folder]);
    }
    rig.over(XL, `#!/bin/sh\nexec '${process.execPath}' '${root}bin/xl' "$@"\n`, 0o755);
    return rig;
  }
  async stop(): Promise<void> {
    try {
      await this.host.stop();
    } finally {
      rmSync(this.dir, { recursive: true, force: true });
    }
  }
  path(name: string): string {
    return join(this.dir, name);
  }
  /** Where a file of the consumers' /etc/xen, /var/lib/xen, /var/log or /run really is. */
  at(path: string): string {
    return join(this.dir, 'private', path);
  }
  /** `text` instead of what is in the machine's `file`, which must be there, for the consumers alone. */
  over(file: string, text: string, mode = 0o644): void {
    if (!existsSync(file)) throw new Error(`nothing to put over: ${file}`);
    writeFileSync(this.#laidOver(file), text, { mode });
    this.#mounts.push([this.#laidOver(file), file]);
  }
  /** Debian's `file` without `gate`, which keeps it from running where there is no Xen. Prints the difference. */
  without(gate: string, file: string): void {
    const parts = readFileSync(file, 'utf8').split(gate);
    if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times ${JSON.stringify(gate)}`);
    this.over(file, parts.join(''), statSync(file).mode & 0o777);
    console.log(`${file} as it runs here:\n${spawnSync('diff', ['-u', file, this.#laidOver(file)]).stdout}`);
  }
  #laidOver(file: string): string {
    return this.path(file.replaceAll('/', '_'));
  }
  /** A config of the consumers' guest. */
  config(name: string, more = ''): string {
    const { kernel, program } = guestFiles();
    return `name = "${name}"\nkernel = "${kernel}"\nramdisk = "${program}"\nmemory = 32\n${more}`;
  }
  /** Run a consumer. Never throws for its exit code. */
  async run(command: readonly string[], env: Record<string, string> = {}): Promise<Consumed> {
    const result = await execa(
      'unshare',
      ['-m', 'sh', '-c', ENTER, 'enter', ...this.#mounts.flat(), '--', ...command],
      {
        env: { ...env, XENOLITH_RUN_DIR: this.host.runDir },
        cwd: '/',
        reject: false,
        stdin: 'ignore',
        stripFinalNewline: false,
        timeout: 120_000,
      },
    );
    return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }
  /** Its guest has come so far that it hears of a shutdown. */
  async up(name: string, times = 1): Promise<void> {
    const ups = (): number => this.host.consoleLog(name).split(`${name} is up`).length - 1;
    await eventually(`${name} is up`, () => ups() >= times);
  }
  /** The names of the domUs. */
  async names(): Promise<string[]> {
    return (await this.host.domains()).map(({ name }) => name).filter(name => name !== 'Domain-0');
  }
}

/** In the new namespace, whose mounts nobody else sees: pairs of what is mounted and where, `--`, the command. */
const ENTER = `set -e
while [ "$1" != -- ]; do
  mount --bind "$1" "$2"
  shift 2
done
shift
exec "$@"
`;
