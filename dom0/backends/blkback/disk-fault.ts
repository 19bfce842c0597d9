// Which fault befalls a request of a disk.
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  type Fault,
  type Trigger,
} from '#pvbus';
import type { DeviceFaults } from '../../faults/device-faults.ts';

const OP_NAMES: Readonly<Record<number, string>> = {
  [BLKIF_OP_READ]: 'read',
  [BLKIF_OP_WRITE]: 'write',
  [BLKIF_OP_FLUSH_DISKCACHE]: 'flush',
  [BLKIF_OP_DISCARD]: 'discard',
};
/** As faults name it. */
export const opName = (operation: number): string => OP_NAMES[operation] ?? '';

/** One more occurrence for the faults of this operation and of these sectors for which `matches`. */
export function diskFault(
  faults: DeviceFaults,
  operation: number,
  sector: number,
  sectors: number,
  matches: (fault: Fault) => boolean,
): Trigger | undefined {
  const touches = ({ sectors: range }: Fault): boolean =>
    range === undefined || (sectors > 0 && sector <= range[1] && sector + sectors > range[0]);
  return faults.befalls('disk', opName(operation), fault => matches(fault) && touches(fault));
}
