// Everything that can be wrong with a config is found here, before anything is made for it. Every error
// is one line that names the key, and the file where there is one.
import { constants as bufferConstants } from 'node:buffer';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import {
  domid as asDomid,
  type DiskConfig,
  type DomainConfig,
  type Domid,
  DRIVER_DOMAIN_VCPUS,
  isNbdTarget,
  MAX_VCPUS,
  messageOf,
  mostDomainPages,
  type P9Config,
  type PvcallsConfig,
  parseAllowed,
  parseNbdTarget,
  type VifConfig,
  XenError,
} from '#pvbus';
import { findProgram } from '../backends/nbd/qemu-nbd.ts';
import { checkImage } from './bundle-program.ts';
import { isRaw } from './devices.ts';
import type { DomainRecords } from './domain-records.ts';
import { isOwnDriverDomain } from './driver-domains.ts';
import { isRunnable } from './hotplug-script.ts';

const PAGES_PER_MIB = 256;

export interface CheckedConfig {
  /** The domid of a backend, by the name or number the config gives it. */
  backendOf(backend: string | null): Domid;
}

/** Throws an error that names the config's key, e.g. `kernel: /x does not exist`. */
export async function checkConfig(config: DomainConfig, records: DomainRecords): Promise<CheckedConfig> {
  checkPlain(config);
  if (isOwnDriverDomain(config)) return checkDevices(config, records);
  const kernel = checkImage('kernel', config.kernel);
  const ramdisk = config.ramdisk === null ? undefined : checkImage('ramdisk', config.ramdisk);
  ramdisk?.catch(() => {}); // heard of below, unless the kernel is wrong too
  await kernel;
  await ramdisk;
  return checkDevices(config, records);
}

/** The part that is about its devices alone; `records` knows what other domains have. */
export async function checkDevices(config: DomainConfig, records: DomainRecords): Promise<CheckedConfig> {
  const backends = checkBackends(config, records);
  const rivals = records.rivals(config);
  for (const disk of config.disks) await checkDisk(disk, backends, rivals);
  for (const net of config.vifs) checkScript(`vif ${net.devid}`, net, backends);
  for (const calls of config.pvcalls) await checkHostPorts(calls, backends, rivals);
  for (const folder of config.p9) await checkFolder(folder, backends);
  return { backendOf: name => backends.of(name).domid };
}

/** The same error with the config's source in front: `/srv/web.cfg: kernel: /x does not exist`. */
export function withSource(config: DomainConfig, error: unknown): unknown {
  if (!(error instanceof XenError) || config.source === '') return error;
  return new XenError(error.code, `${config.source}: ${error.message}`, error.cause ?? error);
}

const invalid = (key: string, why: string): never => {
  throw new XenError('EINVAL', `${key}: ${why}`);
};

function checkPlain(config: DomainConfig): void {
  if (config.name === '') invalid('name', 'it is empty');
  // The name is a file name of logs, a xenstore value and a column of `xl list`.
  if (/[\p{Cc}/]/u.test(config.name)) invalid('name', `'${config.name}' holds a slash or a control character`);
  if (/^[0-9]+$/.test(config.name)) invalid('name', `'${config.name}' is a number, which would be taken for a domid`);
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(config.uuid)) invalid('uuid', `'${config.uuid}' is none`);
  if (config.maxmem < config.memory)
    invalid('maxmem', `${config.maxmem} MiB is less than memory, ${config.memory} MiB`);
  const most = Math.floor(mostDomainPages(bufferConstants.MAX_LENGTH, config.maxvcpus) / PAGES_PER_MIB);
  if (config.memory > most) {
    const node = process.version.slice(1);
    throw new XenError('ENOMEM', `memory: ${config.memory} MiB, a domain has at most ${most} with Node ${node}`);
  }
  if (config.type !== 'pv') invalid('type', `'${config.type}': this host builds pv domains only`);
  if (config.maxvcpus < config.vcpus) invalid('maxvcpus', `${config.maxvcpus} is less than vcpus, ${config.vcpus}`);
  if (config.maxvcpus > MAX_VCPUS) invalid('maxvcpus', `${config.maxvcpus}, a domain has at most ${MAX_VCPUS}`);
  if (isOwnDriverDomain(config)) checkOwnDriverDomain(config);
  unique(
    'disk',
    config.disks,
    disk => disk.devid,
    disk => disk.vdev,
  );
  unique(
    'vif',
    config.vifs,
    net => net.devid,
    net => `devid=${net.devid}`,
  );
  unique(
    'vif',
    config.vifs,
    net => net.mac,
    net => `mac=${net.mac}`,
  );
  unique(
    'pvcalls',
    config.pvcalls,
    calls => calls.devid,
    calls => `devid=${calls.devid}`,
  );
  unique(
    'pvcalls',
    config.pvcalls.flatMap(({ listen }) => listen).filter(({ host }) => host !== ANY_PORT),
    ({ host }) => host,
    ({ host }) => `listen=${host}`,
  );
  for (const { allow } of config.pvcalls) for (const text of allow) parseAllowed(text);
  unique(
    'p9',
    config.p9,
    folder => folder.devid,
    folder => `devid=${folder.devid}`,
  );
  unique(
    'p9',
    config.p9,
    folder => folder.tag,
    folder => `tag=${folder.tag}`,
  );
  for (const { tag, security_model } of config.p9) {
    if (security_model !== 'none') invalid(`p9 ${tag}`, `security_model '${security_model}': it is always none`);
    if (/[\p{Cc}/]/u.test(tag)) invalid('p9', `tag '${tag}' holds a slash or a control character`);
  }
}
/** The program that serves other domains runs nothing else, and has no frontends. */
function checkOwnDriverDomain(config: DomainConfig): void {
  if (config.ramdisk !== null) invalid('ramdisk', 'a driver domain without a kernel runs no program');
  for (const [key, devices] of Object.entries({
    disk: config.disks,
    vif: config.vifs,
    pvcalls: config.pvcalls,
    p9: config.p9,
  }))
    if (devices.length > 0) invalid(key, 'a driver domain without a kernel serves devices, and has none');
  const vcpus = Math.max(config.maxvcpus, config.vcpus);
  if (vcpus !== DRIVER_DOMAIN_VCPUS || config.vcpus !== vcpus)
    invalid('vcpus', `${vcpus}: a driver domain without a kernel has ${DRIVER_DOMAIN_VCPUS}`);
}
function unique<T>(key: string, items: readonly T[], id: (item: T) => unknown, name: (item: T) => string): void {
  const seen = new Set<unknown>();
  for (const item of items) {
    if (seen.has(id(item))) invalid(key, `${name(item)} is there twice`);
    seen.add(id(item));
  }
}

