// What Xen leaves to an architecture: how a vCPU traps, sleeps and is told of events when the
// "hardware" is a Linux process. Everything else in this folder is Xen's; this file alone is ours.
import { cursorOf, struct } from '../struct.ts';
import { VIRQ_ARCH_0 } from './xen.ts';

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

/** Hypercall number: __HYPERVISOR_arch_0, which Xen leaves to the architecture. */
export const __HYPERVISOR_xenolith_op = 48;

/** arg: xenolith_pool_populate. Frames of the gfns leave RAM and become pool frames towards `peer`. */
export const XENOLITHOP_pool_populate = 0;
/** arg: xenolith_pool_populate. The pool frames go back; the gfns are RAM again, zeroed. */
export const XENOLITHOP_pool_release = 1;
/**
 * arg: xenolith_map_foreign. A control domain receives the whole memory of `domid` (KIND_FOREIGN). DOMID_XEN: the pages
 * of the trace buffers, where frame n is Xen's mfn n.
 */
export const XENOLITHOP_map_foreign = 2;
/**
 * arg: xenolith_inherited. A vCPU of a domain that outlives its processes asks what it has, or another one that has no
 * thread: it may be another thread than the one that made it.
 */
export const XENOLITHOP_inherited = 3;
/** No arg. Start a process that waits to take the place of the caller's, which must be one that may be replaced. */
export const XENOLITHOP_successor = 4;
/** No arg. Give the caller's vCPUs to the process that waits; the caller's is ended. Returns only when it fails. */
export const XENOLITHOP_handover = 5;
/** No arg. 1 while a process of XENOLITHOP_successor is there, else 0. The vCPU's event word is bumped when it ends. */
export const XENOLITHOP_successor_waits = 6;

/**
 * arg: xenolith_service. A control domain says, before `domid` has memory, that its process is to be a program of the
 * host's and not a kernel; the domain then outlives that process, as a control domain does.
 */
export const XENOLITHOP_service = 7;
/** No arg. Returns XENOLITH_LAYER_*: what confines the process of every domU of this host. For control domains. */
export const XENOLITHOP_confinement = 8;
/** No arg. Returns MiB: what the processes of all domUs together may have beyond their domains' memory. For control domains. */
export const XENOLITHOP_process_memory = 9;

/** No program it runs gains privileges. */
export const XENOLITH_LAYER_no_new_privs = 1;
/** A filter of system calls. */
export const XENOLITH_LAYER_seccomp = 2;
/** User, mount, network, pid, ipc, uts and cgroup namespaces of its own. */
export const XENOLITH_LAYER_namespaces = 4;
/** Landlock: no files but those it starts from. */
export const XENOLITH_LAYER_landlock = 8;
/** Limits of its memory, descriptors, processes and files. */
export const XENOLITH_LAYER_limits = 16;

/**
 * arg: xenolith_strike. For control domains: the process that has a vCPU is killed, or stopped for a while, as a fault plan
 * asks. What follows is what would follow anyhow.
 */
export const XENOLITHOP_strike = 16;

export const xenolith_strike = struct('xenolith_strike', 8, {
  domid: 'u16',
  vcpu: 'u16',
  stop_ms: 'u32', // 0: it is killed
});

/**
 * arg: xenolith_exhaust. For control domains: the process that has a vCPU, or with DOMID_XEN the hypervisor's own, runs out
 * of descriptors or memory, as a fault plan asks.
 */
export const XENOLITHOP_exhaust = 17;

export const XENOLITH_EXHAUST_descriptors = 0;
export const XENOLITH_EXHAUST_memory = 1;
/** It may have again what it could have before. */
export const XENOLITH_EXHAUST_over = 0xffff_ffff;

export const xenolith_exhaust = struct('xenolith_exhaust', 12, {
  domid: 'u16',
  vcpu: 'u16',
  what: 'u32', // XENOLITH_EXHAUST_descriptors or _memory
  left: 'u32', // descriptors, or KiB of address space; or XENOLITH_EXHAUST_over
});

/** A process of the host's has taken the place of another one, and serves: XENOLITHOP_replacement tells of it. */
export const VIRQ_XENOLITH_replacement = VIRQ_ARCH_0;
/**
 * arg: xenolith_replacement. For control domains: of the processes that have taken the place of others, the oldest one whose
 * number is not below `number`. ENOENT when there is none yet; the last 64 are remembered.
 */
export const XENOLITHOP_replacement = 18;

