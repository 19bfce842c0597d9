// Everything that is read from people's files and other processes' bytes.
import type { Family } from '../parts.ts';
import { fatVolumes } from '../volumes/fat.ts';
import { partitionTables } from '../volumes/tables.ts';
import { archives } from './archives.ts';
import { frames, traces } from './bytes.ts';
import { nbdClients, nbdHandshakes, nbdReplies, nbdTargets } from './nbd.ts';
import { brokenPrograms, suspendedPrograms } from './programs.ts';
import { assignments, configs, plans, topologies, xlConfs } from './texts.ts';

export const INPUTS: Family = {
  'files of topologies': { property: topologies, share: 10 },
  'files of xl.cfg': { property: configs, share: 10 },
  'assignments of a command line': { property: assignments, share: 8 },
  'files of xl.conf': { property: xlConfs, share: 8 },
  'plans of faults': { property: plans, share: 10 },
  'frames of tools': { property: frames, share: 6 },
  'suspended programs': { property: suspendedPrograms, share: 2 },
  'broken programs': { property: brokenPrograms, share: 8 },
  archives: { property: archives, share: 4 },
  'FAT volumes': { property: fatVolumes, share: 1 },
  'MBR and GPT': { property: partitionTables, share: 5 },
  'rings of traces': { property: traces, share: 5 },
  'answers of NBD servers': { property: nbdReplies, share: 8 },
  'handshakes of NBD servers': { property: nbdHandshakes, share: 5 },
  'clients of an NBD server': { property: nbdClients, share: 5 },
  'NBD targets': { property: nbdTargets, share: 5 },
};
