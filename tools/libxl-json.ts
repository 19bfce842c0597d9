// A DomainConfig in the shape of libxl's JSON: what `xl list -l` and `xl create -n` print, and what
// OpenNebula and Debian's xen-init-list read. Fields at libxl's default are left out; defbools are text.

import {
  type DiskConfig,
  type DomainConfig,
  type DomainShares,
  type P9Config,
  type PvcallsConfig,
  parseCpuRange,
  type ShutdownAction,
  type VifConfig,
} from '#pvbus';
import type { XlConf } from './config/xl-conf.ts';
import type { Json } from './yajl.ts';

type Fields = { [key: string]: Json };

const INVALID_DOMID = 0xffff_ffff;

/** What a dry run prints: nothing is filled in that neither the config nor xl.conf has. */
export interface AsGiven {
  readonly conf: XlConf;
  /** A number that the config has under this key. */
  number(key: string): number | undefined;
  /** The config's value of a key that is only kept here. */
  text(key: string): string | undefined;
}

/** How a domain is scheduled now, in the terms of its pool's scheduler. */
export type ScheduledBy = Pick<DomainShares, 'scheduler' | 'credit' | 'rtds'>;

/**
 * `shares`: of the domain that exists with this config, which is printed as libxl stores it, its defaults filled in.
 * With `given` the config is one that was read `asGiven`.
 */
export function libxlConfig(config: DomainConfig, shares: ScheduledBy | null, given?: AsGiven): Fields {
  const stored = shares !== null;
  const json: Fields = { c_info: createInfo(config, stored, given), b_info: buildInfo(config, shares, given) };
  if (config.disks.length > 0) json.disks = config.disks.map(disk => diskJson(disk, stored));
  if (config.vifs.length > 0) json.nics = config.vifs.map(vif => nicJson(vif, given === undefined));
  if (config.p9.length > 0) json.p9s = config.p9.map(p9Json);
  if (config.pvcalls.length > 0) json.pvcallsifs = config.pvcalls.map(pvcallsJson);
  for (const key of ['on_poweroff', 'on_reboot', 'on_watchdog', 'on_crash', 'on_soft_reset'] as const) {
    if (config[key] !== 'destroy') json[key] = actionName(config[key]);
  }
  return json;
}

const actionName = (action: ShutdownAction): string =>
  action === 'rename-restart' ? 'restart_rename' : action.replaceAll('-', '_');

function createInfo(config: DomainConfig, stored: boolean, given: AsGiven | undefined): Fields {
  const info: Fields = { type: config.type };
  if (config.seclabel !== null) info.ssid_label = config.seclabel;
  info.name = config.name;
  if (stored) info.domid = INVALID_DOMID;
  info.uuid = config.uuid;
  if (config.pool !== null) info.pool_name = config.pool;
  info.run_hotplug_scripts = bool(given?.conf.run_hotplug_scripts ?? true);
  if (config.driver_domain || given?.number('driver_domain') === 0) info.driver_domain = bool(config.driver_domain);
  return info;
}

function buildInfo(config: DomainConfig, shares: ScheduledBy | null, given: AsGiven | undefined): Fields {
  const info: Fields = {};
  const stored = shares !== null;
  const has = (...keys: string[]): boolean => given === undefined || keys.some(key => given.number(key) !== undefined);
  if (has('vcpus', 'maxvcpus')) info.max_vcpus = config.maxvcpus;
  if (has('vcpus')) info.avail_vcpus = Array.from({ length: config.vcpus }, (_, vcpu) => vcpu);
  Object.assign(info, affinityJson(config));
  if (has('memory', 'maxmem')) info.max_memkb = config.maxmem * 1024;
  if (has('memory')) info.target_memkb = config.memory * 1024;
  if (stored) info.video_memkb = 0;
  if (config.rtc_timeoffset) info.rtc_timeoffset = config.rtc_timeoffset >>> 0;
  if (config.localtime !== null) info.localtime = bool(config.localtime);
  const nomigrate = given?.number('nomigrate');
  if (nomigrate !== undefined) info.disable_migrate = bool(nomigrate !== 0);
  for (const key of ['max_grant_frames', 'max_maptrack_frames'] as const) {
    if (config[key] !== null) info[key] = config[key];
  }
  info.sched_params = shares === null ? schedGiven(config) : schedNow(shares);
  info.claim_mode = bool(given?.conf.claim_mode ?? true);
  if (config.max_event_channels !== null) info.event_channels = config.max_event_channels;
  if (config.kernel !== '') info.kernel = config.kernel;
  if (config.cmdline !== '') info.cmdline = config.cmdline;
  if (config.ramdisk !== null) info.ramdisk = config.ramdisk;
  const bootloader = given?.text('bootloader');
  if (bootloader !== undefined) info.bootloader = bootloader;
  info['type.pv'] = {};
  info.arch_arm = {};
  info.arch_x86 = stored ? { msr_relaxed: 'False' } : {};
  return info;
}