export const xenolith_replacement = struct('xenolith_replacement', 32, {
  number: 'u32', // from 1 on; returns the one that it is
  domid: 'u16',
  vcpu: 'u16', // the first one of the process: in domain 0 it says which of them
  pid: 'u32',
  ends: 'u32', // processes that had ended before this one served
  ended: 'u64', // system time at which the end of the first of them was known
  served: 'u64', // and at which this one served
});

/**
 * arg: xenolith_fault. For control domains: hypercalls of a domain are to be refused, or answered late, as a fault plan asks.
 * Fault and counts are texts, as xenstored is given its own.
 */
export const XENOLITHOP_fault = 19;

/** The text is a planted fault; what is there already by that name goes on as it is. */
export const XENOLITH_FAULT_plant = 0;
/** The text is its name. What waits because of it goes on. */
export const XENOLITH_FAULT_remove = 1;
/** The text is its name, and becomes what it has done. ENOBUFS: that is longer than `room`. */
export const XENOLITH_FAULT_show = 2;
/** The longest text. */
export const XENOLITH_FAULT_TEXT = 16384;

export const xenolith_fault = struct('xenolith_fault', 24, {
  domid: 'u16', // whose hypercalls
  what: 'u16', // XENOLITH_FAULT_*
  length: 'u32', // of the text, in bytes
  room: 'u32', // for the text
  pad: 'u32',
  text: 'u64', // guest address
});

export const XENOLITH_POOL_readonly = 1;

export const xenolith_pool_populate = struct('xenolith_pool_populate', 16, {
  domid: 'u16', // the granter: DOMID_SELF, or a domain being built when the caller is privileged
  peer: 'u16', // the grantee
  flags: 'u32', // XENOLITH_POOL_*
  gfn: 'u32', // first of nr_frames contiguous gfns, all RAM, none granted
  nr_frames: 'u32',
});
export const xenolith_map_foreign = struct('xenolith_map_foreign', 4, { domid: 'u16', pad: 'u16' });

/** blkback and netback. */
export const XENOLITH_SERVICE_driver_domain = 1;

export const xenolith_service = struct('xenolith_service', 8, {
  domid: 'u16',
  pad: 'u16',
  service: 'u32', // XENOLITH_SERVICE_*
});

export const XENOLITH_INHERITED_ports = 0;
export const XENOLITH_INHERITED_mappings = 1;

/** Entries that one call lists at most: their pools are sent to the caller, who reads none of them meanwhile. */
export const XENOLITH_INHERITED_MAX = 64;

export const xenolith_inherited = struct('xenolith_inherited', 24, {
  what: 'u32', // XENOLITH_INHERITED_*
  from: 'u32', // the port or handle to begin at; returns where to go on, 0 after the last
  nr: 'u32', // entries there is room for; returns how many there are
  vcpu: 'u32', // whose, of the caller's domain
  list: 'u64', // guest address of that many xenolith_port or xenolith_mapping
});
/** A port that was made by this vCPU, or bound to it last. */
export const xenolith_port = struct('xenolith_port', 16, {
  port: 'u32',
  status: 'u16', // EVTCHNSTAT_*
  remote_domid: 'u16', // of one that is unbound or interdomain
  remote_port: 'u32', // interdomain
  virq: 'u32',
});
/** A grant that this vCPU has mapped. */
export const xenolith_mapping = struct('xenolith_mapping', 24, {
  handle: 'u32',
  ref: 'u32',
  domid: 'u16', // the granter
  flags: 'u16', // GNTMAP_*
  pad: 'u32',
  place: 'u64', // as dev_bus_addr of the map that made it
});

/** Bytes of one pool memfd; sparse, so only what is used costs memory. */
export const POOL_SIZE = 32 << 20;
/** A place in a pool, as dev_bus_addr of a mapped grant has it: pool id * POOL_SPAN + byte offset. */
export const POOL_SPAN = 2 ** 32;

// ---- control messages: one memfd each, over a vCPU's control socket (or a queue in one process) ----

