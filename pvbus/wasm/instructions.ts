// The instructions of one function body or constant expression, one after the other.
import { IMM, IMMEDIATES, OP, VALUE_BYTES } from './opcodes.ts';
import { notExecutable, type Reader } from './reader.ts';

/** What is asked of a program that no Node of ours, or no preparing, knows. */
function unknownOpcode(op: number): Error {
  const hex = `0x${op.toString(16)}`;
  if (op === 0xfe) return notExecutable('it uses threads (atomic instructions)');
  if (op === 0xfb) return notExecutable('it uses garbage-collected objects');
  if (op === 0x12 || op === 0x13 || op === 0x15) return notExecutable('it uses tail calls');
  if (op === 0x0a || op === 0x1f) return notExecutable('it uses exceptions of the new kind (exnref)');
  return notExecutable(`there is no instruction ${hex} here`);
}

/** A cursor: after `next()` its fields describe one instruction. Nothing is allocated on the way. */
export class Instructions {
  readonly reader: Reader;
  /** As in OP: prefixed ones at 0x100 and 0x200. */
  op = 0;
  /** Where the instruction begins; it ends at `reader.pos`. */
  start = 0;
  /** The index or label that it names; of a block its type as `s33`. */
  imm = 0;
  /** The second index (call_indirect's table); of br_table where its labels begin. */
  second = 0;

  constructor(reader: Reader) {
    this.reader = reader;
  }

  next(): void {
    const { reader } = this;
    this.start = reader.pos;
    let op = reader.byte();
    if (op === OP.prefix_fc || op === OP.prefix_fd) {
      const sub = reader.u32();
      if (sub > 0xff) throw unknownOpcode(op);
      op = (op === OP.prefix_fc ? 0x100 : 0x200) + sub;
    }
    this.op = op;
    switch (IMMEDIATES[op]) {
      case IMM.none:
        break;
      case IMM.memarg:
        this.memarg();
        break;
      case IMM.memargLane:
        this.memarg();
        reader.byte();
        break;
      case IMM.lane:
        reader.byte();
        break;
      case IMM.sixteen:
        reader.skip(16);
        break;
      case IMM.special:
        this.special(op);
        break;
      default:
        throw unknownOpcode(op);
    }
  }

  private memarg(): void {
    // Bit 6 says that the number of a memory follows.
    if (this.reader.u32() >= 0x40) throw notExecutable('it uses several memories');
    this.reader.u32();
  }

  private special(op: number): void {
    const { reader } = this;
    switch (op) {
      case OP.block:
      case OP.loop:
      case OP.if:
      case OP.try:
        this.imm = reader.s33();
        break;
      case OP.br_table: {
        const count = reader.count();
        this.imm = count;
        this.second = reader.pos;
        for (let i = 0; i <= count; i++) reader.u32();
        break;
      }
      case OP.call_indirect:
      case OP.memory_init:
      case OP.memory_copy:
      case OP.table_init:
      case OP.table_copy:
        this.imm = reader.u32();
        this.second = reader.u32();
        break;
      case OP.select_t:
        if (reader.u32() !== 1) throw notExecutable('a select of several values');
        this.imm = reader.byte();
        break;
      case OP.i32_const:
        reader.skipSigned(32);
        break;
      case OP.i64_const:
        reader.skipSigned(64);
        break;
      case OP.f32_const:
        reader.skip(4);
        break;
      case OP.f64_const:
        reader.skip(8);
        break;
      case OP.ref_null:
        this.imm = reader.byte();
        if (VALUE_BYTES[this.imm] !== 0) throw notExecutable('a reference of an unknown type');
        break;
      default:
        this.imm = reader.u32();
    }
  }
}
