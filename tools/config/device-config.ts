// Specifications of devices as texts -> what the toolstack is told of them.

import { type DiskConfig, isNbdTarget, parseNbdTarget, type VifConfig, XenError } from '#pvbus';
import { type DiskSpec, parseDiskSpec } from './disk-spec.ts';
import { ConfigError } from './settings.ts';
import { vdevNumber } from './vdev.ts';
import { parseVifSpec } from './vif-spec.ts';
import type { XlConf } from './xl-conf.ts';

/** `source` is named in errors; `path` makes a relative path absolute. Throws ConfigError. */
export function readDisk(spec: string, source: string, path: (value: string) => string): DiskConfig {
  const result = parseDiskSpec(spec);
  if ('disk' in result) return diskConfig(result.disk, spec, source, path);
  throw new ConfigError(result.faults.map(fault => `${source}: ${fault}`).join('\n'));
}

function diskConfig(disk: DiskSpec, spec: string, source: string, path: (value: string) => string): DiskConfig {
  const vdev = disk.vdev ?? '';
  const devid = vdevNumber(vdev);
  if (devid === null) {
    throw new ConfigError(`${source}: Invalid or unsupported virtual disk identifier ${vdev} in \`${spec}'`);
  }
  const target = disk.pdev_path ?? '';
  if (target === '' && disk.format !== 'empty') throw new ConfigError(`${source}: no target specified in \`${spec}'`);
  const nbd = nbdTarget(disk, target, source);
  return {
    // A script makes something else of the target than a path.
    target: nbd ?? (target === '' || disk.script !== undefined ? target : path(target)),
    ...{ format: disk.format ?? 'raw', vdev, devid, readwrite: disk.readwrite },
    backend: disk.backend_domname || null,
    backendtype: disk.backend ?? null,
    specification: disk.specification ?? null,
    script: nbd === undefined ? disk.script || null : null,
    ...{ removable: disk.removable, cdrom: disk.is_cdrom, discard: disk.discard_enable ?? null },
    ...{ direct_io_safe: disk.direct_io_safe, trusted: null },
  };
}

/** Xen: the prefix `nbd:` stands for the script block-nbd; what that would be given here, we serve ourselves. */
function nbdTarget(disk: DiskSpec, target: string, source: string): string | undefined {
  const named = disk.script === 'block-nbd' && /^(unix:|\/\/)/.test(target) ? `nbd:${target}` : target;
  if (!isNbdTarget(named)) return undefined;
  try {
    parseNbdTarget(named);
    return named;
  } catch (error) {
    throw error instanceof XenError ? new ConfigError(`${source}: ${error.message}`) : error;
  }
}

/** A vif without a mac gets one, an empty one where `random` is null. `warn` takes what keeps nobody from using it. */
export function readVif(
  spec: string,
  devid: number,
  random: ((bytes: number) => Uint8Array) | null,
  warn: (line: string) => void,
  defaults?: XlConf['vif'],
): VifConfig {
  const vif = parseVifSpec(spec, devid, warn, defaults);
  if (random === null) return { ...vif, mac: vif.mac ?? '' };
  // Xen: 00:16:3e is the Xen project's own range; the first bit of the rest stays clear.
  const tail = random(3);
  tail[0]! &= 0x7f;
  const mac = `00:16:3e:${[...tail].map(byte => byte.toString(16).padStart(2, '0')).join(':')}`;
  return { ...vif, mac: vif.mac ?? mac };
}
