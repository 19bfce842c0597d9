// The code that leaves a function and enters it again, around the code that it has of its own.
//
//   block $save (result i32)          the number of the point where it leaves
//     (labels of the function's region)
//     head: state RUNS goes on; REWINDS takes the frame off the save area and jumps
//     body, return
//   end
//   put a frame onto the save area; return zeroes
import type { Locals } from './locals.ts';
import type { FunctionType, Module } from './module.ts';
import { F32, F64, I32, I64, OP, V128, VALUE_BYTES } from './opcodes.ts';
import type { Construct } from './outline.ts';
import { ITEM } from './outline.ts';
import { REWINDING_FUEL, UNWINDS } from './prepared.ts';
import { notExecutable } from './reader.ts';
import type { Writer } from './writer.ts';

/** Indices in the module of what is added to it. */
export interface Additions {
  readonly state: number;
  readonly fuel: number;
  readonly sp: number;
  readonly end: number;
  readonly pages: number;
  readonly grow: number;
  readonly room: number;
}

const EMPTY = 0x40;
const GT_S = 0x4a;
/** Turns of a loop without calls for which fuel is taken at once. A power of two. */
const LEAF_TURNS = 256;

const LOAD: Readonly<Record<number, readonly number[]>> = {
  [I32]: [0x28],
  [I64]: [0x29],
  [F32]: [0x2a],
  [F64]: [0x2b],
  [V128]: [0xfd, 0x00],
};
const STORE: Readonly<Record<number, readonly number[]>> = {
  [I32]: [0x36],
  [I64]: [0x37],
  [F32]: [0x38],
  [F64]: [0x39],
  [V128]: [0xfd, 0x0b],
};

/** Labels: how many blocks are open, and the place of each that something jumps to. 0 is the function, 1 is $save. */
export class Labels {
  height = 2;
  /** Of a construct, and of the first arm of an `if`. */
  readonly ofConstruct: number[] = [];
  readonly ofElse: number[] = [];
  /** Of each catch of a try. */
  readonly ofCatch: number[][] = [];
  /** Of a point, and of the entry of a loop or a try by its construct. */
  readonly ofPoint: number[] = [];
  readonly ofLoop: number[] = [];

  /** The number of `label` as an instruction that jumps here says it. */
  depth(label: number): number {
    return this.height - 1 - label;
  }

  close(label: number | undefined, to: Writer): void {
    this.height--;
    // invariant: the labels of a region end in the order of its items.
    if (label !== this.height) throw new Error(`label ${label} ends where ${this.height} is the innermost`);
    to.byte(OP.end);
  }
}

const SAVE_LABEL = 1;

export class Suspension {
  private readonly module: Module;
  private readonly additions: Additions;
  private readonly constructs: readonly Construct[];
  private readonly labels: Labels;
  /** Local variables of our own: the point that is rewound to, a scratch one, turns of leaf loops. */
  private readonly point: number;
  private readonly scratch: number;
  private turns = -1;
  private readonly locals: Locals;

  constructor(module: Module, additions: Additions, constructs: readonly Construct[], labels: Labels, locals: Locals) {
    this.module = module;
    this.additions = additions;
    this.constructs = constructs;
    this.labels = labels;
    this.locals = locals;
    this.point = locals.add(I32, 2);
    this.scratch = this.point + 1;
  }

  /** Opens the labels of a region, the last one first. */
  openRegion(region: Construct, to: Writer): void {
    const { labels, constructs } = this;
    for (let i = region.items.length - 1; i >= 0; i--) {
      const { kind, of, nth = 0 } = region.items[i]!;
      const label = labels.height;
      if (kind === ITEM.loop && !constructs[of]!.isEntered) continue;
      if (kind === ITEM.point || kind === ITEM.loop) {
        (kind === ITEM.point ? labels.ofPoint : labels.ofLoop)[of] = label;
        this.open(to);
      } else {
        const construct = constructs[of]!;
        if (!construct.marked) continue;
        if (kind === ITEM.else) {
          labels.ofElse[of] = label;
          this.open(to);
        } else {
          const caught = kind === ITEM.catch ? this.module.carriedBy(construct.catches[nth]!) : undefined;
          if (caught === undefined) labels.ofConstruct[of] = label;
          else {
            const own = labels.ofCatch[of] ?? [];
            own[nth] = label;
            labels.ofCatch[of] = own;
          }
          to.byte(OP.block);
          to.s33(caught === undefined ? this.typeWithoutParams(construct.type) : this.typeWith(caught));
          labels.height++;
        }
      }
    }
  }

  /** A block's type with the same results and no parameters. */
  typeWithoutParams(type: number): number {
    if (type < 0) return type;
    const { params, results } = this.module.typeOf(type);
    return params.length === 0 ? type : this.typeWith(results);
  }

  private typeWith(results: Uint8Array): number {
    if (results.length === 0) return -EMPTY;
    if (results.length === 1) return results[0]! - 0x80;
    return this.module.typeWithResults(results);
  }

  private open(to: Writer): void {
    to.byte(OP.block);
    to.byte(EMPTY);
    this.labels.height++;
  }

