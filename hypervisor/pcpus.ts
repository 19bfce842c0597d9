// The CPUs that Linux lets the host have: pCPUs 0, 1, ... of the machine that xl shows.
import { readFileSync } from 'node:fs';
import { allowedCpus } from '#pvbus';

/** /proc/stat counts in hundredths of a second. */
const NS_PER_TICK = 1e7;

/** The number that Linux has for each pCPU. */
export const linuxCpus: readonly number[] = allowedCpus();

/** For how long Linux had nothing to run on a pCPU. */
export function idleNs(pcpu: number): number {
  const line = readFileSync('/proc/stat', 'latin1')
    .split('\n')
    .find(text => text.startsWith(`cpu${linuxCpus[pcpu]} `));
  return Number(line?.split(' ')[4] ?? 0) * NS_PER_TICK;
}
