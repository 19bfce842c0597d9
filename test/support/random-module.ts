// Small WebAssembly programs from a tape of decisions: nested blocks, loops, ifs and tables of branches, with values on
// the operand stack under them, several functions that call each other, imports, and code that nothing reaches.
// Every program ends: loops count their turns, calls their depth.
import { F32, F64, I32, I64, OP, V128 } from '../../pvbus/wasm/opcodes.ts';
import { Writer } from '../../pvbus/wasm/writer.ts';

const TYPES = [I32, I64, F32, F64, V128];
interface Signature {
  readonly params: readonly number[];
  readonly results: readonly number[];
}
interface Label {
  /** What a branch to it carries. */
  readonly carries: readonly number[];
  /** The local variable that counts a loop's turns. */
  readonly turns?: number;
}
/** What exceptions of each kind carry. */
const TAGS: readonly (readonly number[])[] = [[I32], [I64, F64]];
/** Calls that are left. */
const GAS = 60;
const GLOBALS = [I32, I32, I64, F64];
const [GAS_GLOBAL, SOME_I32, SOME_I64, SOME_F64] = [0, 1, 2, 3];

export const RANDOM_IMPORTS: readonly (Signature & { readonly name: string })[] = [
  { name: 'tick', params: [I32], results: [I32] },
  { name: 'note', params: [I64], results: [] },
  { name: 'weigh', params: [I32, F64, I64], results: [F64] },
];

/** The binary of the program that `tape` says; what is beyond its end is all zeroes, the simplest. */
export function randomModule(tape: readonly number[]): Uint8Array {
  return new RandomModule(tape).build();
}

class RandomModule {
  private readonly tape: readonly number[];
  private at = 0;
  private readonly types: Signature[] = [];
  private readonly functions: Signature[] = [];
  private out = new Writer();
  private locals: number[] = [];
  private params = 0;
  private labels: Label[] = [];
  private budget = 0;

  constructor(tape: readonly number[]) {
    this.tape = tape;
  }

  private pick(n: number): number {
    const drawn = this.tape[this.at++] ?? 0;
    return drawn % n;
  }
  private oneOf<T>(of: readonly T[]): T {
    return of[this.pick(of.length)]!;
  }
  private someTypes(most: number): number[] {
    return Array.from({ length: this.pick(most + 1) }, () => this.oneOf(TYPES));
  }
  private typeIndex(of: Signature): number {
    const same = (a: readonly number[], b: readonly number[]): boolean => a.join() === b.join();
    const found = this.types.findIndex(({ params, results }) => same(params, of.params) && same(results, of.results));
    if (found >= 0) return found;
    this.types.push({ params: of.params, results: of.results });
    return this.types.length - 1;
  }

  build(): Uint8Array {
    for (const signature of RANDOM_IMPORTS) this.typeIndex(signature);
    for (const params of TAGS) this.typeIndex({ params, results: [] });
    const count = 1 + this.pick(4);
    for (let i = 0; i < count; i++) this.functions.push({ params: this.someTypes(3), results: this.someTypes(2) });
    const bodies = this.functions.map(signature => this.body(signature));
    bodies.push(this.start());
    return this.assemble([...this.functions, { params: [], results: [] }], bodies);
  }

