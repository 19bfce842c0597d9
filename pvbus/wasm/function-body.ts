// One function body, written anew: with points at which it may suspend, or only with the indices that have moved.
import type { CallGraph } from './call-graph.ts';
import { Instructions } from './instructions.ts';
import { Locals } from './locals.ts';
import { CATCH_ALL, type FunctionType, type Module } from './module.ts';
import { FUNCREF, I32, OP, SIGNATURES, VALUE_BYTES } from './opcodes.ts';
import { type KnownOperand, OperandStack } from './operand-stack.ts';
import { type Construct, Outline, suspends } from './outline.ts';
import { notExecutable, Reader } from './reader.ts';
import { type Additions, Labels, Suspension } from './suspension.ts';
import { Writer } from './writer.ts';

const NONE = new Uint8Array(0);
/** A block's types that are no function types, by their number without its sign. */
const SHORT_TYPES: (FunctionType | undefined)[] = [];
for (const type of Object.keys(VALUE_BYTES).map(Number))
  SHORT_TYPES[0x80 - type] = { params: NONE, results: Uint8Array.of(type) };
SHORT_TYPES[0x40] = { params: NONE, results: NONE };
/** xenolith.grow and xenolith.room. */
export const ADDED_IMPORTS = 2;

/** A construct that is open while its code is written. */
class Frame {
  /** Its number in the outline. */
  readonly of: number;
  readonly construct: Construct;
  readonly params: Uint8Array;
  readonly results: Uint8Array;
  readonly label: number;
  /** Its parameters, where they are known. */
  readonly kept: readonly KnownOperand[];
  /** Of the operand stack: where it begins, and how it was around it. */
  readonly low: number;
  readonly base: number;
  readonly pushedFrom: number;
  /** Nothing comes to where the code is now. */
  dead = false;
  inElse = false;
  /** A try's own label, where branches to the construct lead behind its catches. */
  tryLabel = -1;
  caught = 0;
  constructor(
    of: number,
    construct: Construct,
    params: Uint8Array,
    results: Uint8Array,
    label: number,
    kept: readonly KnownOperand[],
    stack: OperandStack,
  ) {
    this.of = of;
    this.construct = construct;
    this.params = params;
    this.results = results;
    this.label = label;
    this.kept = kept;
    this.low = stack.top;
    this.base = stack.base;
    this.pushedFrom = stack.pushedFrom;
  }
}

const NOTHING_KNOWN: readonly KnownOperand[] = [];
const runsOn = new Writer(16);

export class FunctionBody {
  private readonly module: Module;
  private readonly graph: CallGraph;
  private readonly additions: Additions;
  private readonly reader: Reader;
  private readonly type: FunctionType;
  private readonly constructs: readonly Construct[];
  private readonly labels = new Labels();
  private readonly suspension: Suspension;
  private readonly stack: OperandStack;
  private readonly locals: Locals;
  private readonly code: Writer;
  private readonly at: Instructions;
  private readonly frames: Frame[] = [];
  private readonly outline: Outline;
  private opened = 0;
  private points = 0;
  /** The code's end is come to. */
  private ends = false;

  /** `code` is written over. */
  constructor(module: Module, graph: CallGraph, additions: Additions, body: number, code: Writer) {
    this.module = module;
    this.graph = graph;
    this.additions = additions;
    this.code = code;
    code.clear();
    const { from, to } = module.bodies[body]!;
    this.reader = new Reader(module.bytes, from, to);
    this.type = module.typeOfFunction(module.imports + body);
    this.locals = new Locals(this.type, this.reader);
    this.outline = new Outline(module, graph, body, new Reader(module.bytes, this.reader.pos, to));
    this.constructs = this.outline.constructs;
    this.stack = new OperandStack(code, module.bytes, this.locals);
    this.suspension = new Suspension(module, additions, this.constructs, this.labels, this.locals);
    this.at = new Instructions(this.reader);
  }

  /** Writes it as one that may suspend; `counted` at its head too. */
  write(counted: boolean, to: Writer): void {
    const { suspension, stack, labels } = this;
    runsOn.clear();
    suspension.openRegion(this.constructs[0]!, runsOn);
    this.enter(0, { params: NONE, results: this.type.results }, 0);
    while (this.frames.length > 0) this.step();
    if (!this.reader.done) throw notExecutable('a function ends before its body does');
    // invariant: every label of the function's region has ended.
    if (labels.height !== 2 || this.points !== this.outline.points) throw new Error('points and labels do not match');
    const kept = [...new Set([...this.outline.liveness.kept(this.constructs, counted), ...stack.kept])];
    kept.sort((a, b) => a - b);
    suspension.wrap(this.type, this.code, counted, kept, this.ends, to);
  }

