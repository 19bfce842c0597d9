// Event channels of a device with faults: what it sends and what it hears.
import type { EvtchnPort } from '#pvbus';
import { FaultyEvents, type FaultyEventsParts } from './faulty-events.ts';

/** How a backend tells its frontend: its event channels, or what stands before them. */
export interface Notifier {
  notify(port: EvtchnPort): void;
}

/** Both ways. */
export interface DeviceEvents extends Notifier {
  /** What is done when `port`, which is the other end's `remote`, is notified: `handler`, when nothing else is to be. */
  hears(handler: () => void, port: EvtchnPort, remote: number): () => void;
}
export const plainEvents = (plain: Notifier): DeviceEvents => ({
  notify: port => plain.notify(port),
  hears: handler => handler,
});

export class FaultyNotifier implements DeviceEvents {
  readonly #plain: Notifier;
  readonly #events: FaultyEvents;
  /** The other end's number of each channel. */
  readonly #remotes = new Map<EvtchnPort, number>();

  constructor(plain: Notifier, parts: FaultyEventsParts) {
    this.#plain = plain;
    this.#events = new FaultyEvents(parts);
  }
  notify(port: EvtchnPort): void {
    this.#events.pass('send', this.#remotes.get(port), () => this.#plain.notify(port));
  }
  hears(handler: () => void, port: EvtchnPort, remote: number): () => void {
    this.#remotes.set(port, remote);
    return () => this.#events.pass('receive', remote, handler);
  }
  /** Another plan, or none: what waits to be overtaken has waited for long enough. */
  letGo(): void {
    this.#events.letGo();
  }
}