  private assemble(functions: readonly Signature[], bodies: readonly Uint8Array[]): Uint8Array {
    const indices = functions.map(signature => this.typeIndex(signature));
    const importTypes = RANDOM_IMPORTS.map(signature => this.typeIndex(signature));
    const out = new Writer();
    out.raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    const section = (id: number, write: (to: Writer) => void): void => {
      const content = new Writer();
      write(content);
      out.byte(id);
      out.sized(content.written);
    };
    section(1, to => {
      to.u32(this.types.length);
      for (const { params, results } of this.types) {
        to.byte(0x60);
        to.sized(Uint8Array.from(params));
        to.sized(Uint8Array.from(results));
      }
    });
    section(2, to => {
      to.u32(RANDOM_IMPORTS.length);
      for (const [i, { name }] of RANDOM_IMPORTS.entries()) {
        to.name('env');
        to.name(name);
        to.byte(0);
        to.u32(importTypes[i]!);
      }
    });
    section(3, to => {
      to.u32(indices.length);
      for (const index of indices) to.u32(index);
    });
    const all = RANDOM_IMPORTS.length + this.functions.length;
    section(4, to => {
      to.raw(Uint8Array.of(1, 0x70, 0));
      to.u32(all);
    });
    section(5, to => to.raw(Uint8Array.of(1, 1, 1, 4)));
    section(13, to => {
      to.u32(TAGS.length);
      for (const params of TAGS) {
        to.byte(0);
        to.u32(this.typeIndex({ params, results: [] }));
      }
    });
    section(6, to => {
      to.u32(GLOBALS.length);
      for (const [i, type] of GLOBALS.entries()) {
        to.byte(type);
        to.byte(1);
        constant(type, i === GAS_GLOBAL ? GAS : 7, to);
        to.byte(OP.end);
      }
    });
    section(7, to => {
      to.u32(2);
      to.name('_start');
      to.byte(0);
      to.u32(all);
      to.name('memory');
      to.byte(2);
      to.u32(0);
    });
    section(9, to => {
      to.raw(Uint8Array.of(1, 0, OP.i32_const, 0, OP.end));
      to.u32(all);
      for (let i = 0; i < all; i++) to.u32(i);
    });
    section(10, to => {
      to.u32(bodies.length);
      for (const body of bodies) to.sized(body);
    });
    return out.written.slice();
  }

  private finish(code: Writer): Uint8Array {
    const body = new Writer();
    const declared = this.locals.slice(this.params);
    body.u32(declared.length);
    for (const type of declared) {
      body.u32(1);
      body.byte(type);
    }
    body.raw(code.written);
    return body.written.slice();
  }

  private begin(signature: Signature): void {
    this.out = new Writer();
    this.locals = [...signature.params, ...this.someTypes(4)];
    this.params = signature.params.length;
    this.labels = [{ carries: signature.results }];
    this.budget = 60;
  }

  private start(): Uint8Array {
    this.begin({ params: [], results: [] });
    const { out } = this;
    for (let i = 0; i < this.functions.length; i++) this.callStatement(RANDOM_IMPORTS.length + i, this.functions[i]!);
    out.byte(OP.end);
    return this.finish(out);
  }

  private body(signature: Signature): Uint8Array {
    this.begin(signature);
    const { out } = this;
    out.op(OP.global_get, GAS_GLOBAL);
    constant(I32, 1, out);
    out.byte(OP.i32_sub);
    out.op(OP.global_set, GAS_GLOBAL);
    out.op(OP.global_get, GAS_GLOBAL);
    constant(I32, 0, out);
    out.byte(OP.i32_lt_s);
    out.byte(OP.if);
    out.byte(0x40);
    for (const type of signature.results) constant(type, 3, out);
    out.byte(OP.return);
    out.byte(OP.end);
    this.statements(3);
    this.values(signature.results, 3);
    out.byte(OP.end);
    return this.finish(out);
  }

  private statements(depth: number): void {
    for (let n = this.pick(4); n > 0; n--) this.statement(depth);
  }
  private values(types: readonly number[], depth: number): void {
    for (const type of types) this.value(type, depth);
  }

  private localOf(type: number): number {
    const candidates = this.locals.flatMap((t, i) => (t === type && !this.counters.has(i) ? [i] : []));
    if (candidates.length > 0) return this.oneOf(candidates);
    return this.locals.push(type) - 1;
  }
  /** Local variables that count turns are nobody else's. */
  private readonly counters = new Set<number>();

  private callStatement(index: number, signature: Signature): void {
    this.values(signature.params, 2);
    this.out.op(OP.call, index);
    for (const _ of signature.results) this.out.byte(OP.drop);
  }

  /** Pushes arguments and calls; what is left are the results. */
  private anyCall(depth: number): readonly number[] {
    const all = [...RANDOM_IMPORTS, ...this.functions];
    const index = this.pick(all.length);
    const { params, results } = all[index]!;
    this.values(params, depth - 1);
    if (this.pick(3) === 2) {
      // Through the table; sometimes at an index that is another function's, which traps unless the types are the same.
      constant(I32, this.pick(30) === 29 ? this.pick(all.length) : index, this.out);
      this.out.op(OP.call_indirect, this.typeIndex({ params, results }));
      this.out.byte(0);
    } else this.out.op(OP.call, index);
    return results;
  }

