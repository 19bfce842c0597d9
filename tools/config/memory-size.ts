// A size of memory as people give it to xl: MiB, or with one letter for another unit.

const SHIFTS: Readonly<Record<string, number>> = { b: -10, k: 0, '': 10, m: 10, g: 20, t: 30 };

/** KiB, rounded down; null for what is no size. */
export function parseMemorySize(text: string): number | null {
  const [, digits, unit] = /^\s*\+?(\d+)([bkmgt]?)$/i.exec(text) ?? [];
  if (digits === undefined) return null;
  const kib = Math.floor(Number(digits) * 2 ** SHIFTS[unit!.toLowerCase()]!);
  return Number.isSafeInteger(kib) ? kib : null;
}