  private enter(of: number, type: FunctionType, label: number, kept: readonly KnownOperand[] = NOTHING_KNOWN): void {
    const { stack } = this;
    this.frames.push(new Frame(of, this.constructs[of]!, type.params, type.results, label, kept, stack));
    stack.enter();
  }

  private frame(label: number): Frame {
    const frame = this.frames[this.frames.length - 1 - label];
    if (frame === undefined) throw notExecutable(`there is no label ${label}`);
    return frame;
  }

  /** The instruction as it is in the program. */
  private copy(): void {
    this.code.copy(this.module.bytes, this.at.start, this.reader.pos);
  }

  private step(): void {
    const { at, stack, code } = this;
    at.next();
    const { op } = at;
    if (this.frames[this.frames.length - 1]!.dead) {
      this.skipDead();
      return;
    }
    const signature = SIGNATURES[op];
    if (signature !== undefined) {
      stack.take(signature.pops);
      this.copy();
      if (signature.pushes !== 0) stack.push(signature.pushes);
      return;
    }
    switch (op) {
      case OP.nop:
        break;
      case OP.local_get:
        stack.pushLocal(at.imm);
        break;
      case OP.i32_const:
      case OP.i64_const:
      case OP.f32_const:
      case OP.f64_const:
        // i32.const is 0x41 and i32 0x7f; the others follow in both.
        stack.pushConstant(I32 - (op - OP.i32_const), at.start, this.reader.pos);
        break;
      case OP.local_set:
        stack.take(1);
        stack.beforeSetting(at.imm);
        this.copy();
        break;
      case OP.local_tee:
        stack.take(1);
        stack.beforeSetting(at.imm);
        this.copy();
        stack.push(this.locals.typeOf(at.imm));
        break;
      case OP.drop:
        stack.drop();
        break;
      case OP.call:
      case OP.call_indirect:
        this.call();
        break;
      case OP.memory_size:
        stack.take(0);
        code.op(OP.global_get, this.additions.pages);
        stack.push(I32);
        break;
      case OP.memory_grow:
        stack.take(1);
        code.op(OP.call, this.additions.grow);
        stack.push(I32);
        break;
      case OP.catch_all:
      case OP.delegate:
        this.control();
        break;
      default:
        if (op <= OP.return) this.control();
        else this.plain();
    }
  }

  /** Instructions whose types hang on what they name. */
  private plain(): void {
    const { at, stack, module, code } = this;
    let pushes = 0;
    switch (at.op) {
      case OP.select:
        pushes = stack.typeAt(1);
        stack.take(3);
        break;
      case OP.select_t:
        stack.take(3);
        pushes = at.imm;
        break;
      case OP.global_get:
        stack.take(0);
        pushes = this.known(module.globalTypes, at.imm, 'global variable');
        break;
      case OP.global_set:
        stack.take(1);
        this.known(module.globalTypes, at.imm, 'global variable');
        break;
      case OP.table_get:
        stack.take(1);
        pushes = this.known(module.tableTypes, at.imm, 'table');
        break;
      case OP.table_set:
        stack.take(2);
        break;
      case OP.ref_null:
        stack.take(0);
        pushes = at.imm;
        break;
      case OP.ref_is_null:
        stack.take(1);
        pushes = I32;
        break;
      case OP.ref_func:
        stack.take(0);
        code.op(OP.ref_func, moved(module, at.imm));
        stack.push(FUNCREF);
        return;
      default:
        throw new Error(`instruction 0x${at.op.toString(16)} is not handled`);
    }
    this.copy();
    if (pushes !== 0) stack.push(pushes);
  }

  private known(types: readonly number[], index: number, what: string): number {
    const type = types[index];
    if (type === undefined) throw notExecutable(`there is no ${what} ${index}`);
    return type;
  }

  private call(): void {
    const { at, stack, module, code, graph } = this;
    const indirect = at.op === OP.call_indirect;
    const { params, results } = indirect ? module.typeOf(at.imm) : module.typeOfFunction(at.imm);
    const pops = params.length + (indirect ? 1 : 0);
    const point = indirect || suspends(module, graph, at.imm) ? ++this.points : 0;
    if (point > 0) {
      // A function of the program has its parameters in its own frame; an import is called with the same ones again.
      const again = indirect ? graph.importsInTables : at.imm < module.imports;
      stack.unpushForCall(pops, again ? 0 : params.length);
      this.labels.close(this.labels.ofPoint[point], code);
    }
    stack.take(pops);
    if (indirect) this.copy();
    else code.op(OP.call, moved(module, at.imm));
    if (point > 0) this.suspension.leaveIfUnwinding(point, code);
    stack.pushAll(results);
  }