  private statement(depth: number): void {
    const { out } = this;
    if (depth <= 0 || this.budget-- <= 0) return;
    switch (this.pick(14)) {
      case 0: {
        const type = this.oneOf(TYPES);
        this.value(type, depth - 1);
        out.op(OP.local_set, this.localOf(type));
        break;
      }
      case 1:
        for (const _ of this.anyCall(depth)) out.byte(OP.drop);
        break;
      case 2:
        this.block({ params: this.someTypes(2), results: [] }, depth, OP.block);
        break;
      case 3:
        this.block({ params: this.someTypes(1), results: [] }, depth, OP.if);
        break;
      case 4:
        this.loop({ params: this.someTypes(2), results: [] }, depth);
        break;
      case 5:
        this.branchIf(depth);
        break;
      case 6:
        this.leave(depth);
        break;
      case 7:
        this.value(this.oneOf(TYPES), depth - 1);
        out.byte(OP.drop);
        break;
      case 8:
        this.address(depth);
        this.value(I32, depth - 1);
        out.raw(Uint8Array.of(0x36, 2, 0));
        break;
      case 9:
        this.value(I64, depth - 1);
        out.op(OP.global_set, SOME_I64);
        break;
      case 10:
        this.value(F64, depth - 1);
        out.op(OP.global_set, SOME_F64);
        break;
      case 11:
        this.tableOfBranches(depth);
        break;
      case 12:
        this.tryBlock({ params: this.someTypes(1), results: [] }, depth);
        break;
      default:
        out.byte(OP.nop);
    }
  }

  private address(depth: number): void {
    this.value(I32, depth - 1);
    constant(I32, 0xffc, this.out);
    this.out.byte(OP.i32_and);
  }

  private blockType(signature: Signature): void {
    if (signature.params.length === 0 && signature.results.length === 0) this.out.byte(0x40);
    else if (signature.params.length === 0 && signature.results.length === 1) this.out.byte(signature.results[0]!);
    else this.out.s33(this.typeIndex(signature));
  }

  /** A block or an `if`, with its parameters and condition before it. */
  private block(signature: Signature, depth: number, op: number): void {
    const { out } = this;
    this.values(signature.params, depth - 1);
    if (op === OP.if) this.value(I32, depth - 1);
    const bare = op === OP.if && signature.results.length === 0 && signature.params.length === 0 && this.pick(2) === 0;
    out.byte(op);
    this.blockType(signature);
    this.labels.push({ carries: signature.results });
    for (let arm = op === OP.if && !bare ? 2 : 1; arm > 0; arm--) {
      for (const type of [...signature.params].reverse()) out.op(OP.local_set, this.localOf(type));
      this.statements(depth - 1);
      this.values(signature.results, depth - 1);
      if (arm === 2) out.byte(OP.else);
    }
    this.labels.pop();
    out.byte(OP.end);
  }

  /** A try with catches of some kinds, or one that delegates to the construct around it. */
  private tryBlock(signature: Signature, depth: number): void {
    const { out } = this;
    this.values(signature.params, depth - 1);
    out.byte(OP.try);
    this.blockType(signature);
    this.labels.push({ carries: signature.results });
    for (const type of [...signature.params].reverse()) out.op(OP.local_set, this.localOf(type));
    this.statements(depth - 1);
    if (this.pick(2) === 1) this.leave(depth - 1);
    this.values(signature.results, depth - 1);
    if (this.pick(6) === 5) {
      this.labels.pop();
      out.op(OP.delegate, this.pick(this.labels.length));
      return;
    }
    for (let tag = 0; tag < TAGS.length; tag++) {
      if (this.pick(3) === 2) continue;
      out.op(OP.catch, tag);
      for (const type of [...TAGS[tag]!].reverse()) out.op(OP.local_set, this.localOf(type));
      this.statements(depth - 1);
      this.values(signature.results, depth - 1);
    }
    if (this.pick(2) === 1) {
      out.byte(OP.catch_all);
      this.statements(depth - 1);
      this.values(signature.results, depth - 1);
    }
    this.labels.pop();
    out.byte(OP.end);
  }

