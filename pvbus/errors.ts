// The one error class and the one translation table of every error vocabulary: errno, GNTST_*, xenstore's names.

import * as xenErrno from './abi/errno.ts';
import * as xenGrantTable from './abi/grant_table.ts';
import * as xenStoreWire from './abi/xs_wire.ts';

/** `code` is for programs (an errno name); the message says what was attempted, for whom, and what was wrong. */
export class XenError extends Error {
  override readonly name = 'XenError';
  readonly code: string;
  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

type PlainNames<T> = { readonly [K in keyof T as K extends `XEN_${infer Name}` ? Name : never]: T[K] };

/** Xen's errno numbers by plain name: `ERRNO.EINVAL` is 22. */
export const ERRNO = Object.fromEntries(
  Object.entries(xenErrno).map(([name, value]) => [name.slice('XEN_'.length), value]),
) as PlainNames<typeof xenErrno> & Readonly<Record<string, number>>; // the same names, sliced by the compiler

const nameOfErrno = new Map<number, string>();
for (const [name, value] of Object.entries(ERRNO)) {
  // Two numbers have an alias; the older name wins.
  if (name !== 'EWOULDBLOCK' && name !== 'EDEADLOCK') nameOfErrno.set(value, name);
}

/** 'EINVAL' for 22 and for -22, the form a hypercall returns. */
export function errnoName(n: number): string {
  return nameOfErrno.get(Math.abs(n)) ?? `errno ${Math.abs(n)}`;
}

/** The number of a name; unknown names count as EIO, so that no failure turns into a success. */
export function errnoOf(name: string): number {
  return Object.hasOwn(ERRNO, name) ? (ERRNO[name] ?? ERRNO.EIO) : ERRNO.EIO;
}

/** A hypercall's result when it is not negative; otherwise throws, saying `what` was attempted. */
export function checked(result: number, what: string): number {
  if (result >= 0) return result;
  throw new XenError(errnoName(result), `${what}: ${errnoName(result)}`);
}

const nameOfGntst = new Map<number, string>();
for (const [name, value] of Object.entries(xenGrantTable)) {
  if (name.startsWith('GNTST_') && typeof value === 'number') nameOfGntst.set(value, name);
}

/** 'GNTST_bad_page' for -9. */
export function gntstName(n: number): string {
  return nameOfGntst.get(n) ?? `GNTST ${n}`;
}

/** The names an XS_ERROR reply may carry. Anything else from a server means EINVAL. */
export const xsErrorNames: readonly string[] = xenStoreWire.xsd_errors;

const nameOfXsType = new Map<number, string>();
for (const [name, value] of Object.entries(xenStoreWire)) {
  if (/^XS_(?!WATCH_(PATH|TOKEN)|TYPE_COUNT)/.test(name) && typeof value === 'number') nameOfXsType.set(value, name);
}

/** 'XS_READ' for 2: for log lines. */
export function xsTypeName(type: number): string {
  return nameOfXsType.get(type) ?? `XS ${type}`;
}

/** What an error says, whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
