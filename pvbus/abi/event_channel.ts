// Xen: public/event_channel.h. event_channel_op(cmd, argument struct).

import { cursorOf, struct, union } from '../struct.ts';

export const EVTCHNOP_bind_interdomain = 0;
export const EVTCHNOP_bind_virq = 1;
export const EVTCHNOP_bind_pirq = 2;
export const EVTCHNOP_close = 3;
export const EVTCHNOP_send = 4;
export const EVTCHNOP_status = 5;
export const EVTCHNOP_alloc_unbound = 6;
export const EVTCHNOP_bind_ipi = 7;
export const EVTCHNOP_bind_vcpu = 8;
export const EVTCHNOP_unmask = 9;
export const EVTCHNOP_reset = 10;
export const EVTCHNOP_init_control = 11;
export const EVTCHNOP_expand_array = 12;
export const EVTCHNOP_set_priority = 13;

/** Allocate in `dom` a port that `remote_dom` may bind to. Out: port. */
export const evtchn_alloc_unbound = struct('evtchn_alloc_unbound', 8, { dom: 'u16', remote_dom: 'u16', port: 'u32' });
export const EvtchnAllocUnbound = cursorOf(evtchn_alloc_unbound);

/** Connect a fresh local port with a port that `remote_dom` allocated for the caller. Out: local_port. */
export const evtchn_bind_interdomain = struct('evtchn_bind_interdomain', 12, {
  remote_dom: 'u16',
  remote_port: 'u32',
  local_port: 'u32',
});
export const EvtchnBindInterdomain = cursorOf(evtchn_bind_interdomain);

/** Out: port. A virq is bound to at most one port per vCPU. */
export const evtchn_bind_virq = struct('evtchn_bind_virq', 12, { virq: 'u32', vcpu: 'u32', port: 'u32' });
export const EvtchnBindVirq = cursorOf(evtchn_bind_virq);

/** Out: port. */
export const evtchn_bind_pirq = struct('evtchn_bind_pirq', 12, { pirq: 'u32', flags: 'u32', port: 'u32' });
export const EvtchnBindPirq = cursorOf(evtchn_bind_pirq);
export const BIND_PIRQ__WILL_SHARE = 1;

/** A port a domain sends to itself, delivered on `vcpu`. Out: port. */
export const evtchn_bind_ipi = struct('evtchn_bind_ipi', 8, { vcpu: 'u32', port: 'u32' });
export const EvtchnBindIpi = cursorOf(evtchn_bind_ipi);

export const evtchn_close = struct('evtchn_close', 4, { port: 'u32' });
export const EvtchnClose = cursorOf(evtchn_close);

export const evtchn_send = struct('evtchn_send', 4, { port: 'u32' });
export const EvtchnSend = cursorOf(evtchn_send);

export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

export const evtchn_status_unbound = struct('evtchn_status_unbound', 2, { dom: 'u16' });
export const evtchn_status_interdomain = struct('evtchn_status_interdomain', 8, { dom: 'u16', port: 'u32' });
export const evtchn_status_u = union('evtchn_status_u', 8, {
  unbound: evtchn_status_unbound,
  interdomain: evtchn_status_interdomain,
  pirq: 'u32',
  virq: 'u32',
});
/** In: dom, port. Out: the rest; which member of `u` counts depends on status (EVTCHNSTAT_*). */
export const evtchn_status = struct('evtchn_status', 24, {
  dom: 'u16',
  port: 'u32',
  status: 'u32',
  vcpu: 'u32',
  u: evtchn_status_u,
});
export const EvtchnStatus = cursorOf(evtchn_status);

/** Deliver the port's events on `vcpu` from now on. */
export const evtchn_bind_vcpu = struct('evtchn_bind_vcpu', 8, { port: 'u32', vcpu: 'u32' });
export const EvtchnBindVcpu = cursorOf(evtchn_bind_vcpu);

export const evtchn_unmask = struct('evtchn_unmask', 4, { port: 'u32' });
export const EvtchnUnmask = cursorOf(evtchn_unmask);

/** Close every port of `dom`. */
export const evtchn_reset = struct('evtchn_reset', 2, { dom: 'u16' });
export const EvtchnReset = cursorOf(evtchn_reset);

export const evtchn_init_control = struct('evtchn_init_control', 24, {
  control_gfn: 'u64',
  offset: 'u32',
  vcpu: 'u32',
  link_bits: 'u8', // out
  _pad: { of: 'u8', count: 7 },
});
export const EvtchnInitControl = cursorOf(evtchn_init_control);

export const evtchn_expand_array = struct('evtchn_expand_array', 8, { array_gfn: 'u64' });
export const EvtchnExpandArray = cursorOf(evtchn_expand_array);

export const evtchn_set_priority = struct('evtchn_set_priority', 8, { port: 'u32', priority: 'u32' });
export const EvtchnSetPriority = cursorOf(evtchn_set_priority);

/** Ports of the 2-level ABI: 64 words of 64 bits. */
export const EVTCHN_2L_NR_CHANNELS = 4096;

// The FIFO ABI: one 32-bit event word per port, linked into queues by priority (0 is the highest).
export const EVTCHN_FIFO_PRIORITY_MAX = 0;
export const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
export const EVTCHN_FIFO_PRIORITY_MIN = 15;
export const EVTCHN_FIFO_MAX_QUEUES = EVTCHN_FIFO_PRIORITY_MIN + 1;
export const EVTCHN_FIFO_PENDING = 31; // bit numbers in an event word
export const EVTCHN_FIFO_MASKED = 30;
export const EVTCHN_FIFO_LINKED = 29;
export const EVTCHN_FIFO_BUSY = 28;
export const EVTCHN_FIFO_LINK_BITS = 17;
export const EVTCHN_FIFO_LINK_MASK = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
export const EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;
export const evtchn_fifo_control_block = struct('evtchn_fifo_control_block', 72, {
  ready: 'u32',
  _rsvd: 'u32',
  head: { of: 'u32', count: EVTCHN_FIFO_MAX_QUEUES },
});
export const EvtchnFifoControlBlock = cursorOf(evtchn_fifo_control_block);
