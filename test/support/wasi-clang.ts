// C programs as WASI commands, by Debian's clang and wasi-libc.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why no C program can be built here; undefined when one can. */
export function whyNoWasiClang(): string | undefined {
  for (const [file, name] of [
    ['/usr/bin/clang', 'clang'],
    ['/usr/bin/wasm-ld', 'lld'],
    ['/usr/include/wasm32-wasi', 'wasi-libc'],
  ] as const) {
    if (!existsSync(file)) return `Debian's ${name} is not installed`;
  }
  return undefined;
}

/** The program that the C files make; `flags` go to clang. */
export function buildWasi(sources: readonly string[], flags: readonly string[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-wasi-'));
  try {
    const out = join(folder, 'program.wasm');
    execFileSync('clang', ['--target=wasm32-wasi', ...flags, '-o', out, ...sources], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
