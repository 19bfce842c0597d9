// The small kernels the benchmark's domains run, built like the real one.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { root } from '../support/host-rig.ts';

const KERNELS = join(import.meta.dirname, 'kernels');

/** Nobody asks whether a trace is on. */
const untracedPlugin: Plugin = {
  name: 'untraced',
  setup: ({ onLoad }) =>
    onLoad({ filter: /pvbus\/vcpu-trace\.ts$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      const contents = text.replace('if (this.limit.skip()) return false;', 'return false;');
      if (contents === text) throw new Error(`${path} asks for its word in another way`);
      return { contents, loader: 'ts' };
    }),
};

/** Bundle each file of kernels/ (but the library) to `folder`/NAME.js. */
export async function buildKernels(folder: string, { untraced = false } = {}): Promise<void> {
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
    plugins: untraced ? [untracedPlugin] : [],
    entryPoints: readdirSync(KERNELS)
      .filter(name => !name.startsWith('lib'))
      .map(name => join(KERNELS, name)),
  });
}
