// Hypercall arguments: structs at guest addresses. untrusted: every field is read once, into a local or
// a private copy, and only from bytes that `Physmap.reachable` has vouched for.

/** What a u64 too large for any guest address reads as. Nothing is reachable there. */
export const NOWHERE = Number.MAX_SAFE_INTEGER;

const HIGH_LIMIT = 2 ** 21;

/** Two halves of a u64 as a number; NOWHERE when a number cannot hold it exactly. */
export const joinU64 = (high: number, low: number): number => (high < HIGH_LIMIT ? high * 2 ** 32 + low : NOWHERE);

/** The u64 at `at`, each half read once. */
export const readU64 = (view: DataView, at: number): number =>
  joinU64(view.getUint32(at + 4, true), view.getUint32(at, true));
/** A system time in ns at `at`. Xen: it is signed, so that the upper half of a u64 is long past. */
export const readTime = (view: DataView, at: number): number =>
  view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
/** Text in a fixed array: cut, NUL padded, and NUL terminated when there is room for one byte less. */
export function writeText(bytes: Uint8Array, at: number, size: number, text: string): void {
  bytes.fill(0, at, at + size);
  new TextEncoder().encodeInto(text, bytes.subarray(at, at + size - 1));
}
