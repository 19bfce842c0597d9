// The instructions of WebAssembly that a WASI program may use: 1.0 with sign extension, saturating conversions, bulk
// memory, multiple values, reference types, fixed-width SIMD and exceptions of the legacy kind (clang's setjmp). WebAssembly: "Binary Format", "Instructions".

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
export const FUNCREF = 0x70;
export const EXTERNREF = 0x6f;

/** Bytes of a value in memory; 0 for references, which memory cannot hold; undefined for what is no type. */
export const VALUE_BYTES: Readonly<Record<number, number>> = {
  [I32]: 4,
  [I64]: 8,
  [F32]: 4,
  [F64]: 8,
  [V128]: 16,
  [FUNCREF]: 0,
  [EXTERNREF]: 0,
};

export const OP = {
  unreachable: 0x00,
  nop: 0x01,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  try: 0x06,
  catch: 0x07,
  throw: 0x08,
  rethrow: 0x09,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  br_table: 0x0e,
  return: 0x0f,
  call: 0x10,
  call_indirect: 0x11,
  delegate: 0x18,
  catch_all: 0x19,
  drop: 0x1a,
  select: 0x1b,
  select_t: 0x1c,
  local_get: 0x20,
  local_set: 0x21,
  local_tee: 0x22,
  global_get: 0x23,
  global_set: 0x24,
  table_get: 0x25,
  table_set: 0x26,
  memory_size: 0x3f,
  memory_grow: 0x40,
  i32_const: 0x41,
  i64_const: 0x42,
  f32_const: 0x43,
  f64_const: 0x44,
  i32_eqz: 0x45,
  i32_lt_s: 0x48,
  i32_lt_u: 0x49,
  i32_add: 0x6a,
  i32_sub: 0x6b,
  i32_and: 0x71,
  ref_null: 0xd0,
  ref_is_null: 0xd1,
  ref_func: 0xd2,
  prefix_fc: 0xfc,
  prefix_fd: 0xfd,
  // With a prefix: 0x100 or 0x200 and the number behind it.
  memory_init: 0x108,
  data_drop: 0x109,
  memory_copy: 0x10a,
  memory_fill: 0x10b,
  table_init: 0x10c,
  elem_drop: 0x10d,
  table_copy: 0x10e,
  table_grow: 0x10f,
  table_size: 0x110,
  table_fill: 0x111,
  v128_load: 0x200,
  v128_store: 0x20b,
  v128_const: 0x20c,
  i8x16_shuffle: 0x20d,
} as const;

/** What stands behind an opcode. 'special' ones are read one by one, in instructions.ts. */
export const IMM = { none: 0, memarg: 1, memargLane: 2, lane: 3, sixteen: 4, special: 5 } as const;

/** What an instruction pops and pushes, where that hangs on nothing but its opcode. */
export interface Signature {
  readonly pops: number;
  /** The one value that it pushes; 0 when it pushes none. */
  readonly pushes: number;
}

export const OPCODES = 0x300;
/** By opcode, prefixed ones at 0x100 and 0x200. */
export const SIGNATURES: (Signature | undefined)[] = new Array(OPCODES).fill(undefined);
/** What stands behind an opcode, one of IMM; 0xff where there is no such instruction. */
export const IMMEDIATES = new Uint8Array(OPCODES).fill(0xff);

const TYPE_OF_LETTER: Readonly<Record<string, number>> = { i: I32, l: I64, f: F32, d: F64, v: V128 };

/** `signature` as "ii>i": i32 i, i64 l, f32 f, f64 d, v128 v. */
function define(from: number, to: number, signature: string, immediate: number = IMM.none): void {
  const [pops, pushes] = signature.split('>') as [string, string];
  const shared = { pops: pops.length, pushes: TYPE_OF_LETTER[pushes] ?? 0 };
  for (let op = from; op <= to; op++) {
    SIGNATURES[op] = shared;
    IMMEDIATES[op] = immediate;
  }
}

for (const op of [0x00, 0x01, 0x05, 0x0b, 0x0f, 0x19, 0x1a, 0x1b, 0xd1]) IMMEDIATES[op] = IMM.none;
for (const op of [0x02, 0x03, 0x04, 0x0c, 0x0d, 0x0e, 0x10, 0x11, 0x1c, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26])
  IMMEDIATES[op] = IMM.special;
for (const op of [0x06, 0x07, 0x08, 0x09, 0x18, 0x3f, 0x40, 0x41, 0x42, 0x43, 0x44, 0xd0, 0xd2])
  IMMEDIATES[op] = IMM.special;

