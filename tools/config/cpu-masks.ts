// vm.cpumask and vm.pv.cpumask of xl.conf: where guests may run, whatever their own configs say.

import { type DomainConfig, parseCpuRange, XenError } from '#pvbus';
import { ConfigError } from './config-error.ts';

/** More than any host has: a mask may name pCPUs that this one has not. */
const MAX_CPUS = 4096;

/** False for what is no set of pCPUs. */
export function isCpuMask(text: string): boolean {
  try {
    return parseCpuRange(text, MAX_CPUS) !== null;
  } catch (error) {
    if (error instanceof XenError) return false;
    throw error;
  }
}

/** Those of `cpus` that are in every mask. Throws ConfigError when there is none. */
export function masked(cpus: readonly number[], masks: readonly string[]): number[] {
  const sets = masks.map(mask => new Set(parseCpuRange(mask, MAX_CPUS)));
  const left = cpus.filter(cpu => sets.every(set => set.has(cpu)));
  if (left.length === 0) throw new ConfigError('vcpu hard affinity map is empty');
  return left;
}

/** A domain whose vCPUs each keep within the masks. */
export function maskedConfig(config: DomainConfig, masks: readonly string[], nrCpus: number): DomainConfig {
  const { cpus, maxvcpus } = config;
  const setOf = (vcpu: number): string => (Array.isArray(cpus) ? cpus[vcpu] : cpus) ?? 'all';
  const sets = Array.from({ length: maxvcpus }, (_, vcpu) => masked(parseCpuRange(setOf(vcpu), nrCpus), masks));
  return { ...config, cpus: sets.map(set => set.join(',')) };
}