/** a = domid | vcpu << 16, b = max_pages | max_vcpus << 32: the domain's own memory. Always first. */
export const KIND_BOOT = 1;
/** a = peer domid: the doorbell page shared with that domain. */
export const KIND_DOORBELL = 2;
/** a = pool id, b = granter domid | grantee domid << 16: a pool, to its granter or its grantee. */
export const KIND_POOL = 3;
/** a = domid, b = max_pages | max_vcpus << 32: another domain's whole memory, for its builder. */
export const KIND_FOREIGN = 4;
/** a = peer domid: that domain is gone; forget its doorbell page and the pools shared with it. No fd. */
export const KIND_FORGET = 5;
/** a = gfn | nr_frames << 32, b = place in a pool: these frames are now that part of the pool. No fd. */
export const KIND_OVERLAY = 6;
/** a = gfn | nr_frames << 32: these frames are RAM again. No fd. */
export const KIND_RESTORE = 7;
/**
 * a = vCPU: the control socket of another vCPU of the domain, which another thread of the process is to be. One for each
 * beyond vCPU 0, right after that one's KIND_BOOT; not counted in control_seq. These threads share vCPU 0's mapping of the
 * domain's memory: what lies over its frames is told to that one alone.
 */
export const KIND_VCPU = 8;

// ---- the domain's memory, in frames: RAM, then what the hypervisor keeps in it ----

export const MAX_GRANT_FRAMES = 64;
const PORT_TABLE_FRAMES = 16;
/** One vcpu page and seven pages of hypercall arguments. */
export const VCPU_FRAMES = 8;
/** A record in a vCPU's trace ring: Xen's t_rec with its time and at most four words, padded. */
export const TRACE_SLOT_SIZE = 32;
export const TRACE_SLOTS = 8192;
/** Used only while the domain is traced; untouched frames of a memfd take no memory. */
export const TRACE_FRAMES = 1 + (TRACE_SLOTS * TRACE_SLOT_SIZE) / PAGE_SIZE;
/** Doorbell words exist for this many vCPUs of a domain. */
export const MAX_VCPUS = 64;

/** A port that has no entry is not notified directly. */
export const PORT_TABLE_ENTRIES = (PORT_TABLE_FRAMES * PAGE_SIZE) / 16;

export interface DomainLayout {
  readonly maxPages: number;
  readonly maxVcpus: number;
  readonly sharedInfo: number;
  readonly grantFrames: number;
  readonly control: number;
  readonly portTable: number;
  readonly vcpus: number;
  readonly trace: number;
  /** Frames in the domain's memfd. */
  readonly frames: number;
}
/** Where each part of a domain's memory starts, as gfns. */
export function domainLayout(maxPages: number, maxVcpus: number): DomainLayout {
  const sharedInfo = maxPages;
  const grantFrames = sharedInfo + 1;
  const control = grantFrames + MAX_GRANT_FRAMES;
  const portTable = control + 1;
  const vcpus = portTable + PORT_TABLE_FRAMES;
  const trace = vcpus + maxVcpus * VCPU_FRAMES;
  const frames = trace + maxVcpus * TRACE_FRAMES;
  return { maxPages, maxVcpus, sharedInfo, grantFrames, control, portTable, vcpus, trace, frames };
}
export const vcpuFrame = (layout: DomainLayout, vcpu: number): number => layout.vcpus + vcpu * VCPU_FRAMES;
/** A vCPU's trace ring: a page whose first word counts the records so far, modulo 2^32, then TRACE_SLOTS of them. */
export const traceFrame = (layout: DomainLayout, vcpu: number): number => layout.trace + vcpu * TRACE_FRAMES;

/** The domain control page. Written by the hypervisor, except where said. */
export const domain_control = struct('domain_control', 64, {
  run: 'u32', // futex word; 0 until the domain is first unpaused
  stop: 'u32', // not 0: every thread of the domain ends at once
  port_table_version: 'u32', // bumped after every change of the port table
  nr_ports: 'u32', // entries of the port table beyond this have never been used
  entry: 'u64', // guest address of the kernel image (xenolith_image, then its text); its low half is a futex word
  start_info: 'u64', // guest address of start_info
  mediated: 'u32', // not 0: every send traps
  trace: 'u32', // the events (Xen's evt_mask) that vCPUs are to record in their trace rings; 0: none
  pad: { of: 'u8', count: 24 },
});

/** In front of a kernel or program text in guest memory. */
export const XENOLITH_IMAGE_MAGIC = 0x4e4c5858; // "XXLN"
export const xenolith_image = struct('xenolith_image', 8, { magic: 'u32', length: 'u32' });

