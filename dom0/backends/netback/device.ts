// One vif: what the toolstack says of it, what the frontend says of itself, and the worker that serves it.
// Xen: io/netif.h and the keys in its comments.
import {
  type Domid,
  type Log,
  type Planted,
  parseDecimal,
  XEN_NETIF_MAX_TX_SIZE,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { Backend, type BackendDevice, type BackendInstance, type Keys } from '../backend-device.ts';
import type { BackendThread } from '../backend-thread.ts';
import { FRAME_OVERHEAD } from './bridge.ts';
import type { NetbackEvent, NetbackMessage, QueueConnection, VifConnection } from './messages.ts';
import { parseRate, type Rate } from './rate-limit.ts';
import { MAX_QUEUES } from './vif.ts';
import { parseBridge } from './vlans.ts';

/** A thread that runs a NetbackWorker. */
type NetbackThread = Pick<BackendThread, 'call' | 'onEvent'>;

/** Xen's default when the toolstack names no bridge. */
const DEFAULT_BRIDGE = 'xenbr0';
const DEFAULT_MTU = 1500;
const MAX_MTU = XEN_NETIF_MAX_TX_SIZE - FRAME_OVERHEAD;

interface VifSettings {
  readonly mac: string;
  readonly bridge: string;
  readonly mtu: number;
  readonly rate: Rate | undefined;
}

class Vif implements BackendInstance {
  private readonly device: BackendDevice;
  private readonly thread: NetbackThread;
  private settings: VifSettings | undefined;

  constructor(device: BackendDevice, thread: NetbackThread) {
    this.device = device;
    this.thread = thread;
  }

  async probe(): Promise<Keys> {
    const { device } = this;
    const [mac, bridge, mtu, rate] = await Promise.all(['mac', 'bridge', 'mtu', 'rate'].map(key => device.key(key)));
    if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac ?? '') || Number.parseInt(mac!.slice(0, 2), 16) & 1) {
      throw new XenError('EINVAL', `${device.label}: its mac ${JSON.stringify(mac ?? null)} is no station's address`);
    }
    parseBridge(bridge ?? ''); // one that is none is said now
    this.settings = {
      mac: mac!.toLowerCase(),
      bridge: bridge || DEFAULT_BRIDGE,
      mtu: parseDecimal(mtu, MAX_MTU) || DEFAULT_MTU,
      rate: parseRate(rate),
    };
    return {
      'feature-sg': 1,
      'feature-gso-tcpv4': 1,
      'feature-gso-tcpv6': 1,
      'feature-ipv6-csum-offload': 1,
      'feature-rx-copy': 1,
      'feature-rx-flip': 0,
      'feature-split-event-channels': 1,
      'feature-multicast-control': 1,
      'feature-ctrl-ring': 1,
      'multi-queue-max-queues': MAX_QUEUES,
      // Xen: what the hotplug script of a bridged vif would write when it is done.
      'hotplug-status': 'connected',
    };
  }

  async connect(): Promise<Keys> {
    const { device, settings } = this;
    if (!settings) throw new XenError('ENODEV', `${device.label}: it was not probed`);
    // untrusted: from here to the call, every value is the frontend's.
    const [queues, rxCopy, sg, noChecksum, ipv6Checksum, gsoTcpv4, gsoTcpv6, multicast, control] = await Promise.all([
      device.frontendNumber('multi-queue-num-queues', MAX_QUEUES, 1),
      device.frontendNumber('request-rx-copy', 1, 0),
      device.frontendNumber('feature-sg', 1, 0),
      device.frontendNumber('feature-no-csum-offload', 1, 0),
      device.frontendNumber('feature-ipv6-csum-offload', 1, 0),
      device.frontendNumber('feature-gso-tcpv4', 1, 0),
      device.frontendNumber('feature-gso-tcpv6', 1, 0),
      device.frontendNumber('request-multicast-control', 1, 0),
      this.control(),
    ]);
    if (queues === 0) throw new XenError('EINVAL', `${device.label}: the frontend wants no queue`);
    if (rxCopy !== 1) throw new XenError('EOPNOTSUPP', `${device.label}: the frontend wants pages flipped, not copied`);
    const vif: VifConnection = {
      domid: device.frontendDomid,
      handle: device.devid,
      bridge: settings.bridge,
      mac: settings.mac,
      mtu: settings.mtu,
      rate: settings.rate,
      queues: await this.queues(queues),
      control,
      scatterGather: sg === 1,
      checksumOffload: noChecksum === 0,
      ipv6ChecksumOffload: ipv6Checksum === 1,
      // Xen: a packet that is to be cut has several pages and a blank checksum; who does not take those takes none.
      gsoTcpv4: gsoTcpv4 === 1 && sg === 1 && noChecksum === 0,
      gsoTcpv6: gsoTcpv6 === 1 && sg === 1 && ipv6Checksum === 1,
      multicastControl: multicast === 1,
    };
    await this.call({ op: 'connect', vif });
    return {};
  }

  async disconnect(): Promise<void> {
    const { frontendDomid, devid } = this.device;
    await this.call({ op: 'disconnect', domid: frontendDomid, handle: devid });
  }

  async setFaults(planted: readonly Planted[]): Promise<void> {
    const { frontendDomid, devid, label } = this.device;
    await this.call({ op: 'faults', domid: frontendDomid, handle: devid, label, planted });
  }

  /** Xen: io/netif.h. One alone has its keys beside all others; of several each has a directory. */
  private queues(count: number): Promise<QueueConnection[]> {
    if (count === 1) return Promise.all([this.queue('')]);
    return Promise.all(Array.from({ length: count }, (_, i) => this.queue(`queue-${i}/`)));
  }
  private async queue(under: string): Promise<QueueConnection> {
    const { device } = this;
    const [txRingRef, rxRingRef] = await Promise.all([
      device.frontendNumber(`${under}tx-ring-ref`),
      device.frontendNumber(`${under}rx-ring-ref`),
    ]);
    if ((await device.frontendKey(`${under}event-channel-tx`)) === undefined) {
      const port = await device.frontendNumber(`${under}event-channel`);
      return { txRingRef, rxRingRef, txPort: port, rxPort: port };
    }
    const txPort = await device.frontendNumber(`${under}event-channel-tx`);
    const rxPort = await device.frontendNumber(`${under}event-channel-rx`);
    return { txRingRef, rxRingRef, txPort, rxPort };
  }

  private async control(): Promise<VifConnection['control']> {
    const { device } = this;
    if ((await device.frontendKey('ctrl-ring-ref')) === undefined) return undefined;
    return {
      ringRef: await device.frontendNumber('ctrl-ring-ref'),
      port: await device.frontendNumber('event-channel-ctrl'),
    };
  }

  private call(message: NetbackMessage): Promise<unknown> {
    return this.thread.call(message);
  }
}

/** Every vif whose backend is in this domain, served by `thread`. */
export function createNetback(options: {
  readonly xs: XenstoreClient;
  readonly log: Log;
  readonly thread: NetbackThread;
  readonly domid?: Domid;
}): Backend {
  const { xs, log, thread } = options;
  const backend = new Backend({
    xs,
    log,
    type: 'vif',
    ...(options.domid === undefined ? {} : { domid: options.domid }),
    create: device => new Vif(device, thread),
  });
  thread.onEvent(event => {
    const news = event as NetbackEvent; // our own worker's, which tells nothing else
    if (news.event === 'captured') return;
    const device = backend.find(news.domid, news.handle);
    if (news.event === 'injected') device?.injected(news.injected);
    else device?.fail(new XenError('EPROTO', `${device.label}: its frontend broke the protocol: ${news.reason}`));
  });
  return backend;
}
