// Counters. Transmit and receive are named from the frontend's side.

export class VifStats {
  txFrames = 0;
  txBytes = 0;
  /** Packets answered with NETIF_RSP_ERROR. */
  txErrors = 0;
  rxFrames = 0;
  rxBytes = 0;
  /** Frames for a guest that had posted no page for them. */
  rxDropped = 0;
  /** Frames longer than the guest's MTU allows. */
  rxTooBig = 0;
  /** Multicast frames the guest has not asked for. */
  rxFiltered = 0;
  /** Responses whose page could not be written. */
  rxErrors = 0;
  /** Slots served by GNTTABOP_copy because their gref is not in the static mapping. */
  txCopied = 0;
  rxCopied = 0;
}

export type BridgeDrop = 'tooBig' | 'badSource' | 'reserved' | 'hairpin' | 'vlan';

export class BridgeStats {
  forwarded = 0;
  flooded = 0;
  readonly dropped: { [reason in BridgeDrop]: number } = { tooBig: 0, badSource: 0, reserved: 0, hairpin: 0, vlan: 0 };

  /** Returns 0: no copies. */
  drop(reason: BridgeDrop): 0 {
    this.dropped[reason]++;
    return 0;
  }
}
