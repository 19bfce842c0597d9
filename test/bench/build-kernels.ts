// The small kernels the benchmark's domains run, built like the real one.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from '../support/host-rig.ts';

const KERNELS = join(import.meta.dirname, 'kernels');

/** Bundle each file of kernels/ (but the library) to `folder`/NAME.js. */
export async function buildKernels(folder: string): Promise<void> {
  await build({
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['koffi'],
    loader: { '.wasm': 'binary' },
    logOverride: { 'empty-import-meta': 'silent' },
    outdir: folder,
    entryPoints: readdirSync(KERNELS)
      .filter(name => !name.startsWith('lib'))
      .map(name => join(KERNELS, name)),
  });
}
