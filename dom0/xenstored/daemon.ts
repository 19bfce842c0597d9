// The daemon's one loop: a step in which nothing waits, and its driver.
import { AdaptiveSpin, type StormGuard } from '#pvbus';
import type { LiveUpdate } from './live-update.ts';
import type { Server } from './server.ts';
import type { Sleep } from './sleep.ts';
import type { Sockets } from './sockets.ts';
import type { TurnClock } from './turn-clock.ts';

/** Clients that do not read are looked for this often. */
const CHECK_NS = 1e9;
/** However much there is to do, Node's event loop gets a turn this often: signals, what is written to a pipe. */
const EVENT_LOOP_NS = 10e6;

export interface DaemonParts {
  readonly server: Server;
  readonly sockets: Sockets;
  /** Of one that can be replaced. */
  readonly update?: LiveUpdate;
  /** Deliver what the hypervisor has to tell; true when there was something. */
  readonly pollEvents: () => boolean;
  /** Of one with a hypervisor: against domains whose events bring nothing. */
  readonly storms?: Pick<StormGuard, 'turn' | 'rest'>;
  readonly sleep: Sleep;
  /** What is done, a little at a time, as long as there is nothing else to do. */
  readonly rehearsal?: { step(): 'progress' | 'idle' };
  /** That of the server too. */
  readonly clock: TurnClock;
}

export class Daemon {
  readonly #parts: DaemonParts;
  #nextCheck = 0;

  constructor(parts: DaemonParts) {
    this.#parts = parts;
  }

  /** One turn for everybody. */
  step(): 'progress' | 'idle' {
    const { server, sockets, update, pollEvents, storms, clock } = this.#parts;
    const now = clock.tick();
    const heard = pollEvents();
    const took = sockets.take();
    // order: this puts on record what sockets and rings have asked, before anybody is answered.
    const served = server.step() === 'progress';
    if (now >= this.#nextCheck) {
      this.#nextCheck = now + CHECK_NS;
      server.checkStalled();
      sockets.retry();
    }
    sockets.send();
    // order: last, when all that was asked is done, and what was not sent is known to be waiting.
    if (update?.step() === 'progress') return 'progress';
    const found = took || served || server.hasWork || sockets.hasWork;
    return (storms?.turn(heard, found) ?? found) ? 'progress' : 'idle';
  }

  /** Serve from the next turn of Node's event loop on, which has one now and then and before each sleep. */
  run(): void {
    const { server, sockets, sleep, storms, clock } = this.#parts;
    let { rehearsal } = this.#parts;
    const spin = new AdaptiveSpin();
    const deadline = (): number => Math.min(this.#nextCheck, server.deadline);
    const step = { changed: () => this.step() === 'progress' };
    const drive = (): void => {
      const from = clock.tick();
      let worked = false;
      sockets.otherReady = false;
      while (!sockets.otherReady && clock.now() - from < EVENT_LOOP_NS) {
        if (step.changed()) worked = true;
        else if (worked) {
          if (!spin.until(step, clock.now(), deadline())) break;
        } else if (rehearsal !== undefined) {
          if (rehearsal.step() === 'idle') rehearsal = undefined;
        } else {
          const asleep = clock.now();
          sleep.until(Math.min(deadline(), storms?.rest() ?? Number.POSITIVE_INFINITY));
          spin.slept(clock.tick() - asleep);
        }
      }
      setImmediate(drive);
    };
    setImmediate(drive);
  }
}
