// Xen: public/sysctl.h. sysctl(xen_sysctl): control of the whole host.
// Each operation's argument lies at xen_sysctl.at.u.

import { cursorOf, struct, union } from '../struct.ts';
import { xenctl_bitmap } from './xen.ts';

/** Checked before anything else; a call with another version gets -EACCES. */
export const XEN_SYSCTL_INTERFACE_VERSION = 0x00000015;

export const XEN_SYSCTL_readconsole = 1;
export const XEN_SYSCTL_tbuf_op = 2;
export const XEN_SYSCTL_physinfo = 3;
export const XEN_SYSCTL_sched_id = 4;
export const XEN_SYSCTL_perfc_op = 5;
export const XEN_SYSCTL_getdomaininfolist = 6;
export const XEN_SYSCTL_debug_keys = 7;
export const XEN_SYSCTL_getcpuinfo = 8;
export const XEN_SYSCTL_availheap = 9;
export const XEN_SYSCTL_get_pmstat = 10;
export const XEN_SYSCTL_cpu_hotplug = 11;
export const XEN_SYSCTL_pm_op = 12;
export const XEN_SYSCTL_page_offline_op = 14;
export const XEN_SYSCTL_lockprof_op = 15;
export const XEN_SYSCTL_cputopoinfo = 16;
export const XEN_SYSCTL_numainfo = 17;
export const XEN_SYSCTL_cpupool_op = 18;
export const XEN_SYSCTL_scheduler_op = 19;
export const XEN_SYSCTL_coverage_op = 20;
export const XEN_SYSCTL_psr_cmt_op = 21;
export const XEN_SYSCTL_pcitopoinfo = 22;
export const XEN_SYSCTL_psr_alloc = 23;
export const XEN_SYSCTL_get_cpu_levelling_caps = 25;
export const XEN_SYSCTL_get_cpu_featureset = 26;
export const XEN_SYSCTL_livepatch_op = 27;
export const XEN_SYSCTL_get_cpu_policy = 29;

/** `u` is 128 bytes, 8-aligned. */
export const xen_sysctl = struct('xen_sysctl', 136, {
  cmd: 'u32',
  interface_version: 'u32',
  u: { of: 'u64', count: 16 },
});
export const XenSysctl = cursorOf(xen_sysctl);

/** count: in, the buffer's size; out, bytes written. `incremental` reads on from `index`. */
export const xen_sysctl_readconsole = struct('xen_sysctl_readconsole', 24, {
  clear: 'u8',
  incremental: 'u8',
  pad0: 'u8',
  pad1: 'u8',
  index: 'u32',
  buffer: 'u64',
  count: 'u32',
});
export const XenSysctlReadconsole = cursorOf(xen_sysctl_readconsole);

export const XEN_SYSCTL_TBUFOP_get_info = 0;
export const XEN_SYSCTL_TBUFOP_set_cpu_mask = 1;
export const XEN_SYSCTL_TBUFOP_set_evt_mask = 2;
export const XEN_SYSCTL_TBUFOP_set_size = 3;
export const XEN_SYSCTL_TBUFOP_enable = 4;
export const XEN_SYSCTL_TBUFOP_disable = 5;
export const xen_sysctl_tbuf_op = struct('xen_sysctl_tbuf_op', 48, {
  cmd: 'u32',
  cpu_mask: xenctl_bitmap,
  evt_mask: 'u32',
  buffer_mfn: 'u64',
  size: 'u32',
});
export const XenSysctlTbufOp = cursorOf(xen_sysctl_tbuf_op);