define(0x28, 0x28, 'i>i', IMM.memarg);
define(0x29, 0x29, 'i>l', IMM.memarg);
define(0x2a, 0x2a, 'i>f', IMM.memarg);
define(0x2b, 0x2b, 'i>d', IMM.memarg);
define(0x2c, 0x2f, 'i>i', IMM.memarg);
define(0x30, 0x35, 'i>l', IMM.memarg);
define(0x36, 0x3e, 'ii>', IMM.memarg);
define(0x45, 0x45, 'i>i');
define(0x46, 0x4f, 'ii>i');
define(0x50, 0x50, 'l>i');
define(0x51, 0x66, 'll>i'); // comparisons of i64, f32 and f64: two operands, an i32
define(0x67, 0x69, 'i>i');
define(0x6a, 0x78, 'ii>i');
define(0x79, 0x7b, 'l>l');
define(0x7c, 0x8a, 'll>l');
define(0x8b, 0x91, 'f>f');
define(0x92, 0x98, 'ff>f');
define(0x99, 0x9f, 'd>d');
define(0xa0, 0xa6, 'dd>d');
define(0xa7, 0xab, 'l>i'); // wrap, and truncations to i32
define(0xac, 0xb1, 'i>l'); // extensions, and truncations to i64
define(0xb2, 0xb6, 'i>f');
define(0xb7, 0xbb, 'i>d');
define(0xbc, 0xbc, 'f>i');
define(0xbd, 0xbd, 'd>l');
define(0xbe, 0xbe, 'i>f');
define(0xbf, 0xbf, 'l>d');
define(0xc0, 0xc1, 'i>i');
define(0xc2, 0xc4, 'l>l');

define(0x100, 0x103, 'f>i'); // saturating truncations
define(0x104, 0x107, 'f>l');
for (const op of [OP.memory_init, OP.memory_copy, OP.memory_fill, OP.table_init, OP.table_copy, OP.table_fill])
  define(op, op, 'iii>', IMM.special);
for (const op of [OP.data_drop, OP.elem_drop]) define(op, op, '>', IMM.special);
define(OP.table_grow, OP.table_grow, 'ii>i', IMM.special);
define(OP.table_size, OP.table_size, '>i', IMM.special);

define(0x200, 0x20a, 'i>v', IMM.memarg);
define(0x20b, 0x20b, 'iv>', IMM.memarg);
define(0x20c, 0x20c, '>v', IMM.sixteen);
define(0x20d, 0x20d, 'vv>v', IMM.sixteen);
define(0x20e, 0x20e, 'vv>v');
define(0x20f, 0x214, 'i>v'); // splats, of any one value
for (const [extract, last, replace, type] of [
  [0x15, 0x16, 0x17, 'i'],
  [0x18, 0x19, 0x1a, 'i'],
  [0x1b, 0x1b, 0x1c, 'i'],
  [0x1d, 0x1d, 0x1e, 'l'],
  [0x1f, 0x1f, 0x20, 'f'],
  [0x21, 0x21, 0x22, 'd'],
] as const) {
  define(0x200 + extract, 0x200 + last, `v>${type}`, IMM.lane);
  define(0x200 + replace, 0x200 + replace, 'vi>v', IMM.lane);
}
define(0x223, 0x24c, 'vv>v'); // comparisons
define(0x24d, 0x24d, 'v>v');
define(0x24e, 0x251, 'vv>v');
define(0x252, 0x252, 'vvv>v');
define(0x253, 0x253, 'v>i');
define(0x254, 0x257, 'iv>v', IMM.memargLane);
define(0x258, 0x25b, 'iv>', IMM.memargLane);
define(0x25c, 0x25d, 'i>v', IMM.memarg);
/** Each row: opcodes behind 0xfd, and what they pop; all push a v128 but those of the last two rows. */
for (const op of [0x5e, 0x5f, 0x60, 0x61, 0x62, 0x67, 0x68, 0x69, 0x6a, 0x74, 0x75, 0x7a, 0x7c, 0x7d, 0x7e, 0x7f])
  define(0x200 + op, 0x200 + op, 'v>v');
for (const op of [0x80, 0x81, 0x87, 0x88, 0x89, 0x8a, 0x94, 0xa0, 0xa1, 0xa7, 0xa8, 0xa9, 0xaa, 0xc0, 0xc1])
  define(0x200 + op, 0x200 + op, 'v>v');
for (const op of [0xc7, 0xc8, 0xc9, 0xca, 0xe0, 0xe1, 0xe3, 0xec, 0xed, 0xef]) define(0x200 + op, 0x200 + op, 'v>v');
define(0x2f8, 0x2ff, 'v>v');
for (const [from, to] of [
  [0x65, 0x66],
  [0x6e, 0x73],
  [0x76, 0x79],
  [0x7b, 0x7b],
  [0x82, 0x82],
  [0x85, 0x86],
  [0x8e, 0x93],
  [0x95, 0x99],
  [0x9b, 0x9f],
  [0xae, 0xae],
  [0xb1, 0xb1],
  [0xb5, 0xba],
  [0xbc, 0xbf],
  [0xce, 0xce],
  [0xd1, 0xd1],
  [0xd5, 0xdf],
  [0xe4, 0xeb],
  [0xf0, 0xf7],
] as const)
  define(0x200 + from, 0x200 + to, 'vv>v');
for (const op of [0x6b, 0x8b, 0xab, 0xcb]) define(0x200 + op, 0x200 + op + 2, 'vi>v'); // shifts
for (const op of [0x63, 0x83, 0xa3, 0xc3]) define(0x200 + op, 0x200 + op + 1, 'v>i'); // all_true, bitmask
