// Everything that is read from people's files and other processes' bytes.
import type { Family } from '../parts.ts';
import { fatVolumes } from '../volumes/fat.ts';
import { partitionTables } from '../volumes/tables.ts';
import { archives } from './archives.ts';
import { frames, traces } from './bytes.ts';
import { httpClients, httpCuts, httpReaders } from './http.ts';
import { forgedJournals, tornJournals } from './journals.ts';
import { nbdClients, nbdHandshakes, nbdReplies, nbdTargets } from './nbd.ts';
import { brokenPrograms, suspendedPrograms } from './programs.ts';
import { assignments, configs, plans, topologies, xlConfs } from './texts.ts';

export const INPUTS: Family = {
  'files of topologies': { property: topologies, share: 8 },
  'files of xl.cfg': { property: configs, share: 8 },
  'assignments of a command line': { property: assignments, share: 7 },
  'files of xl.conf': { property: xlConfs, share: 7 },
  'plans of faults': { property: plans, share: 8 },
  'frames of tools': { property: frames, share: 6 },
  'suspended programs': { property: suspendedPrograms, share: 2 },
  'broken programs': { property: brokenPrograms, share: 6 },
  archives: { property: archives, share: 4 },
  'FAT volumes': { property: fatVolumes, share: 1 },
  'MBR and GPT': { property: partitionTables, share: 5 },
  'rings of traces': { property: traces, share: 5 },
  'answers of NBD servers': { property: nbdReplies, share: 6 },
  'handshakes of NBD servers': { property: nbdHandshakes, share: 5 },
  'clients of an NBD server': { property: nbdClients, share: 5 },
  'NBD targets': { property: nbdTargets, share: 5 },
  'requests of HTTP, cut anywhere': { property: httpCuts, share: 5 },
  'requests of HTTP as Node reads them': { property: httpReaders, share: 4 },
  'clients of an HTTP server': { property: httpClients, share: 1 },
  'journals of xenstored, torn': { property: tornJournals, share: 1 },
  'journals of xenstored, forged': { property: forgedJournals, share: 1 },
};
