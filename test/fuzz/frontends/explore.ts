// Every frontend against arbitrary backends.
import type { Family } from '../parts.ts';
import { blkRing } from './blk.ts';
import { commandRing, consolePage, dataStream, netRings } from './bytes.ts';
import { folderAnswers } from './folders.ts';
import { backendKeys } from './keys.ts';

export const FRONTENDS: Family = {
  'ring of a disk': { property: blkRing, share: 20 },
  'rings of an interface': { property: netRings, share: 18 },
  console: { property: consolePage, share: 13 },
  'commands of sockets': { property: commandRing, share: 12 },
  'stream of a socket': { property: dataStream, share: 12 },
  'answers of a shared folder': { property: folderAnswers, share: 5 },
  'keys of a disk': { property: backendKeys('vbd'), share: 5 },
  'keys of an interface': { property: backendKeys('vif'), share: 5 },
  'keys of sockets': { property: backendKeys('pvcalls'), share: 5 },
  'keys of a shared folder': { property: backendKeys('9pfs'), share: 5 },
};
