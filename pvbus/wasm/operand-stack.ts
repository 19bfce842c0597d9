// The operand stack while a function is written anew. An operand is *pushed* when WebAssembly's own stack holds it, else
// it is known where it comes from: a local variable, a constant. At a suspension point nothing may be pushed, since
// code jumps to it from elsewhere while rewinding: what is, goes into a local variable of its own and comes back from there
// when it is used.
//
// invariant: from the base of the innermost construct up there are some known operands ([base, pushedFrom)), then
// pushed ones ([pushedFrom, pushedTo)), then known ones again ([pushedTo, top)), which need only be pushed in turn.
import type { Locals } from './locals.ts';
import { OP } from './opcodes.ts';
import { notExecutable } from './reader.ts';
import type { Writer } from './writer.ts';

const PUSHED = 0;
const LOCAL = 1;
/** A local variable of the operand's own: nothing else changes it. */
const TEMPORARY = 2;
const CONSTANT = 3;

/** One that is known, apart from its place. */
export interface KnownOperand {
  readonly kind: number;
  readonly type: number;
  readonly from: number;
  readonly to: number;
}

export class OperandStack {
  private readonly code: Writer;
  private readonly bytes: Uint8Array;
  private readonly locals: Locals;
  private readonly kinds: number[] = [];
  private readonly types: number[] = [];
  /** The local variable, or where the constant's instruction begins and ends. */
  private readonly froms: number[] = [];
  private readonly tos: number[] = [];
  /** The next deeper operand that comes from the same local variable, or -1. */
  private readonly deeper: number[] = [];
  private readonly ofLocal = new Map<number, number>();
  private readonly temporaries = new Map<number, number>();
  /** Temporaries and other variables that hold an operand while the function is suspended. */
  readonly kept = new Set<number>();
  /** Below this no operand comes from a local variable of the program. */
  private settled = 0;
  /** Below this all variables that operands come from are kept. */
  private keptTo = 0;
  base = 0;
  pushedFrom = 0;
  pushedTo = 0;
  top = 0;

  constructor(code: Writer, bytes: Uint8Array, locals: Locals) {
    this.code = code;
    this.bytes = bytes;
    this.locals = locals;
  }

  /** The type of the operand that is `depth` below the topmost. */
  typeAt(depth: number): number {
    const at = this.top - 1 - depth;
    if (at < this.base) throw notExecutable('an operand is missing');
    return this.types[at]!;
  }

  /** The result of an instruction whose operands were taken. */
  push(type: number): void {
    this.place(PUSHED, type, 0, 0);
    this.pushedTo = this.top;
  }

  pushAll(types: Uint8Array): void {
    for (const type of types) this.push(type);
  }

  pushLocal(index: number): void {
    this.deeper[this.top] = this.ofLocal.get(index) ?? -1;
    this.ofLocal.set(index, this.top);
    this.place(LOCAL, this.locals.typeOf(index), index, 0);
  }

  pushConstant(type: number, from: number, to: number): void {
    this.place(CONSTANT, type, from, to);
  }

  private place(kind: number, type: number, from: number, to: number): void {
    const at = this.top++;
    this.kinds[at] = kind;
    this.types[at] = type;
    this.froms[at] = from;
    this.tos[at] = to;
  }

  /** Pushes the topmost `n` in their order, for an instruction that pops them. */
  take(n: number): void {
    const low = this.top - n;
    if (low < this.base) throw notExecutable('an operand is missing');
    if (low < this.pushedFrom) {
      this.unpush(this.pushedFrom); // all of them are used at once
      this.pushedFrom = this.pushedTo = low;
    }
    this.pushKnown();
    this.top = low;
    if (this.pushedTo > low) this.pushedTo = low;
    if (this.settled > low) this.settled = low;
    if (this.keptTo > low) this.keptTo = low;
  }

  /** Drops the topmost, with an instruction only if it is pushed. */
  drop(): void {
    if (this.top > this.base && (this.top > this.pushedTo || this.pushedFrom === this.pushedTo)) {
      this.forget(--this.top);
      if (this.pushedTo > this.top) this.pushedFrom = this.pushedTo = this.top;
    } else {
      this.take(1);
      this.code.byte(OP.drop);
    }
  }

  /** Pushes the known operands above the pushed ones. */
  private pushKnown(): void {
    for (let at = this.top - 1; at >= this.pushedTo; at--) this.forget(at);
    for (let at = this.pushedTo; at < this.top; at++) {
      this.writeOne(this.kinds[at]!, this.froms[at]!, this.tos[at]!);
      this.kinds[at] = PUSHED;
    }
    this.pushedTo = this.top;
  }

  /** Makes all operands of the construct known ones; those outside [from, to) live on while the function is suspended. */
  unpush(from = this.top, to = this.top): void {
    for (let at = this.pushedTo - 1; at >= this.pushedFrom; at--) {
      const temporary = this.temporary(at);
      this.code.op(OP.local_set, temporary);
      if (at < from || at >= to) this.kept.add(temporary);
      this.kinds[at] = TEMPORARY;
      this.froms[at] = temporary;
    }
    this.pushedFrom = this.pushedTo = this.top;
  }

