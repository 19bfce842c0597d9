// Processes that wait to take the place of one that ends: for each program that may be replaced, and whose next process
// guests would have to wait for, one, once there is something to wait for. None is started at a moment that matters.
import type { Program } from './process-messages.ts';

/** Threads wait on these sockets' other ends to be told which vCPUs they are. */
export interface Heir<P> {
  readonly process: P;
  readonly sockets: readonly number[];
}
interface Place<P> {
  readonly vcpus: readonly number[];
  heir: Heir<P> | undefined;
  /** When there is to be one (monotonic ns). */
  due: number | undefined;
}

/** Most hosts end before that, and none of their processes. */
const FIRST_NS = 30e9;
/** Where one has ended another one may: as soon as those who waited have what they waited for. */
const NEXT_NS = 200e6;
/** After one that did not come to be used. */
const RETRY_NS = 30e9;

export class Heirs<P> {
  readonly #places = new Map<Program, Place<P>>();
  readonly #start: (program: Program, vcpus: readonly number[]) => Heir<P> | undefined;
  readonly #dismiss: (heir: Heir<P>) => void;

  /** `start` one, if that is possible; `dismiss` one that is not needed. */
  constructor(
    start: (program: Program, vcpus: readonly number[]) => Heir<P> | undefined,
    dismiss: (heir: Heir<P>) => void,
  ) {
    this.#start = start;
    this.#dismiss = dismiss;
  }

  /** The end of a process of `program`, which is these vCPUs, would hold somebody up from now on. */
  wanted(program: Program, vcpus: readonly number[], now: number): void {
    if (!this.#places.has(program)) this.#places.set(program, { vcpus, heir: undefined, due: now + FIRST_NS });
  }
  unwanted(program: Program): void {
    const heir = this.#places.get(program)?.heir;
    this.#places.delete(program);
    if (heir) this.#dismiss(heir);
  }
  /** A process serves where another one has ended. */
  serves(program: Program, now: number): void {
    const place = this.#places.get(program);
    if (place && !place.heir) place.due = now + NEXT_NS;
  }
  /** The one that waits to be these vCPUs, ready or not: it has begun, at least. */
  take(program: Program, vcpus: readonly number[]): Heir<P> | undefined {
    const place = this.#places.get(program);
    if (!place?.heir || String(place.vcpus) !== String(vcpus)) return undefined;
    const { heir } = place;
    place.heir = undefined;
    return heir;
  }
  /** This process has ended: was it one of these? */
  lost(process: P, now: number): Heir<P> | undefined {
    for (const place of this.#places.values()) {
      const { heir } = place;
      if (heir?.process !== process) continue;
      place.heir = undefined;
      place.due = now + RETRY_NS;
      return heir;
    }
    return undefined;
  }

  get deadline(): number | undefined {
    let first: number | undefined;
    for (const { due } of this.#places.values())
      if (due !== undefined && (first === undefined || due < first)) first = due;
    return first;
  }
  runDue(now: number): void {
    for (const [program, place] of this.#places) {
      if (place.due === undefined || place.due > now) continue;
      place.heir ??= this.#start(program, place.vcpus);
      place.due = place.heir ? undefined : now + RETRY_NS;
    }
  }
}
