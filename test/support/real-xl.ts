// Debian's own xl, as far as it goes without a hypervisor: its options, xl.conf, and the dry runs.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { preloaded } from './preloaded.ts';
import type { XlRun } from './xl.ts';

const XL = '/usr/lib/xen-4.17/bin/xl';
const XL_CONF = '/etc/xen/xl.conf';

export class RealXl {
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }
  /** Why it cannot run here, or it. */
  static make(): RealXl | string {
    for (const file of [XL, XL_CONF]) if (!existsSync(file)) return `no ${file} (Debian: xen-utils-4.17)`;
    if (process.getuid?.() !== 0) return 'not run as root';
    if (spawnSync('unshare', ['-m', 'true']).status !== 0) return 'no mount namespace';
    const dir = mkdtempSync(join(tmpdir(), 'xl-real-'));
    try {
      const args = ['-shared', '-fPIC', '-o', join(dir, 'real-xl.so'), join(import.meta.dirname, 'real-xl.c')];
      execFileSync('gcc', args, { stdio: 'pipe' });
      return new RealXl(dir);
    } catch (error) {
      rmSync(dir, { recursive: true });
      return `no compiler: ${(error as Error).message}`;
    }
  }
  remove(): void {
    rmSync(this.#dir, { recursive: true });
  }
  /** With this text as its xl.conf, which it alone sees. */
  run(argv: readonly string[], cwd: string, conf: string): XlRun {
    const path = join(this.#dir, 'xl.conf');
    writeFileSync(path, conf);
    const preload = Object.entries(preloaded(join(this.#dir, 'real-xl.so'))).map(([name, value]) => `${name}=${value}`);
    const enter = `mount --bind "$0" ${XL_CONF} && exec env "$@"`;
    const args = ['-m', 'sh', '-c', enter, path, ...preload, XL, ...argv];
    const { status, stdout, stderr } = spawnSync('unshare', args, { cwd, encoding: 'utf8', timeout: 30_000 });
    return { code: status ?? -1, stdout, stderr };
  }
}
