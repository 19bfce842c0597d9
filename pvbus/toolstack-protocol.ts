// What tools and dom0's toolstack say to each other. Types and validators only; the frames are in
// toolstack-frames.ts, the socket in tools/toolstack-client.ts and dom0/toolstack/server.ts.
//
// A client sends requests {id, op, args}. The server answers each id exactly once with a reply, and may
// send any number of events with the same id before it. Ids are the client's, unique per connection.
// A connection that closes cancels nothing that is acting (a create goes on to its end or its undoing);
// it only ends waits and subscriptions.

import { diskConfig, domainConfig, vifConfig } from './domain-config.ts';
import { XenError } from './errors.ts';
import { initConfig } from './init-config.ts';
import {
  bytes,
  flag,
  integer,
  listOf,
  nothing,
  nullable,
  oneOf,
  quantity,
  record,
  type Shape,
  type Shaped,
  text,
} from './message-shape.ts';
import { COUNTER_OPS } from './toolstack-counters.ts';
import { FAULT_OPS } from './toolstack-faults.ts';
import { HISTORY_OPS, type HostEvent, hostEvent } from './toolstack-history.ts';
import { type CaptureEvent, captureEvent, NETWORK_OPS } from './toolstack-network.ts';
import { anyName, domid, op } from './toolstack-op.ts';
import { SCHEDULING_OPS } from './toolstack-scheduling.ts';

export { checkDomainConfig, type DomainConfig } from './domain-config.ts';
export type { DeviceCounters, VbdCounters, VifCounters } from './toolstack-counters.ts';
export { type FaultEvent, type FaultStatus, MAX_FAULT_TEXT } from './toolstack-faults.ts';
export { encodeFrame, FrameDecoder, MAX_FRAME, TOOLSTACK_VERSION } from './toolstack-frames.ts';
export {
  type DomainEvent,
  EVENT_HISTORY,
  EVENT_PAGE,
  faultEventJson,
  type HostEvent,
  hostEventJson,
  reasonWord,
  type TopologyNote,
  TopologyNotes,
} from './toolstack-history.ts';
export type { CaptureEvent } from './toolstack-network.ts';
export {
  type Cpupool,
  type DomainShares,
  type DomainVcpus,
  type PoolParams,
  type RtdsShares,
  SCHEDULER_NAMES,
  type SchedulerName,
  type VcpuRecord,
} from './toolstack-scheduling.ts';

/** libxl's return codes, which `xl create` turns into its exit code. Xen: libxl_types.idl, libxl_error. */
export const ERROR_FAIL = -3;
export const ERROR_NI = -4;
export const ERROR_NOMEM = -5;
export const ERROR_INVAL = -6;
export const ERROR_TIMEDOUT = -9;
export const ERROR_DOMAIN_NOTFOUND = -22;

/** A domain as `xl list` shows it. */
export const domainInfo = record({
  domid,
  /** null: no name in xenstore (a dying domain's is gone already). */
  name: nullable(anyName),
  uuid: text(36),
  /** KiB: what it has now plus what it still claims. */
  current_kb: quantity,
  /** KiB of that: claimed, and not there yet. */
  outstanding_kb: quantity,
  max_kb: quantity,
  vcpu_online: integer(0, 4096),
  /** -1 of one that is just being made. */
  vcpu_max_id: integer(-1, 4096),
  /** Sum over its vCPUs, ns. */
  cpu_time: quantity,
  running: flag,
  blocked: flag,
  paused: flag,
  shutdown: flag,
  dying: flag,
  /** SHUTDOWN_* once `shutdown` is set: 0 poweroff, 1 reboot, 2 suspend, 3 crash, 4 watchdog, 5 soft reset. */
  shutdown_reason: nullable(integer(0, 255)),
  cpupool: text(64),
  ssid_label: nullable(text(1024)),
});
export type DomainInfo = Shaped<typeof domainInfo>;

/** What `xl info` prints beyond uname(2). Sizes in MiB. */
export const hostInfo = record({
  nr_cpus: integer(),
  max_cpu_id: integer(),
  nr_nodes: integer(),
  cores_per_socket: integer(),
  threads_per_core: integer(),
  cpu_khz: quantity,
  hw_caps: listOf(integer(), 8),
  virt_caps: listOf(text(64), 32),
  total_memory: quantity,
  free_memory: quantity,
  sharing_freed_memory: quantity,
  sharing_used_memory: quantity,
  outstanding_claims: quantity,
  free_cpus: integer(),
  xen_major: integer(),
  xen_minor: integer(),
  xen_extra: text(),
  xen_caps: text(),
  xen_scheduler: text(64),
  xen_pagesize: integer(),
  virt_start: quantity,
  xen_changeset: text(),
  xen_commandline: text(),
  cc_compiler: text(),
  cc_compile_by: text(),
  cc_compile_domain: text(),
  cc_compile_date: text(),
  build_id: text(),
  /** Ours: MiB that the processes of domUs may have beyond their domains' memory. */
  process_memory: quantity,
  /** Ours: what confines the process of every domU (LAYERS). */
  confinement: listOf(text(64), 32),
});
export type HostInfo = Shaped<typeof hostInfo>;

