// The hypervisor's end of a vCPU's control socket.
import {
  type Arena,
  closeFd,
  type DomainLayout,
  PAGE_SIZE,
  SystemCallError,
  sendControl,
  vcpu_page,
  vcpuFrame,
} from '#pvbus';
import type { VcpuLink } from './domain.ts';

/** Sends control messages over a socket, and counts them in the vCPU's page so that it need not look. */
export class SocketLink implements VcpuLink {
  private socket: number;
  private readonly words: Int32Array;
  private readonly seq: number;

  constructor(socket: number, memory: Arena, layout: DomainLayout, vcpu: number) {
    this.socket = socket;
    this.words = memory.words;
    this.seq = (vcpuFrame(layout, vcpu) * PAGE_SIZE + vcpu_page.at.control_seq) / 4;
    Atomics.store(this.words, this.seq, 0);
  }
  send(kind: number, a: number, b: number, arena?: Arena): void {
    if (this.socket < 0) return;
    try {
      sendControl(this.socket, kind, a, b, arena?.fd ?? -1);
    } catch (error) {
      // The receiver is dead, or hostile and never receives: either way nothing more reaches it.
      if (!(error instanceof SystemCallError)) throw error;
      this.close();
      return;
    }
    Atomics.add(this.words, this.seq, 1);
  }
  close(): void {
    if (this.socket >= 0) closeFd(this.socket);
    this.socket = -1;
  }
}
