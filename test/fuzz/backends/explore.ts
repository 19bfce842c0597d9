// Every backend against arbitrary frontends.
import type { Family } from '../parts.ts';
import { folderRings } from './folders.ts';
import { frontendKeys } from './keys.ts';
import { consolePage, diskRing, interfaceRings } from './rings.ts';
import { socketCommands } from './sockets.ts';

export const BACKENDS: Family = {
  'ring of a vbd': { property: diskRing, share: 30 },
  'rings of a vif': { property: interfaceRings, share: 20 },
  'page of a console': { property: consolePage, share: 30 },
  'commands and streams of sockets': { property: socketCommands, share: 5 },
  'rings of a shared folder': { property: folderRings, share: 5 },
  'keys of a vbd': { property: frontendKeys('vbd'), share: 3 },
  'keys of a vif': { property: frontendKeys('vif'), share: 3 },
  'keys of sockets': { property: frontendKeys('pvcalls'), share: 2 },
  'keys of a shared folder': { property: frontendKeys('9pfs'), share: 2 },
};
