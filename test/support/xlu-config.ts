// Debian's own libxlutil, asked through test/vectors/xlucfg_dump.c. Absent where its headers are.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface XluAnswer {
  readonly rc: number;
  readonly assignments: readonly {
    readonly line: number;
    readonly op: string;
    readonly name: string;
    value: unknown;
  }[];
  readonly effective: Readonly<Record<string, unknown>>;
  readonly disks: readonly ({
    readonly spec: string;
    readonly rc: number;
    readonly disk?: Record<string, unknown>;
  } | null)[];
  readonly report: string;
}

/** The dump prints each byte above 126 as one \u00XX escape. */
const bytesToText = (value: unknown): unknown => {
  if (typeof value === 'string') return Buffer.from(value, 'latin1').toString('utf8');
  if (Array.isArray(value)) return value.map(bytesToText);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [bytesToText(k), bytesToText(v)]));
};

export const readAnswer = (json: string): XluAnswer => bytesToText(JSON.parse(json)) as XluAnswer;

export class Libxlutil {
  readonly #dir: string;
  readonly #program: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.#program = join(dir, 'xlucfg_dump');
  }

  /** The reason when it cannot be had here. */
  static build(): Libxlutil | string {
    for (const header of ['/usr/include/libxlutil.h', '/usr/include/yajl/yajl_gen.h']) {
      if (!existsSync(header)) return `no ${header} (Debian: libxen-dev, libyajl-dev)`;
    }
    const dir = mkdtempSync(join(tmpdir(), 'xlucfg-'));
    const source = join(import.meta.dirname, '../vectors/xlucfg_dump.c');
    const libraries = ['-lxlutil', '-lxenlight', '-lyajl'];
    const gcc = spawnSync('gcc', ['-o', join(dir, 'xlucfg_dump'), source, ...libraries], { encoding: 'utf8' });
    if (gcc.status === 0) return new Libxlutil(dir);
    rmSync(dir, { recursive: true });
    return `gcc cannot build xlucfg_dump: ${gcc.error?.message ?? gcc.stderr.split('\n')[0]}`;
  }

  /** null when the library ends the process over this input, which it does for a NUL inside a string. */
  ask(config: Uint8Array): XluAnswer | null {
    const run = spawnSync(this.#program, { input: config, encoding: 'latin1', maxBuffer: 1 << 24 });
    if (run.error !== undefined) throw run.error;
    return run.signal !== null ? null : readAnswer(run.stdout);
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true });
  }
}
