// A parsed xl.cfg -> the DomainConfig that a toolstack builds. What xl refuses is refused in xl's words.
// Nothing is looked up on the host here: whether a kernel or an image exists is the toolstack's to say.

import { resolve } from 'node:path';
import { type DiskConfig, type DomainConfig, DRIVER_DOMAIN_VCPUS, SHUTDOWN_ACTIONS, type ShutdownAction } from '#pvbus';
import { readDisk, readVif } from './device-config.ts';
import { meaninglessKeys } from './keys.ts';
import { parseP9Spec } from './p9-spec.ts';
import type { ParsedConfig } from './parse.ts';
import { parsePvcallsSpec } from './pvcalls-spec.ts';
import { ConfigError, Settings } from './settings.ts';
import { DEFAULT_XL_CONF, type XlConf } from './xl-conf.ts';

export interface ValidateOptions {
  /** What relative paths are relative to. */
  readonly cwd: string;
  /** So many random bytes: uuids and mac addresses are made of them. */
  readonly random: (bytes: number) => Uint8Array;
  /** Takes lines for stderr, none of which keeps the config from being used. */
  readonly warn: (line: string) => void;
  /** For a dry run: paths stay relative, and no mac is made. */
  readonly asGiven?: boolean;
  /** A value of another type than its key's is an error; the real xl warns, and goes on without it. */
  readonly strict?: boolean;
  /** What xl.conf says of domains whose own file does not. */
  readonly conf?: XlConf;
}

/** Xen: LIBXL_MEMKB_DEFAULT of a PV guest without `memory`. */
const DEFAULT_MEMORY_MIB = 32;
const MAX_MEMORY_MIB = 0xffff_ffff;

/** Throws ConfigError, whose message is what xl prints and whose exitCode is what it exits with. */
export function validateConfig(parsed: ParsedConfig, options: ValidateOptions): DomainConfig {
  if (!parsed.ok) {
    throw new ConfigError(`${parsed.report}Failed to parse config: Invalid argument`);
  }
  const { warn, conf = DEFAULT_XL_CONF, asGiven = false, strict = false } = options;
  const settings = new Settings(parsed, warn, strict);
  const path = (value: string): string => (asGiven ? value : resolve(options.cwd, value));
  const name = settings.text('name');
  if (name === undefined || name === '') throw settings.xlError('name', 'Domain name must be specified.');
  const type = domainType(settings);
  const uuid = domainUuid(settings, options);
  const { memory, maxmem } = memorySizes(settings);
  const driverDomain = settings.boolean('driver_domain') ?? false;
  const kernel = settings.text('kernel');
  const own = driverDomain && (kernel === undefined || kernel === '') && !settings.has('bootloader');
  const { vcpus, maxvcpus } = vcpuNumbers(settings, own ? DRIVER_DOMAIN_VCPUS : 1);
  const actions = {
    on_poweroff: action(settings, 'on_poweroff', 'destroy'),
    on_reboot: action(settings, 'on_reboot', 'restart'),
    on_watchdog: action(settings, 'on_watchdog', 'destroy'),
    on_crash: action(settings, 'on_crash', 'destroy'),
    on_soft_reset: action(settings, 'on_soft_reset', 'soft-reset'),
  };
  const cmdline = commandLine(settings, warn);
  // Xen: there a driver domain boots a kernel like any other. Here one without is the host's own program.
  if ((kernel === undefined || kernel === '') && !own) {
    if (!settings.has('bootloader')) throw settings.xlError('kernel', 'Neither kernel nor bootloader specified');
    throw settings.wrong('bootloader', "bootloader= is not supported here: give the guest's kernel as kernel=");
  }
  const ramdisk = settings.text('ramdisk');
  const disks = diskConfigs(settings, path);
  const random = asGiven ? null : options.random;
  const vifs = settings.eachSpec('vif', (spec, devid) => readVif(spec, devid, random, warn, conf.vif));
  const pvcalls = settings.eachSpec('pvcalls', parsePvcallsSpec);
  const p9 = settings.eachSpec('p9', (spec, devid) => {
    const folder = parseP9Spec(spec, devid);
    return { ...folder, path: path(folder.path) };
  });
  const rest = {
    driver_domain: driverDomain,
    cpu_weight: within(settings, 'cpu_weight', 1, 65_535),
    cap: within(settings, 'cap', 0, 65_535),
    cpus: affinity(settings, 'cpus'),
    cpus_soft: affinity(settings, 'cpus_soft'),
    period: within(settings, 'period', 0, 0xffff_ffff),
    budget: within(settings, 'budget', 0, 0xffff_ffff),
    extratime: settings.boolean('extratime') ?? null,
    pool: settings.text('pool') ?? null,
    seclabel: settings.text('seclabel') ?? null,
    max_grant_frames: within(settings, 'max_grant_frames', 0, 0xffff_ffff) ?? conf.max_grant_frames,
    max_maptrack_frames: within(settings, 'max_maptrack_frames', 0, 0xffff_ffff) ?? conf.max_maptrack_frames,
    max_event_channels: within(settings, 'max_event_channels', 0, 0xffff_ffff),
    rtc_timeoffset: within(settings, 'rtc_timeoffset', -0x8000_0000, 0x7fff_ffff),
    localtime: settings.boolean('localtime') ?? null,
    confine: confinement(settings),
  };
  const extra = settings.unread();
  const ignored = meaninglessKeys(Object.keys(extra));
  if (ignored.length > 0) warn(`${settings.source}: warning: without meaning here: ${ignored.join(', ')}`);
  return {
    ...{ name, uuid, type, memory, maxmem, vcpus, maxvcpus, kernel: own ? '' : path(kernel!) },
    ...{ ramdisk: ramdisk === undefined || (ramdisk === '' && !asGiven) ? null : path(ramdisk), cmdline },
    ...{ disks, vifs, pvcalls, p9 },
    ...actions,
    ...rest,
    extra,
    source: settings.source,
  };
}

