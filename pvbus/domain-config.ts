// One domain as the toolstack builds it: an xl.cfg, normalised. Keys that xl.cfg has are spelled as
// there; sizes carry xl.cfg's units (MiB). Absent is always null, so that the record survives any codec.

import {
  flag,
  integer,
  listOf,
  mapOf,
  nullable,
  oneOf,
  record,
  type Shape,
  type Shaped,
  text,
} from './message-shape.ts';

/** What may be said of a domain that ended. Xen: xl.cfg(5), "EVENT ACTIONS". */
export const SHUTDOWN_ACTIONS = [
  'destroy',
  'restart',
  'rename-restart',
  'preserve',
  'coredump-destroy',
  'coredump-restart',
  'soft-reset',
] as const;
export type ShutdownAction = (typeof SHUTDOWN_ACTIONS)[number];

/** A value of an xl.cfg key: text (numbers too) or a list. */
export type ConfigValue = string | ConfigValue[];

const MAX_DEPTH = 8;
const valueAt = (depth: number): Shape<ConfigValue> => {
  const single = text(65_536);
  return (value, where) =>
    Array.isArray(value) && depth < MAX_DEPTH ? listOf(valueAt(depth + 1), 4096)(value, where) : single(value, where);
};

export const diskConfig = record({
  /** Absolute path of the image; '' for an empty CD-ROM drive. */
  target: text(),
  format: oneOf('raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty'),
  /** As configured: xvda, hdc, sda1, d0p0. */
  vdev: text(64),
  /** The vbd's number, 51712 for xvda. Xen: misc/vbd-interface(7). */
  devid: integer(0, 0x7fff_ffff),
  readwrite: flag,
  /** The backend's domain, name or domid; null is domain 0. */
  backend: nullable(text(256)),
  backendtype: nullable(oneOf('phy', 'tap', 'qdisk', 'standalone')),
  specification: nullable(oneOf('xen', 'virtio')),
  script: nullable(text()),
  removable: flag,
  cdrom: flag,
  /** null: the backend's default. */
  discard: nullable(flag),
  direct_io_safe: flag,
  trusted: nullable(flag),
});
export type DiskConfig = Shaped<typeof diskConfig>;

export const vifConfig = record({
  devid: integer(0, 255),
  /** Always set: xl makes one under 00:16:3e when the file has none. */
  mac: text(17),
  bridge: nullable(text(64)),
  ip: nullable(text(1024)),
  script: nullable(text()),
  backend: nullable(text(256)),
  vifname: nullable(text(64)),
  gatewaydev: nullable(text(64)),
  model: nullable(text(64)),
  nictype: nullable(oneOf('vif', 'vif_ioemu')),
  rate: nullable(record({ bytes_per_interval: integer(0, Number.MAX_SAFE_INTEGER), interval_usecs: integer() })),
  mtu: nullable(integer(0, 65_535)),
  trusted: nullable(flag),
});
export type VifConfig = Shaped<typeof vifConfig>;

export const pvcallsConfig = record({
  devid: integer(0, 255),
  backend: nullable(text(256)),
  /** Host loopback ports that the guest may listen on, each with the port the guest binds. */
  listen: listOf(record({ host: integer(0, 65_535), guest: integer(1, 65_535) }), 256),
  /** Host loopback ports that the guest may connect to. */
  connect: listOf(integer(1, 65_535), 256),
  /** Ours, of `xl run`: unix sockets of the host, each with the port of 127.0.0.1 by which the guest connects to it. */
  sockets: nullable(listOf(record({ guest: integer(1, 65_535), path: text(107) }), 16)),
  /** Addresses beyond the host's loopback that the guest may connect to: `10.0.0.0/8`, `192.0.2.7:443`, `0.0.0.0/0:1-1023`. */
  allow: listOf(text(64), 64),
  /** The port of 127.0.0.1 by which the guest connects to the host's name server, over TCP. */
  resolver: nullable(integer(1, 65_535)),
});
export type PvcallsConfig = Shaped<typeof pvcallsConfig>;

/** A folder of the host's that the guest shares. Xen: xl.cfg(5), "p9". */
export const p9Config = record({
  devid: integer(0, 255),
  backend: nullable(text(256)),
  /** What the guest calls it. */
  tag: text(255),
  /** Absolute. */
  path: text(4095),
  security_model: text(64),
  /** Ours, of `xl run`: the backend refuses whatever would change something. */
  read_only: nullable(flag),
});
export type P9Config = Shaped<typeof p9Config>;

/** vCPUs of a driver domain without a kernel: xenbus, blkback, netback. */
export const DRIVER_DOMAIN_VCPUS = 3;

const action = oneOf(...SHUTDOWN_ACTIONS);
const cpuSet = text(1024);
const cpuSets = listOf(cpuSet, 4096);
const affinity: Shape<string | string[]> = (value, where) =>
  Array.isArray(value) ? cpuSets(value, where) : cpuSet(value, where);

export const domainConfig = record({
  name: text(255),
  /** 8-4-4-4-12 lower-case hex digits. */
  uuid: text(36),
  type: oneOf('pv', 'pvh', 'hvm'),
  /** MiB at start, and the ceiling of ballooning. */
  memory: integer(1, 0xffff_ffff),
  maxmem: integer(1, 0xffff_ffff),
  vcpus: integer(1, 4096),
  maxvcpus: integer(1, 4096),
  /** Absolute path of the guest kernel's bundle; '' for a driver domain, whose program is the host's. */
  kernel: text(),
  /** Absolute path of the guest's program (.js .cjs .mjs .ts); the toolstack bundles it. */
  ramdisk: nullable(text()),
  cmdline: text(65_536),
  disks: listOf(diskConfig, 256),
  vifs: listOf(vifConfig, 256),
  pvcalls: listOf(pvcallsConfig, 16),
  p9: listOf(p9Config, 16),
  on_poweroff: action,
  on_reboot: action,
  on_crash: action,
  on_watchdog: action,
  on_soft_reset: action,
  driver_domain: flag,
  /** null: the scheduler's default. */
  cpu_weight: nullable(integer(1, 65_535)),
  cap: nullable(integer(0, 65_535)),
  /** Hard and soft affinity: one set for all vCPUs, or a list with a set for each. Xen: xl.cfg(5), "cpus". */
  cpus: nullable(affinity),
  cpus_soft: nullable(affinity),
  /** Of a domain in a cpupool that rtds schedules; µs. */
  period: nullable(integer()),
  budget: nullable(integer()),
  extratime: nullable(flag),
  pool: nullable(text(256)),
  seclabel: nullable(text(1024)),
  max_grant_frames: nullable(integer()),
  max_maptrack_frames: nullable(integer()),
  max_event_channels: nullable(integer()),
  /** Of the domain's wall clock to the host's UTC, in seconds; on top of that, the host's time zone. */
  rtc_timeoffset: nullable(integer(-0x8000_0000, 0x7fff_ffff)),
  localtime: nullable(flag),
  /** Ours. With 'strict' the domain runs only where every layer of confinement is; null and 'available': those there are. */
  confine: nullable(oneOf('available', 'strict')),
  /** Keys of the file that nothing above stands for, kept as they were. */
  extra: mapOf(valueAt(0), 1024),
  /** Where it came from, for messages. */
  source: text(),
});
export type DomainConfig = Shaped<typeof domainConfig>;

/** untrusted: a config as it came over a socket; throws EINVAL naming the field. */
export const checkDomainConfig = (value: unknown, where = 'config'): DomainConfig => domainConfig(value, where);
