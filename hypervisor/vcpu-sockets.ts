// How vCPUs get the control sockets through which they are given memory.
import { closeFd, KIND_BOOT, KIND_VCPU, SystemCallError, sendControl, socketPair } from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import { SocketLink } from './link.ts';

/** The hypervisor's end and the vCPU's. */
export type SocketPair = [near: number, far: number];
export const nearOf = (pairs: readonly SocketPair[]): number[] => pairs.map(([near]) => near);
export const farOf = (pairs: readonly SocketPair[]): number[] => pairs.map(([, far]) => far);

/** All of them or none. Throws SystemCallError. */
export function socketPairs(count: number): SocketPair[] {
  const pairs: SocketPair[] = [];
  try {
    while (pairs.length < count) pairs.push(socketPair());
  } catch (error) {
    for (const fd of pairs.flat()) closeFd(fd);
    throw error;
  }
  return pairs;
}

/** The vCPU's thread has the other end of this socket: it is told what it is, and given the domain's memory. */
export function boot({ domain, id }: Vcpu, socket: number): void {
  const { layout, memory } = domain;
  const link = new SocketLink(socket, memory, layout, id);
  domain.vcpus[id]!.link = link;
  link.send(KIND_BOOT, domain.domid | (id << 16), layout.maxPages + layout.maxVcpus * 2 ** 32, memory);
}
export function bootAll(domain: Domain, vcpus: readonly number[], sockets: readonly number[]): void {
  vcpus.forEach((vcpu, i) => {
    boot(domain.vcpus[vcpu]!, sockets[i]!);
  });
}
/** Another thread of the process is to be this vCPU: it gets its control socket through vCPU 0's. */
export function bootSibling(vcpu: Vcpu, through: number, [near, far]: SocketPair): void {
  vcpu.sharesMapping = true;
  boot(vcpu, near);
  try {
    sendControl(through, KIND_VCPU, vcpu.id, 0, far);
  } catch (error) {
    // It has just ended, which is to be heard.
    if (!(error instanceof SystemCallError)) throw error;
  }
  closeFd(far);
}
export const closeLink = (vcpu: Vcpu): void => (vcpu.link as SocketLink | undefined)?.close();
