// Computes: looks for primes for ever, and says every few seconds how far it has come. It gives up the CPU
// between slices, so that `xl shutdown` is heard.
import { clock, console, system } from 'xenolith';

const SLICE_MS = 50;
const REPORT_MS = 5000;

function isPrime(n: number): boolean {
  for (let d = 3; d * d <= n; d += 2) if (n % d === 0) return false;
  return n > 2;
}

export default async function main(): Promise<void> {
  console.log(`${system.name}: looking for primes`);
  let found = 1; // 2
  let candidate = 1;
  let report = clock.now() + REPORT_MS;
  for (;;) {
    const sliceEnd = clock.now() + SLICE_MS;
    while (clock.now() < sliceEnd) {
      for (let i = 0; i < 200; i++) {
        candidate += 2;
        if (isPrime(candidate)) found++;
      }
    }
    if (clock.now() >= report) {
      console.log(`${found} primes up to ${candidate}`);
      report += REPORT_MS;
    }
    await clock.sleep(SLICE_MS); // half a CPU is enough for an example
  }
}
