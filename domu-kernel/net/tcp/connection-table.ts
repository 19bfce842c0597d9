// Connections by their four names. A keyed hash: a peer that chooses its ports does not choose who shares a chain.
import type { IpAddress } from '../ip-address.ts';
import type { ConnectionName } from './control-block.ts';

export class ConnectionTable<T extends ConnectionName & { next: T | undefined }> {
  size = 0;
  private readonly heads: (T | undefined)[];
  private readonly key: number;

  /** `buckets`: a power of two. */
  constructor(buckets: number, random: () => number) {
    this.heads = new Array<T | undefined>(buckets).fill(undefined);
    this.key = Math.floor(random() * 0x1_0000_0000) | 0;
  }

  find(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): T | undefined {
    let entry = this.heads[this.bucket(local, localPort, remote, remotePort)];
    while (entry !== undefined && !isNamed(entry, local, localPort, remote, remotePort)) entry = entry.next;
    return entry;
  }
  add(entry: T): void {
    const bucket = this.bucket(entry.local, entry.localPort, entry.remote, entry.remotePort);
    entry.next = this.heads[bucket];
    this.heads[bucket] = entry;
    this.size++;
  }
  /** Nothing happens when it is not there. */
  remove(entry: T): void {
    const bucket = this.bucket(entry.local, entry.localPort, entry.remote, entry.remotePort);
    let before: T | undefined;
    for (let at = this.heads[bucket]; at !== undefined; at = at.next) {
      if (at === entry) {
        if (before === undefined) this.heads[bucket] = entry.next;
        else before.next = entry.next;
        entry.next = undefined;
        this.size--;
        return;
      }
      before = at;
    }
  }
  *[Symbol.iterator](): Iterator<T> {
    for (const head of this.heads) for (let entry = head; entry !== undefined; entry = entry.next) yield entry;
  }

  private bucket(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): number {
    let hash = this.key;
    hash = mix(hash, (localPort << 16) | remotePort);
    hash = mix(hash, remote.d);
    hash = mix(hash, remote.c ^ remote.b);
    hash = mix(hash, remote.a ^ local.d);
    return (hash ^ (hash >>> 15)) & (this.heads.length - 1);
  }
}

function mix(hash: number, word: number): number {
  hash = Math.imul(hash ^ word, 0x85ebca6b);
  return Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35) ^ (hash >>> 16);
}
function isNamed(
  entry: ConnectionName,
  local: IpAddress,
  localPort: number,
  remote: IpAddress,
  remotePort: number,
): boolean {
  return (
    entry.remotePort === remotePort &&
    entry.localPort === localPort &&
    entry.remote.equals(remote) &&
    entry.local.equals(local)
  );
}
