// Hypercalls whose answer comes later.

/** What a hypercall returns when the vCPU gets its answer later, through `Vcpu.complete`. */
export const DEFERRED: unique symbol = Symbol('deferred');
export type Result = number | typeof DEFERRED;
