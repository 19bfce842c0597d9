// How many cycles a second the processor is said to make: for physinfo, and what a guest's TSC counts.
import { readFileSync } from 'node:fs';

/** Where nothing says it: a cycle is a nanosecond. */
const UNKNOWN_KHZ = 1_000_000;

/** kHz of the first processor, by the text of Linux's cpuinfo: as it runs now, else as its name has it. */
export function cpuKhzOf(cpuinfo: string): number {
  const mhz = Number(/^cpu MHz\s*:\s*([0-9.]+)$/m.exec(cpuinfo)?.[1] ?? 0);
  if (mhz > 0) return Math.round(mhz * 1000);
  const ghz = Number(/^model name\s*:.*@\s*([0-9.]+)\s*GHz/im.exec(cpuinfo)?.[1] ?? 0);
  return ghz > 0 ? Math.round(ghz * 1e6) : UNKNOWN_KHZ;
}

/** kHz of this machine's. */
export function cpuKhz(): number {
  try {
    return cpuKhzOf(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    // A container may hide it.
    return UNKNOWN_KHZ;
  }
}
