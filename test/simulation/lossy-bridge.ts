// netback's bridge on a bad wire: the next packets are lost, doubled, damaged or late, as the run has chosen.
import { Bridge, type BridgePort } from '../../dom0/backends/netback/bridge.ts';
import { Frame, SourcePage } from '../../dom0/backends/netback/frame.ts';
import { MAX_PACKET, type PacketLedger } from './packet-ledger.ts';

export type WireFault = 'drop' | 'double' | 'damage' | 'delay';

/** What is to happen to the next packets, whoever forwards them. */
export class Wire {
  readonly ledger: PacketLedger;
  fault: WireFault | undefined;
  left = 0;
  onFault: (fault: WireFault) => void = () => {};

  constructor(ledger: PacketLedger) {
    this.ledger = ledger;
  }
  next(): WireFault | undefined {
    if (this.left === 0) return undefined;
    this.left--;
    this.onFault(this.fault!);
    return this.fault;
  }
}

export class LossyBridge extends Bridge {
  readonly #wire: Wire;
  readonly #macs = new Map<number, string>();
  #late: { readonly frame: Frame; readonly bytes: Uint8Array; readonly from: number } | undefined;

  constructor(name: string, mtu: number, random: () => number, wire: Wire) {
    super(name, mtu, { random });
    this.#wire = wire;
  }
  override attach(port: BridgePort, mac: Uint8Array): number {
    const index = super.attach(port, mac);
    this.#macs.set(index, mac.join());
    return index;
  }
  override detach(index: number): void {
    this.#macs.delete(index);
    if (this.#late?.from === index) this.#late = undefined;
    super.detach(index);
  }

  override forward(frame: Frame, from: number): number {
    const copy = copyOf(frame);
    const sent = this.#sentAs(copy.bytes);
    const late = this.#late;
    this.#late = undefined;
    const copies = this.#faulty(frame, from, copy, sent);
    if (late === undefined) return copies;
    // Whom it is for may have left meanwhile.
    this.#sentAs(late.bytes);
    return copies + super.forward(late.frame, late.from);
  }
  #sentAs(bytes: Uint8Array): ReturnType<PacketLedger['find']> {
    const sent = this.#wire.ledger.find(bytes);
    if (sent && ![...this.#macs.values()].includes(bytes.subarray(0, 6).join())) sent.flooded = true;
    return sent;
  }
  #faulty(frame: Frame, from: number, copy: Copy, sent: ReturnType<PacketLedger['find']>): number {
    switch (this.#wire.next()) {
      case undefined:
        return super.forward(frame, from);
      case 'drop':
        return 0;
      case 'double': {
        if (sent) sent.copies++;
        const first = super.forward(frame, from);
        return first + super.forward(copy.frame, from);
      }
      case 'damage': {
        if (sent) sent.corrupted = true;
        copy.bytes[frame.length - 1]! ^= 0x40;
        return super.forward(copy.frame, from);
      }
      case 'delay': {
        if (sent) sent.reordered = true;
        this.#late = { frame: copy.frame, bytes: copy.bytes, from };
        return 0;
      }
    }
  }
}

interface Copy {
  readonly frame: Frame;
  readonly bytes: Uint8Array;
}
function copyOf(frame: Frame): Copy {
  const bytes = new Uint8Array(Math.max(frame.length, MAX_PACKET));
  frame.copy(0, frame.length, bytes, 0);
  const copy = new Frame();
  copy.begin(frame.flags, frame.nowNs, frame.gsoSize, frame.gsoType);
  copy.add(new SourcePage(bytes), 0, frame.length);
  copy.readHeader();
  return { frame: copy, bytes };
}