  private loop(signature: Signature, depth: number): void {
    const { out } = this;
    const turns = this.locals.push(I32) - 1;
    this.counters.add(turns);
    this.values(signature.params, depth - 1);
    constant(I32, 0, out);
    out.op(OP.local_set, turns);
    out.byte(OP.loop);
    this.blockType(signature);
    this.labels.push({ carries: signature.params, turns });
    for (const type of [...signature.params].reverse()) out.op(OP.local_set, this.localOf(type));
    this.statements(depth - 1);
    this.backTo(0, depth);
    this.values(signature.results, depth - 1);
    this.labels.pop();
    out.byte(OP.end);
  }

  /** Another turn of the loop at `label`, if there are any left. */
  private backTo(label: number, depth: number): void {
    const { out } = this;
    const { carries, turns } = this.labels[this.labels.length - 1 - label]!;
    this.values(carries, depth - 2);
    out.op(OP.local_get, turns!);
    constant(I32, 1, out);
    out.byte(OP.i32_add);
    out.op(OP.local_tee, turns!);
    constant(I32, 1 + this.pick(4), out);
    out.byte(OP.i32_lt_u);
    out.op(OP.br_if, label);
    for (const _ of carries) out.byte(OP.drop);
  }

  private branchIf(depth: number): void {
    const { out } = this;
    const label = this.pick(this.labels.length);
    const target = this.labels[this.labels.length - 1 - label]!;
    if (target.turns !== undefined) {
      this.backTo(label, depth);
      return;
    }
    this.values(target.carries, depth - 1);
    this.value(I32, depth - 1);
    out.op(OP.br_if, label);
    for (const _ of target.carries) out.byte(OP.drop);
  }

  /** Labels that are not loops, with the same that they carry. */
  private forward(): number[][] {
    const by = new Map<string, number[]>();
    for (let label = 0; label < this.labels.length; label++) {
      const { carries, turns } = this.labels[this.labels.length - 1 - label]!;
      if (turns !== undefined) continue;
      const key = carries.join();
      by.set(key, [...(by.get(key) ?? []), label]);
    }
    return [...by.values()];
  }

  /** In a block of its own, so that what follows is reached. */
  private tableOfBranches(depth: number): void {
    const { out } = this;
    out.byte(OP.block);
    out.byte(0x40);
    this.labels.push({ carries: [] });
    const labels = this.oneOf(this.forward());
    this.values(this.labels[this.labels.length - 1 - labels[0]!]!.carries, depth - 1);
    this.value(I32, depth - 1);
    const n = this.pick(4);
    out.op(OP.br_table, n);
    for (let i = 0; i <= n; i++) out.u32(this.oneOf(labels));
    this.deadCode(depth);
    this.labels.pop();
    out.byte(OP.end);
  }

  /** Sometimes a branch, a return or a trap that is always taken, in a block or an arm of its own. */
  private leave(depth: number): void {
    const { out } = this;
    this.value(I32, depth - 1);
    out.byte(OP.if);
    out.byte(0x40);
    this.labels.push({ carries: [] });
    this.statements(depth - 2);
    switch (this.pick(8)) {
      case 0:
        this.values(this.labels[0]!.carries, depth - 1);
        out.byte(OP.return);
        break;
      case 1:
        out.byte(OP.unreachable);
        break;
      case 2:
      case 3: {
        const tag = this.pick(TAGS.length);
        this.values(TAGS[tag]!, depth - 1);
        out.op(OP.throw, tag);
        break;
      }
      default: {
        const label = this.oneOf(this.oneOf(this.forward()));
        this.values(this.labels[this.labels.length - 1 - label]!.carries, depth - 1);
        out.op(OP.br, label);
      }
    }
    this.deadCode(depth);
    this.labels.pop();
    out.byte(OP.end);
  }

  private deadCode(depth: number): void {
    if (this.pick(2) === 1) this.statements(depth - 1);
    if (this.pick(4) === 3) {
      this.out.byte(OP.drop); // of what is not there, as may be where nothing comes
      this.out.byte(OP.br);
      this.out.byte(0);
    }
  }