  private control(): void {
    const { at, stack, code, labels } = this;
    switch (at.op) {
      case OP.block:
      case OP.loop:
      case OP.if:
      case OP.try:
        this.open();
        break;
      case OP.catch:
      case OP.catch_all:
        this.catch();
        break;
      case OP.delegate:
        this.delegate();
        break;
      case OP.throw:
        stack.take(this.module.carriedBy(at.imm).length);
        this.copy();
        this.die();
        break;
      case OP.rethrow: {
        const { construct, label } = this.frame(at.imm);
        if (construct.marked) throw notExecutable('it throws again what it caught where it may be suspended');
        stack.take(0);
        code.op(OP.rethrow, labels.depth(label));
        this.die();
        break;
      }
      case OP.else:
        this.else();
        break;
      case OP.end:
        this.close();
        break;
      case OP.br:
      case OP.br_if: {
        const target = this.frame(at.imm);
        const types = target.construct.isLoop ? target.params : target.results;
        stack.take(types.length + (at.op === OP.br_if ? 1 : 0));
        code.op(at.op, labels.depth(target.label));
        if (at.op === OP.br_if) stack.pushAll(types);
        else this.die();
        break;
      }
      case OP.br_table:
        this.table();
        break;
      case OP.return:
        stack.take(this.type.results.length);
        this.copy();
        this.die();
        break;
      default:
        stack.take(0);
        this.copy();
        this.die();
    }
  }

  private table(): void {
    const { at, stack, code, labels, module } = this;
    const targets = new Reader(module.bytes, at.second, this.reader.pos);
    const last = this.frame(lastLabel(targets, at.imm));
    stack.take((last.construct.isLoop ? last.params : last.results).length + 1);
    targets.pos = at.second;
    code.op(OP.br_table, at.imm);
    for (let i = 0; i <= at.imm; i++) code.u32(labels.depth(this.frame(targets.u32()).label));
    this.die();
  }

  /** Nothing comes to what follows, up to the end of the construct. */
  private die(): void {
    const { stack } = this;
    const frame = this.frames[this.frames.length - 1]!;
    frame.dead = true;
    stack.cut(frame.low);
    this.deadBlocks = 0;
  }

  private deadBlocks = 0;

  private skipDead(): void {
    const { op } = this.at;
    if (op === OP.block || op === OP.loop || op === OP.if || op === OP.try) this.deadBlocks++;
    else if ((op === OP.end || op === OP.delegate) && this.deadBlocks > 0) this.deadBlocks--;
    else if (op === OP.delegate) this.delegate();
    else if ((op === OP.catch || op === OP.catch_all) && this.deadBlocks === 0) this.catch();
    else if (op === OP.end) this.close();
    else if (op === OP.else && this.deadBlocks === 0) this.else();
  }

  private open(): void {
    const { at, stack, code, labels, suspension } = this;
    const of = ++this.opened;
    const construct = this.constructs[of]!;
    const type = this.blockType(at.imm);
    const { params } = type;
    if (!construct.marked) {
      stack.take(params.length + (at.op === OP.if ? 1 : 0));
      stack.settle();
      this.copy();
      this.enter(of, type, labels.height++);
      stack.pushAll(params);
      return;
    }
    if (at.op === OP.if) this.condition(of);
    stack.unpush();
    stack.settle();
    if (construct.isLoop) stack.settleParameters(params.length);
    const kept = stack.pop(params.length);
    if (construct.isTry) {
      if (construct.isEntered) labels.close(labels.ofLoop[of], code);
      code.byte(OP.try);
      code.s33(suspension.typeWithoutParams(construct.type));
      this.enter(of, type, labels.ofConstruct[of]!, kept);
      this.frames[this.frames.length - 1]!.tryLabel = labels.height++;
      stack.restore(kept);
      suspension.openRegion(construct, code);
      if (construct.isEntered) suspension.tryHead(construct, code);
      return;
    }
    if (!construct.isLoop) {
      this.enter(of, type, labels.ofConstruct[of]!, kept);
      stack.restore(kept);
      return;
    }
    this.points++;
    labels.close(labels.ofLoop[of], code);
    stack.write(kept);
    this.copy();
    this.enter(of, type, labels.height++, kept);
    stack.popIntoTemporaries(params);
    suspension.openRegion(construct, code);
    suspension.loopHead(construct, code);
  }

  /** An `if` with points within: its condition leads to the second arm, or goes on to the first. */
  private condition(of: number): void {
    const { stack, code, labels } = this;
    stack.takeOnly();
    stack.settle();
    code.byte(OP.i32_eqz);
    code.op(OP.br_if, labels.depth(labels.ofElse[of] ?? labels.ofConstruct[of]!));
  }