  private shut(to: Writer): void {
    to.byte(OP.end);
    this.labels.height--;
  }

  /** Behind a call that may have suspended: leaves the function if it has. The call's results stay. */
  leaveIfUnwinding(point: number, to: Writer): void {
    to.byte(OP.i32_const);
    to.i32(point);
    to.op(OP.global_get, this.additions.state);
    to.op(OP.br_if, this.labels.depth(SAVE_LABEL));
    to.byte(OP.drop);
  }

  /** At the head of a loop: takes fuel, leaves when there is none, and goes on to the point that is rewound to. */
  loopHead(loop: Construct, to: Writer): void {
    if (loop.isLeaf) this.leafHead(loop, to);
    else this.countedHead(loop, loop.first, to);
  }

  /** At the head of a try's body: goes on to the point that is rewound to. */
  tryHead(construct: Construct, to: Writer): void {
    this.open(to);
    to.op(OP.global_get, this.additions.state);
    to.byte(OP.i32_eqz);
    to.op(OP.br_if, 0);
    this.jump(construct, -1, to);
    this.shut(to);
  }

  private countedHead(region: Construct, number: number, to: Writer, restore?: () => void): void {
    const { additions, scratch } = this;
    this.open(to);
    this.open(to);
    to.op(OP.global_get, additions.fuel);
    to.op(OP.local_tee, scratch);
    to.byte(OP.i32_const);
    to.i32(1);
    to.byte(OP.i32_lt_s);
    to.op(OP.br_if, 0);
    to.op(OP.local_get, scratch);
    to.byte(OP.i32_const);
    to.i32(1);
    to.byte(OP.i32_sub);
    to.op(OP.global_set, additions.fuel);
    to.op(OP.br, 1);
    this.shut(to);
    to.op(OP.global_get, additions.state);
    to.byte(OP.i32_eqz);
    to.byte(OP.if);
    to.byte(EMPTY);
    this.labels.height++;
    this.giveUp(number, to);
    this.shut(to);
    restore?.();
    this.open(to);
    this.jump(region, number, to);
    this.shut(to);
    this.run(to);
    this.shut(to);
  }

  /** A loop without calls counts its turns in a local variable: a store less, and no wait for the one before. */
  private leafHead(loop: Construct, to: Writer): void {
    const { additions, scratch, labels } = this;
    if (this.turns < 0) this.turns = this.locals.add(I32, 1);
    this.open(to);
    to.op(OP.local_get, this.turns);
    to.byte(OP.i32_const);
    to.i32(1);
    to.byte(OP.i32_add);
    to.op(OP.local_tee, this.turns);
    to.byte(OP.i32_const);
    to.i32(LEAF_TURNS - 1);
    to.byte(OP.i32_and);
    to.op(OP.br_if, 0);
    this.open(to);
    to.op(OP.global_get, additions.state);
    to.op(OP.br_if, 0);
    to.op(OP.global_get, additions.fuel);
    to.byte(OP.i32_const);
    to.i32(LEAF_TURNS);
    to.byte(OP.i32_sub);
    to.op(OP.local_tee, scratch);
    to.op(OP.global_set, additions.fuel);
    to.op(OP.local_get, scratch);
    to.byte(OP.i32_const);
    to.i32(0);
    to.byte(GT_S);
    to.op(OP.br_if, labels.depth(labels.height - 2));
    this.giveUp(loop.first, to);
    this.shut(to);
    this.run(to);
    this.shut(to);
  }

  /** Fuel has run out: this function is the first to leave. */
  private giveUp(number: number, to: Writer): void {
    to.byte(OP.i32_const);
    to.i32(UNWINDS);
    to.op(OP.global_set, this.additions.state);
    to.byte(OP.i32_const);
    to.i32(number);
    to.op(OP.br, this.labels.depth(SAVE_LABEL));
  }

  /** Fuel had run out here: the program runs again. */
  private run(to: Writer): void {
    const { state, fuel } = this.additions;
    to.byte(OP.i32_const);
    to.i32(0);
    to.op(OP.global_set, state);
    to.op(OP.global_get, fuel);
    to.byte(OP.i32_const);
    to.i32(~REWINDING_FUEL);
    to.byte(OP.i32_and);
    to.op(OP.global_set, fuel);
  }

  /** Jumps to the point that is rewound to; to the innermost label if that is `own`. Never goes on behind itself. */
  private jump(region: Construct, own: number, to: Writer): void {
    const { constructs, labels, point } = this;
    const targets: { last: number; label: number }[] = [];
    if (own >= 0) targets.push({ last: own, label: labels.height - 1 });
    for (const { kind, of } of region.items) {
      if (kind === ITEM.point) targets.push({ last: of, label: labels.ofPoint[of]! });
      else if (kind === ITEM.loop && constructs[of]!.isEntered)
        targets.push({ last: constructs[of]!.regionLast, label: labels.ofLoop[of]! });
    }
    const first = own >= 0 ? own : region.first;
    const span = region.regionLast - first + 1;
    // A table has a place for every point of the inner loops too.
    if (span <= 3 * targets.length + 8) {
      this.open(to);
      to.op(OP.local_get, point);
      if (first !== 0) {
        to.byte(OP.i32_const);
        to.i32(first);
        to.byte(OP.i32_sub);
      }
      to.op(OP.br_table, span);
      let at = first;
      for (const { last, label } of targets) for (; at <= last; at++) to.u32(labels.depth(label));
      to.u32(0);
      this.shut(to);
    } else {
      for (const { last, label } of targets) {
        to.op(OP.local_get, point);
        to.byte(OP.i32_const);
        to.i32(last + 1);
        to.byte(OP.i32_lt_u);
        to.op(OP.br_if, labels.depth(label));
      }
    }
    to.byte(OP.unreachable);
  }

