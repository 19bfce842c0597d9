// Everything that is read from people's files and other processes' bytes.
import type { Family } from '../parts.ts';
import { frames, traces } from './bytes.ts';
import { brokenPrograms, suspendedPrograms } from './programs.ts';
import { assignments, configs, plans, topologies, xlConfs } from './texts.ts';

export const INPUTS: Family = {
  'files of topologies': { property: topologies, share: 10 },
  'files of xl.cfg': { property: configs, share: 15 },
  'assignments of a command line': { property: assignments, share: 10 },
  'files of xl.conf': { property: xlConfs, share: 10 },
  'plans of faults': { property: plans, share: 15 },
  'frames of tools': { property: frames, share: 15 },
  'suspended programs': { property: suspendedPrograms, share: 2 },
  'broken programs': { property: brokenPrograms, share: 8 },
  'rings of traces': { property: traces, share: 15 },
};
