// xentop's command line. Xen: glibc's getopt_long, which lets options come anywhere and forgets what is left over.

import { getopt } from '../getopt.ts';
import type { TableOptions } from './table.ts';

export interface XentopOptions extends TableOptions {
  readonly batch: boolean;
  readonly delaySeconds: number;
  /** 0: without end. */
  readonly iterations: number;
}
export type XentopCall = XentopOptions | 'help' | 'version' | { readonly wrong: string };

const LONG = [
  ...['help:h', 'version:V', 'networks:n', 'vbds:x', 'repeat-header:r', 'vcpus:v', 'batch:b', 'full-name:f'],
].map(text => ({ name: text.slice(0, -2), as: text.slice(-1) }));
const WITH_VALUE = [
  { name: 'delay', as: 'd', value: true },
  { name: 'iterations', as: 'i', value: true },
];
export const DEFAULT_DELAY = 3;

export function xentopOptions(argv: readonly string[]): XentopCall {
  const chosen = new Map<string, string>();
  let rest = argv;
  while (rest.length > 0) {
    const { found, rest: left, unsupported } = getopt(rest, 'hVnxrvd:bi:f', [...LONG, ...WITH_VALUE]);
    // Each takes effect as it is read.
    for (const { option, value } of found) {
      if (option === 'h') return 'help';
      if (option === 'V') return 'version';
      chosen.set(option, value);
    }
    if (unsupported !== undefined) return { wrong: unsupported };
    const ended = rest[rest.length - left.length - 1] === '--';
    rest = ended ? [] : left.slice(1);
  }
  return {
    batch: chosen.has('b'),
    networks: chosen.has('n'),
    vbds: chosen.has('x'),
    vcpus: chosen.has('v'),
    repeatHeader: chosen.has('r'),
    fullName: chosen.has('f'),
    delaySeconds: chosen.has('d') ? Math.max(0, atoi(chosen.get('d')!)) : DEFAULT_DELAY,
    iterations: chosen.has('i') ? Math.max(0, atoi(chosen.get('i')!)) : 0,
    sortBy: 0,
  };
}

/** C's atoi: the digits at the beginning, 0 for none. */
export function atoi(text: string): number {
  const digits = /^[ \t\n\v\f\r]*([+-]?[0-9]{1,9})/.exec(text)?.[1];
  return digits === undefined ? 0 : Number(digits);
}

export const HELP = `Displays ongoing information about xen vm resources 

-h, --help           display this help and exit
-V, --version        output version information and exit
-d, --delay=SECONDS  seconds between updates (default 3)
-n, --networks       output vif network data
-x, --vbds           output vbd block device data
-r, --repeat-header  repeat table header before each domain
-v, --vcpus          output vcpu data
-b, --batch	     output in batch mode, no user input accepted
-i, --iterations     number of iterations before exiting
-f, --full-name      output the full domain name (not truncated)
`;
