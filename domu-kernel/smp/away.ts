// A process whose program another vCPU runs, as vCPU 0 has it: its calls are made here, over memory that both have.
import { type Log, XenError } from '#pvbus';
import type { MemoryCharge } from '../process/memory-charge.ts';
import { type Elsewhere, type Process, ProcessExit } from '../process/process.ts';
import type { Program, Resumed, RuntimeParts } from '../process/runtime.ts';
import type { Suspended } from '../process/suspended.ts';
import { Wait, YIELD } from '../process/wait.ts';
import { WASM_PAGE, type WasmMemory } from '../process/web-assembly.ts';
import { WaitQueue } from '../wait-queue.ts';
import type { FromLodgers, LodgerKey, ToLodgers, Told } from './lodging.ts';

/** A program that may move, with what it takes to run it here. */
export interface Movable {
  readonly process: Process;
  readonly program: Program;
  readonly charge: MemoryCharge;
  readonly parts: RuntimeParts;
}
type CallMessage = Extract<FromLodgers, { op: 'call' }>;
type Ended = Extract<FromLodgers, { op: 'ended' }>;
/** After so many calls it is looked how much was computed between them: less than that each, and it comes back. */
const CALLS = 64;
const CALL_NS = 50e3;
/** Who wants memory gets as much as this, if there is: it will want more. */
const BATCH_PAGES = 16;

export class Away implements Elsewhere {
  readonly key: LodgerKey;
  readonly vcpu: number;
  /** It was told to come back. */
  leaving = false;
  readonly #movable: Movable;
  readonly #told: Told;
  readonly #send: (message: ToLodgers) => void;
  readonly #news = new WaitQueue();
  #memory: WasmMemory | undefined;
  #call: CallMessage | undefined;
  #answered: { readonly seq: number; readonly value: number } | undefined;
  #left: { readonly from: Suspended; readonly inCall: number | undefined } | undefined;
  #ended: Ended | undefined;
  #calls = 0;
  #markNs = 0;

  constructor(key: LodgerKey, vcpu: number, movable: Movable, told: Told, send: (message: ToLodgers) => void) {
    this.key = key;
    this.vcpu = vcpu;
    this.#movable = movable;
    this.#told = told;
    this.#send = send;
    movable.process.memory = undefined;
    movable.process.elsewhere = this;
  }
  get computes(): boolean {
    return this.#call === undefined && this.#left === undefined && !this.#movable.process.stopped;
  }
  get cpuNs(): number {
    return this.#told.cpuNs;
  }
  get bytes(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }

  // ---- what its vCPU says ----

  lodged(memory: WasmMemory): void {
    const { process } = this.#movable;
    this.#memory = memory;
    process.memory = memory;
    process.limitMemory(this.#told.limit);
  }
  called(message: CallMessage): void {
    this.#call = message;
    this.#news.wakeAll();
  }
  left(from: Suspended, inCall: number | undefined): void {
    this.#left = { from, inCall };
    this.#news.wakeAll();
  }
  ended(message: Ended): void {
    this.#ended = message;
    this.#news.wakeAll();
  }
  /** How many pages it gets. */
  wants(pages: number): number {
    const { charge, process } = this.#movable;
    const more = Math.max(pages, BATCH_PAGES);
    const got = charge.take(more) ? more : charge.take(pages) ? pages : 0;
    process.memoryBytes = charge.pages * WASM_PAGE;
    return got;
  }

  // ---- what vCPU 0's scheduler has it do ----

  /** Makes its call, if it is in one, and waits for the next. Throws ProcessExit when it has ended. */
  run(): Wait {
    const { process, parts } = this.#movable;
    if (this.#ended) return this.#end(this.#ended, parts.log);
    if (this.#call && !this.#left) {
      const outcome = this.#make(this.#call);
      if (outcome) return outcome;
    }
    // In a call others may have run, and it may have been heard of.
    if (this.#ended || this.#left) return YIELD;
    process.endIfKilled();
    return new Wait([this.#news]);
  }
  #make({ seq, from, name, args }: CallMessage): Wait | undefined {
    const { process, parts } = this.#movable;
    this.#see();
    const call = parts.imports[from]?.[name];
    if (call === undefined) throw new XenError('ENOEXEC', `${from}.${name}`); // it was linked to it here, once
    const outcome = call(process, ...(args as never[]));
    if (typeof outcome !== 'number') {
      const now = outcome.queues.length === 0 && outcome.deadlineNs === 0;
      return now ? outcome : new Wait([...outcome.queues, this.#news], outcome.deadlineNs, outcome.limitMs);
    }
    process.endCall();
    this.#call = undefined;
    this.#answered = { seq, value: outcome };
    this.#send({ op: 'answer', key: this.key, value: outcome });
    this.#count();
    return undefined;
  }
  /** Its memory may have grown. */
  #see(): void {
    const { process } = this.#movable;
    // The engine has a buffer anew after each growth, also of another thread's doing.
    this.#memory?.grow(0);
    process.limitMemory(this.#told.limit);
  }
  #count(): void {
    if (++this.#calls < CALLS) return;
    const { cpuNs } = this;
    if (cpuNs - this.#markNs < CALLS * CALL_NS) this.leave();
    this.#calls = 0;
    this.#markNs = cpuNs;
  }
  #end({ status, why, stack }: Ended, log: Log): never {
    const { process, parts } = this.#movable;
    if (why !== undefined) parts.say(process, why);
    if (stack !== undefined) log.info(stack);
    throw new ProcessExit(status);
  }

  leave(): void {
    if (this.leaving) return;
    this.leaving = true;
    this.#send({ op: 'leave', key: this.key });
  }
  pause(on: boolean): void {
    this.#send({ op: 'pause', key: this.key, on });
  }
  /** What there is of it, once it has come back; it is the caller's then. */
  takeBack(): Resumed | undefined {
    const left = this.#left;
    if (left === undefined) return undefined;
    const { process, charge } = this.#movable;
    const { from, inCall } = left;
    charge.giveBack(charge.pages - from.memory.byteLength / WASM_PAGE);
    process.cpuNs += this.cpuNs;
    process.elsewhere = undefined;
    if (inCall === undefined) return { from, answer: undefined };
    // The call went on here while its memory was copied there: what it has stored since is in what both share.
    this.#see();
    new Uint8Array(from.memory).set(process.bytes.subarray(0, from.memory.byteLength));
    const answered = this.#answered?.seq === inCall ? this.#answered : undefined;
    return { from, answer: answered?.value };
  }
  /** Its process has ended. */
  release(): void {
    const { process, charge } = this.#movable;
    if (!this.#left && !this.#ended) this.#send({ op: 'drop', key: this.key });
    process.cpuNs += this.cpuNs;
    process.elsewhere = undefined;
    charge.release();
    process.memoryBytes = 0;
  }
}
