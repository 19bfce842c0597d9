// The outline of one function that may suspend: its suspension points, and the constructs that have some within.
//
// A point is numbered in the order of the code; number 0 is the head of the function. A *region* is a stretch of code
// that is entered at one place while rewinding: the function, and the body of each loop that is jumped back to. From
// there one jump leads to any point of it that is not within an inner loop, and to the head of each inner loop. For
// that to be possible, the blocks of a region that have points within are all opened at its head (what stands before
// them is then within them, where it does the same), together with one label for each point, innermost the one that ends
// first. An `if` with points within becomes two such blocks. So a region costs nothing where it is not rewound.
import type { CallGraph } from './call-graph.ts';
import { Instructions } from './instructions.ts';
import { EVENT, Liveness } from './liveness.ts';
import { CATCH_ALL, type Module } from './module.ts';
import { OP } from './opcodes.ts';
import { notExecutable, Reader } from './reader.ts';

/** What ends in a region, in the order of its ends; each is a label that is opened at the head of the region. */
export const ITEM = {
  /** A call; its label ends before the call. `of` is its number. */
  point: 0,
  /** A loop or a try; its label ends before it. `of` is the construct. */
  loop: 1,
  /** A block or an `if`, with its end. */
  end: 2,
  /** The first arm of an `if`. */
  else: 3,
  /** The `nth` catch of a try; its label ends before what the catch does. */
  catch: 4,
} as const;
export interface Item {
  readonly kind: number;
  readonly of: number;
  readonly nth?: number;
}

export class Construct {
  readonly op: number;
  /** Of a block's type. */
  readonly type: number;
  /** The number of a loop that is jumped back to; of the first point within otherwise. */
  readonly first: number;
  last = 0;
  /** A loop that is jumped back to. */
  readonly isLoop: boolean;
  hasElse = false;
  /** Of a try: the tags of its catches, and the last point of its body. */
  readonly catches: number[] = [];
  bodyLast = -1;
  /** The items of a region; empty for what is no region. */
  readonly items: Item[] = [];
  constructor(op: number, type: number, first: number, isLoop: boolean) {
    this.op = op;
    this.type = type;
    this.first = first;
    this.isLoop = isLoop;
  }
  get isIf(): boolean {
    return this.op === OP.if;
  }
  get isTry(): boolean {
    return this.op === OP.try;
  }
  /** The last point of the region that it is. */
  get regionLast(): number {
    return this.isTry ? this.bodyLast : this.last;
  }
  /** Code jumps to its head while rewinding: it is a region with points. */
  get isEntered(): boolean {
    return this.isLoop || (this.isTry && this.bodyLast >= this.first);
  }
  /** There are points within, or it is one. */
  get marked(): boolean {
    return this.last >= this.first;
  }
  /** A loop with no point but its own head. */
  get isLeaf(): boolean {
    return this.last === this.first;
  }
}

export class Outline {
  /** In the order in which they open; the first is the function. Those in code that nothing reaches are left out. */
  readonly constructs: Construct[] = [];
  /** Local variables that are read, and where they matter. */
  readonly liveness = new Liveness();
  /** Points of the function, loop heads included. */
  get points(): number {
    return this.constructs[0]!.last;
  }

