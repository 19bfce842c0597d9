// What the requests of toolstack-protocol.ts are made of, whichever file lists them.
import { integer, record, type Shape, text } from './message-shape.ts';

/** Xen: below DOMID_FIRST_RESERVED. */
export const domid = integer(0, 0x7fef);
export const anyName = text(255);

/** A request: its arguments by name, and its reply. */
export const op = <A extends Readonly<Record<string, Shape<unknown>>>, R>(args: A, result: Shape<R>) => ({
  args: record(args),
  result,
});