export const XEN_SYSCTL_PHYSCAP_hvm = 1 << 0;
export const XEN_SYSCTL_PHYSCAP_pv = 1 << 1;
export const XEN_SYSCTL_PHYSCAP_directio = 1 << 2;
export const XEN_SYSCTL_PHYSCAP_hap = 1 << 3;
export const XEN_SYSCTL_PHYSCAP_shadow = 1 << 4;
export const XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share = 1 << 5;
export const XEN_SYSCTL_PHYSCAP_vmtrace = 1 << 6;
export const XEN_SYSCTL_PHYSCAP_vpmu = 1 << 7;
export const XEN_SYSCTL_PHYSCAP_gnttab_v1 = 1 << 8;
export const XEN_SYSCTL_PHYSCAP_gnttab_v2 = 1 << 9;
export const XEN_SYSCTL_PHYSCAP_MAX = XEN_SYSCTL_PHYSCAP_gnttab_v2;
export const xen_sysctl_physinfo = struct('xen_sysctl_physinfo', 112, {
  threads_per_core: 'u32',
  cores_per_socket: 'u32',
  nr_cpus: 'u32', // online
  max_cpu_id: 'u32',
  nr_nodes: 'u32',
  max_node_id: 'u32',
  cpu_khz: 'u32',
  capabilities: 'u32', // XEN_SYSCTL_PHYSCAP_*
  arch_capabilities: 'u32',
  pad: 'u32',
  total_pages: 'u64',
  free_pages: 'u64',
  scrub_pages: 'u64',
  outstanding_pages: 'u64',
  max_mfn: 'u64',
  hw_cap: { of: 'u32', count: 8 },
});
export const XenSysctlPhysinfo = cursorOf(xen_sysctl_physinfo);

export const xen_sysctl_sched_id = struct('xen_sysctl_sched_id', 4, { sched_id: 'u32' });
export const XenSysctlSchedId = cursorOf(xen_sysctl_sched_id);

export const XEN_SYSCTL_PERFCOP_reset = 1;
export const XEN_SYSCTL_PERFCOP_query = 2;
export const xen_sysctl_perfc_desc = struct('xen_sysctl_perfc_desc', 84, {
  name: { of: 'u8', count: 80 },
  nr_vals: 'u32',
});
export const XenSysctlPerfcDesc = cursorOf(xen_sysctl_perfc_desc);
export const xen_sysctl_perfc_op = struct('xen_sysctl_perfc_op', 32, {
  cmd: 'u32',
  nr_counters: 'u32',
  nr_vals: 'u32',
  desc: 'u64',
  val: 'u64',
});
export const XenSysctlPerfcOp = cursorOf(xen_sysctl_perfc_op);

/** buffer: guest pointer to max_domains xen_domctl_getdomaininfo; num_domains out. */
export const xen_sysctl_getdomaininfolist = struct('xen_sysctl_getdomaininfolist', 24, {
  first_domain: 'u16',
  max_domains: 'u32',
  buffer: 'u64',
  num_domains: 'u32',
});
export const XenSysctlGetdomaininfolist = cursorOf(xen_sysctl_getdomaininfolist);

export const xen_sysctl_debug_keys = struct('xen_sysctl_debug_keys', 16, { keys: 'u64', nr_keys: 'u32' });
export const XenSysctlDebugKeys = cursorOf(xen_sysctl_debug_keys);

export const xen_sysctl_cpuinfo = struct('xen_sysctl_cpuinfo', 8, { idletime: 'u64' });
export const XenSysctlCpuinfo = cursorOf(xen_sysctl_cpuinfo);
export const xen_sysctl_getcpuinfo = struct('xen_sysctl_getcpuinfo', 24, {
  max_cpus: 'u32',
  info: 'u64',
  nr_cpus: 'u32',
});
export const XenSysctlGetcpuinfo = cursorOf(xen_sysctl_getcpuinfo);

export const xen_sysctl_availheap = struct('xen_sysctl_availheap', 24, {
  min_bitwidth: 'u32',
  max_bitwidth: 'u32',
  node: 'i32', // -1: all
  avail_bytes: 'u64',
});
export const XenSysctlAvailheap = cursorOf(xen_sysctl_availheap);

export const XEN_SYSCTL_CPU_HOTPLUG_ONLINE = 0;
export const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE = 1;
export const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE = 2;
export const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE = 3;
export const xen_sysctl_cpu_hotplug = struct('xen_sysctl_cpu_hotplug', 8, { cpu: 'u32', op: 'u32' });
export const XenSysctlCpuHotplug = cursorOf(xen_sysctl_cpu_hotplug);

