// Sets of pCPUs as text: `0-3,^2`, `all`, `node:0`. Xen: xl.cfg(5), "cpus".

import { XenError } from './errors.ts';

/** A machine has one node here: node 0, with every pCPU. */
const NODE = 0;

/** In ascending order. Throws EINVAL for what is no set, or names a pCPU that does not exist. */
export function parseCpuRange(text: string, nrCpus: number): number[] {
  const chosen = new Set<number>();
  for (const raw of text.split(',')) {
    const token = raw.trim();
    const match = /^(\^)?(?:(nodes?:)?(?:(all)|([0-9]{1,4})(?:-(\^)?([0-9]{1,4}))?))$/.exec(token);
    if (match === null || match[5] !== undefined) throw new XenError('EINVAL', `invalid range of CPUs "${text}"`);
    const [, not, node, all, first, , last] = match;
    for (const cpu of cpusOf(node !== undefined, all !== undefined, Number(first), Number(last ?? first), nrCpus)) {
      if (cpu >= nrCpus) throw new XenError('EINVAL', `there is no CPU ${cpu}, of "${text}": they are 0-${nrCpus - 1}`);
      if (not === undefined) chosen.add(cpu);
      else chosen.delete(cpu);
    }
  }
  return [...chosen].sort((a, b) => a - b);
}

function cpusOf(isNode: boolean, all: boolean, first: number, last: number, nrCpus: number): number[] {
  const every = Array.from({ length: nrCpus }, (_, cpu) => cpu);
  if (all) return every;
  if (last < first) throw new XenError('EINVAL', `invalid range of CPUs "${first}-${last}"`);
  if (!isNode) return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  if (first !== NODE || last !== NODE)
    throw new XenError('EINVAL', `there is no node ${first === NODE ? last : first}`);
  return every;
}

/** As xl prints a set: `all`, `none`, `1-2,4`. */
export function cpuRangeText(cpus: readonly number[], nrCpus: number): string {
  if (cpus.length === 0) return 'none';
  if (cpus.length >= nrCpus) return 'all';
  const runs: string[] = [];
  for (let from = 0; from < cpus.length; ) {
    let to = from;
    while (to + 1 < cpus.length && cpus[to + 1] === cpus[to]! + 1) to++;
    runs.push(from === to ? `${cpus[from]}` : `${cpus[from]}-${cpus[to]}`);
    from = to + 1;
  }
  return runs.join(',');
}
