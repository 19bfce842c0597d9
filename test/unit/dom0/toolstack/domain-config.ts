// A config as a tool would send it, with what a test cares for.
import { checkDomainConfig, type DiskConfig, type DomainConfig, type VifConfig } from '#pvbus';

export const UUID = '86d0a9d9-ffcd-41f8-b7a1-f481a7959163';

export function domainConfig(over: Partial<DomainConfig> = {}): DomainConfig {
  return checkDomainConfig({
    name: 'a',
    uuid: UUID,
    type: 'pv',
    memory: 64,
    maxmem: over.maxmem ?? over.memory ?? 64,
    vcpus: 1,
    maxvcpus: over.maxvcpus ?? over.vcpus ?? 1,
    kernel: '/nowhere/domu-kernel.js',
    ramdisk: null,
    cmdline: '',
    disks: [],
    vifs: [],
    pvcalls: [],
    p9: [],
    on_poweroff: 'destroy',
    on_reboot: 'restart',
    on_crash: 'destroy',
    on_watchdog: 'destroy',
    on_soft_reset: 'soft-reset',
    driver_domain: false,
    extra: {},
    source: '',
    ...over,
  });
}
export const disk = (over: Partial<DiskConfig> = {}): DiskConfig => ({
  target: '/srv/disk.img',
  format: 'raw',
  vdev: 'xvda',
  devid: 51712,
  readwrite: true,
  backend: null,
  backendtype: null,
  specification: null,
  script: null,
  removable: false,
  cdrom: false,
  discard: null,
  direct_io_safe: false,
  trusted: null,
  ...over,
});
export const net = (over: Partial<VifConfig> = {}): VifConfig => ({
  devid: 0,
  mac: '00:16:3e:00:00:01',
  bridge: 'xenbr0',
  ip: null,
  script: null,
  backend: null,
  vifname: null,
  gatewaydev: null,
  model: null,
  nictype: null,
  rate: null,
  mtu: null,
  trusted: null,
  ...over,
});
