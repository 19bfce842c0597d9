// Every frontend against arbitrary backends.
import fc from '../../support/properties.ts';
import { blkRing } from './blk.ts';
import { commandRing, consolePage, dataStream, netRings } from './bytes.ts';
import { folderAnswers } from './folders.ts';
import { backendKeys } from './keys.ts';

/** Each with how many cases it gets of a hundred: the dear ones get fewer. */
const PROPERTIES = {
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
} as const;

export type FrontendPart = keyof typeof PROPERTIES;
export const FRONTEND_PARTS = Object.keys(PROPERTIES) as FrontendPart[]; // its own keys

/** `cases` of one part. Returns what went wrong, with the seed and the smallest case that does. */
export async function exploreFrontend(part: FrontendPart, seed: number, cases: number): Promise<string | undefined> {
  const { property } = PROPERTIES[part];
  const result = await fc.check(property as fc.IAsyncProperty<[unknown]>, { seed, numRuns: cases });
  return result.failed ? `${part}: ${await fc.asyncDefaultReportMessage(result)}` : undefined;
}

/** `cases` of all parts together. */
export async function exploreFrontends(seed: number, cases: number): Promise<string | undefined> {
  for (const part of FRONTEND_PARTS) {
    const failure = await exploreFrontend(part, seed, Math.ceil((cases * PROPERTIES[part].share) / 100));
    if (failure !== undefined) return failure;
  }
  return undefined;
}
