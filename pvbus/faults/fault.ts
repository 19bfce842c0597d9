// What a fault is: what it befalls, when, what happens, how long. Plain data, the same in a topology file, on the
// command line, in the library, and between processes. docs/faults.md is the reference.

import { HYPERCALL_OPS } from './hypercalls.ts';

/** Errors that a disk's image may give. */
const DISK_ERRORS = ['EIO', 'ENOSPC', 'ENOMEM', 'EROFS', 'ETIMEDOUT', 'EINTR', 'EAGAIN'] as const;
/** GNTST_ codes that a map or a copy may give. */
const GRANT_ERRORS = ['no_space', 'eagain', 'bad_gntref', 'permission_denied', 'general_error'] as const;
/** What a socket of the host may fail with. */
const SOCKET_ERRORS = [
  ...(['ECONNREFUSED', 'ETIMEDOUT', 'ENETUNREACH', 'EHOSTUNREACH', 'ECONNRESET'] as const),
  ...(['ECONNABORTED', 'EADDRINUSE'] as const),
] as const;
/** What the server of a shared folder may answer. */
const FOLDER_ERRORS = [
  ...(['EIO', 'ENOSPC', 'EDQUOT', 'ENOMEM', 'EMFILE', 'EROFS', 'EACCES', 'ENOENT', 'ESTALE'] as const),
  ...(['EINTR', 'EAGAIN', 'ETIMEDOUT'] as const),
] as const;
/** What the hypervisor may answer. */
const HYPERCALL_ERRORS = ['EPERM', 'EAGAIN', 'ENOMEM', 'EFAULT', 'EBUSY', 'EINVAL', 'ENOSPC', 'ENOSYS'] as const;
/** What xenstored may answer. */
const XENSTORE_ERRORS = ['EAGAIN', 'EIO', 'ENOSPC', 'ENOMEM', 'EBUSY', 'EACCES', 'EINVAL', 'ENOENT'] as const;

/** Whose event channels faults can stand before; of `grant` it is a vbd or a vif. */
export const CHANNEL_TYPES = ['vbd', 'vif', 'pvcalls', '9pfs', 'console', 'xenstore'] as const;
type ChannelType = (typeof CHANNEL_TYPES)[number];

export interface Fault {
  /** Its own in its plan. */
  readonly name: string;
  readonly part: PartName;

  // ---- what ----
  /** By name, or by domid; without, any. */
  readonly domain?: string | number;
  /** A disk's vdev, or the number of a vbd or vif. */
  readonly device?: string | number;
  /** Of `event` and `grant`: the class of device. */
  readonly type?: ChannelType;
  readonly op?: string;
  /** Of the disk, the first and the last. */
  readonly sectors?: readonly [number, number];
  readonly gref?: number;
  /** Of an event channel, the guest's number of it. */
  readonly port?: number;
  /** Nodes at and below it; of a shared folder, what is at and below it. */
  readonly path?: string;
  /** `guest`: whose device it is, in place of the process that serves it. */
  readonly process?: 'dom0' | 'xenstored' | 'hypervisor' | 'domain' | 'guest';
  /** Of what the toolstack does: the name or the number of the step. */
  readonly step?: string | number;
  /** Of `net`: only frames to or from this domain. */
  readonly peer?: string | number;

  // ---- when ----
  readonly nth?: readonly number[];
  readonly every?: number;
  /** Not before this occurrence. */
  readonly from?: number;
  /** Not before this long after the plan began, ms. */
  readonly after?: number;
  readonly probability?: number;
  /** While this node of xenstore is there, or has that value. */
  readonly while?: { readonly path: string; readonly is?: string };
  /** So often at most. */
  readonly times?: number;
  /** For so long, ms: after that, nothing happens. */
  readonly for?: number;