/** How a wait ended. */
export const domainEnd = record({
  /** `shutdown`: it may still be listed as ---s--. `destroyed`: it is gone. */
  what: oneOf('shutdown', 'destroyed'),
  reason: nullable(integer(0, 255)),
  /** What its first program ended with, if it said so before it shut down. */
  exitCode: nullable(integer(0, 255)),
});
export type DomainEnd = Shaped<typeof domainEnd>;

/** How a domain of `run` ended. */
export const runEnd = record({
  /** SHUTDOWN_*; null when somebody destroyed it. */
  reason: nullable(integer(0, 255)),
  /** What its first program ended with, if it said so. */
  exitCode: nullable(integer(0, 255)),
  /** Of a crash: why, in a line. */
  why: nullable(text()),
});
export type RunEnd = Shaped<typeof runEnd>;

/** Every request, its arguments and its result. Unless said otherwise the result is null. */
export const TOOLSTACK_OPS = {
  /**
   * Build the domain and leave it paused, or unpause it when `paused` is false. Streams a phase event per
   * step. Fails with everything undone: EEXIST (name in use), ENOENT (kernel, ramdisk or disk missing),
   * EINVAL, ENOMEM, ... `monitor` false: nobody acts on its shutdown (xl create -e).
   */
  create: op({ config: domainConfig, paused: flag, monitor: flag }, record({ domid })),
  /**
   * As `create`, and leaves the domain paused; `program` is what its root file system, which the config's ramdisk is, runs
   * first. Whatever ends this connection ends the domain, and so does the end of dom0's process.
   */
  run: op({ config: domainConfig, program: initConfig }, record({ domid })),
  /** Of a domain of `run`, by its connection: when it has shut down or is gone. It is gone then. */
  runEnd: op({ domid }, runEnd),
  /** Replies when the domain is gone. `force` allows what is refused otherwise, never domain 0. */
  destroy: op({ domid, force: flag }, nothing),
  pause: op({ domid }, nothing),
  unpause: op({ domid }, nothing),
  /** Writes control/shutdown; replies once the guest took note, or ETIMEDOUT. Wait for the end with `wait`. */
  shutdown: op({ domid }, nothing),
  reboot: op({ domid }, nothing),
  /** All domains in order of domid, or the one; ESRCH when it does not exist. */
  list: op({ domid: nullable(domid) }, listOf(domainInfo, 65_536)),
  /** The stored config of a domain; null for one that has none (domain 0). */
  config: op({ domid }, nullable(domainConfig)),
  info: op({}, hostInfo),
  /** The hypervisor's console ring; `clear` empties it after reading. */
  dmesg: op({ clear: flag }, record({ text: text(1 << 19) })),
  /** Have the hypervisor print state to its console ring: a letter each, 'h' says which there are. */
  debugKeys: op({ keys: text(64) }, nothing),
  /** ENOENT when no domain has the name. */
  domid: op({ name: anyName }, record({ domid })),
  domname: op({ domid }, record({ name: anyName })),
  /** EEXIST when another domain has the name. */
  rename: op({ domid, name: anyName }, nothing),
  /** What the guest is to have. EINVAL when it may not have so much. */
  setMemoryTarget: op({ domid, kib: integer(0, Number.MAX_SAFE_INTEGER) }, nothing),
  /** So many of its vCPUs, the first ones, are to be up. ERANGE when it has not so many. */
  setVcpus: op({ domid, count: integer(0, 0xffff_ffff) }, nothing),
  /** What it may have at most. EINVAL when that is less than it is to have. */
  setMaxMemory: op({ domid, kib: integer(0, Number.MAX_SAFE_INTEGER) }, nothing),
  /** Write the domain's core to the file of this absolute path, which is replaced. */
  dumpCore: op({ domid, path: text(4096) }, nothing),
  /** Have `config` be what the domain is made of when it comes again; its name, uuid and domid stay. */
  updateConfig: op({ domid, config: domainConfig }, nothing),
  /** Path of the unix socket that carries the console's bytes both ways. */
  console: op({ domid }, record({ path: text(108) })),
  /** Replies when a backend serves it. EEXIST, ENOENT, EBUSY, ... with nothing left of it. */
  attachDisk: op({ domid, disk: diskConfig }, nothing),
  /** `anyDevid`: with the lowest number that is free instead of the config's. */
  attachVif: op({ domid, vif: vifConfig, anyDevid: flag }, record({ devid: integer(0, 255) })),
  /** Replies when both ends have let go of it. ENOENT; ETIMEDOUT when one does not, which `force` disregards. */
  detach: op({ domid, type: oneOf('vbd', 'vif'), devid: integer(0, 0x7fff_ffff), force: flag }, nothing),
  /**
   * The raw image of a disk, for a tool that serves it to others; the connection's end ends that. EBUSY for `writable`
   * while somebody writes to it, and until that end whoever would.
   */
  exportDisk: op({ domid, devid: integer(0, 0x7fff_ffff), writable: flag }, record({ path: text(), vdev: text(64) })),
  /** Replies at once when it already is so. A domain that is destroyed ends every wait. */
  wait: op({ domid, until: oneOf('shutdown', 'destroyed') }, domainEnd),
  /** Streams domain events until the connection closes; the reply says that the subscription stands. */
  subscribe: op({}, nothing),
  /**
   * Record `events` (Xen's evt_mask) and stream trace events until the connection closes. EBUSY while another one
   * does. Nothing in them is older than `since`, in ns of the monotonic clock.
   */
  trace: op({ events: integer() }, record({ cpus: integer(), since: quantity })),
  ...NETWORK_OPS,
  ...SCHEDULING_OPS,
  ...COUNTER_OPS,
  ...HISTORY_OPS,
  ...FAULT_OPS,
  /** End every domain, then the host. The connection closes when dom0 goes. */
  shutdownHost: op({}, nothing),
} as const;