interface BackendDomain {
  readonly domid: Domid;
  readonly what: 'dom0' | 'driver domain' | 'guest';
}
/** Every backend domain a config names. */
interface BackendDomains {
  of(name: string | null): BackendDomain;
}

function checkBackends(config: DomainConfig, records: DomainRecords): BackendDomains {
  const dom0: BackendDomain = { domid: asDomid(0), what: 'dom0' };
  const found = new Map<string, BackendDomain>([
    ['0', dom0],
    ['Domain-0', dom0],
  ]);
  const look = (key: string, name: string | null): void => {
    if (name === null || found.has(name)) return;
    const record = /^[0-9]+$/.test(name) ? records.get(asDomid(Number(name))) : records.byName(name);
    if (record === undefined) throw new XenError('ENOENT', `${key}: backend domain '${name}' does not exist`);
    if (!record.config.driver_domain) {
      throw new XenError('EINVAL', `${key}: backend domain '${name}' was not created with driver_domain=1`);
    }
    if (record.ended) throw new XenError('ENODEV', `${key}: backend domain '${name}' has shut down`);
    found.set(name, { domid: record.domid, what: isOwnDriverDomain(record.config) ? 'driver domain' : 'guest' });
  };
  for (const disk of config.disks) look(`disk ${disk.vdev}`, disk.backend);
  for (const net of config.vifs) look(`vif ${net.devid}`, net.backend);
  for (const calls of config.pvcalls) look(`pvcalls ${calls.devid}`, calls.backend);
  for (const folder of config.p9) look(`p9 ${folder.tag}`, folder.backend);
  return { of: name => found.get(name ?? '0') ?? dom0 };
}

async function checkDisk(disk: DiskConfig, backends: BackendDomains, rivals: DomainConfig[]): Promise<void> {
  const key = `disk ${disk.vdev}`;
  if (disk.format === 'empty') return;
  const raw = isRaw(disk);
  if (disk.specification === 'virtio') invalid(key, 'specification virtio is not served here, xen is');
  const backendtype = raw ? 'phy' : 'qdisk';
  if (disk.backendtype !== null && disk.backendtype !== backendtype) {
    invalid(key, `backendtype ${disk.backendtype} is not served here, ${backendtype} is`);
  }
  checkScript(key, disk, backends);
  // A guest that is a backend has files of its own; whoever runs our programs sees the host's.
  if (backends.of(disk.backend).what === 'guest') return;
  if (isRunnable(disk.script)) return; // what it is for, the script knows
  if (!raw && backends.of(disk.backend).what !== 'dom0')
    throw new XenError('EOPNOTSUPP', `${key}: a driver domain serves raw files, domain 0 has other disks`);
  if (isNbdTarget(disk.target)) return checkExport(key, disk, rivals);
  if (!raw) for (const program of ['qemu-nbd', 'qemu-img'] as const) needProgram(key, program, disk.format);
  const info = await stat(disk.target).catch(error => {
    throw new XenError(codeOf(error), `${key}: ${disk.target} ${whyOf(error)}`, error);
  });
  if (!info.isFile() && !info.isBlockDevice()) {
    throw new XenError('EINVAL', `${key}: ${disk.target} is neither a file nor a block device`);
  }
  await access(disk.target, disk.readwrite ? constants.R_OK | constants.W_OK : constants.R_OK).catch(error => {
    const what = disk.readwrite ? 'written' : 'read';
    throw new XenError(codeOf(error), `${key}: ${disk.target} may not be ${what}`, error);
  });
  await checkSharing(key, disk, `${info.dev}:${info.ino}`, rivals);
}