function schedGiven({ cpu_weight, cap, period, extratime, budget }: DomainConfig): Fields {
  const sched: Fields = {};
  if (cpu_weight !== null) sched.weight = cpu_weight;
  if (cap !== null) sched.cap = cap;
  if (period !== null) sched.period = period;
  if (extratime !== null) sched.extratime = Number(extratime);
  if (budget !== null) sched.budget = budget;
  return sched;
}

/** Xen: of RTDS what a new vCPU would get. */
function schedNow({ scheduler, credit, rtds }: ScheduledBy): Fields {
  if (rtds === null) return { sched: scheduler, ...credit };
  const { period, budget } = rtds.default;
  return { sched: scheduler, period, budget };
}

/** More than a machine has; `all` is only known where the domain runs, and left out. */
const MANY_CPUS = 4096;

/** A set for each vCPU. Xen: whoever pins vCPUs has no automatic placement. */
function affinityJson({ cpus, cpus_soft, maxvcpus }: DomainConfig): Fields {
  const sets = (given: string | readonly string[] | null): Json[] | undefined => {
    const ranges = given === null ? [] : typeof given === 'string' ? Array(maxvcpus).fill(given) : given;
    if (ranges.length === 0 || ranges.some(range => /all|node/.test(range))) return undefined;
    try {
      return ranges.slice(0, maxvcpus).map(range => parseCpuRange(range, MANY_CPUS));
    } catch {
      return undefined; // the toolstack says what is wrong with it
    }
  };
  const [hard, soft] = [sets(cpus), sets(cpus_soft)];
  return {
    ...(hard !== undefined && { vcpu_hard_affinity: hard }),
    ...(soft !== undefined && { vcpu_soft_affinity: soft }),
    ...((cpus !== null || cpus_soft !== null) && { numa_placement: 'False' }),
  };
}

const bool = (value: boolean): string => (value ? 'True' : 'False');

export function diskJson(disk: DiskConfig, stored: boolean): Fields {
  const json: Fields = {};
  if (disk.backend !== null) json.backend_domname = disk.backend;
  json.pdev_path = disk.target;
  json.vdev = disk.vdev;
  if (disk.backendtype !== null) json.backend = disk.backendtype;
  json.format = disk.format;
  if (disk.script !== null) json.script = disk.script;
  if (disk.removable) json.removable = 1;
  if (disk.readwrite) json.readwrite = 1;
  if (disk.cdrom) json.is_cdrom = 1;
  if (disk.direct_io_safe) json.direct_io_safe = true;
  if (disk.discard !== null) json.discard_enable = bool(disk.discard);
  if (stored) json.colo_restore_enable = 'False';
  if (disk.trusted !== null) json.trusted = bool(disk.trusted);
  if (disk.specification !== null) json.specification = disk.specification;
  return json;
}

/** Not `filled`: without a mac and a type where the specification has none. */
export function nicJson(vif: VifConfig, filled: boolean): Fields {
  const json: Fields = {};
  if (vif.backend !== null) json.backend_domname = vif.backend;
  json.devid = vif.devid;
  if (vif.mtu !== null) json.mtu = vif.mtu;
  if (vif.model !== null) json.model = vif.model;
  if (vif.mac !== '') json.mac = vif.mac;
  if (vif.ip !== null) json.ip = vif.ip;
  if (vif.bridge !== null) json.bridge = vif.bridge;
  if (vif.vifname !== null) json.ifname = vif.vifname;
  if (vif.script !== null) json.script = vif.script;
  if (filled || vif.nictype !== null) json.nictype = vif.nictype ?? 'vif';
  if (vif.rate !== null) {
    json.rate_bytes_per_interval = vif.rate.bytes_per_interval;
    json.rate_interval_usecs = vif.rate.interval_usecs;
  }
  if (vif.gatewaydev !== null) json.gatewaydev = vif.gatewaydev;
  if (vif.trusted !== null) json.trusted = bool(vif.trusted);
  return json;
}

function p9Json({ backend, tag, path, security_model, devid }: P9Config): Fields {
  return { ...(backend !== null && { backend_domname: backend }), tag, path, security_model, devid };
}

/** libxl knows backend and devid of these; the ports are ours. */
function pvcallsJson(pvcalls: PvcallsConfig): Fields {
  const json: Fields = {};
  if (pvcalls.backend !== null) json.backend_domname = pvcalls.backend;
  json.devid = pvcalls.devid;
  if (pvcalls.listen.length > 0) json.listen = pvcalls.listen.map(({ host, guest }) => ({ host, guest }));
  if (pvcalls.connect.length > 0) json.connect = pvcalls.connect;
  if (pvcalls.allow.length > 0) json.allow = pvcalls.allow;
  if (pvcalls.resolver !== null) json.resolver = pvcalls.resolver;
  return json;
}