  // ---- what happens: one of these ----
  readonly error?: string;
  readonly drop?: true;
  /** ms */
  readonly delay?: number;
  /** So many more. */
  readonly duplicate?: number;
  readonly reorder?: true;
  /** One bit: of this byte, or of any. */
  readonly corrupt?: true | number;
  /** One system call does only so many bytes. */
  readonly short?: number;
  /** Of a write only so many bytes are done; then it fails. */
  readonly torn?: number;
  /** What was written and not flushed is kept in memory; a number: of its sectors so many, by chance, from 0 to 1. */
  readonly cache?: true | number;
  /** Of `cache`: bytes of a write that arrive together or not at all; without, 512. */
  readonly atomic?: number;
  /** What `cache` keeps is forgotten. */
  readonly lose?: true;
  /** The image ends after so many bytes. */
  readonly truncate?: number;
  /** No answer as long as the fault is there. */
  readonly stall?: true;
  /** The process that does it: before it is done, or when it is done and not answered. */
  readonly kill?: 'before' | 'after';
  /** It is stopped for so long, ms. */
  readonly stop?: number;
  /** The wall clock is moved by so much, ms. */
  readonly shift?: number;
  /** The process has no more of it as long as the fault is there. */
  readonly exhaust?: 'descriptors' | 'memory';
  /** Of `exhaust`: but so many descriptors, or bytes; without, none. */
  readonly left?: number;
}

export interface FaultPlan {
  readonly name: string;
  readonly seed: number;
  /** ms; it is removed then. */
  readonly duration?: number;
  readonly faults: readonly Fault[];
}

export const ACTIONS = [
  ...['error', 'drop', 'delay', 'duplicate', 'reorder', 'corrupt', 'short', 'torn', 'cache', 'lose', 'truncate'],
  ...['stall', 'kill', 'stop', 'shift', 'exhaust'],
] as const;
type ActionName = (typeof ACTIONS)[number];

export interface Part {
  /** What it does that can be chosen by `op`; without, each of them. */
  readonly ops: readonly string[];
  /** Keys that say which, beside `op`. */
  readonly selectors: readonly string[];
  readonly actions: readonly ActionName[];
  readonly errors: readonly string[];
}

const DEVICE = ['domain', 'device'] as const;

/** The parts that a fault can take the place of. */
export const PARTS = {
  /** The image under blkback, by requests of the frontend. */
  disk: {
    ops: ['read', 'write', 'flush', 'discard'],
    selectors: [...DEVICE, 'sectors', 'atomic', 'process'],
    actions: [
      ...(['error', 'delay', 'stall', 'short', 'torn', 'corrupt', 'cache', 'lose', 'truncate'] as const),
      ...(['kill', 'stop'] as const),
    ],
    errors: DISK_ERRORS,
  },
  /** A vif's port of its bridge, by frames; rx and tx are the guest's. */
  net: {
    ops: ['rx', 'tx'],
    selectors: [...DEVICE, 'peer', 'process'],
    actions: ['drop', 'delay', 'duplicate', 'reorder', 'corrupt', 'kill', 'stop'],
    errors: [],
  },
  /** Notifications between a backend, consoled or xenstored and a guest; send and receive are not the guest's. */
  event: {
    ops: ['send', 'receive'],
    selectors: [...DEVICE, 'type', 'port', 'process'],
    actions: ['drop', 'delay', 'duplicate', 'reorder', 'kill', 'stop'],
    errors: [],
  },
  /** Grants that a backend maps, by calls; those that it copies from or to, each by itself. */
  grant: {
    ops: ['map', 'copy'],
    selectors: [...DEVICE, 'type', 'gref', 'process'],
    actions: ['error', 'kill', 'stop'],
    errors: GRANT_ERRORS,
  },
  /** Sockets of the host, by commands of the frontend; send and receive, which are the guest's, by bytes moved at once. */
  pvcalls: {
    ops: ['connect', 'listen', 'accept', 'send', 'receive'],
    selectors: [...DEVICE, 'process'],
    actions: ['error', 'delay', 'stall', 'short', 'kill', 'stop'],
    errors: SOCKET_ERRORS,
  },
  /** A shared folder, by its client's messages: 9P's names of them, without their T. */
  '9pfs': {
    ops: [
      ...(['attach', 'walk', 'clunk', 'lopen', 'lcreate', 'read', 'write', 'fsync', 'readdir', 'getattr'] as const),
      ...(['setattr', 'mkdir', 'symlink', 'link', 'readlink', 'renameat', 'unlinkat', 'statfs'] as const),
    ],
    selectors: [...DEVICE, 'path', 'process'],
    actions: ['error', 'drop', 'delay', 'stall', 'short', 'kill', 'stop'],
    errors: FOLDER_ERRORS,
  },
  /** A domain's console, by bytes that consoled reads, the guest's output, or writes, at once. */
  console: {
    ops: ['read', 'write'],
    selectors: ['domain', 'process'],
    actions: ['drop', 'delay', 'stall', 'kill', 'stop'],
    errors: [],
  },
  /** Requests to xenstored. */
  xenstore: {
    ops: ['read', 'write', 'rm', 'mkdir', 'directory', 'get-perms', 'set-perms', 'watch', 'start', 'commit'],
    selectors: ['domain', 'path'],
    actions: ['error', 'delay', 'kill', 'stop'],
    errors: XENSTORE_ERRORS,
  },
  /** What a domain asks the hypervisor, also as an element of a multicall: by Xen's name of it, or of its command. */
  hypercall: { ops: HYPERCALL_OPS, selectors: ['domain'], actions: ['error', 'delay'], errors: HYPERCALL_ERRORS },
  /** The wall clock, by time. */
  clock: { ops: [], selectors: [], actions: ['shift'], errors: [] },
  /** A process, by time. */
  process: {
    ops: [],
    selectors: ['process', 'domain', 'left'],
    actions: ['kill', 'stop', 'exhaust'],
    errors: [],
  },
  /** Steps of what the toolstack does. */
  toolstack: {
    ops: ['create', 'destroy', 'attach', 'detach'],
    selectors: ['domain', 'step'],
    actions: ['error', 'kill', 'delay'],
    errors: DISK_ERRORS,
  },
} as const satisfies Record<string, Part>;
export type PartName = keyof typeof PARTS;

