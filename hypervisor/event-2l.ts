// The 2-level ABI: a pending and a mask bit per port in shared_info, and a selector of their words in each vcpu_info.
// Xen: common/event_2l.c.
import { EVTCHN_2L_NR_CHANNELS } from '#pvbus';
import type { Domain } from './domain.ts';
import { type EventAbi, NEWLY_PENDING, TELL } from './event-abi.ts';
import type { Port } from './port-table.ts';

export class TwoLevelEvents implements EventAbi {
  readonly nrPorts = EVTCHN_2L_NR_CHANNELS;
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  // order: pending, then selector, then upcall; the guest clears them the other way round.
  setPending(port: number, here: Port): number {
    const { shared } = this.domain;
    if (shared.testAndSetPending(port)) return 0;
    return !shared.masked(port) && this.select(port, here) ? NEWLY_PENDING | TELL : NEWLY_PENDING;
  }
  setPendingAgain(port: number, here: Port): boolean {
    const { shared } = this.domain;
    shared.testAndSetPending(port);
    if (shared.masked(port)) return false;
    this.select(port, here);
    return true;
  }
  clearPending(port: number): void {
    this.domain.shared.clearPending(port);
  }
  pending(port: number): boolean {
    return this.domain.shared.pending(port);
  }
  masked(port: number): boolean {
    return this.domain.shared.masked(port);
  }
  unmask(port: number, here: Port): boolean {
    const { shared } = this.domain;
    return shared.testAndClearMask(port) && shared.pending(port) && this.select(port, here);
  }
  lingers(): boolean {
    return false;
  }
  private select(port: number, here: Port): boolean {
    return !this.domain.vcpus[here.notify_vcpu]!.info.testAndSelect(port);
  }
}
