// One queue of a vif: a pair of rings with its event channels and its mapped pages. Xen: io/netif.h,
// "multi-queue-num-queues".
import {
  BackRing,
  type EvtchnPort,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  type Page,
  type RingTrace,
} from '#pvbus';
import { type Recipient, RxQueue, type RxTurn } from './rx-queue.ts';
import type { StaticGrants } from './static-grants.ts';
import { type Sender, TxQueue, type TxTurn } from './tx-queue.ts';

export interface QueueParts {
  readonly txPage: Page;
  readonly rxPage: Page;
  readonly txPort: EvtchnPort;
  readonly rxPort: EvtchnPort;
  readonly txTrace: RingTrace;
  readonly rxTrace: RingTrace;
  readonly grants: StaticGrants;
  /** Bytes of the longest frame that is one packet. */
  readonly maxFrame: number;
  readonly notify: (port: EvtchnPort) => void;
}

export class VifQueue {
  readonly grants: StaticGrants;
  readonly tx: TxQueue;
  readonly rx: RxQueue;
  readonly ports: readonly EvtchnPort[];
  /** There may be requests. */
  work = true;
  private readonly owner: Sender & Recipient;
  private readonly notifyTx: () => void;

  constructor(parts: QueueParts, owner: Sender & Recipient, shared: TxTurn & RxTurn) {
    const { txPage, rxPage, txPort, rxPort, grants, maxFrame, notify } = parts;
    this.owner = owner;
    this.grants = grants;
    this.ports = txPort === rxPort ? [txPort] : [txPort, rxPort];
    this.notifyTx = () => notify(txPort);
    const tx = new BackRing(txPage, netif_tx_sring_entry.size, BackRing.attachIndex(txPage));
    const rx = new BackRing(rxPage, netif_rx_sring_entry.size, BackRing.attachIndex(rxPage));
    tx.trace = parts.txTrace;
    rx.trace = parts.rxTrace;
    this.tx = new TxQueue(tx, txPage.view, maxFrame, grants, owner, shared);
    this.rx = new RxQueue(rx, rxPage.view, grants, owner, shared, () => notify(rxPort));
  }

  /** Serve some requests, unless they are held back. False: there was nothing to do. */
  turn(nowNs: number, isHeldBack: boolean): boolean {
    if (!this.work) return false;
    const { available } = this.tx;
    if (available < 0) {
      this.owner.fail('its tx ring claims more requests than it can hold');
      return true;
    }
    if (available === 0) {
      // order: a request that slipped in before req_event was armed is found here; a later one notifies.
      this.work = this.tx.arm();
      return this.work;
    }
    if (isHeldBack) return false;
    if (this.tx.serve(available, nowNs) && this.owner.broken === undefined) this.notifyTx();
    return true;
  }
}