function domainType(settings: Settings): DomainConfig['type'] {
  const builder = settings.text('builder');
  const type = settings.text('type');
  const byBuilder = builder === undefined ? undefined : builder === 'hvm' ? 'hvm' : 'pv';
  if (type === undefined) {
    if (builder !== undefined && !['generic', 'hvm'].includes(builder)) {
      throw settings.xlError('builder', `Invalid domain type ${builder}.`);
    }
    if (byBuilder !== 'hvm') return 'pv';
  } else if (type !== 'pv' && type !== 'pvh' && type !== 'hvm') {
    throw settings.xlError('type', `Invalid domain type ${type}.`);
  } else if (byBuilder !== undefined && (byBuilder === 'hvm') !== (type === 'hvm')) {
    throw settings.xlError('type', 'Contradicting "builder" and "type" options specified.');
  }
  const chosen = type ?? byBuilder;
  if (chosen === 'pv') return 'pv';
  throw settings.wrong(type === undefined ? 'builder' : 'type', `domain type ${chosen} is not supported here, pv is`);
}

function domainUuid(settings: Settings, { random }: ValidateOptions): string {
  const given = settings.text('uuid');
  if (given === undefined) {
    const bytes = random(16);
    bytes[6] = (bytes[6]! & 0x0f) | 0x40; // version 4
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    return uuidText(Buffer.from(bytes).toString('hex'));
  }
  const digits = given.replaceAll('-', '').toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits)) throw settings.xlError('uuid', `Failed to parse UUID: ${given}`);
  return uuidText(digits);
}

const uuidText = (hex: string): string =>
  [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');

function memorySizes(settings: Settings): { memory: number; maxmem: number } {
  const memory = settings.neededNumber('memory') ?? DEFAULT_MEMORY_MIB;
  const maxmem = settings.neededNumber('maxmem') ?? memory;
  for (const [key, mib] of Object.entries({ memory, maxmem })) {
    if (mib < 1 || mib > MAX_MEMORY_MIB) throw settings.wrong(key, `invalid memory size: ${key}=${mib}`);
  }
  if (maxmem < memory) {
    throw settings.wrong('maxmem', `invalid memory size: maxmem=${maxmem} is less than memory=${memory}`);
  }
  return { memory, maxmem };
}

function vcpuNumbers(settings: Settings, byDefault: number): { vcpus: number; maxvcpus: number } {
  const vcpus = settings.neededNumber('vcpus') ?? byDefault;
  const maxvcpus = settings.neededNumber('maxvcpus') ?? vcpus;
  if (maxvcpus < vcpus) throw settings.xlError('maxvcpus', 'xl: maxvcpus < vcpus');
  for (const [key, n] of Object.entries({ vcpus, maxvcpus })) {
    if (n < 1 || n > 4096) throw settings.wrong(key, `invalid number of vcpus: ${key}=${n}`);
  }
  return { vcpus, maxvcpus };
}

type ActionKey = 'on_poweroff' | 'on_reboot' | 'on_watchdog' | 'on_crash' | 'on_soft_reset';

function action(settings: Settings, key: ActionKey, byDefault: ShutdownAction): ShutdownAction {
  const value = settings.text(key);
  if (value === undefined) return byDefault;
  const known = SHUTDOWN_ACTIONS.find(candidate => candidate === value);
  if (known === undefined) throw settings.xlError(key, `Unknown ${key} action "${value}" specified`);
  return known;
}

function confinement(settings: Settings): DomainConfig['confine'] {
  const value = settings.text('confine');
  if (value === undefined || value === 'available' || value === 'strict') return value ?? null;
  throw settings.wrong('confine', `"${value}" is neither "available" nor "strict"`);
}

function commandLine(settings: Settings, warn: (line: string) => void): string {
  const cmdline = settings.text('cmdline');
  const root = settings.text('root');
  const extra = settings.text('extra');
  if (cmdline === undefined) return [root === undefined ? '' : `root=${root}`, extra ?? ''].filter(Boolean).join(' ');
  if (root !== undefined || extra !== undefined) warn('Warning: ignoring root= and extra= in favour of cmdline=');
  return cmdline;
}

function within(settings: Settings, key: string, min: number, max: number): number | null {
  const n = settings.number(key);
  if (n === undefined) return null;
  if (n >= min && n <= max) return n;
  throw settings.wrong(key, `${key}=${n} is not between ${min} and ${max}`);
}

/** One set for all vCPUs, or a list of them. */
function affinity(settings: Settings, key: 'cpus' | 'cpus_soft'): string | string[] | null {
  if (!settings.has(key)) return null;
  return Array.isArray(settings.unread()[key]) ? settings.specs(key) : (settings.text(key) ?? null);
}

function diskConfigs(settings: Settings, path: (value: string) => string): DiskConfig[] {
  const disks = settings.eachSpec('disk', spec => readDisk(spec, settings.source, path));
  for (const [i, disk] of disks.entries()) {
    if (disks.find(other => other.devid === disk.devid) === disk) continue;
    throw settings.wrong('disk', `disk ${disk.vdev} is configured twice`, i);
  }
  return disks;
}
