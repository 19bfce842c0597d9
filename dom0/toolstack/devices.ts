// Devices as xenstore describes them: what each key of a config becomes at both ends.
// Xen: docs/misc/xenstore-paths, io/blkif.h, io/netif.h, io/pvcalls.h.
import {
  type DiskConfig,
  type DomainConfig,
  type Domid,
  domid,
  isNbdTarget,
  type P9Config,
  type PvcallsConfig,
  type VifConfig,
} from '#pvbus';
import { scriptPath } from './hotplug-script.ts';
import { backendPath, frontendPath, libxlDevicePath, PRIVATE, type StoreNode, sharedBy } from './xenstore-paths.ts';

export interface DeviceSpec {
  /** Xen's name of the class: vbd, vif, pvcalls. */
  readonly type: string;
  readonly devid: number;
  readonly backendDomid: Domid;
  /** Keys beyond those every device has. */
  readonly frontend: Readonly<Record<string, string>>;
  readonly backend: Readonly<Record<string, string>>;
}

/** Each domain's primary console, whose nodes are the domain's. */
export const CONSOLE: DeviceSpec = {
  ...{ type: 'console', devid: 0, backendDomid: domid(0) },
  ...{ frontend: {}, backend: {} },
};
/** The default bridge of xl.conf, which every host has. */
export const DEFAULT_BRIDGE = 'xenbr0';

const bit = (value: boolean): string => (value ? '1' : '0');

/** Whether a file's bytes are the disk's. */
export const isRaw = ({ format, target }: DiskConfig): boolean =>
  (format === 'raw' && !isNbdTarget(target)) || format === 'empty';

export function vbd(disk: DiskConfig, backendDomid: Domid): DeviceSpec {
  const deviceType = disk.cdrom ? 'cdrom' : 'disk';
  return {
    type: 'vbd',
    devid: disk.devid,
    backendDomid,
    frontend: {
      'virtual-device': String(disk.devid),
      'device-type': deviceType,
      trusted: bit(disk.trusted ?? true),
      protocol: 'x86_64-abi',
    },
    backend: {
      // Xen: a backend of QEMU's is told the format in front of the path.
      params: isRaw(disk) || isNbdTarget(disk.target) ? disk.target : `${disk.format}:${disk.target}`,
      ...(disk.script !== null && { script: scriptPath(disk.script) }),
      removable: bit(disk.removable),
      bootable: '1',
      dev: disk.vdev,
      type: isRaw(disk) ? 'phy' : 'qdisk',
      mode: disk.readwrite ? 'w' : 'r',
      'device-type': deviceType,
      'discard-enable': bit(disk.readwrite && (disk.discard ?? true)),
      ...(disk.direct_io_safe && { 'direct-io-safe': '1' }),
      specification: disk.specification ?? 'xen',
    },
  };
}

export function vif(config: VifConfig, backendDomid: Domid): DeviceSpec {
  const { mac, rate } = config;
  return {
    type: 'vif',
    devid: config.devid,
    backendDomid,
    frontend: {
      handle: String(config.devid),
      mac,
      trusted: bit(config.trusted ?? true),
      mtu: String(config.mtu ?? 1500),
    },
    backend: {
      ...(config.script !== null && { script: scriptPath(config.script) }),
      mac,
      bridge: config.bridge ?? DEFAULT_BRIDGE,
      handle: String(config.devid),
      type: 'vif',
      ...(config.ip !== null && { ip: config.ip }),
      ...(config.vifname !== null && { vifname: config.vifname }),
      ...(config.mtu !== null && { mtu: String(config.mtu) }),
      // Xen: credit bytes, then the interval in microseconds.
      ...(rate !== null && { rate: `${rate.bytes_per_interval},${rate.interval_usecs}` }),
    },
  };
}

export function pvcalls(config: PvcallsConfig, backendDomid: Domid): DeviceSpec {
  return {
    type: 'pvcalls',
    devid: config.devid,
    backendDomid,
    frontend: {},
    backend: {
      // Ours: what the guest may reach of the host's loopback interface, of its unix sockets, and beyond.
      listen: config.listen.map(({ host, guest }) => `${host}:${guest}`).join(','),
      connect: [
        ...config.connect,
        ...(config.sockets ?? []).map(({ guest, path }) => `${guest}=${pathWord(path)}`),
      ].join(','),
      ...(config.allow.length > 0 && { allow: config.allow.join(',') }),
      ...(config.resolver !== null && { resolver: String(config.resolver) }),
    },
  };
}

/** A path as one of several words, with commas and white space between them. */
const pathWord = (path: string): string => encodeURI(path).replaceAll(',', '%2C');

export function p9(config: P9Config, backendDomid: Domid): DeviceSpec {
  return {
    type: '9pfs',
    devid: config.devid,
    backendDomid,
    frontend: { tag: config.tag },
    backend: {
      path: config.path,
      security_model: config.security_model,
      ...(config.read_only === true && { 'read-only': '1' }),
    },
  };
}

/** Every device of a config; `backendOf` knows the domid of a backend's name. */
export function devicesOf(config: DomainConfig, backendOf: (backend: string | null) => Domid): DeviceSpec[] {
  return [
    ...config.disks.map(disk => vbd(disk, backendOf(disk.backend))),
    ...config.vifs.map(net => vif(net, backendOf(net.backend))),
    ...config.pvcalls.map(calls => pvcalls(calls, backendOf(calls.backend))),
    ...config.p9.map(folder => p9(folder, backendOf(folder.backend))),
  ];
}

/** Both ends in state Initialising, and the toolstack's own note of the device. */
export function deviceNodes(domid: Domid, { type, devid, backendDomid, ...keys }: DeviceSpec): StoreNode[] {
  const frontend = frontendPath(domid, type, devid);
  const backend = backendPath(backendDomid, type, domid, devid);
  const libxl = libxlDevicePath(domid, type, devid);
  const backendKeys = {
    frontend,
    'frontend-id': String(domid),
    online: '1',
    state: '1',
    ...keys.backend,
  };
  const frontendKeys = { backend, 'backend-id': String(backendDomid), state: '1', ...keys.frontend };
  const under = (path: string, values: Readonly<Record<string, string>>): StoreNode[] =>
    Object.entries(values).map(([key, value]) => ({ path: `${path}/${key}`, value }));
  return [
    // order: the backend first. A backend looks at a frontend, never the other way, when both are new.
    { path: backend, value: '', perms: sharedBy(backendDomid, domid) },
    ...under(backend, backendKeys),
    { path: frontend, value: '', perms: sharedBy(domid, backendDomid) },
    ...under(frontend, frontendKeys),
    { path: libxl, value: '', perms: PRIVATE },
    ...under(libxl, { backend, ...backendKeys }),
  ];
}
