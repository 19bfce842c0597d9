// A program of a domain of several vCPUs: it begins on vCPU 0, moves to another one when it computes, and comes back when it
// asks much of the kernel or its vCPU goes.
import { XenError } from '#pvbus';
import type { Body } from '../process/body.ts';
import { ProcessExit } from '../process/process.ts';
import { Runtime } from '../process/runtime.ts';
import type { Wait } from '../process/wait.ts';
import { Away, type Movable } from './away.ts';
import type { Placement } from './placement.ts';

/** Who has run so long and waited for nothing computes. */
const SPIN_NS = 20e6;
/** Of which each call is to take so much at least; else it does better where the kernel is. */
const PER_CALL_NS = 100e3;

export class MovableProgram implements Body {
  readonly #movable: Movable;
  readonly #placement: Placement;
  #at: Runtime | Away;
  #spunNs = 0;
  /** It was sent back. */
  #stays = false;

  constructor(movable: Movable, runtime: Runtime, placement: Placement) {
    this.#movable = movable;
    this.#at = runtime;
    this.#placement = placement;
  }
  /** On vCPU 0, and it would rather be elsewhere. */
  get computes(): boolean {
    return this.#spunNs >= SPIN_NS;
  }

  run(untilNs: number): Wait | undefined {
    if (this.#at instanceof Runtime) return this.#runHere(this.#at, untilNs);
    const back = this.#at.takeBack();
    if (back === undefined) return this.#at.run();
    const { process, program, parts, charge } = this.#movable;
    this.#stays = !this.#at.leaving;
    this.#placement.forget(this.#at);
    try {
      this.#at = new Runtime(process, program, parts, charge, back);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      parts.say(process, error.message);
      throw new ProcessExit({ code: 0, signal: 'SIGKILL' });
    }
    return this.#runHere(this.#at, untilNs);
  }
  #runHere(runtime: Runtime, untilNs: number): Wait | undefined {
    const { parts, process } = this.#movable;
    const from = parts.clock.now();
    const outcome = runtime.run(untilNs);
    this.#spunNs += parts.clock.now() - from;
    if (outcome !== undefined || runtime.calls * PER_CALL_NS > this.#spunNs) this.#spunNs = runtime.calls = 0;
    this.#placement.note(this);
    if (!this.computes || this.#stays || process.pending.length > 0) return outcome;
    const away = this.#placement.send(this.#movable, runtime);
    if (away === undefined) return outcome;
    this.#at = away;
    this.#spunNs = 0;
    this.#placement.note(this);
    return away.run();
  }
  release(): void {
    this.#spunNs = 0;
    this.#placement.note(this);
    if (this.#at instanceof Away) this.#placement.forget(this.#at);
    this.#at.release();
  }
  pause(on: boolean): void {
    this.#spunNs = 0;
    this.#placement.note(this);
    if (this.#at instanceof Away) this.#at.pause(on);
  }
}
