// Xen: public/trace.h. What a trace record looks like, and which there are. Ids of our own, which the header
// leaves to guests, are in trace-events.ts.
import { cursorOf, struct } from '../struct.ts';

/** Words a record has beyond its header and its time. */
export const TRACE_EXTRA_MAX = 7;
export const TRACE_EXTRA_SHIFT = 28;

export const TRC_CLS_SHIFT = 16;
export const TRC_SUBCLS_SHIFT = 12;
export const TRC_GEN = 0x0001f000;
export const TRC_SCHED = 0x0002f000;
export const TRC_DOM0OP = 0x0004f000;
export const TRC_HVM = 0x0008f000;
export const TRC_MEM = 0x0010f000;
export const TRC_PV = 0x0020f000;
export const TRC_SHADOW = 0x0040f000;
export const TRC_HW = 0x0080f000;
export const TRC_GUEST = 0x0800f000;
export const TRC_ALL = 0x0ffff000;

export const TRC_SCHED_MIN = 0x00021000;
export const TRC_SCHED_CLASS = 0x00022000;
export const TRC_SCHED_VERBOSE = 0x00028000;
export const TRC_DOM0_DOMOPS = 0x00041000;
export const TRC_PV_ENTRY = 0x00201000;
export const TRC_PV_SUBCALL = 0x00202000;

/** lost_records, did | vid << 16, first_tsc: a record of the trace itself. */
export const TRC_LOST_RECORDS = TRC_GEN + 1;
/** What follows it up to the end of the buffer means nothing. */
export const TRC_TRACE_WRAP_BUFFER = TRC_GEN + 2;
/** Of a file: the next window_size bytes are of this cpu. Extra: cpu, window_size. */
export const TRC_TRACE_CPU_CHANGE = TRC_GEN + 3;

/** + (old state << 8) + (new state << 4). Extra: vcpu | domid << 16. */
export const TRC_SCHED_RUNSTATE_CHANGE = TRC_SCHED_MIN + 1;
/** Extra: vcpu | domid << 16. */
export const TRC_SCHED_CONTINUE_RUNNING = TRC_SCHED_MIN + 2;
/** Extra: domid. */
export const TRC_SCHED_DOM_ADD = TRC_SCHED_VERBOSE + 1;
/** Extra: domid. */
export const TRC_SCHED_DOM_REM = TRC_SCHED_VERBOSE + 2;
/** Extra: domid, vcpu. */
export const TRC_SCHED_SLEEP = TRC_SCHED_VERBOSE + 3;
/** Extra: domid, vcpu. */
export const TRC_SCHED_WAKE = TRC_SCHED_VERBOSE + 4;
/** Extra: domid, vcpu. */
export const TRC_SCHED_YIELD = TRC_SCHED_VERBOSE + 5;
/** Extra: domid, vcpu. */
export const TRC_SCHED_BLOCK = TRC_SCHED_VERBOSE + 6;
/** Extra: domid, vcpu, reason. */
export const TRC_SCHED_SHUTDOWN = TRC_SCHED_VERBOSE + 7;
/** Extra: the domid and the vcpu that ran, the domid and the vcpu that runs. */
export const TRC_SCHED_SWITCH = TRC_SCHED_VERBOSE + 10;

/** Extra: domid. */
export const TRC_DOM0_DOM_ADD = TRC_DOM0_DOMOPS + 1;
/** Extra: domid. */
export const TRC_DOM0_DOM_REM = TRC_DOM0_DOMOPS + 2;

/** Extra: the granter's domid. */
export const TRC_MEM_PAGE_GRANT_MAP = TRC_MEM + 1;
/** Extra: the granter's domid. */
export const TRC_MEM_PAGE_GRANT_UNMAP = TRC_MEM + 2;

/** Extra: the number with which arguments follow, two bits each from bit 20 on; then those arguments. */
export const TRC_PV_HYPERCALL_V2 = TRC_PV_ENTRY + 13;

/** In front of a record's words: is its time among them? */
export const TRC_HD_CYCLE_FLAG = 2 ** 31;
/** The header word of a record; a signed word, as an Int32Array takes it. */
export const traceHeader = (event: number, extra: number, timed: boolean): number =>
  event | (extra << TRACE_EXTRA_SHIFT) | (timed ? 1 << 31 : 0);
/** Xen: TRC_HD_TO_EVENT, TRC_HD_EXTRA, TRC_HD_INCLUDES_CYCLE_COUNT. */
export const traceEvent = (header: number): number => header & 0x0fffffff;
export const traceExtra = (header: number): number => (header >>> TRACE_EXTRA_SHIFT) & TRACE_EXTRA_MAX;
export const traceTimed = (header: number): boolean => header >>> 31 !== 0;
/** Does an event mask (one bit a class, one a subclass) let this event through? */
export const traceWants = (mask: number, event: number): boolean =>
  (mask & event & 0x0fff0000) !== 0 && (mask & event & 0xf000) !== 0;

/** The state a vCPU came from and the one it is in, out of an event of TRC_SCHED_RUNSTATE_CHANGE. */
export const runstateChange = (from: number, to: number): number =>
  TRC_SCHED_RUNSTATE_CHANGE | ((from & 3) << 8) | ((to & 3) << 4);

/** In front of a buffer's records. Both count modulo twice the bytes for records. */
export const t_buf = struct('t_buf', 8, {
  cons: 'u32', // the reader's
  prod: 'u32', // the hypervisor's
});
export const TBuf = cursorOf(t_buf);
/** Then, for each pCPU, a u16: where its list of frame numbers, u32s, begins, in words of 4 bytes from here. */
export const t_info = struct('t_info', 2, {
  tbuf_size: 'u16', // pages of each buffer
});
