// A guest's shared folder: negotiation in dom0's main thread; its messages are the worker's.
// Xen: docs/misc/9pfs.markdown; io/9pfs.h.
import { stat } from 'node:fs/promises';
import { type Log, type Planted, parseDecimal, XenError, type XenstoreClient } from '#pvbus';
import { Backend, type BackendDevice, type BackendInstance, type Keys } from '../backend-device.ts';
import type { BackendThread } from '../backend-thread.ts';
import { MAX_DATARING_ORDER } from '../mapped-data-ring.ts';
import type { P9Call, P9Event } from './worker.ts';

const MAX_RINGS = 4;

export interface P9BackendParts {
  readonly xs: XenstoreClient;
  readonly log: Log;
  /** Called when the first folder is shared. */
  readonly startThread: () => BackendThread;
}

/** Every shared folder of this domain. */
export function p9Backend({ xs, log, startThread }: P9BackendParts): Backend {
  const devices = new Map<string, BackendDevice>();
  let thread: BackendThread | undefined;
  const started = (): BackendThread => {
    if (thread !== undefined) return thread;
    thread = startThread();
    thread.onEvent(message => {
      const event = message as P9Event; // from our own worker
      const device = devices.get(event.device);
      if (event.event === 'injected') device?.injected(event.injected);
      else device?.fail(new XenError(event.code, event.message));
    });
    return thread;
  };
  return new Backend({ xs, log, type: '9pfs', create: device => new P9Instance(device, started, devices) });
}

class P9Instance implements BackendInstance {
  readonly #device: BackendDevice;
  readonly #thread: () => BackendThread;
  readonly #devices: Map<string, BackendDevice>;
  #path = '';
  #readOnly = false;

  constructor(device: BackendDevice, thread: () => BackendThread, devices: Map<string, BackendDevice>) {
    this.#device = device;
    this.#thread = thread;
    this.#devices = devices;
  }

  async probe(): Promise<Keys> {
    const device = this.#device;
    this.#path = (await device.key('path')) ?? '';
    const folder = await stat(this.#path).catch((error: NodeJS.ErrnoException) => {
      throw new XenError(error.code ?? 'EIO', `${device.label}: ${this.#path}: ${error.message}`, error);
    });
    if (!folder.isDirectory()) throw new XenError('ENOTDIR', `${device.label}: ${this.#path} is no directory`);
    const security = await device.key('security_model');
    if (security !== 'none')
      throw new XenError('EINVAL', `${device.label}: security_model ${JSON.stringify(security ?? null)} is not served`);
    this.#readOnly = (await device.key('read-only')) === '1';
    this.#devices.set(device.path, device);
    return { versions: '1', 'max-rings': MAX_RINGS, 'max-ring-page-order': MAX_DATARING_ORDER };
  }

  async connect(): Promise<Keys> {
    const device = this.#device;
    const version = await device.frontendKey('version');
    if (parseDecimal(version) !== 1) {
      const asked = JSON.stringify(version ?? '').slice(0, 40);
      throw new XenError('EINVAL', `${device.label}: the frontend asks for version ${asked}`);
    }
    const count = await device.frontendNumber('num-rings');
    if (count < 1 || count > MAX_RINGS) throw new XenError('EINVAL', `${device.label}: ${count} rings`);
    const rings = await Promise.all(
      Array.from({ length: count }, async (_, i) => ({
        ref: await device.frontendNumber(`ring-ref${i}`),
        evtchn: await device.frontendNumber(`event-channel-${i}`),
      })),
    );
    const call: P9Call = {
      op: 'connect',
      device: device.path,
      label: device.label,
      frontend: device.frontendDomid,
      path: this.#path,
      readOnly: this.#readOnly,
      rings,
    };
    await this.#thread().call(call);
    return {};
  }

  async disconnect(): Promise<void> {
    await this.#thread().call({ op: 'disconnect', device: this.#device.path } satisfies P9Call);
  }
  async setFaults(planted: readonly Planted[]): Promise<void> {
    const { path, label } = this.#device;
    await this.#thread().call({ op: 'faults', device: path, label, planted } satisfies P9Call);
  }
  async remove(): Promise<void> {
    this.#devices.delete(this.#device.path);
  }
}
