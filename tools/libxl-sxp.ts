// A DomainConfig as S-expressions, as xm had them: what `output_format="sxp"` in xl.conf has xl print.

import type { DiskConfig, DomainConfig, VifConfig } from '#pvbus';
import type { AsGiven } from './libxl-json.ts';

/** Xen: libxl_disk_backend. */
const BACKENDS = ['unknown', 'phy', 'tap', 'qdisk'];
/** What libxl has where nothing is said. */
const UNSET = -1;

/** `domid` and `uuid` are null for a config that no domain has; `given` as for libxlConfig. */
export function libxlSxp(domid: number | null, uuid: string | null, config: DomainConfig, given?: AsGiven): string {
  const has = (...keys: string[]): boolean => given === undefined || keys.some(key => given.number(key) !== undefined);
  const { nomigrate, bootloader } = config.extra;
  const frontend = domid ?? UNSET;
  return lines(0, [
    '(domain',
    [
      ...[`(domid ${frontend})`, '(create_info)', '(hvm 0)', '(hap <default>)', '(oos <default>)', '(ssidref 0)'],
      ...[`(name ${config.name})`, `(uuid ${uuid ?? '<unknown>'})`],
      ...(config.pool === null ? [] : [`(cpupool ${config.pool})`]),
      ...['(xsdata (null))', '(platformdata (null))', '(build_info)'],
      `(max_vcpus ${has('vcpus', 'maxvcpus') ? config.maxvcpus : 0})`,
      `(max_grant_frames ${config.max_grant_frames ?? UNSET})`,
      `(max_maptrack_frames ${config.max_maptrack_frames ?? UNSET})`,
      '(tsc_mode default)',
      `(max_memkb ${has('memory', 'maxmem') ? config.maxmem * 1024 : UNSET})`,
      `(target_memkb ${has('memory') ? config.memory * 1024 : UNSET})`,
      `(nomigrate ${nomigrate === undefined ? '<default>' : Number(nomigrate) ? 'True' : 'False'})`,
      ...(bootloader === undefined ? [] : [`(bootloader ${bootloader})`]),
      ...['(image', image(config), ')'],
      ...config.disks.flatMap(disk => ['(device', ['(tap', diskLines(disk, frontend), ')'], ')']),
      ...config.vifs.flatMap(vif => ['(device', ['(vif', vifLines(vif, frontend), ')'], ')']),
    ],
    ')',
  ]);
}

type Lines = readonly (string | Lines)[];

/** A list in a list is one tab deeper. */
const lines = (depth: number, list: Lines): string =>
  list.map(line => (typeof line === 'string' ? `${'\t'.repeat(depth)}${line}\n` : lines(depth + 1, line))).join('');

const image = ({ kernel, cmdline, ramdisk }: DomainConfig): Lines => [
  '(linux 0)',
  [
    ...(kernel === '' ? [] : [`(kernel ${kernel})`]),
    `(cmdline ${cmdline || '(null)'})`,
    `(ramdisk ${ramdisk ?? '(null)'})`,
    '(e820_host <default>)',
  ],
  ')',
];

const diskLines = (disk: DiskConfig, frontend: number): Lines => [
  ...['(backend_domid 0)', `(frontend_domid ${frontend})`, `(physpath ${disk.target})`],
  ...[`(phystype ${Math.max(0, BACKENDS.indexOf(disk.backendtype ?? 'unknown'))})`, `(virtpath ${disk.vdev})`],
  `(unpluggable ${Number(disk.removable)})`,
  `(readwrite ${Number(disk.readwrite)})`,
  `(is_cdrom ${Number(disk.cdrom)})`,
];

const vifLines = (vif: VifConfig, frontend: number): Lines => [
  ...(vif.vifname === null ? [] : [`(vifname ${vif.vifname})`]),
  ...['(backend_domid 0)', `(frontend_domid ${frontend})`, `(devid ${vif.devid})`],
  ...[
    `(mtu ${vif.mtu ?? 0})`,
    `(model ${vif.model ?? '(null)'})`,
    `(mac ${vif.mac.replaceAll(':', '') || '0'.repeat(12)})`,
  ],
];
