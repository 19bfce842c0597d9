// Power is cut under an ext4 volume, after any of the writes and flushes of a workload, with what was not flushed there in
// part.
import { expect, it } from 'vitest';
import { cutExt4 } from '../../../reliability/ext4-power-cuts.ts';
import { whyNoExt4 } from '../../../support/ext4.ts';
import { seededRandom } from '../../../support/random.ts';

it.skipIf(whyNoExt4).each(['ext4', 'ext4 of 1 KiB blocks'] as const)(
  `a power cut under %s loses nothing that was synced, for our next mount as for e2fsck -p${whyNoExt4 ? ` (${whyNoExt4})` : ''}`,
  layout => {
    const { seed } = seededRandom();
    const { cuts, lost } = cutExt4(layout, seed, 50, 4);
    expect(lost, `XENOLITH_SEED=${seed}`).toEqual([]);
    expect(cuts).toBeGreaterThan(3);
    // Not every workload settles after something was removed; this one does.
    expect(cutExt4(layout, 1, 50, 1).discarded).toBeGreaterThan(0);
  },
);
