// Which functions of a program may suspend, and where endless recursion is noticed.
import { Instructions } from './instructions.ts';
import { Locals } from './locals.ts';
import type { FunctionType, Module } from './module.ts';
import { KIND, SECTION, valueBytes } from './module.ts';
import { OP } from './opcodes.ts';
import { notExecutable, Reader } from './reader.ts';

/** Types that are the same to call_indirect have the same key. */
const keyOf = (type: FunctionType): string => `${type.params.join()}>${type.results.join()}`;

export class CallGraph {
  private readonly module: Module;
  /** Of each function body, and behind them of each signature, the nodes it leads to. */
  private readonly edges: number[][] = [];
  /** The signature of each type, as the number of a node. */
  private readonly signatures: number[] = [];
  /** By body: it reaches an import, an indirect call or a loop. */
  readonly maySuspend: Uint8Array;
  /** By body: turns of recursion are counted at its head. */
  readonly counted: Uint8Array;
  /** Whether the loops are jumped back to, all of them in the order of the code. */
  readonly loops: boolean[] = [];
  /** Where the loops of a body begin in `loops`. */
  readonly firstLoop: number[] = [];
  /** Imported functions can be reached through a table. */
  importsInTables = false;
  /** No code changes a table. */
  keepsTables = true;

  constructor(module: Module) {
    this.module = module;
    const bodies = module.bodies.length;
    this.maySuspend = new Uint8Array(bodies);
    const byKey = new Map<string, number>();
    for (const type of module.types) {
      const key = keyOf(type);
      let node = byKey.get(key);
      if (node === undefined) {
        node = bodies + byKey.size;
        byKey.set(key, node);
      }
      this.signatures.push(node);
    }
    for (let node = 0; node < bodies + byKey.size; node++) this.edges.push([]);
    this.counted = new Uint8Array(this.edges.length);
    this.readElements();
  }

  /** Reads one function body. All are to be read, in order, before `finish`. */
  readBody(body: number): void {
    const { module, edges } = this;
    const span = module.bodies[body]!;
    const reader = new Reader(module.bytes, span.from, span.to);
    new Locals(module.typeOfFunction(module.imports + body), reader);
    const calls = new Set<number>();
    // The loop that each open construct is, or -1.
    const open = [-1];
    this.firstLoop.push(this.loops.length);
    let suspends = false;
    const jump = (label: number): void => {
      const loop = open[open.length - 1 - label];
      if (loop === undefined) throw notExecutable(`there is no label ${label}`);
      if (loop < 0) return;
      this.loops[loop] = true;
      suspends = true;
    };
    const at = new Instructions(reader);
    while (open.length > 0) {
      at.next();
      switch (at.op) {
        case OP.loop:
          open.push(this.loops.length);
          this.loops.push(false);
          break;
        case OP.block:
        case OP.if:
        case OP.try:
          open.push(-1);
          break;
        case OP.end:
        case OP.delegate:
          open.pop();
          break;
        case OP.br:
        case OP.br_if:
          jump(at.imm);
          break;
        case OP.br_table: {
          const labels = new Reader(module.bytes, at.second, reader.pos);
          while (!labels.done) jump(labels.u32());
          break;
        }
        case OP.call:
          module.typeOfFunction(at.imm);
          if (at.imm < module.imports) suspends = true;
          else calls.add(at.imm - module.imports);
          break;
        case OP.call_indirect:
          module.typeOf(at.imm);
          calls.add(this.signatures[at.imm]!);
          suspends = true;
          break;
        case OP.ref_func:
          this.addressTaken(at.imm);
          break;
        case OP.table_set:
        case OP.table_init:
        case OP.table_copy:
        case OP.table_grow:
        case OP.table_fill:
          this.keepsTables = false;
          break;
      }
    }
    if (!reader.done) throw notExecutable('a function ends before its body does');
    edges[body] = [...calls];
    if (suspends) this.maySuspend[body] = 1;
  }

  /** Works out who may suspend and who is counted. */
  finish(): void {
    this.breakCycles();
    this.spread();
  }