/** Parts whose faults are carried out beside a device's rings. */
const DEVICE_PARTS = [
  ...(['disk', 'net', 'event', 'grant', 'pvcalls', '9pfs', 'console'] as const satisfies readonly PartName[]),
] as const;
/** Parts where nothing is counted: their faults happen by time alone. */
const TIMED_PARTS = ['clock', 'process'] as const satisfies readonly PartName[];

export const actionOf = (fault: Fault): ActionName => ACTIONS.find(action => fault[action] !== undefined)!; // checked
export const isTimed = ({ part }: Fault): boolean => (TIMED_PARTS as readonly string[]).includes(part);
/** Carried out by xenstored. */
export const isOfXenstored = ({ part, type }: Fault): boolean =>
  part === 'xenstore' || (part === 'event' && type === 'xenstore');
/** Carried out by the hypervisor. */
export const isOfHypervisor = ({ part }: Fault): boolean => part === 'hypercall';
export const isOfDevice = (fault: Fault): boolean =>
  (DEVICE_PARTS as readonly string[]).includes(fault.part) && !isOfXenstored(fault);
/** The classes of device a fault of a device is for. */
export function deviceTypesOf({ part, type, op, port }: Fault): readonly string[] {
  if (part === 'pvcalls' || part === '9pfs' || part === 'console') return [part];
  if (part === 'grant' && op === 'copy') return ['vif'];
  if (part === 'net') return ['vif'];
  if (part === 'disk') return ['vbd'];
  if (type !== undefined) return [type];
  // A number says which channel of the guest's it is.
  return port === undefined ? ['vbd', 'vif'] : CHANNEL_TYPES;
}

/** `disk write of web/xvda: error EIO`. */
export function describeFault(fault: Fault): string {
  const { part, op, domain, device, type, sectors, port, gref, process, path, step, peer } = fault;
  const where = [part === 'process' ? (process ?? domain) : domain, device]
    .filter(word => word !== undefined)
    .join('/');
  const which = { sectors: sectors?.join('-'), port, gref };
  const words = [
    ...[part, op, type, step, path],
    ...Object.entries(which).flatMap(([key, value]) => (value === undefined ? [] : [`${key} ${value}`])),
    where === '' ? '' : `of ${where}`,
    peer === undefined ? '' : `with ${peer}`,
  ];
  const action = actionOf(fault);
  const value = fault[action];
  const unit = TIMES_MS.includes(action) ? ' ms' : '';
  const shown = action === 'cache' && typeof value === 'number' ? `${value * 100} %` : `${value}${unit}`;
  const what = value === true ? action : `${action} ${shown}`;
  const but = fault.left === undefined ? '' : `, ${fault.left} left`;
  return `${words.filter(word => word !== undefined && word !== '').join(' ')}: ${what}${but}${process === 'guest' ? ' of the guest' : ''}`;
}
const TIMES_MS: readonly string[] = ['delay', 'stop', 'shift'];