export type ToolstackOp = keyof typeof TOOLSTACK_OPS;
export type ToolstackArgs<O extends ToolstackOp> = Shaped<(typeof TOOLSTACK_OPS)[O]['args']>;
export type ToolstackResult<O extends ToolstackOp> = Shaped<(typeof TOOLSTACK_OPS)[O]['result']>;

export type ToolstackRequest = {
  [O in ToolstackOp]: { id: number; op: O; args: ToolstackArgs<O> };
}[ToolstackOp];

export interface ToolstackError {
  /** An errno name. */
  code: string;
  /** One line for a person: what was attempted, on what, and why it failed. */
  message: string;
  /** libxl's negative return code (ERROR_*). */
  rc: number;
}

export const phaseEvent = record({ event: oneOf('phase'), phase: text(256), ms: quantity });
export type PhaseEvent = Shaped<typeof phaseEvent>;
/** Records of one ring, whole and in its order: of a pCPU as Xen has them, of a vCPU in slots of TRACE_SLOT_SIZE. */
const traceChunk = record({
  cpu: nullable(integer(0, 4095)),
  domid: nullable(domid),
  vcpu: nullable(integer(0, 4095)),
  /** Records before these that nobody has read in time, of a vCPU. A pCPU's ring tells itself. */
  lost: quantity,
  records: bytes(1 << 20),
});
export type TraceChunk = Shaped<typeof traceChunk>;
export const traceEvents = record({
  event: oneOf('trace'),
  /** What was recorded before this, in ns, has been sent with this event; null: more of it follows. */
  until: nullable(quantity),
  chunks: listOf(traceChunk, 65_536),
});
export type TraceEvent = Shaped<typeof traceEvents>;
export type ToolstackEvent = PhaseEvent | HostEvent | TraceEvent | CaptureEvent;

export type ToolstackReply =
  | { id: number; result: unknown }
  | { id: number; error: ToolstackError }
  | { id: number; event: ToolstackEvent };

const requestEnvelope = record({ id: integer(), op: text(64) });
const errorShape: Shape<ToolstackError> = record({ code: text(64), message: text(65_536), rc: integer(-255, -1) });

/** The id of a message that may be bad otherwise, to answer it with an error; null when it has none. */
export function requestId(message: unknown): number | null {
  try {
    return record({ id: integer() })(message, 'request').id;
  } catch {
    return null;
  }
}

/** untrusted: a decoded frame of a tool. Throws ENOSYS for an unknown op, EINVAL naming a bad field. */
export function checkRequest(message: unknown): ToolstackRequest {
  const { id, op: name } = requestEnvelope(message, 'request');
  if (!Object.hasOwn(TOOLSTACK_OPS, name)) throw new XenError('ENOSYS', `the toolstack knows no request '${name}'`);
  const o = name as ToolstackOp;
  const args = TOOLSTACK_OPS[o].args((message as { args?: unknown }).args ?? {}, o);
  return { id, op: o, args } as ToolstackRequest; // the args were checked by this very op's table
}

/** untrusted: a decoded frame of the toolstack. A result is checked by `checkResult` once its op is known. */
export function checkReply(message: unknown): ToolstackReply {
  const { id } = record({ id: integer() })(message, 'reply');
  const { result, error, event } = message as { result?: unknown; error?: unknown; event?: unknown };
  if (error !== undefined && error !== null) return { id, error: errorShape(error, 'reply.error') };
  if (event !== undefined && event !== null) {
    const kind = (event as { event?: unknown }).event;
    if (kind === 'domain' || kind === 'fault') return { id, event: hostEvent(event, 'reply.event') };
    if (kind === 'capture') return { id, event: captureEvent(event, 'reply.event') };
    return { id, event: kind === 'trace' ? traceEvents(event, 'reply.event') : phaseEvent(event, 'reply.event') };
  }
  return { id, result: result ?? null };
}

export function checkResult<O extends ToolstackOp>(name: O, result: unknown): ToolstackResult<O> {
  return TOOLSTACK_OPS[name].result(result, name) as ToolstackResult<O>; // checked by this very op's table
}
