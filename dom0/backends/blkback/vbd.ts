// One vbd being served: its rings by turns, its image.
import { type Clock, domid, type EvtchnPort, type Log, type Vcpu, XenError } from '#pvbus';
import type { GrantMaps } from '../../faults/faulty-grants.ts';
import type { Notifier } from '../../faults/faulty-notifier.ts';
import type { VbdConnection } from './connection.ts';
import { DeferredRequests } from './deferred-requests.ts';
import { type DiskImage, Later, type LaterImage } from './disk-image.ts';
import { ImageRequests } from './image-requests.ts';
import { BlkbackRequest, type DiskLimits, SECTOR_SIZE } from './request.ts';
import { RequestPages } from './request-pages.ts';
import { newVbdStats, type VbdStats } from './stats.ts';
import { type Budget, type SharedByRings, VbdRing } from './vbd-ring.ts';

/** Requests served of one vbd before the next has its turn. */
const BUDGET_REQUESTS = 32;
/** The same in bytes, so that large requests do not make small ones of others wait. */
const BUDGET_BYTES = 1 << 20;

/** What a vbd works with. Others may take their place between two turns. */
export interface VbdParts {
  readonly image: DiskImage | LaterImage;
  readonly grants: GrantMaps;
  readonly notifier: Notifier;
  readonly newRequest: (limits: DiskLimits) => BlkbackRequest;
  /** What is done about an event of the frontend, `heard` when nothing else is to be. */
  readonly onEvent: (heard: () => void, port: EvtchnPort, remote: number) => () => void;
}

/** The plain ones. */
export const vbdParts = ({ grants, events }: Vcpu, image: DiskImage | LaterImage): VbdParts => ({
  ...{ image, grants, notifier: events },
  newRequest: limits => new BlkbackRequest(limits),
  onEvent: heard => heard,
});

/** One connected vbd. */
export class Vbd {
  connection: VbdConnection;
  readonly stats: VbdStats = newVbdStats();
  /** One of its rings is to be looked at. */
  pending = true;
  /** The worker's: turns that have kept others waiting, none of them long after the one before, and the end of the last. */
  slowTurns = 0;
  slowUntilNs = 0;
  readonly #shared: SharedByRings;
  readonly #rings: VbdRing[] = [];
  /** Of all its requests, also of those that are used again when it has become larger. */
  readonly #limits: { sectors: number } & DiskLimits;
  /** Whose turn is first. */
  #first = 0;
  readonly #budget: Budget = { requests: 0, bytes: 0 };

  /** Throws when one of the frontend's rings cannot be mapped or its port not be bound; nothing is left then. */
  constructor(vcpu: Vcpu, log: Log, clock: Clock, connection: VbdConnection, parts: VbdParts) {
    const { label, frontendDomid, persistent } = connection;
    const granter = domid(frontendDomid);
    const { stats } = this;
    this.connection = connection;
    this.#limits = { sectors: 0, readOnly: connection.readOnly, discard: connection.discard };
    const pages = new RequestPages(parts.grants, granter, label, stats, persistent);
    const wake = (): void => {
      this.pending = true;
    };
    const deferred = new DeferredRequests(pages);
    this.#shared = {
      ...{ vcpu, log, clock, label, granter, stats, pages, deferred, wake },
      image: 'submit' in parts.image ? parts.image : new ImageRequests(parts.image),
      ...this.#replaceable(parts),
    };
    try {
      for (const place of connection.rings) this.#rings.push(new VbdRing(this.#shared, parts.grants, place));
    } catch (error) {
      for (const ring of this.#rings) ring.close();
      throw error;
    }
  }
  #replaceable({ image, newRequest, notifier, onEvent }: VbdParts) {
    const limits = this.#limits;
    limits.sectors = Math.floor(image.sizeBytes / SECTOR_SIZE);
    return { notifier, onEvent, newRequest: () => newRequest(limits) };
  }

  /** These in place of those that it had, from the next request on. */
  use(parts: VbdParts): void {
    const shared = this.#shared;
    const { image } = parts;
    // What an image that answers at once has lost at a flush stays lost, whoever takes its place.
    if ('submit' in image || 'submit' in shared.image)
      shared.image = 'submit' in image ? image : new ImageRequests(image);
    else shared.image.image = image;
    shared.pages.grants = parts.grants;
    Object.assign(shared, this.#replaceable(parts));
    for (const ring of this.#rings) ring.renew();
    this.look();
  }
  /** Its image has become larger. */
  grow(sizeBytes: number): void {
    this.#limits.sectors = Math.floor(sizeBytes / SECTOR_SIZE);
  }
  /** Have every ring looked at, although nobody has notified. */
  look(): void {
    for (const ring of this.#rings) ring.pending = true;
    this.pending = true;
  }

  /** Serve a budget's worth. Throws a XenError when a ring's indices cannot be, Later when the image says so. */
  turn(): void {
    const rings = this.#rings;
    const budget = this.#budget;
    budget.requests = BUDGET_REQUESTS;
    budget.bytes = BUDGET_BYTES;
    this.pending = false;
    for (let n = 0, at = this.#first; n < rings.length; n++, at = this.#after(at)) {
      const ring = rings[at]!;
      if (!ring.pending) continue;
      // order: a request that is put off is the first of the next turn, whatever ring it is in. So one that waits for those
      // before it does not wait for ever, and an image is asked for one at a time.
      this.#first = at;
      try {
        ring.serve(budget);
      } catch (error) {
        if (error instanceof Later) for (const other of rings) other.push();
        throw error;
      }
      if (!ring.pending) continue;
      this.#first = this.#after(at);
      this.pending = true;
      return;
    }
  }
  #after(at: number): number {
    return at + 1 === this.#rings.length ? 0 : at + 1;
  }

  /** Requests that the image has and has not answered. */
  get deferred(): number {
    return this.#shared.deferred.size;
  }

  /**
   * Answer what the frontend has asked before it went, then let go of everything of it. An image that answers later must
   * have forgotten what it has not answered.
   */
  close(finish: boolean): void {
    if (finish) {
      this.look();
      try {
        this.turn();
      } catch (error) {
        // A ring in disorder ends unanswered, and so does what the image puts off.
        if (!(error instanceof XenError || error instanceof Later)) throw error;
      }
    }
    const { deferred, pages } = this.#shared;
    deferred.drop();
    pages.release();
    for (const ring of this.#rings) ring.close();
  }
}
