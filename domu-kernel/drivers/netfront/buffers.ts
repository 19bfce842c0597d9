// The pages an interface shares with its backend: the rings, a page for every slot of either data ring, the list of
// those pages. All are granted once and stay so. Received frames of earlier senders and sent frames are all a
// backend can find in them (XSA-403).
import {
  type Domid,
  type GrantTable,
  type Gref,
  netif_rx_sring_entry,
  netif_tx_sring_entry,
  PAGE_SIZE,
  type Page,
  ringEntries,
  type SharedPages,
} from '#pvbus';

export const TX_SLOTS = ringEntries(netif_tx_sring_entry.size, PAGE_SIZE);
export const RX_SLOTS = ringEntries(netif_rx_sring_entry.size, PAGE_SIZE);

const TX_RING = 0;
const RX_RING = 1;
const CONTROL_RING = 2;
const LIST = 3;
const FIRST_TX = 4;
const FIRST_RX = FIRST_TX + TX_SLOTS;
const PAGES = FIRST_RX + RX_SLOTS;

export class NetBuffers {
  readonly peer: Domid;
  private readonly grants: GrantTable;
  private readonly shared: SharedPages;
  private readonly refs: Gref[] = [];

  /** Throws when the domain has no memory or grants left. */
  constructor(grants: GrantTable, peer: Domid) {
    this.peer = peer;
    this.grants = grants;
    this.shared = grants.allocShared(peer, PAGES);
    try {
      for (let i = 0; i < PAGES; i++) this.refs.push(grants.grantAccess(peer, this.shared.gfn + i));
    } catch (error) {
      this.release();
      throw error;
    }
  }

  get txRing(): Page {
    return this.shared.page(TX_RING);
  }
  get rxRing(): Page {
    return this.shared.page(RX_RING);
  }
  get controlRing(): Page {
    return this.shared.page(CONTROL_RING);
  }
  /** For lists of grefs, Xen: struct xen_netif_gref. */
  get list(): Page {
    return this.shared.page(LIST);
  }
  get txRingRef(): Gref {
    return this.refs[TX_RING]!;
  }
  get rxRingRef(): Gref {
    return this.refs[RX_RING]!;
  }
  get controlRingRef(): Gref {
    return this.refs[CONTROL_RING]!;
  }
  get listRef(): Gref {
    return this.refs[LIST]!;
  }
  txPage(slot: number): Uint8Array {
    return this.shared.page(FIRST_TX + slot).bytes;
  }
  rxPage(slot: number): Uint8Array {
    return this.shared.page(FIRST_RX + slot).bytes;
  }
  txRef(slot: number): Gref {
    return this.refs[FIRST_TX + slot]!;
  }
  rxRef(slot: number): Gref {
    return this.refs[FIRST_RX + slot]!;
  }

  /**
   * End every grant and give the pages back. Pages the peer still has mapped cannot be taken from it: then all of
   * them stay where they are, and their number is returned.
   */
  release(): number {
    let held = 0;
    for (const ref of this.refs) if (!this.grants.endAccess(ref)) held++;
    if (held > 0) return this.refs.length;
    this.shared.release();
    return 0;
  }
}
