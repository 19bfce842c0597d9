// What `xl info` shows of the hypervisor.
import {
  type HostInfo,
  layersOf,
  XEN_SYSCTL_PHYSCAP_gnttab_v1,
  XEN_SYSCTL_PHYSCAP_gnttab_v2,
  XEN_SYSCTL_PHYSCAP_hap,
  XEN_SYSCTL_PHYSCAP_hvm,
  XEN_SYSCTL_PHYSCAP_pv,
} from '#pvbus';
import { schedulerName } from './scheduling.ts';
import type { Xc } from './xc.ts';

const CAPABILITIES: readonly [number, string][] = [
  [XEN_SYSCTL_PHYSCAP_pv, 'pv'],
  [XEN_SYSCTL_PHYSCAP_hvm, 'hvm'],
  [XEN_SYSCTL_PHYSCAP_hap, 'hap'],
  [XEN_SYSCTL_PHYSCAP_gnttab_v1, 'gnttab-v1'],
  [XEN_SYSCTL_PHYSCAP_gnttab_v2, 'gnttab-v2'],
];
const PAGES_PER_MIB = 256;

export function hostInfo(xc: Xc): HostInfo {
  const phys = xc.physinfo();
  const version = xc.version();
  return {
    nr_cpus: phys.nr_cpus,
    max_cpu_id: phys.max_cpu_id,
    nr_nodes: phys.nr_nodes,
    cores_per_socket: phys.cores_per_socket,
    threads_per_core: phys.threads_per_core,
    cpu_khz: phys.cpu_khz,
    hw_caps: [...phys.hw_cap],
    virt_caps: CAPABILITIES.filter(([flag]) => (phys.capabilities & flag) !== 0).map(([, name]) => name),
    total_memory: Math.floor(phys.total_pages / PAGES_PER_MIB),
    free_memory: Math.floor(phys.free_pages / PAGES_PER_MIB),
    sharing_freed_memory: 0,
    sharing_used_memory: 0,
    outstanding_claims: Math.floor(phys.outstanding_pages / PAGES_PER_MIB),
    free_cpus: 0,
    xen_major: version.major,
    xen_minor: version.minor,
    xen_extra: version.extraversion,
    xen_caps: version.capabilities,
    xen_scheduler: schedulerName(xc.schedId()),
    xen_pagesize: version.pagesize,
    virt_start: version.virt_start,
    xen_changeset: version.changeset,
    xen_commandline: version.commandline,
    cc_compiler: version.compiler,
    cc_compile_by: version.compile_by,
    cc_compile_domain: version.compile_domain,
    cc_compile_date: version.compile_date,
    build_id: '',
    process_memory: xc.processMemory(),
    confinement: layersOf(xc.confinement()),
  };
}