/** A vCPU's page. The two sides' words are on cache lines of their own. */
export const vcpu_page = struct('vcpu_page', 256, {
  // the vCPU's
  trap_seq: 'u32', // futex word: + 1 for every trap, + XENOLITH_NOTE for every change of `want` that is told
  reply_sleeping: 'u32', // not 0 while the vCPU sleeps on reply_seq
  event_sleeping: 'u32', // not 0 while the vCPU sleeps on event_seq: XENOLITH_SLEEPS_*
  crash_length: 'u32', // bytes of the crash record at VCPU_CRASH_RECORD
  op: 'u32',
  want: 'u32', // XENOLITH_WANT_*, a hint
  arg: { of: 'u64', count: 5 },
  // the hypervisor's
  reply_seq: 'u32', // futex word: equals trap_seq when the reply is there
  trap_sleeping: 'u32', // not 0 while the hypervisor sleeps on trap_seq
  result: 'u64', // signed
  pad1: { of: 'u8', count: 48 },
  event_seq: 'u32', // futex word: bumped for an event, a control message, a stop
  control_seq: 'u32', // control messages sent to this vCPU so far
  grant: 'u32', // futex word: 0 while it may not run, else 1 + the pCPU, perhaps with XENOLITH_GRANT_contended
  info: 'u32', // where its vcpu_info is: guest address / VCPU_INFO_UNIT; 0: nowhere yet
  entry: 'u64', // guest address of the kernel image it is to run; 0 until it is first brought up. Low half: futex word
  argument: 'u64', // rsi of the context it was given
  pad2: { of: 'u8', count: 32 },
  // the vCPU's
  tid: 'u32', // of its thread, as Linux calls it: a hint, to split the domain's CPU time between its vCPUs
  pad3: { of: 'u8', count: 60 },
});

export const VCPU_INFO_UNIT = 8;

/** Until an event that is not masked. */
export const XENOLITH_SLEEPS_block = 1;
/** Until one of some ports is pending, masked or not. */
export const XENOLITH_SLEEPS_poll = 2;

/** Added to trap_seq: nothing is asked for, but `want` has changed. The traps are counted below it. */
export const XENOLITH_NOTE = 1 << 24;
/** It sleeps, and wants no pCPU. */
export const XENOLITH_WANT_nothing = 0;
/** It runs. */
export const XENOLITH_WANT_run = 1;
/** It has no pCPU, wants one, and sleeps on `grant` until then. */
export const XENOLITH_WANT_grant = 2;
/** Others wait for this pCPU: say so (XENOLITH_NOTE) before a sleep and after it. */
export const XENOLITH_GRANT_contended = 0x10000;
/** The crash record: UTF-8 text the dying thread leaves in its own page. */
export const VCPU_CRASH_RECORD = 1024;
export const VCPU_CRASH_RECORD_SIZE = 3072;

/** One port of a domain, as the hypervisor tells it to the domain's own event code. */
export const port_entry = struct('port_entry', 16, {
  state: 'u8', // EVTCHNSTAT_*
  direct: 'u8', // interdomain: XENOLITH_PORT_*, how it is notified without the hypervisor; 0: it is not
  notify_vcpu: 'u16', // the vCPU of this domain that hears it
  remote_domid: 'u16',
  remote_vcpu: 'u16', // whose wake word a sender bumps
  slot: 'u16', // XENOLITH_PORT_local: the port at the other end
  generation: 'u16', // differs from binding to binding, and when the port moves to another vCPU
  since: 'u32', // what the peer's slot counted when this generation began; another value = an event
});
export const PortEntry = cursorOf(port_entry);
/** `slot` of the pair's doorbell page carries it. */
export const XENOLITH_PORT_doorbell = 1;
/** Both ends are this domain's: its own code makes the other end pending, and wakes its vCPU. */
export const XENOLITH_PORT_local = 2;

/**
 * One half of a doorbell page. A half is written by one domain only and read by its peer; the half
 * of the lower domid comes first. Words, as indices of an Int32Array over the half.
 */
export const DOORBELL_HALF = 2048;
/** + target vCPU: futex word, bumped after a slot. */
export const DOORBELL_WAKE = 0;
/** + own vCPU: not 0 while that vCPU sleeps on the peer's wake word for it. */
export const DOORBELL_SLEEPING = MAX_VCPUS;
/** + slot: counts notifications of one channel; the receiver compares it with what it saw. */
export const DOORBELL_SLOTS = 2 * MAX_VCPUS;
export const NR_DOORBELL_SLOTS = DOORBELL_HALF / 4 - DOORBELL_SLOTS;