function checkExport(key: string, disk: DiskConfig, rivals: DomainConfig[]): void {
  if (disk.format !== 'raw') invalid(key, `format ${disk.format}: what an NBD server has is raw`);
  try {
    parseNbdTarget(disk.target);
  } catch (error) {
    throw new XenError(codeOf(error), `${key}: ${messageOf(error)}`, error);
  }
  for (const rival of rivals) {
    const other = rival.disks.find(({ target, readwrite }) => target === disk.target && (readwrite || disk.readwrite));
    if (other !== undefined)
      throw new XenError('EBUSY', `${key}: ${disk.target} is in use: domain '${rival.name}' has it as ${other.vdev}`);
  }
}
function needProgram(key: string, program: 'qemu-nbd' | 'qemu-img', format: string): void {
  try {
    findProgram(program, format);
  } catch (error) {
    throw new XenError(codeOf(error), `${key}: ${messageOf(error)}`, error);
  }
}

/** Xen: in a driver domain `xl devd` runs them; ours runs none. */
function checkScript(key: string, device: DiskConfig | VifConfig, backends: BackendDomains): void {
  if (backends.of(device.backend).what !== 'driver domain' || !isRunnable(device.script)) return;
  throw new XenError('EOPNOTSUPP', `${key}: script ${device.script}: a driver domain runs no scripts, domain 0 does`);
}

/** Xen: the block hotplug script refuses an image that somebody else may write, or for writing when anybody has it. */
async function checkSharing(key: string, disk: DiskConfig, file: string, rivals: DomainConfig[]): Promise<void> {
  for (const rival of rivals) {
    for (const other of rival.disks) {
      if (!disk.readwrite && !other.readwrite) continue;
      if (other.format === 'empty') continue;
      const info = await stat(other.target).catch(() => undefined); // gone since: then it is not this file
      if (info === undefined || `${info.dev}:${info.ino}` !== file) continue;
      const how = other.readwrite ? 'writes' : 'reads';
      throw new XenError(
        'EBUSY',
        `${key}: ${disk.target} is in use: domain '${rival.name}' ${how} it as ${other.vdev}`,
      );
    }
  }
}

async function checkFolder({ tag, path, backend }: P9Config, backends: BackendDomains): Promise<void> {
  const { what } = backends.of(backend);
  if (what === 'driver domain')
    throw new XenError('EOPNOTSUPP', `p9 ${tag}: a driver domain without a kernel serves disks and vifs only`);
  if (what === 'guest') return;
  const folder = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new XenError(
      codeOf(error),
      `p9 ${tag}: ${path}: ${error.code === 'ENOENT' ? 'there is no such folder' : error.message}`,
      error,
    );
  });
  if (!folder.isDirectory()) throw new XenError('ENOTDIR', `p9 ${tag}: ${path} is no folder`);
}

/** Whichever is free when the guest listens. */
const ANY_PORT = 0;

/** The guest listens once it runs; that somebody else has the port is better heard now. */
async function checkHostPorts(calls: PvcallsConfig, backends: BackendDomains, rivals: DomainConfig[]): Promise<void> {
  const { what } = backends.of(calls.backend);
  if (what === 'driver domain')
    throw new XenError(
      'EOPNOTSUPP',
      `pvcalls ${calls.devid}: a driver domain without a kernel serves disks and vifs only`,
    );
  if (what === 'guest') return;
  for (const { host } of calls.listen) {
    if (host === ANY_PORT) continue;
    const key = `pvcalls ${calls.devid}: host port ${host}`;
    const rival = rivals.find(({ pvcalls }) => pvcalls.some(({ listen }) => listen.some(other => other.host === host)));
    if (rival !== undefined) throw new XenError('EADDRINUSE', `${key} is in use: domain '${rival.name}' has it`);
    await tryPort(host).catch(error => {
      throw new XenError(codeOf(error), `${key} ${portWhyOf(error)}`, error);
    });
  }
}
function tryPort(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve()));
  });
}
const portWhyOf = (error: unknown): string =>
  codeOf(error) === 'EADDRINUSE' ? 'is in use' : codeOf(error) === 'EACCES' ? 'may not be had' : codeOf(error);

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EIO';
const whyOf = (error: unknown): string =>
  codeOf(error) === 'ENOENT' ? 'does not exist' : codeOf(error) === 'EACCES' ? 'may not be reached' : codeOf(error);
