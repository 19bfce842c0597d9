// Bridges and what is behind their ports: requests of toolstack-protocol.ts.
import {
  bytes,
  flag,
  integer,
  listOf,
  nothing,
  nullable,
  oneOf,
  quantity,
  record,
  type Shaped,
  text,
} from './message-shape.ts';
import { domid, op } from './toolstack-op.ts';

const bridgeName = text(64);
/** tap:NAME, listen:PATH, connect:PATH; absolute paths. */
const portSpec = text(256);

const bridgePortInfo = record({
  port: portSpec,
  up: flag,
  /** Why it is not. */
  reason: nullable(text(1024)),
  /** From the bridge's side: what came in, and what went out. */
  received: quantity,
  received_bytes: quantity,
  refused: quantity,
  sent: quantity,
  sent_bytes: quantity,
  dropped: quantity,
});

const bridgeInfo = record({
  name: bridgeName,
  mtu: integer(),
  /** Its ports that end in a descriptor of the host. */
  ports: listOf(bridgePortInfo, 4096),
  vifs: listOf(text(64), 65_536),
});
export type BridgeInfo = Shaped<typeof bridgeInfo>;

/** Records of a pcap file with ns timestamps, whole. */
export const captureEvent = record({
  event: oneOf('capture'),
  frames: quantity,
  /** Not here, since the tool or dom0 did not take them fast enough. */
  dropped: quantity,
  records: bytes(1 << 19),
  /** It has ended by itself: the limit is reached. */
  over: flag,
});
export type CaptureEvent = Shaped<typeof captureEvent>;

export const NETWORK_OPS = {
  /** Idempotent for equal arguments; EEXIST when a bridge of that name differs. */
  createBridge: op({ name: bridgeName, mtu: integer(68, 65_535) }, nothing),
  /** With its ports. EBUSY while vifs are connected, ENOENT when there is none. */
  deleteBridge: op({ name: bridgeName }, nothing),
  /** dom0's. */
  bridges: op({}, listOf(bridgeInfo, 65_536)),
  /** Idempotent. EEXIST when another bridge has it; ENOENT, EPERM, EADDRINUSE, ... when it cannot be had. */
  addBridgePort: op({ bridge: bridgeName, port: portSpec }, nothing),
  removeBridgePort: op({ bridge: bridgeName, port: portSpec }, nothing),
  /**
   * Streams capture events until `limit` frames are there, `endCapture`, or the connection closes: what the guest of dom0's
   * vif sends and receives (`handle` null: of all its vifs), or, with `domid` null, what the bridge forwards.
   */
  capture: op(
    {
      domid: nullable(domid),
      handle: nullable(integer(0, 65_535)),
      bridge: nullable(bridgeName),
      limit: nullable(quantity),
    },
    record({ capture: integer() }),
  ),
  /** Replies when the last event was sent. */
  endCapture: op({ capture: integer() }, nothing),
} as const;