  private addressTaken(index: number): void {
    const { module } = this;
    module.typeOfFunction(index);
    if (index < module.imports) this.importsInTables = true;
    else this.edges[this.signatures[module.functionTypes[index]!]!]!.push(index - module.imports);
  }

  /** Functions that element segments name may be called through a table. */
  private readElements(): void {
    const section = this.module.section(SECTION.element);
    if (section === undefined) return;
    for (let n = section.count(); n > 0; n--) {
      eachElement(section, index => this.addressTaken(index));
    }
    if (!section.done) throw notExecutable('the element section is longer than what is in it');
  }

  /** Who calls one that may suspend may suspend. */
  private spread(): void {
    const callers: number[][] = this.edges.map(() => []);
    for (let from = 0; from < this.edges.length; from++) for (const to of this.edges[from]!) callers[to]!.push(from);
    const waiting: number[] = [];
    for (let body = 0; body < this.maySuspend.length; body++) if (this.maySuspend[body]) waiting.push(body);
    for (let body = waiting.pop(); body !== undefined; body = waiting.pop()) {
      for (const caller of callers[body]!) {
        // A signature is no function: who calls through one may suspend anyway.
        if (caller >= this.maySuspend.length || this.maySuspend[caller]) continue;
        this.maySuspend[caller] = 1;
        waiting.push(caller);
      }
    }
  }

  /**
   * Counts the functions that a depth-first walk comes back to while they are open: every cycle of calls has one.
   * What is counted may suspend.
   */
  private breakCycles(): void {
    const { edges, counted } = this;
    const OPEN = 1;
    const LEFT = 2;
    const state = new Uint8Array(edges.length);
    const next = new Uint32Array(edges.length);
    for (let root = 0; root < edges.length; root++) {
      if (state[root] !== 0) continue;
      const path = [root];
      state[root] = OPEN;
      while (path.length > 0) {
        const node = path[path.length - 1]!;
        const to = edges[node]![next[node]!++];
        if (to === undefined) {
          state[node] = LEFT;
          path.pop();
        } else if (state[to] === OPEN) counted[to] = 1;
        else if (state[to] === 0) {
          state[to] = OPEN;
          path.push(to);
        }
      }
    }
    // A cycle that closes at a signature goes through a function that has it.
    const bodies = this.maySuspend.length;
    for (let node = bodies; node < edges.length; node++) {
      if (counted[node]) for (const body of edges[node]!) counted[body] = 1;
    }
    for (let body = 0; body < bodies; body++) if (counted[body]) this.maySuspend[body] = 1;
  }
}

/** Calls `told` with each function that an element segment names; `section` is behind the segment afterwards. */
export function eachElement(section: Reader, told: (index: number, from: number, to: number) => void): void {
  const flags = section.u32();
  if (flags > 7) throw notExecutable('an element segment of an unknown kind');
  const passive = (flags & 1) !== 0;
  if (!passive && flags & 2) section.u32();
  if (!passive) eachFunctionOfConstant(section, told);
  const expressions = (flags & 4) !== 0;
  if (flags & 3) {
    const kind = section.byte();
    if (expressions) valueBytes(kind);
    else if (kind !== KIND.function) throw notExecutable('an element segment of an unknown kind');
  }
  for (let n = section.count(); n > 0; n--) {
    if (expressions) eachFunctionOfConstant(section, told);
    else {
      const from = section.pos;
      told(section.u32(), from, section.pos);
    }
  }
}

/** Passes over a constant; `told` hears of each ref.func in it, and where its index stands. */
export function eachFunctionOfConstant(reader: Reader, told: (index: number, from: number, to: number) => void): void {
  const at = new Instructions(reader);
  do {
    at.next();
    if (at.op >= OP.block && at.op <= OP.else) throw notExecutable('a constant with blocks in it');
    if (at.op === OP.ref_func) told(at.imm, at.start + 1, reader.pos);
  } while (at.op !== OP.end);
}
