// What dom0's main thread asks of the netback thread, and what that tells unasked. Both are ours: plain data, not
// checked again. What a frontend wrote was checked by device.ts.
import type { Injected, Planted } from '#pvbus';
import type { CaptureChunk, Captured } from './capture.ts';
import type { PortStats } from './ports/external-port.ts';
import type { Rate } from './rate-limit.ts';
import type { BridgeStats, VifStats } from './stats.ts';

/** One of a frontend's queues. */
export interface QueueConnection {
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** The frontend's ports; the same one twice when it has only one. */
  readonly txPort: number;
  readonly rxPort: number;
}

/** A vif whose frontend has published its rings. */
export interface VifConnection {
  readonly domid: number;
  /** The device's number; the toolstack's key `handle` says the same. */
  readonly handle: number;
  readonly bridge: string;
  readonly mac: string;
  readonly mtu: number;
  readonly rate?: Rate | undefined;
  /** At least one. */
  readonly queues: readonly QueueConnection[];
  readonly control?: { readonly ringRef: number; readonly port: number } | undefined;
  /** The frontend takes frames that fill several pages. */
  readonly scatterGather: boolean;
  /** It takes frames whose checksum is still blank: of IPv4, of IPv6. */
  readonly checksumOffload: boolean;
  readonly ipv6ChecksumOffload: boolean;
  /** It takes TCP packets that are to be cut into segments, whole. */
  readonly gsoTcpv4: boolean;
  readonly gsoTcpv6: boolean;
  /** It gets only multicast frames of groups it has named on its tx ring. */
  readonly multicastControl: boolean;
}

export type NetbackMessage =
  | { readonly op: 'connect'; readonly vif: VifConnection }
  /** Answers when nothing of the frontend is mapped or bound any more. */
  | { readonly op: 'disconnect'; readonly domid: number; readonly handle: number }
  /** These faults befall the device from now on, connected or not; none of others. */
  | {
      readonly op: 'faults';
      readonly domid: number;
      readonly handle: number;
      readonly label: string;
      readonly planted: readonly Planted[];
    }
  | { readonly op: 'createBridge'; readonly name: string; readonly mtu: number }
  /** With its ports of the host. */
  | { readonly op: 'deleteBridge'; readonly name: string }
  /** `patient`: one that cannot be had now is there all the same, down, and tried again. */
  | { readonly op: 'addPort'; readonly bridge: string; readonly port: string; readonly patient: boolean }
  | { readonly op: 'removePort'; readonly bridge: string; readonly port: string }
  /** Chunks of it come as events until its limit or its end; `id` is the caller's. */
  | { readonly op: 'capture'; readonly id: number; readonly what: Captured; readonly limit: number | null }
  /** A chunk was taken: another one may come. */
  | { readonly op: 'captureTaken'; readonly id: number }
  /** Answers when the last chunk was told. */
  | { readonly op: 'endCapture'; readonly id: number }
  /** Answers a NetbackReport. */
  | { readonly op: 'report' };

/** A port of the host. */
export interface PortReport {
  readonly port: string;
  /** Why no frames pass; undefined while they do. */
  readonly down: string | undefined;
  readonly stats: PortStats;
}

export interface NetbackReport {
  readonly bridges: readonly {
    readonly name: string;
    readonly mtu: number;
    readonly stats: BridgeStats;
    readonly ports: readonly PortReport[];
  }[];
  readonly vifs: readonly {
    readonly name: string;
    readonly domid: number;
    readonly handle: number;
    readonly bridge: string;
    readonly queues: number;
    readonly staticGrants: number;
    readonly stats: VifStats;
  }[];
}

/** A vif was disabled, since its frontend has broken the protocol; its faults have befallen something; frames were captured. */
export type NetbackEvent =
  | { readonly event: 'broken'; readonly domid: number; readonly handle: number; readonly reason: string }
  | { readonly event: 'injected'; readonly domid: number; readonly handle: number; readonly injected: Injected }
  | { readonly event: 'captured'; readonly id: number; readonly chunk: CaptureChunk };
