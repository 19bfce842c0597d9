// A domain that is others' backend, and one that has all its devices of it.
import { join } from 'node:path';
import { BenchDomain } from '../../bench/bench-domain.ts';
import type { HostRig } from '../../support/host-rig.ts';
import { image } from '../hostile-acts/kernels.ts';

const DISKS = 11;
const VIFS = 6;
const PVCALLS = 6;
const MIB = 1 << 20;

/** The sources, whose kernels are backend.js and victim.js. */
export const KERNELS = ['backend.ts', 'victim.ts'].map(name => join(import.meta.dirname, name));
export const diskOf = (number: number): string => `xvd${'abcdefghijk'[number]}`;

export const createBackend = (host: HostRig, folder: string, name = 'backend'): Promise<BenchDomain> =>
  BenchDomain.create(host, folder, name, `kernel = "${folder}/backend.js"\ndriver_domain = 1`);

/** `backend` serves it from its first look on. */
export async function createVictim(host: HostRig, folder: string, backend: BenchDomain, name = 'victim') {
  const disk = image(join(folder, 'victim.img'), MIB);
  const by = `backend=${backend.name}`;
  const disks = Array.from({ length: DISKS }, (_, i) => `"${disk},raw,${diskOf(i)},r,${by}"`);
  const vifs = Array.from({ length: VIFS }, () => `"${by}"`);
  const pvcalls = Array.from({ length: PVCALLS }, () => `"${by}"`);
  const devices = `disk = [${disks}]\nvif = [${vifs}]\npvcalls = [${pvcalls}]`;
  return BenchDomain.create(host, folder, name, `kernel = "${folder}/victim.js"\n${devices}`);
}