  constructor(module: Module, graph: CallGraph, body: number, code: Reader) {
    const { constructs, liveness } = this;
    const root = new Construct(OP.block, -0x40, 1, false);
    constructs.push(root);
    const open: number[] = [0];
    const regions: Construct[] = [root];
    let points = 0;
    let tries = 0;
    let loop = graph.firstLoop[body]!;
    // Blocks open in code that nothing reaches, -1 in code that is reached.
    let dead = -1;
    const target = (label: number): number => {
      const of = open[open.length - 1 - label];
      if (of === undefined) throw notExecutable(`there is no label ${label}`);
      return of;
    };
    /** The body of the try ends; what it catches belongs to the region around it. */
    const endBody = (construct: Construct): void => {
      construct.bodyLast = points;
      regions.pop();
    };
    const at = new Instructions(code);
    while (open.length > 0) {
      at.next();
      const { op } = at;
      const region = regions[regions.length - 1]!;
      if (op === OP.block || op === OP.loop || op === OP.if || op === OP.try) {
        const isLoop = op === OP.loop && graph.loops[loop++]!;
        if (dead >= 0) {
          dead++;
          continue;
        }
        const construct = new Construct(op, at.imm, points + 1, isLoop);
        if (construct.isTry) tries++;
        if (isLoop) points++;
        if (isLoop || construct.isTry) {
          region.items.push({ kind: ITEM.loop, of: constructs.length });
          regions.push(construct);
        }
        liveness.add(EVENT.open, constructs.length);
        open.push(constructs.length);
        constructs.push(construct);
      } else if (op === OP.else) {
        if (dead > 0) continue;
        dead = -1;
        const of = open[open.length - 1]!;
        const construct = constructs[of]!;
        if (construct.op !== OP.if || construct.hasElse) throw notExecutable('an else without its if');
        construct.hasElse = true;
        liveness.add(EVENT.else, of);
        region.items.push({ kind: ITEM.else, of });
      } else if (op === OP.catch || op === OP.catch_all) {
        if (dead > 0) continue;
        dead = -1;
        const of = open[open.length - 1]!;
        const construct = constructs[of]!;
        if (!construct.isTry || construct.catches.at(-1) === CATCH_ALL) throw notExecutable('a catch without its try');
        const nth = construct.catches.length;
        if (nth === 0) endBody(construct);
        liveness.add(nth === 0 ? EVENT.firstCatch : EVENT.catch, of);
        regions[regions.length - 1]!.items.push({ kind: ITEM.catch, of, nth });
        construct.catches.push(op === OP.catch ? at.imm : CATCH_ALL);
      } else if (op === OP.end || op === OP.delegate) {
        if (dead > 0) {
          dead--;
          continue;
        }
        dead = -1;
        const of = open.pop()!;
        const construct = constructs[of]!;
        construct.last = points;
        liveness.add(EVENT.end, of);
        if (op === OP.delegate && (!construct.isTry || construct.catches.length > 0))
          throw notExecutable('a delegate without its try');
        if (construct.isTry && construct.catches.length === 0) endBody(construct);
        if (construct.isLoop) regions.pop();
        else if (of !== 0 && construct.marked) {
          // The arm that is not there passes the parameters on.
          if (construct.op === OP.if && !construct.hasElse && paramsOf(module, construct) > 0)
            region.items.push({ kind: ITEM.else, of });
          regions[regions.length - 1]!.items.push({ kind: ITEM.end, of });
        }
      } else if (dead < 0) {
        switch (op) {
          case OP.br:
            liveness.add(EVENT.jump, target(at.imm));
            dead = 0;
            break;
          case OP.br_if:
            liveness.add(EVENT.jumpIf, target(at.imm));
            break;
          case OP.br_table: {
            const labels = new Reader(module.bytes, at.second, code.pos);
            // Backwards: nothing is live behind it, then what is live where any of them leads.
            for (let i = 0; i <= at.imm; i++) liveness.add(EVENT.jumpIf, target(labels.u32()));
            liveness.add(EVENT.leave, 0);
            dead = 0;
            break;
          }
          case OP.throw:
          case OP.rethrow:
            liveness.add(EVENT.mayThrow, 0);
            liveness.add(EVENT.leave, 0);
            dead = 0;
            break;
          case OP.return:
          case OP.unreachable:
            liveness.add(EVENT.leave, 0);
            dead = 0;
            break;
          case OP.local_get:
            liveness.add(EVENT.get, at.imm);
            break;
          case OP.local_set:
          case OP.local_tee:
            liveness.add(EVENT.set, at.imm);
            break;
          case OP.call:
          case OP.call_indirect:
            if (op === OP.call && !suspends(module, graph, at.imm)) {
              if (tries > 0) liveness.add(EVENT.mayThrow, 0);
              break;
            }
            region.items.push({ kind: ITEM.point, of: ++points });
            liveness.add(EVENT.point, points);
            break;
        }
      }
    }
    if (!code.done) throw notExecutable('a function ends before its body does');
  }
}

function paramsOf(module: Module, construct: Construct): number {
  return construct.type < 0 ? 0 : module.typeOf(construct.type).params.length;
}

/** Whether a call of function `index` is a point. */
export function suspends(module: Module, graph: CallGraph, index: number): boolean {
  return index < module.imports || graph.maySuspend[index - module.imports] === 1;
}
