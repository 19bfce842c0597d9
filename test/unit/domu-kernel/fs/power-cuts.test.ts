// Power is cut under a FAT volume, after any of the writes and flushes of a workload, with what was not flushed there in
// part. `npm run reliability -- --power-cuts 1000` is the same by the thousand.
import { describe, expect, it } from 'vitest';
import { fsckMissing } from '../../../reliability/fsck.ts';
import { cutPower, PowerCuts } from '../../../reliability/power-cuts.ts';
import { seededRandom } from '../../../support/random.ts';

describe.skipIf(fsckMissing)(`a power cut${fsckMissing ? ` (${fsckMissing})` : ''}`, () => {
  it.each([
    [12, 10],
    [16, 10],
    [32, 3],
  ] as const)('under FAT%d loses nothing that was synced, and the next mount repairs the rest', (bits, times) => {
    const { seed } = seededRandom();
    const { cuts, lost } = cutPower(bits, seed, 60, times);
    expect(lost, `XENOLITH_SEED=${seed}`).toEqual([]);
    expect(cuts).toBeGreaterThan(times - 2);
    // Not every workload settles after something was removed; this one does.
    expect(new PowerCuts(bits, 1, 60).report.discarded).toBeGreaterThan(0);
  });
});
