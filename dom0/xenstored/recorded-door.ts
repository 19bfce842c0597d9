// The hypervisor as requests see it: what it answers is told to the journal, and repeated at a replay.
import { type Domid, type EvtchnPort, type Gfn, type Page, privatePage, XenError, xenstoreRing } from '#pvbus';
import type { DomainDoor, DomainInfo } from './domains.ts';
import type { Outcome, Recorder } from './recorder.ts';

/** A domain's page, and where its two streams stood when it was mapped. */
export interface StorePage {
  readonly page: Page;
  readonly taken: number;
  readonly given: number;
}

export class RecordedDoor {
  #door: DomainDoor | undefined;
  readonly #recorder: Recorder;
  readonly #outcomes: Outcome[] = [];
  #asked = 0;

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }
  /** Questions so far. */
  get asked(): number {
    return this.#asked;
  }
  /** From here on answers are only repeated. */
  close(): void {
    this.#door = undefined;
  }
  /** The hypervisor is to have answered this. */
  repeat(outcome: Outcome): void {
    this.#outcomes.push(outcome);
  }
  /** From here on the hypervisor is asked. */
  open(door: DomainDoor): void {
    this.#door = door;
  }

  map(domid: Domid, gfn: Gfn): StorePage {
    let page: Page | undefined;
    const [taken, given] = this.#ask(door => {
      page = door.mapStorePage(domid, gfn);
      const { reader, writer } = xenstoreRing(page, 'back');
      return [reader.position, writer.position] as const;
    });
    return { taken, given, page: page ?? privatePage() };
  }
  bind(domid: Domid, remotePort: EvtchnPort): EvtchnPort {
    return this.#ask(door => door.bind(domid, remotePort));
  }
  info(domid: Domid): DomainInfo | undefined {
    return this.#ask(door => door.domainInfo(domid) ?? null) ?? undefined;
  }

  /** T: plain data. */
  #ask<T>(body: (door: DomainDoor) => T): T {
    this.#asked++;
    if (!this.#door) {
      const outcome = this.#outcomes.shift();
      if (!outcome) throw new XenError('EIO', 'the hypervisor was not asked this when the journal was written');
      if ('refused' in outcome) throw new XenError(outcome.refused, outcome.why);
      return outcome.answer as T; // invariant: a replay asks the same questions in the same order
    }
    try {
      const answer = body(this.#door);
      this.#recorder.asked({ answer });
      return answer;
    } catch (error) {
      const refusal = error instanceof XenError ? error : new XenError('EIO', String(error), error);
      this.#recorder.asked({ refused: refusal.code, why: refusal.message });
      throw refusal;
    }
  }

  /** What `body` finds is on record as if the hypervisor had said it: a replay repeats it, and does not ask again. */
  recorded<T>(body: () => T): T {
    return this.#ask(body);
  }

  // What follows has no answer that anything depends on.

  unmap(domid: Domid): void {
    this.#door?.unmapStorePage(domid);
  }
  unbind(local: EvtchnPort): void {
    this.#door?.unbind(local);
  }
  notify(local: EvtchnPort): void {
    this.#door?.notify(local);
  }
  onEvent(local: EvtchnPort, cb: () => void): void {
    this.#door?.onEvent(local, cb);
  }
}
