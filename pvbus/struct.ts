// Layout tables and cursors. One table per C struct; nothing else in the tree holds a byte offset.

const SIZE = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, u64: 8 } as const;
type Scalar = keyof typeof SIZE;
type Word = Exclude<Scalar, 'u64'>;
export type Type = Scalar | Struct | { readonly of: Scalar | Struct; readonly count: number };
export type Fields = Readonly<Record<string, Type>>;

export interface Struct<F extends Fields = Fields> {
  readonly name: string;
  /** C's sizeof. */
  readonly size: number;
  readonly align: number;
  readonly fields: F;
  /** C's offsetof. */
  readonly at: { readonly [K in keyof F]: number };
}

const shape = (t: Type): { size: number; align: number } =>
  typeof t === 'string'
    ? { size: SIZE[t], align: SIZE[t] }
    : 'count' in t
      ? { size: shape(t.of).size * t.count, align: shape(t.of).align }
      : t;
const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/** Place `fields` as the x86-64 C ABI does. `size` is C's sizeof, checked at load. */
export function struct<const F extends Fields>(name: string, size: number, fields: F): Struct<F> {
  const at: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [field, type] of Object.entries(fields)) {
    const s = shape(type);
    at[field] = roundUp(end, s.align);
    end = at[field] + s.size;
    align = Math.max(align, s.align);
  }
  if (roundUp(end, align) !== size) throw new Error(`${name}: ${roundUp(end, align)} bytes, Xen has ${size}`);
  return { name, size, align, fields, at: at as Struct<F>['at'] };
}

/**
 * Place `members` on top of one another, as a C union does. `size` is C's sizeof, checked at load.
 */
export function union<const F extends Fields>(name: string, size: number, members: F): Struct<F> {
  const at: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [field, type] of Object.entries(members)) {
    const s = shape(type);
    at[field] = 0;
    end = Math.max(end, s.size);
    align = Math.max(align, s.align);
  }
  if (roundUp(end, align) !== size) throw new Error(`${name}: ${roundUp(end, align)} bytes, Xen has ${size}`);
  return { name, size, align, fields: members, at: at as Struct<F>['at'] };
}

/** Words become number properties; a u64 becomes `<field>_lo` and `<field>_hi` (no BigInt). */
export type Cursor<F extends Fields> = { base: number; view: DataView } & {
  -readonly [K in keyof F as F[K] extends Word ? K : never]: number;
} & { -readonly [K in keyof F & string as F[K] extends 'u64' ? `${K}_lo` | `${K}_hi` : never]: number };

/**
 * One class per struct, one cursor per ring: move `base`, never allocate per request.
 * Nested structs and arrays have no property: move another cursor to `base + struct.at.field`.
 */
export function cursorOf<F extends Fields>(s: Struct<F>): new (view: DataView, base?: number) => Cursor<F> {
  // Made at the first use: a program links every table and uses few, and start-up time is a domain's boot time.
  let made = false;
  class At {
    base: number;
    view: DataView;
    constructor(view: DataView, base = 0) {
      if (!made) {
        made = true;
        makeProperties(At.prototype, s);
      }
      this.view = view;
      this.base = base;
    }
  }
  // The properties are made from the same table as the type: the one cast that joins them.
  return At as unknown as new (
    view: DataView,
    base?: number,
  ) => Cursor<F>;
}

interface Place {
  readonly base: number;
  readonly view: DataView;
}

function makeProperties(prototype: object, s: Struct): void {
  const define = (name: string, kind: Word, offset: number) =>
    Object.defineProperty(prototype, name, accessor(kind, offset));
  for (const [field, type] of Object.entries(s.fields)) {
    const offset = s.at[field]!;
    if (type === 'u64') {
      define(`${field}_lo`, 'u32', offset);
      define(`${field}_hi`, 'u32', offset + 4);
    } else if (typeof type === 'string') define(field, type, offset);
  }
}

/** A closure per field: the engine then sees a constant offset in each, as in code written by hand. */
function accessor(kind: Word, o: number): PropertyDescriptor & ThisType<Place> {
  switch (kind) {
    case 'u8':
      return {
        get() {
          return this.view.getUint8(this.base + o);
        },
        set(v) {
          this.view.setUint8(this.base + o, v);
        },
      };
    case 'i8':
      return {
        get() {
          return this.view.getInt8(this.base + o);
        },
        set(v) {
          this.view.setInt8(this.base + o, v);
        },
      };
    case 'u16':
      return {
        get() {
          return this.view.getUint16(this.base + o, true);
        },
        set(v) {
          this.view.setUint16(this.base + o, v, true);
        },
      };
    case 'i16':
      return {
        get() {
          return this.view.getInt16(this.base + o, true);
        },
        set(v) {
          this.view.setInt16(this.base + o, v, true);
        },
      };
    case 'u32':
      return {
        get() {
          return this.view.getUint32(this.base + o, true);
        },
        set(v) {
          this.view.setUint32(this.base + o, v, true);
        },
      };
    case 'i32':
      return {
        get() {
          return this.view.getInt32(this.base + o, true);
        },
        set(v) {
          this.view.setInt32(this.base + o, v, true);
        },
      };
  }
}

// 64-bit fields off the hot path. Numbers are exact below 2^53, which holds for every address, count and time here.

/** The u64 at `offset`. Halves above 2^53 lose low bits: compare `_lo` and `_hi` where a peer chose the value. */
export function getU64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}

/** Store a non-negative integer below 2^64 (exact below 2^53). */
export function setU64(view: DataView, offset: number, n: number): void {
  view.setUint32(offset, n % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(n / 2 ** 32), true);
}

/** The signed 64-bit integer at `offset`. */
export function getI64(view: DataView, offset: number): number {
  return view.getInt32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}

/** Store an integer of either sign, two's complement. */
export function setI64(view: DataView, offset: number, n: number): void {
  const high = Math.floor(n / 2 ** 32);
  view.setUint32(offset, n - high * 2 ** 32, true);
  view.setInt32(offset + 4, high, true);
}
