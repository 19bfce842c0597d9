// The kernels, and the domains that run them.
import { truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { BenchDomain } from '../../bench/bench-domain.ts';
import { type HostRig, root } from '../../support/host-rig.ts';

export function image(path: string, bytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return path;
}

const INNOCENT = join(import.meta.dirname, 'innocent.ts');
export const MALLORY = join(import.meta.dirname, 'mallory.ts');
/** innocent.js, and others. */
export async function buildKernels(folder: string, others = [MALLORY]): Promise<void> {
  await build({
    ...{ absWorkingDir: root, bundle: true, platform: 'node', target: 'node20', format: 'cjs', outdir: folder },
    ...{ external: ['koffi'], loader: { '.wasm': 'binary' }, logOverride: { 'empty-import-meta': 'silent' } },
    entryPoints: [INNOCENT, ...others].map(path => ({ in: path, out: basename(path, '.ts') })),
  });
}

const MIB = 1 << 20;
const VIFS = 'vif = ["bridge=xenbr0", "bridge=xenbr0"]';

export function createInnocent(host: HostRig, folder: string): Promise<BenchDomain> {
  const disk = image(join(folder, 'innocent.img'), MIB);
  const config = [`kernel = "${folder}/innocent.js"`, `disk = ["${disk},raw,xvda,w"]`, VIFS];
  return BenchDomain.create(host, folder, 'innocent', config.join('\n'));
}
/** With a disk to write, one to read and two interfaces; `more` is of its config. */
export function createOffender(host: HostRig, folder: string, name: string, more = ''): Promise<BenchDomain> {
  const own = image(join(folder, `${name}.img`), MIB);
  const readOnly = image(join(folder, `${name}-ro.img`), MIB);
  const disks = `disk = ["${own},raw,xvda,w", "${readOnly},raw,xvdb,r"]`;
  const config = [`kernel = "${folder}/mallory.js"`, 'on_crash = "destroy"', disks, VIFS, more];
  return BenchDomain.create(host, folder, name, config.join('\n'));
}