  private value(type: number, depth: number): void {
    const { out } = this;
    const leaf = depth <= 0 || this.budget-- <= 0;
    switch (this.pick(leaf ? 2 : 12)) {
      case 0:
        constant(type, this.pick(64), out);
        break;
      case 1:
        out.op(OP.local_get, this.localOf(type));
        break;
      case 2:
      case 3:
        this.value(type, depth - 1);
        this.value(type, depth - 1);
        for (const byte of ADD[type]!) out.byte(byte);
        break;
      case 4: {
        const results = this.anyCall(depth);
        const at = results.lastIndexOf(type);
        for (let i = results.length - 1; i > at; i--) out.byte(OP.drop);
        if (at < 0) this.value(type, depth - 1);
        else if (at > 0) {
          const local = this.localOf(type);
          out.op(OP.local_set, local);
          for (let i = at; i > 0; i--) out.byte(OP.drop);
          out.op(OP.local_get, local);
        }
        break;
      }
      case 5:
        this.block({ params: this.someTypes(1), results: [type] }, depth, OP.block);
        break;
      case 6:
        this.block({ params: this.someTypes(1), results: [type] }, depth, OP.if);
        break;
      case 7:
        this.loop({ params: this.someTypes(1), results: [type] }, depth);
        break;
      case 8:
        this.value(type, depth - 1);
        out.op(OP.local_tee, this.localOf(type));
        break;
      case 9:
        this.value(type, depth - 1);
        this.value(type, depth - 1);
        this.value(I32, depth - 1);
        if (type === V128 || this.pick(2) === 0) {
          out.byte(OP.select_t);
          out.byte(1);
          out.byte(type);
        } else out.byte(OP.select);
        break;
      case 10:
        this.tryBlock({ params: this.someTypes(1), results: [type] }, depth);
        break;
      default:
        this.odd(type, depth);
    }
  }

  private odd(type: number, depth: number): void {
    const { out } = this;
    switch (type) {
      case I32:
        if (this.pick(6) === 0) {
          constant(I32, this.pick(2), out);
          out.byte(OP.memory_grow);
          out.byte(0);
        } else if (this.pick(3) === 0) {
          out.byte(OP.memory_size);
          out.byte(0);
        } else if (this.pick(2) === 0) {
          this.address(depth);
          out.raw(Uint8Array.of(0x28, 2, 0));
        } else out.op(OP.global_get, SOME_I32);
        break;
      case I64:
        if (this.pick(2) === 0) out.op(OP.global_get, SOME_I64);
        else {
          this.value(I32, depth - 1);
          out.byte(0xad);
        }
        break;
      case F32:
        this.value(I32, depth - 1);
        out.byte(0xb2);
        break;
      case F64:
        if (this.pick(2) === 0) out.op(OP.global_get, SOME_F64);
        else {
          this.value(I32, depth - 1);
          out.byte(0xb7);
        }
        break;
      default:
        this.value(I32, depth - 1);
        out.raw(Uint8Array.of(0xfd, 0x11));
    }
  }
}

/** Additions; of floating-point numbers the lesser one, which never ends in a NaN. */
const ADD: Readonly<Record<number, readonly number[]>> = {
  [I32]: [OP.i32_add],
  [I64]: [0x7c],
  [F32]: [0x96],
  [F64]: [0xa4],
  [V128]: [0xfd, 0xae, 0x01],
};

function constant(type: number, value: number, to: Writer): void {
  switch (type) {
    case I32:
    case I64:
      to.byte(type === I32 ? OP.i32_const : OP.i64_const);
      to.i32(value);
      break;
    case F32:
    case F64: {
      const bytes = new Uint8Array(8);
      if (type === F32) new DataView(bytes.buffer).setFloat32(0, value, true);
      else new DataView(bytes.buffer).setFloat64(0, value, true);
      to.byte(type === F32 ? OP.f32_const : OP.f64_const);
      to.raw(bytes.subarray(0, type === F32 ? 4 : 8));
      break;
    }
    default:
      to.byte(OP.prefix_fd);
      to.u32(OP.v128_const - 0x200);
      to.raw(new Uint8Array(16).fill(value));
  }
}
