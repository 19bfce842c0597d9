// The ports that sockets are bound to, whether they listen or not yet.
import { XenError } from '#pvbus';
import { type BoundName, overlap } from '../bound-name.ts';

export interface BoundPort extends BoundName {
  readonly port: number;
  /** Others may be bound to it who say so too, until somebody listens. */
  reuseAddress: boolean;
  listens: boolean;
}

export class BoundPorts {
  private readonly ports = new Map<number, BoundPort[]>();

  has(port: number): boolean {
    return this.ports.has(port);
  }
  /** Throws EADDRINUSE. */
  take(one: BoundPort): BoundPort {
    this.check(one);
    this.ports.set(one.port, [...(this.ports.get(one.port) ?? []), one]);
    return one;
  }
  /** As Linux: of those that share a port the first that listens has it alone. Throws EADDRINUSE. */
  listen(one: BoundPort): void {
    this.check(one);
    one.listens = true;
  }
  give(one: BoundPort): void {
    const left = (this.ports.get(one.port) ?? []).filter(other => other !== one);
    if (left.length === 0) this.ports.delete(one.port);
    else this.ports.set(one.port, left);
  }
  private check(one: BoundPort): void {
    for (const other of this.ports.get(one.port) ?? []) {
      if (other === one || (one.reuseAddress && other.reuseAddress && !other.listens)) continue;
      if (overlap(one, other)) throw new XenError('EADDRINUSE', `tcp: port ${one.port} is in use`);
    }
  }
}
