// Every port of this thread's bridges that ends in a descriptor of the host.
import { Epoll, type Log, messageOf, parseBridgePort, XenError } from '#pvbus';
import type { Bridge } from '../bridge.ts';
import type { ExternalPort, PortParts } from './external-port.ts';
import type { Readiness } from './readiness.ts';
import { StreamPort } from './stream-port.ts';
import { TapPort } from './tap-port.ts';

export class ExternalPorts {
  readonly #epoll = new Epoll();
  readonly #readiness: Readiness;
  readonly #log: Log;
  readonly #shared: PortParts['shared'];
  readonly #ports: ExternalPort[] = [];
  readonly #byFd = new Map<number, ExternalPort>();
  #touched: ExternalPort[] = [];
  /** Descriptors were ready when it was last looked. */
  #busy = false;

  constructor(readinessOf: (epoll: Epoll) => Readiness, shared: PortParts['shared'], log: Log) {
    this.#readiness = readinessOf(this.#epoll);
    this.#shared = shared;
    this.#log = log;
  }

  of(bridge: Bridge): readonly ExternalPort[] {
    return this.#ports.filter(port => port.bridge === bridge);
  }

  /**
   * Throws XenError when it cannot be had, with nothing left of it; `patient`: it is there, down, and tried again. One that
   * the bridge has already is left as it is.
   */
  add(bridge: Bridge, spec: string, patient: boolean, nowNs: number): void {
    const known = this.#ports.find(port => port.name === spec);
    if (known?.bridge === bridge) return;
    if (known) throw new XenError('EEXIST', `bridge port ${spec}: bridge ${known.bridge.name} has it`);
    const port = this.#make(bridge, spec);
    this.#ports.push(port);
    try {
      port.open(nowNs);
    } catch (error) {
      if (patient) {
        port.fails(messageOf(error), nowNs);
        return;
      }
      this.#close(port);
      const code = (error as { code?: unknown }).code;
      const what = `bridge port ${spec}: ${messageOf(error)}`;
      throw new XenError(typeof code === 'string' ? code : 'EIO', what, error);
    }
  }
  remove(bridge: Bridge, spec: string): void {
    const port = this.#ports.find(one => one.bridge === bridge && one.name === spec);
    if (!port) throw new XenError('ENOENT', `bridge ${bridge.name} has no port ${spec}`);
    this.#close(port);
  }
  removeAll(bridge: Bridge): void {
    for (const port of this.of(bridge)) this.#close(port);
  }

  /** Forward what has come in, a bounded number of frames of each port. False: there was nothing. */
  turn(nowNs: number): boolean {
    let progress = false;
    for (const port of this.#ports) {
      if (port.retryAt !== undefined && nowNs >= port.retryAt) {
        this.#retry(port, nowNs);
        progress = true;
      } else if (port.isHeldUp) {
        if (!port.goesOn(nowNs)) continue;
        progress = true;
        this.#busy = true;
      } else if (port.eager) {
        port.turn(nowNs);
        progress = true;
      }
    }
    if (!this.#busy && !this.#readiness.told()) return progress;
    const ready = this.#epoll.wait(0);
    for (let i = 0; i < ready; i++) {
      // One that an entry before this has closed is nobody's.
      const fd = this.#epoll.readyFd(i);
      this.#byFd.get(fd)?.ready(fd, this.#epoll.readyFor(i), nowNs);
    }
    this.#busy = ready > 0;
    if (!this.#busy) this.#readiness.rearm();
    return progress || this.#busy;
  }
  /** Send what was delivered to ports since the last time. */
  flush(nowNs: number): void {
    if (this.#touched.length === 0) return;
    const touched = this.#touched;
    this.#touched = [];
    for (const port of touched) port.flush(nowNs);
  }
  /** When one of them is to be tried again, or has waited long enough. */
  deadline(): number | undefined {
    let earliest: number | undefined;
    for (const { retryAt, heldUntil } of this.#ports) {
      const at = heldUntil ?? retryAt;
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  #retry(port: ExternalPort, nowNs: number): void {
    try {
      port.retryAt = undefined;
      port.open(nowNs);
    } catch (error) {
      port.fails(messageOf(error), nowNs);
    }
  }
  #make(bridge: Bridge, spec: string): ExternalPort {
    const { kind, where } = parseBridgePort(spec);
    const parts: PortParts = {
      ...{ bridge, epoll: this.#epoll, shared: this.#shared, log: this.#log },
      touched: port => this.#touched.push(port),
      owns: (fd, port) => {
        if (port) this.#byFd.set(fd, port);
        else this.#byFd.delete(fd);
      },
    };
    return kind === 'tap' ? new TapPort(where, parts) : new StreamPort(kind, where, parts);
  }
  #close(port: ExternalPort): void {
    this.#ports.splice(this.#ports.indexOf(port), 1);
    port.close();
  }
}