  /** For a call that may suspend and pops `n`: nothing is pushed afterwards. Its first `lost` may be lost while suspended. */
  unpushForCall(n: number, lost: number): void {
    const low = this.top - n;
    if (low < this.base) throw notExecutable('an operand is missing');
    this.unpush(low, low + lost);
    for (let at = this.keptTo; at < low; at++) this.keep(at);
    this.keptTo = low;
    for (let at = low + lost; at < this.top; at++) this.keep(at);
    this.pushedFrom = this.pushedTo = low;
  }

  /** Known operands stay what they are when `index` is set now. */
  beforeSetting(index: number): void {
    const first = this.ofLocal.get(index);
    if (first === undefined) return;
    for (let at = first; at >= 0; at = this.deeper[at]!) this.moveToTemporary(at);
    this.ofLocal.delete(index);
  }

  /** Known operands stay what they are whichever way control goes: a construct opens. */
  settle(): void {
    for (let at = this.settled; at < this.top; at++) if (this.kinds[at] === LOCAL) this.moveToTemporary(at);
    this.ofLocal.clear();
    this.settled = this.top;
  }

  /** The topmost `n` are a loop's parameters: a constant is one at the first turn only, and a rewound loop is in any. */
  settleParameters(n: number): void {
    for (let at = Math.max(this.base, this.top - n); at < this.top; at++)
      if (this.kinds[at] === CONSTANT) this.moveToTemporary(at);
  }

  /** Takes the topmost, with nothing pushed but that. */
  takeOnly(): void {
    if (this.top - 1 !== this.pushedFrom || this.top !== this.pushedTo) this.unpush();
    this.take(1);
  }

  /** Pops the topmost `n`, which are known and settled, without an instruction. */
  pop(n: number): KnownOperand[] {
    const low = this.top - n;
    if (low < this.base) throw notExecutable('an operand is missing');
    const known: KnownOperand[] = [];
    for (let at = low; at < this.top; at++)
      known.push({ kind: this.kinds[at]!, type: this.types[at]!, from: this.froms[at]!, to: this.tos[at]! });
    this.cut(low);
    return known;
  }

  /** Puts back what was popped. */
  restore(operands: readonly KnownOperand[]): void {
    for (const { kind, type, from, to } of operands) this.place(kind, type, from, to);
  }

  /** Writes the instructions that push what was popped. */
  write(operands: readonly KnownOperand[]): void {
    for (const { kind, from, to } of operands) this.writeOne(kind, from, to);
  }

  /** At the head of a loop: its parameters, which are pushed, go into temporaries and are known from here on. */
  popIntoTemporaries(types: Uint8Array): void {
    const low = this.top;
    for (const type of types) this.place(TEMPORARY, type, 0, 0);
    for (let at = this.top - 1; at >= low; at--) {
      const temporary = this.temporary(at);
      this.froms[at] = temporary;
      this.kept.add(temporary);
      this.code.op(OP.local_set, temporary);
    }
  }

  /** A construct begins here. */
  enter(): void {
    this.base = this.pushedFrom = this.pushedTo = this.top;
  }

  /** Back around a construct that has ended with an empty stack. */
  leave(base: number, pushedFrom: number): void {
    this.base = base;
    this.pushedFrom = pushedFrom;
    this.pushedTo = this.top;
  }

  /** Throws away what is above `to`. */
  cut(to: number): void {
    while (this.top > to) this.forget(--this.top);
    if (this.pushedTo > to) this.pushedTo = to;
    if (this.pushedFrom > to) this.pushedFrom = to;
  }

  private keep(at: number): void {
    if (this.kinds[at] === LOCAL) this.kept.add(this.froms[at]!);
  }

  private moveToTemporary(at: number): void {
    const temporary = this.temporary(at);
    this.writeOne(this.kinds[at]!, this.froms[at]!, this.tos[at]!);
    this.code.op(OP.local_set, temporary);
    this.kept.add(temporary);
    this.kinds[at] = TEMPORARY;
    this.froms[at] = temporary;
  }

  private temporary(at: number): number {
    const type = this.types[at]!;
    const key = at * 0x80 + type;
    let index = this.temporaries.get(key);
    if (index === undefined) {
      index = this.locals.add(type, 1);
      this.temporaries.set(key, index);
    }
    return index;
  }

  private writeOne(kind: number, from: number, to: number): void {
    if (kind === CONSTANT) this.code.copy(this.bytes, from, to);
    else this.code.op(OP.local_get, from);
  }

  /** An operand goes: `at` is the topmost one that comes from its local variable. */
  private forget(at: number): void {
    if (at < this.settled) this.settled = at;
    if (at < this.keptTo) this.keptTo = at;
    if (this.kinds[at] !== LOCAL) return;
    const index = this.froms[at]!;
    const deeper = this.deeper[at]!;
    if (deeper < 0) this.ofLocal.delete(index);
    else this.ofLocal.set(index, deeper);
  }
}
