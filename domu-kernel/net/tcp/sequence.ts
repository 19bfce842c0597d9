// Sequence numbers are unsigned 32-bit numbers that wrap (RFC 9293, 3.4).

export const add = (seq: number, bytes: number): number => (seq + bytes) >>> 0;
/** How far `a` is past `b`; negative when it is before it. Right while they are less than 2^31 apart. */
export const distance = (a: number, b: number): number => (a - b) | 0;
export const isBefore = (a: number, b: number): boolean => ((a - b) | 0) < 0;
export const isAfter = (a: number, b: number): boolean => ((a - b) | 0) > 0;
export const latest = (a: number, b: number): number => (((a - b) | 0) < 0 ? b : a);
export const earliest = (a: number, b: number): number => (((a - b) | 0) < 0 ? a : b);