export const XEN_INVALID_CORE_ID = 0xffffffff;
export const XEN_INVALID_SOCKET_ID = 0xffffffff;
export const XEN_INVALID_NODE_ID = 0xffffffff;
export const xen_sysctl_cputopo = struct('xen_sysctl_cputopo', 12, { core: 'u32', socket: 'u32', node: 'u32' });
export const XenSysctlCputopo = cursorOf(xen_sysctl_cputopo);
/** cputopo: guest pointer to num_cpus xen_sysctl_cputopo; a null pointer asks for the number. */
export const xen_sysctl_cputopoinfo = struct('xen_sysctl_cputopoinfo', 16, { num_cpus: 'u32', cputopo: 'u64' });
export const XenSysctlCputopoinfo = cursorOf(xen_sysctl_cputopoinfo);

export const XEN_INVALID_MEM_SZ = 0xffffffff;
export const XEN_INVALID_NODE_DIST = 0xffffffff;
export const xen_sysctl_meminfo = struct('xen_sysctl_meminfo', 16, { memsize: 'u64', memfree: 'u64' });
export const XenSysctlMeminfo = cursorOf(xen_sysctl_meminfo);
export const xen_sysctl_numainfo = struct('xen_sysctl_numainfo', 24, {
  num_nodes: 'u32',
  meminfo: 'u64',
  distance: 'u64',
});
export const XenSysctlNumainfo = cursorOf(xen_sysctl_numainfo);

export const XEN_SYSCTL_CPUPOOL_OP_CREATE = 1;
export const XEN_SYSCTL_CPUPOOL_OP_DESTROY = 2;
export const XEN_SYSCTL_CPUPOOL_OP_INFO = 3;
export const XEN_SYSCTL_CPUPOOL_OP_ADDCPU = 4;
export const XEN_SYSCTL_CPUPOOL_OP_RMCPU = 5;
export const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN = 6;
export const XEN_SYSCTL_CPUPOOL_OP_FREEINFO = 7;
export const XEN_SYSCTL_CPUPOOL_PAR_ANY = 0xffffffff;
export const xen_sysctl_cpupool_op = struct('xen_sysctl_cpupool_op', 40, {
  op: 'u32',
  cpupool_id: 'u32',
  sched_id: 'u32',
  domid: 'u32',
  cpu: 'u32',
  n_dom: 'u32',
  cpumap: xenctl_bitmap,
});
export const XenSysctlCpupoolOp = cursorOf(xen_sysctl_cpupool_op);

export const XEN_SYSCTL_SCHED_RATELIMIT_MAX = 500000;
export const XEN_SYSCTL_SCHED_RATELIMIT_MIN = 100;
export const XEN_SYSCTL_CSCHED_TSLICE_MAX = 1000;
export const XEN_SYSCTL_CSCHED_TSLICE_MIN = 1;
export const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US = 100 * 1000;
export const xen_sysctl_credit_schedule = struct('xen_sysctl_credit_schedule', 12, {
  tslice_ms: 'u32',
  ratelimit_us: 'u32',
  vcpu_migr_delay_us: 'u32',
});
export const XenSysctlCreditSchedule = cursorOf(xen_sysctl_credit_schedule);
export const xen_sysctl_credit2_schedule = struct('xen_sysctl_credit2_schedule', 4, { ratelimit_us: 'u32' });
export const XenSysctlCredit2Schedule = cursorOf(xen_sysctl_credit2_schedule);
export const xen_sysctl_sched_arinc653 = struct('xen_sysctl_sched_arinc653', 8, { schedule: 'u64' });
export const XEN_SYSCTL_SCHEDOP_putinfo = 0;
export const XEN_SYSCTL_SCHEDOP_getinfo = 1;
export const xen_sysctl_scheduler_op_u = union('xen_sysctl_scheduler_op_u', 16, {
  sched_arinc653: xen_sysctl_sched_arinc653,
  sched_credit: xen_sysctl_credit_schedule,
  sched_credit2: xen_sysctl_credit2_schedule,
});
export const xen_sysctl_scheduler_op = struct('xen_sysctl_scheduler_op', 32, {
  cpupool_id: 'u32',
  sched_id: 'u32',
  cmd: 'u32', // XEN_SYSCTL_SCHEDOP_*
  u: xen_sysctl_scheduler_op_u,
});
export const XenSysctlSchedulerOp = cursorOf(xen_sysctl_scheduler_op);
