// A vif's link with faults: the bridge as the vif sees it, and the vif as its bridge sees it. Frames that it keeps for later
// are copies of its own, since a frame is its sender's page.
import type { Clock, Fault, Trigger } from '#pvbus';
import type { DeviceFaults } from '../../faults/device-faults.ts';
import type { LateWork } from '../../faults/late-work.ts';
import type { Bridge, BridgePort } from './bridge.ts';
import { Frame, SourcePage } from './frame.ts';

/** Frames that are kept at once; what is more is lost, as in any queue. */
const MAX_KEPT = 256;

export interface FaultyLinkParts {
  readonly faults: DeviceFaults;
  readonly late: LateWork;
  readonly clock: Clock;
  /** Is the address at that byte of the header that domain's? */
  readonly isOf: (header: Uint8Array, at: number, peer: string | number) => boolean;
  /** The vif is still connected. */
  readonly isThere: () => boolean;
}

type Send = (frame: Frame) => void;

export class FaultyLink implements BridgePort, Pick<Bridge, 'forward'> {
  readonly name: string;
  readonly #port: BridgePort;
  readonly #uplink: Pick<Bridge, 'forward'>;
  readonly #parts: FaultyLinkParts;
  /** Frames that the next one overtakes. */
  #overtaken: (() => void)[] = [];
  #kept = 0;

  constructor({ port, uplink }: { port: BridgePort; uplink: Pick<Bridge, 'forward'> }, parts: FaultyLinkParts) {
    this.name = port.name;
    this.#port = port;
    this.#uplink = uplink;
    this.#parts = parts;
  }

  /** Another plan, or none: what waits to be overtaken has waited for long enough. */
  letGo(): void {
    const overtaken = this.#overtaken;
    this.#overtaken = [];
    for (const run of overtaken) run();
  }

  /** What the guest is to receive. */
  deliver(frame: Frame): boolean {
    this.#pass('rx', frame, one => void this.#port.deliver(one));
    return true;
  }

  /** What the guest has sent. */
  forward(frame: Frame, from: number): number {
    let copies = 0;
    this.#pass('tx', frame, one => {
      copies += this.#uplink.forward(one, from);
    });
    return copies;
  }

  #pass(op: 'rx' | 'tx', frame: Frame, send: Send): void {
    const { faults, isOf } = this.#parts;
    if (faults.dying?.fault.part === 'net') return; // lost with the process
    // The other end: where it comes from, or where it goes.
    const at = op === 'rx' ? 6 : 0;
    const matches = ({ peer }: Fault): boolean => peer === undefined || isOf(frame.header, at, peer);
    const hit = faults.befalls('net', op, matches);
    const overtaken = this.#overtaken;
    if (hit?.fault.reorder) {
      this.#keep(frame, send, run => this.#overtaken.push(run));
      return;
    }
    if (overtaken.length > 0) this.#overtaken = [];
    if (hit === undefined) send(frame);
    else this.#befall(hit, frame, send);
    for (const run of overtaken) run();
  }

  #befall(hit: Trigger, frame: Frame, send: Send): void {
    const { faults, late, clock } = this.#parts;
    const { drop, delay, duplicate, corrupt, kill, stop } = hit.fault;
    if (drop) return;
    if (delay !== undefined) {
      this.#keep(frame, send, run => late.add(clock.now() + delay * 1e6, run));
      return;
    }
    if (kill !== undefined || stop !== undefined) faults.strike(hit);
    if (kill === 'before') return;
    if (corrupt !== undefined) {
      const copy = copyOf(frame);
      const byte = typeof corrupt === 'number' ? corrupt % frame.length : hit.random(0, frame.length);
      copy.flip(byte, hit.random(1, 8));
      send(copy.frame);
      return;
    }
    for (let i = 0; i <= (duplicate ?? 0); i++) send(frame);
  }

  #keep(frame: Frame, send: Send, later: (run: () => void) => void): void {
    if (this.#kept >= MAX_KEPT) return;
    this.#kept++;
    const copy = copyOf(frame);
    later(() => {
      this.#kept--;
      if (this.#parts.isThere()) send(copy.frame);
    });
  }
}

/** A frame with bytes of its own. */
function copyOf(frame: Frame): { frame: Frame; flip: (byte: number, bit: number) => void } {
  const bytes = new Uint8Array(frame.length);
  frame.copy(0, bytes.length, bytes, 0);
  const copy = new Frame();
  copy.begin(frame.flags, frame.nowNs, frame.gsoSize, frame.gsoType);
  copy.add(new SourcePage(bytes), 0, bytes.length);
  copy.readHeader();
  const flip = (byte: number, bit: number): void => {
    bytes[byte]! ^= 1 << bit;
    copy.readHeader();
  };
  return { frame: copy, flip };
}