  /**
   * Writes the function around its `code`. `kept` are the local variables that a frame holds, `counted` says that its
   * head takes fuel.
   */
  wrap(type: FunctionType, code: Writer, counted: boolean, kept: readonly number[], ends: boolean, to: Writer): void {
    const { locals, labels, additions, point } = this;
    const root = this.constructs[0]!;
    let bytes = 4;
    const offsets: number[] = [];
    for (const local of kept) {
      const size = VALUE_BYTES[locals.typeOf(local)]!;
      if (size === 0) throw notExecutable('a function holds a reference while it may be suspended');
      offsets.push(bytes);
      bytes += size;
    }

    locals.write(to);
    to.byte(OP.block);
    to.byte(I32);
    labels.height = 2;
    this.openRegion(root, to);
    const restore = (): void => this.restore(kept, offsets, bytes, to);
    if (counted) this.countedHead(root, 0, to, restore);
    else {
      this.open(to);
      to.op(OP.global_get, additions.state);
      to.byte(OP.i32_eqz);
      to.op(OP.br_if, 0);
      restore();
      this.jump(root, -1, to);
      this.shut(to);
    }
    to.raw(code.written);
    if (ends) to.byte(OP.return);
    to.byte(OP.end);
    to.op(OP.local_set, point);
    this.save(kept, offsets, bytes, to);
    for (const result of type.results) zero(result, to);
    to.byte(OP.end);
  }

  private save(kept: readonly number[], offsets: readonly number[], bytes: number, to: Writer): void {
    const { additions, scratch, point, locals } = this;
    to.op(OP.global_get, additions.end);
    to.op(OP.global_get, additions.sp);
    to.op(OP.local_tee, scratch);
    to.byte(OP.i32_sub);
    to.byte(OP.i32_const);
    to.i32(bytes);
    to.byte(OP.i32_lt_u);
    to.byte(OP.if);
    to.byte(EMPTY);
    to.byte(OP.i32_const);
    to.i32(bytes);
    to.op(OP.call, additions.room);
    to.byte(OP.end);
    const put = (local: number, type: number, offset: number): void => {
      to.op(OP.local_get, scratch);
      to.op(OP.local_get, local);
      for (const byte of STORE[type]!) to.byte(byte);
      to.byte(0);
      to.u32(offset);
    };
    put(point, I32, 0);
    for (const [i, local] of kept.entries()) put(local, locals.typeOf(local), offsets[i]!);
    to.op(OP.local_get, scratch);
    to.byte(OP.i32_const);
    to.i32(bytes);
    to.byte(OP.i32_add);
    to.op(OP.global_set, additions.sp);
  }

  private restore(kept: readonly number[], offsets: readonly number[], bytes: number, to: Writer): void {
    const { additions, scratch, point, locals } = this;
    to.op(OP.global_get, additions.sp);
    to.byte(OP.i32_const);
    to.i32(bytes);
    to.byte(OP.i32_sub);
    to.op(OP.local_tee, scratch);
    to.op(OP.global_set, additions.sp);
    const get = (local: number, type: number, offset: number): void => {
      to.op(OP.local_get, scratch);
      for (const byte of LOAD[type]!) to.byte(byte);
      to.byte(0);
      to.u32(offset);
      to.op(OP.local_set, local);
    };
    get(point, I32, 0);
    for (const [i, local] of kept.entries()) get(local, locals.typeOf(local), offsets[i]!);
    if (this.turns < 0) return;
    // The next head of a leaf loop that is come to is the one that is rewound to: it is to look at the state.
    to.byte(OP.i32_const);
    to.i32(-1);
    to.op(OP.local_set, this.turns);
  }
}

function zero(type: number, to: Writer): void {
  switch (type) {
    case I32:
    case I64:
      to.byte(type === I32 ? OP.i32_const : OP.i64_const);
      to.byte(0);
      break;
    case F32:
    case F64:
      to.byte(type === F32 ? OP.f32_const : OP.f64_const);
      for (let i = VALUE_BYTES[type]!; i > 0; i--) to.byte(0);
      break;
    case V128:
      to.byte(OP.prefix_fd);
      to.u32(OP.v128_const - 0x200);
      for (let i = 16; i > 0; i--) to.byte(0);
      break;
    default:
      to.byte(OP.ref_null);
      to.byte(type);
  }
}
