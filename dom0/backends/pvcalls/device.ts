// A guest's pvcalls device: negotiation in dom0's main thread; its sockets are the worker's.
import { type Log, type Planted, parseDecimal, XenError, type XenstoreClient } from '#pvbus';
import { Backend, type BackendDevice, type BackendInstance, type Keys } from '../backend-device.ts';
import type { BackendThread } from '../backend-thread.ts';
import { MAX_DATARING_ORDER } from '../mapped-data-ring.ts';
import { type PortKeys, parsePortPolicy } from './port-policy.ts';
import type { PvcallsCall, PvcallsEvent } from './worker.ts';

export interface PvcallsBackendParts {
  readonly xs: XenstoreClient;
  readonly log: Log;
  /** Called for the first device there is. */
  readonly startThread: () => BackendThread;
}

/** Every pvcalls device of this domain. */
export function pvcallsBackend({ xs, log, startThread }: PvcallsBackendParts): Backend {
  const devices = new Map<string, BackendDevice>();
  const hear = (message: unknown): void => {
    const event = message as PvcallsEvent; // from our own worker
    const device = devices.get(event.device);
    if (!device) return;
    if (event.event === 'failed') device.fail(new XenError(event.code, event.message));
    else if (event.event === 'injected') device.injected(event.injected);
    else {
      const { guestPort, hostPort } = event;
      log.info(`${device.label}: port ${guestPort} is 127.0.0.1:${hostPort}`);
      // For whoever asked for a port the host picks.
      device.publish({ [`listening-${guestPort}`]: hostPort }).catch(error => log.warn(`${device.label}: ${error}`));
    }
  };
  let thread: BackendThread | undefined;
  const started = (): BackendThread => {
    if (thread !== undefined) return thread;
    thread = startThread();
    thread.onEvent(hear);
    return thread;
  };
  return new Backend({ xs, log, type: 'pvcalls', create: device => new PvcallsInstance(device, started, devices) });
}

class PvcallsInstance implements BackendInstance {
  private readonly device: BackendDevice;
  private readonly thread: () => BackendThread;
  private readonly devices: Map<string, BackendDevice>;
  private ports: PortKeys = { listen: '', connect: '', allow: '', resolver: '' };

  constructor(device: BackendDevice, thread: () => BackendThread, devices: Map<string, BackendDevice>) {
    this.device = device;
    this.thread = thread;
    this.devices = devices;
  }

  async probe(): Promise<Keys> {
    const { device } = this;
    const key = async (name: keyof PortKeys): Promise<string> => (await device.key(name)) ?? '';
    const names = [key('listen'), key('connect'), key('allow'), key('resolver')] as const;
    const [listen, connect, allow, resolver] = await Promise.all(names);
    this.ports = { listen, connect, allow, resolver };
    parsePortPolicy(this.ports);
    this.devices.set(device.path, device);
    this.thread(); // loads while the frontend is at work
    return {
      versions: '1',
      'max-page-order': MAX_DATARING_ORDER,
      'max-dataring-page-order': MAX_DATARING_ORDER,
      'function-calls': 1,
      // Ours: a frontend that sets out_error has written its last, and may go on reading.
      'feature-half-close': 1,
    };
  }

  async connect(): Promise<Keys> {
    const { device } = this;
    const [version, ref, evtchn] = await Promise.all([
      device.frontendKey('version'),
      device.frontendNumber('ring-ref'),
      device.frontendNumber('port'),
    ]);
    if (parseDecimal(version) !== 1) {
      throw new XenError(
        'EINVAL',
        `${device.label}: the frontend asks for version ${JSON.stringify(version ?? '').slice(0, 40)}`,
      );
    }
    const call: PvcallsCall = {
      op: 'connect',
      device: device.path,
      label: device.label,
      frontend: device.frontendDomid,
      ref,
      evtchn,
      ports: this.ports,
    };
    await this.thread().call(call);
    return {};
  }

  async disconnect(): Promise<void> {
    await this.thread().call({ op: 'disconnect', device: this.device.path } satisfies PvcallsCall);
  }

  async setFaults(planted: readonly Planted[]): Promise<void> {
    const { path, label } = this.device;
    await this.thread().call({ op: 'faults', device: path, label, planted } satisfies PvcallsCall);
  }

  async remove(): Promise<void> {
    this.devices.delete(this.device.path);
  }
}
