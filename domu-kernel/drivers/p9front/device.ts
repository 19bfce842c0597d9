// A folder of the host's that this domain was given: negotiation, twin of dom0/backends/p9/device.ts.
// Xen: docs/misc/9pfs.markdown; io/9pfs.h.
import { type Routine, type Vcpu, XenError } from '#pvbus';
import type { Blocking } from '../../block-device.ts';
import type { FrontendDevice, FrontendInstance, Keys } from '../frontend-device.ts';
import { P9Client } from './client.ts';

/** Pages of the ring: 2^4, 32 KiB each way. */
const RING_ORDER = 4;

export class P9Device implements FrontendInstance {
  readonly client: P9Client;
  /** What the config calls the folder. */
  tag = '';
  readonly #device: FrontendDevice;
  readonly #vcpu: Vcpu;

  constructor(device: FrontendDevice, vcpu: Vcpu, blocking: Blocking) {
    this.#device = device;
    this.#vcpu = vcpu;
    this.client = new P9Client(device.label, blocking, error => device.fail(error));
  }

  *setup(): Routine<Keys> {
    const device = this.#device;
    const versions = (yield* device.backendKey('versions')) ?? '';
    if (!versions.split(',').includes('1')) {
      const seen = JSON.stringify(versions.slice(0, 40));
      throw new XenError('EOPNOTSUPP', `${device.label}: the backend speaks versions ${seen}`);
    }
    if ((yield* device.backendNumber('max-rings')) < 1) throw new XenError('EINVAL', `${device.label}: no rings`);
    const order = Math.min(RING_ORDER, yield* device.backendNumber('max-ring-page-order'));
    if (order < 1) throw new XenError('EINVAL', `${device.label}: rings of one page are too small`);
    this.tag = (yield* device.key('tag')) ?? '';
    const { ref, port } = this.client.makeRing(this.#vcpu, device.backendDomid, order);
    return { version: '1', 'num-rings': 1, 'ring-ref0': ref, 'event-channel-0': port };
  }
  // biome-ignore lint/correctness/useYield: nothing of the backend's is read
  *connected(): Routine<void> {
    this.client.connected();
  }
  disconnect(): void {
    this.client.disconnect();
  }
  remove(reason: XenError): void {
    this.client.end(reason);
  }
  get waits(): boolean {
    return this.client.waits;
  }
}
