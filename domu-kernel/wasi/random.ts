// random_get.
import type { Process } from '../process/process.ts';
import type { WasiKernel } from './kernel.ts';
import { bytesAt } from './memory.ts';

/** What a source of random bytes gives at once. */
const MOST = 65536;

export const randomCalls = ({ random }: Pick<WasiKernel, 'random'>) => ({
  random_get(process: Process, buffer: number, length: number): number {
    const bytes = bytesAt(process, buffer, length >>> 0);
    for (let done = 0; done < bytes.length; done += MOST) random(bytes.subarray(done, done + MOST));
    return 0;
  },
});
