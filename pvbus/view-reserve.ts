// Views made before there is anything to look at. Making one is what the engine counts as memory, and collects
// garbage for (ADR 5): a process that will have to map a domain at a moment that matters makes a large view at
// another, and then only lays the domain's memory over a part of it.
import { mapNothing, unmap, viewOf } from './linux.ts';

interface Reserve {
  readonly address: number;
  readonly buffer: ArrayBuffer;
  used: number;
}
/** Room in address space, viewed already: `offset` bytes into `buffer`, which is at `address`. */
export interface ReservedView {
  readonly address: number;
  readonly buffer: ArrayBuffer;
  readonly offset: number;
}

let reserve: Reserve | undefined;
const addressSpace = new FinalizationRegistry<{ address: number; bytes: number }>(({ address, bytes }) =>
  unmap(address, bytes),
);

/** Make a view of `bytes`. What is left of the reserve before is given up; what was taken of it stays. */
export function reserveViews(bytes: number): void {
  const address = mapNothing(bytes);
  const buffer = viewOf(address, bytes);
  addressSpace.register(buffer, { address, bytes });
  reserve = { address, buffer, used: 0 };
}
/** `bytes`, whole pages, that nobody was given before or will be again; undefined when so much is not left. */
export function takeReservedView(bytes: number): ReservedView | undefined {
  if (reserve === undefined || bytes > reservedViewsLeft()) return undefined;
  const { address, buffer, used } = reserve;
  reserve.used += bytes;
  return { address: address + used, buffer, offset: used };
}
export const reservedViewsLeft = (): number => (reserve === undefined ? 0 : reserve.buffer.byteLength - reserve.used);
