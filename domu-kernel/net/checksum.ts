// The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.

/**
 * The sum of `length` bytes added to `sum`; an odd last byte counts as a high one. Unfolded: at most 2^53
 * words' worth, so any frame fits many times over.
 */
export function addBytes(view: DataView, at: number, length: number, sum = 0): number {
  const end = at + length;
  let i = at;
  // 2^32 = 1 modulo 0xffff, so 32-bit words may be added as they are and folded at the end.
  for (; i + 4 <= end; i += 4) sum += view.getUint32(i);
  if (i + 2 <= end) {
    sum += view.getUint16(i);
    i += 2;
  }
  if (i < end) sum += view.getUint8(i) << 8;
  return sum;
}

/** What goes into a checksum field for a sum over everything else. */
export function finish(sum: number): number {
  let folded = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000);
  while (folded > 0xffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000);
  return ~folded & 0xffff;
}

/** True when the bytes, their checksum field among them, add up. */
export const verifies = (view: DataView, at: number, length: number, sum = 0): boolean =>
  finish(addBytes(view, at, length, sum)) === 0;
