// Trace events that Xen has no id for: what happens in domains without a trap, in the four subclasses of TRC_GUEST.
// A vCPU writes these into its own trace ring (vcpu-trace.ts) but for those that say they are the hypervisor's.

/** In a mask, beside Xen's classes: not everything, but as much as costs next to nothing. */
export const TRC_XENOLITH_BRIEF = 0x10000000;

/** Event channels. */
export const TRC_XENOLITH_EVTCHN = 0x08001000;
/**
 * Extra: port, the peer's domid | its vcpu << 16, slot of their doorbell page, what the slot counts now.
 * A domain to itself: port, its domid, the other end's port.
 */
export const TRC_XENOLITH_EVTCHN_SEND = TRC_XENOLITH_EVTCHN + 1;
/** A handler is about to run. Extra: port, the peer's domid, slot, what the slot counts; without a slot: port alone. */
export const TRC_XENOLITH_EVTCHN_UPCALL = TRC_XENOLITH_EVTCHN + 2;
/** The hypervisor's: it has made a port pending. Extra: vcpu | domid << 16, port. */
export const TRC_XENOLITH_EVTCHN_RAISED = TRC_XENOLITH_EVTCHN + 3;

/** What a vCPU does. */
export const TRC_XENOLITH_VCPU = 0x08002000;
/** It goes to sleep. */
export const TRC_XENOLITH_BLOCK = TRC_XENOLITH_VCPU + 1;
/** It has woken up. */
export const TRC_XENOLITH_WAKE = TRC_XENOLITH_VCPU + 2;
/** The hypervisor's: a hypercall has its answer. Extra: vcpu | domid << 16, number, low word of the answer. */
export const TRC_XENOLITH_HYPERCALL_RETURN = TRC_XENOLITH_VCPU + 3;
/** The hypervisor's: Extra: the caller's vcpu | domid << 16, domid of source | of destination << 16, bytes. */
export const TRC_XENOLITH_GRANT_COPY = TRC_XENOLITH_VCPU + 4;

/**
 * From now on, up to the one with a word, there is more than is told: only how much, in that word. Only while the mask
 * has TRC_XENOLITH_BRIEF.
 */
export const TRC_XENOLITH_UNTOLD = TRC_XENOLITH_VCPU + 5;

/**
 * Requests or responses of a ring handed over. Extra: the frontend's domid, the gref of the ring, and the ring's
 * indices: the first handed over, and the one after the last.
 */
export const TRC_XENOLITH_BLK = 0x08004000;
export const TRC_XENOLITH_NET = 0x08008000;
/** + one of the two above. The frontend has published requests. */
export const TRC_XENOLITH_REQUESTS_PUSHED = 1;
/** The backend has seen them. */
export const TRC_XENOLITH_REQUESTS_SEEN = 2;
/** The backend has published responses. */
export const TRC_XENOLITH_RESPONSES_PUSHED = 3;
/** The frontend has seen them. */
export const TRC_XENOLITH_RESPONSES_SEEN = 4;
