// The local variables of one function: its parameters, those it declares, and those that preparing it adds.
import type { FunctionType } from './module.ts';
import { MOST_LOCALS, valueBytes } from './module.ts';
import { notExecutable, type Reader } from './reader.ts';
import type { Writer } from './writer.ts';

export class Locals {
  private readonly firsts: number[] = [];
  private readonly types: number[] = [];
  private readonly params: number;
  /** How many there are, parameters included. */
  count: number;

  /** Reads the declarations at the head of a body; `body` is at the first instruction afterwards. */
  constructor(type: FunctionType, body: Reader) {
    this.params = type.params.length;
    this.count = 0;
    for (const param of type.params) this.add(param, 1);
    for (let runs = body.count(); runs > 0; runs--) {
      const n = body.u32();
      const valueType = body.byte();
      valueBytes(valueType);
      this.add(valueType, n);
    }
  }

  /** The index of the first of `n` new ones. */
  add(type: number, n: number): number {
    if (n > MOST_LOCALS - this.count) throw notExecutable(`a function needs more than ${MOST_LOCALS} local variables`);
    const first = this.count;
    const last = this.types.length - 1;
    // A parameter is never declared, so what is declared does not continue a run of parameters.
    if (n > 0 && (this.types[last] !== type || first === this.params)) {
      this.firsts.push(first);
      this.types.push(type);
    }
    this.count += n;
    return first;
  }

  typeOf(index: number): number {
    if (index >= this.count) throw notExecutable(`there is no local variable ${index}`);
    const { firsts } = this;
    let low = 0;
    for (let high = firsts.length - 1; low < high; ) {
      const middle = (low + high + 1) >> 1;
      if (firsts[middle]! <= index) low = middle;
      else high = middle - 1;
    }
    return this.types[low]!;
  }

  /** The declarations, as they stand at the head of a body. */
  write(to: Writer): void {
    const from = this.firsts.findIndex(first => first >= this.params);
    const runs = from < 0 ? 0 : this.firsts.length - from;
    to.u32(runs);
    for (let i = this.firsts.length - runs; i < this.firsts.length; i++) {
      to.u32((this.firsts[i + 1] ?? this.count) - this.firsts[i]!);
      to.byte(this.types[i]!);
    }
  }
}