  private blockType(type: number): FunctionType {
    if (type >= 0) return this.module.typeOf(type);
    const short = SHORT_TYPES[-type];
    if (short === undefined) throw notExecutable(`there is no value type ${type}`);
    return short;
  }

  /** The end of an arm or a construct: its results, and nothing else, are on the stack. */
  private takeResults(frame: Frame): void {
    const { stack } = this;
    if (!frame.dead) stack.take(frame.results.length);
    if (stack.top !== frame.low) throw notExecutable('operands are left over at the end of a block');
  }

  private else(): void {
    const { stack, code, labels } = this;
    const frame = this.frames[this.frames.length - 1]!;
    this.takeResults(frame);
    if (frame.construct.marked) {
      if (!frame.dead) code.op(OP.br, labels.depth(frame.label));
      labels.close(labels.ofElse[frame.of], code);
      stack.restore(frame.kept);
    } else {
      code.byte(OP.else);
      stack.pushAll(frame.params);
    }
    frame.dead = false;
    frame.inElse = true;
  }

  private catch(): void {
    const { stack, code, labels, at, module } = this;
    const frame = this.frames[this.frames.length - 1]!;
    const { construct, of } = frame;
    this.takeResults(frame);
    const nth = frame.caught++;
    if (!construct.marked) this.copy();
    else {
      const own = labels.ofCatch[of]!;
      if (nth === 0) {
        for (const [i, tag] of construct.catches.entries()) {
          if (tag === CATCH_ALL) code.byte(OP.catch_all);
          else code.op(OP.catch, tag);
          code.op(OP.br, labels.depth(own[i]!));
        }
        labels.close(frame.tryLabel, code);
        code.op(OP.br, labels.depth(frame.label));
      } else if (!frame.dead) code.op(OP.br, labels.depth(frame.label));
      labels.close(own[nth], code);
    }
    stack.pushAll(module.carriedBy(at.op === OP.catch ? at.imm : CATCH_ALL));
    frame.dead = false;
  }

  /** A try without catches ends: another construct's catches are its. */
  private delegate(): void {
    const { code, labels, at } = this;
    const frame = this.frames[this.frames.length - 1]!;
    const target = this.frame(at.imm + 1);
    this.takeResults(frame);
    this.frames.pop();
    labels.height--;
    code.op(OP.delegate, labels.depth(target.caught === 0 && target.tryLabel >= 0 ? target.tryLabel : target.label));
    if (frame.construct.marked) labels.close(frame.label, code);
    this.leave(frame);
  }

  private leave(frame: Frame): void {
    this.stack.leave(frame.base, frame.pushedFrom);
    this.stack.pushAll(frame.results);
  }

  private close(): void {
    const { code, labels } = this;
    const frame = this.frames[this.frames.length - 1]!;
    const { construct, of } = frame;
    if (construct.op === OP.if && construct.marked && !frame.inElse && labels.ofElse[of] !== undefined) this.else();
    this.takeResults(frame);
    this.frames.pop();
    if (of === 0) {
      this.ends = !frame.dead;
      return;
    }
    if (frame.tryLabel >= 0 && frame.caught === 0) labels.close(frame.tryLabel, code);
    labels.close(frame.label, code);
    this.leave(frame);
  }
}

/** Where a function of the program is once the imports that preparing adds stand before it. */
export function moved(module: Module, index: number): number {
  module.typeOfFunction(index);
  return index < module.imports ? index : index + ADDED_IMPORTS;
}

function lastLabel(labels: Reader, count: number): number {
  for (let i = 0; i < count; i++) labels.u32();
  return labels.u32();
}

/** Writes a function that may not suspend: as it is, but for the indices that have moved. */
export function copyBody(module: Module, additions: Additions, body: number, to: Writer): void {
  const { from, to: end } = module.bodies[body]!;
  const reader = new Reader(module.bytes, from, end);
  new Locals(module.typeOfFunction(module.imports + body), reader);
  const at = new Instructions(reader);
  let copied = from;
  while (!reader.done) {
    at.next();
    const { op } = at;
    if (op !== OP.call && op !== OP.ref_func && op !== OP.memory_size && op !== OP.memory_grow) continue;
    to.copy(module.bytes, copied, at.start);
    copied = reader.pos;
    if (op === OP.memory_size) to.op(OP.global_get, additions.pages);
    else if (op === OP.memory_grow) to.op(OP.call, additions.grow);
    else to.op(op, moved(module, at.imm));
  }
  to.copy(module.bytes, copied, end);
}
