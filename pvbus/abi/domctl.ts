// Xen: public/domctl.h. domctl(xen_domctl): the toolstack's control of one domain.
// Each operation's argument lies at xen_domctl.at.u; `domain` names the domain (out for createdomain).

import { cursorOf, struct, union } from '../struct.ts';
import { xen_arch_domainconfig } from './arch-x86-xen.ts';
import { XEN_DOMAIN_HANDLE_SIZE, xenctl_bitmap } from './xen.ts';

/** Checked before anything else; a call with another version gets -EACCES. */
export const XEN_DOMCTL_INTERFACE_VERSION = 0x00000015;

export const XEN_DOMCTL_createdomain = 1;
export const XEN_DOMCTL_destroydomain = 2;
export const XEN_DOMCTL_pausedomain = 3;
export const XEN_DOMCTL_unpausedomain = 4;
export const XEN_DOMCTL_getdomaininfo = 5;
export const XEN_DOMCTL_setvcpuaffinity = 9;
export const XEN_DOMCTL_shadow_op = 10;
export const XEN_DOMCTL_max_mem = 11;
export const XEN_DOMCTL_setvcpucontext = 12;
export const XEN_DOMCTL_getvcpucontext = 13;
export const XEN_DOMCTL_getvcpuinfo = 14;
export const XEN_DOMCTL_max_vcpus = 15;
export const XEN_DOMCTL_scheduler_op = 16;
export const XEN_DOMCTL_setdomainhandle = 17;
export const XEN_DOMCTL_setdebugging = 18;
export const XEN_DOMCTL_irq_permission = 19;
export const XEN_DOMCTL_iomem_permission = 20;
export const XEN_DOMCTL_ioport_permission = 21;
export const XEN_DOMCTL_hypercall_init = 22;
export const XEN_DOMCTL_settimeoffset = 24;
export const XEN_DOMCTL_getvcpuaffinity = 25;
export const XEN_DOMCTL_real_mode_area = 26;
export const XEN_DOMCTL_resumedomain = 27;
export const XEN_DOMCTL_sendtrigger = 28;
export const XEN_DOMCTL_subscribe = 29;
export const XEN_DOMCTL_gethvmcontext = 33;
export const XEN_DOMCTL_sethvmcontext = 34;
export const XEN_DOMCTL_set_address_size = 35;
export const XEN_DOMCTL_get_address_size = 36;
export const XEN_DOMCTL_assign_device = 37;
export const XEN_DOMCTL_bind_pt_irq = 38;
export const XEN_DOMCTL_memory_mapping = 39;
export const XEN_DOMCTL_ioport_mapping = 40;
export const XEN_DOMCTL_set_ext_vcpucontext = 42;
export const XEN_DOMCTL_get_ext_vcpucontext = 43;
export const XEN_DOMCTL_set_opt_feature = 44;
export const XEN_DOMCTL_test_assign_device = 45;
export const XEN_DOMCTL_set_target = 46;
export const XEN_DOMCTL_deassign_device = 47;
export const XEN_DOMCTL_unbind_pt_irq = 48;
export const XEN_DOMCTL_get_device_group = 50;
export const XEN_DOMCTL_debug_op = 54;
export const XEN_DOMCTL_gethvmcontext_partial = 55;
export const XEN_DOMCTL_vm_event_op = 56;
export const XEN_DOMCTL_mem_sharing_op = 57;
export const XEN_DOMCTL_gettscinfo = 59;
export const XEN_DOMCTL_settscinfo = 60;
export const XEN_DOMCTL_getpageframeinfo3 = 61;
export const XEN_DOMCTL_setvcpuextstate = 62;
export const XEN_DOMCTL_getvcpuextstate = 63;
export const XEN_DOMCTL_set_access_required = 64;
export const XEN_DOMCTL_audit_p2m = 65;
export const XEN_DOMCTL_set_virq_handler = 66;
export const XEN_DOMCTL_set_broken_page_p2m = 67;
export const XEN_DOMCTL_setnodeaffinity = 68;
export const XEN_DOMCTL_getnodeaffinity = 69;
export const XEN_DOMCTL_cacheflush = 71;
export const XEN_DOMCTL_get_vcpu_msrs = 72;
export const XEN_DOMCTL_set_vcpu_msrs = 73;
export const XEN_DOMCTL_setvnumainfo = 74;
export const XEN_DOMCTL_psr_cmt_op = 75;
export const XEN_DOMCTL_monitor_op = 77;
export const XEN_DOMCTL_psr_alloc = 78;
export const XEN_DOMCTL_soft_reset = 79;
export const XEN_DOMCTL_vuart_op = 81;
export const XEN_DOMCTL_get_cpu_policy = 82;
export const XEN_DOMCTL_set_cpu_policy = 83;
export const XEN_DOMCTL_vmtrace_op = 84;
export const XEN_DOMCTL_get_paging_mempool_size = 85;
export const XEN_DOMCTL_set_paging_mempool_size = 86;
export const XEN_DOMCTL_gdbsx_guestmemio = 1000;
export const XEN_DOMCTL_gdbsx_pausevcpu = 1001;
export const XEN_DOMCTL_gdbsx_unpausevcpu = 1002;
export const XEN_DOMCTL_gdbsx_domstatus = 1003;

/** `u` is 128 bytes, 8-aligned. */
export const xen_domctl = struct('xen_domctl', 144, {
  cmd: 'u32',
  interface_version: 'u32',
  domain: 'u16',
  _pad: { of: 'u16', count: 3 },
  u: { of: 'u64', count: 16 },
});
export const XenDomctl = cursorOf(xen_domctl);

export const XEN_DOMCTL_CDF_hvm = 1 << 0;
export const XEN_DOMCTL_CDF_hap = 1 << 1;
export const XEN_DOMCTL_CDF_s3_integrity = 1 << 2;
export const XEN_DOMCTL_CDF_oos_off = 1 << 3;
export const XEN_DOMCTL_CDF_xs_domain = 1 << 4; // the domain that serves xenstore
export const XEN_DOMCTL_CDF_iommu = 1 << 5;
export const XEN_DOMCTL_CDF_nested_virt = 1 << 6;
export const XEN_DOMCTL_CDF_vpmu = 1 << 7;
export const XEN_DOMCTL_CDF_MAX = XEN_DOMCTL_CDF_vpmu;
export const XEN_DOMCTL_IOMMU_no_sharept = 1 << 0;
export const XEN_DOMCTL_IOMMU_MAX = XEN_DOMCTL_IOMMU_no_sharept;
export const XEN_DOMCTL_GRANT_version_mask = 0xf;

export const xen_domctl_createdomain = struct('xen_domctl_createdomain', 64, {
  ssidref: 'u32',
  handle: { of: 'u8', count: XEN_DOMAIN_HANDLE_SIZE },
  flags: 'u32', // XEN_DOMCTL_CDF_*
  iommu_opts: 'u32',
  max_vcpus: 'u32',
  max_evtchn_port: 'u32',
  max_grant_frames: 'i32', // negative: the hypervisor's default
  max_maptrack_frames: 'i32',
  grant_opts: 'u32', // the highest grant table version in the low four bits
  vmtrace_size: 'u32',
  cpupool_id: 'u32',
  arch: xen_arch_domainconfig,
});
export const XenDomctlCreatedomain = cursorOf(xen_domctl_createdomain);

export const XEN_DOMINF_dying = 1 << 0;
export const XEN_DOMINF_hvm_guest = 1 << 1;
export const XEN_DOMINF_shutdown = 1 << 2;
export const XEN_DOMINF_paused = 1 << 3;
export const XEN_DOMINF_blocked = 1 << 4;
export const XEN_DOMINF_running = 1 << 5;
export const XEN_DOMINF_debugged = 1 << 6;
export const XEN_DOMINF_xs_domain = 1 << 7;
export const XEN_DOMINF_hap = 1 << 8;
export const XEN_DOMINF_shutdownmask = 255; // SHUTDOWN_* code,
export const XEN_DOMINF_shutdownshift = 16; // at this bit
export const XEN_INVALID_MAX_VCPU_ID = 0xffffffff;

export const xen_domctl_getdomaininfo = struct('xen_domctl_getdomaininfo', 112, {
  domain: 'u16',
  pad1: 'u16',
  flags: 'u32', // XEN_DOMINF_*
  tot_pages: 'u64',
  max_pages: 'u64',
  outstanding_pages: 'u64',
  shr_pages: 'u64',
  paged_pages: 'u64',
  shared_info_frame: 'u64',
  cpu_time: 'u64', // ns
  nr_online_vcpus: 'u32',
  max_vcpu_id: 'u32',
  ssidref: 'u32',
  handle: { of: 'u8', count: XEN_DOMAIN_HANDLE_SIZE },
  cpupool: 'u32',
  gpaddr_bits: 'u8',
  pad2: { of: 'u8', count: 7 },
  arch_config: xen_arch_domainconfig,
});
export const XenDomctlGetdomaininfo = cursorOf(xen_domctl_getdomaininfo);

export const xen_domctl_getpageframeinfo3 = struct('xen_domctl_getpageframeinfo3', 16, { num: 'u64', array: 'u64' });
export const XenDomctlGetpageframeinfo3 = cursorOf(xen_domctl_getpageframeinfo3);

export const XEN_DOMCTL_SHADOW_OP_OFF = 0;
export const XEN_DOMCTL_SHADOW_OP_ENABLE_TEST = 1;
export const XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY = 2;
export const XEN_DOMCTL_SHADOW_OP_CLEAN = 11; // copy the dirty bitmap out and clear it
export const XEN_DOMCTL_SHADOW_OP_PEEK = 12; // copy only
export const XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION = 30;
export const XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION = 31;
export const XEN_DOMCTL_SHADOW_OP_ENABLE = 32;
export const XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL = 1 << 0;
export const xen_domctl_shadow_op_stats = struct('xen_domctl_shadow_op_stats', 8, {
  fault_count: 'u32',
  dirty_count: 'u32',
});
export const xen_domctl_shadow_op = struct('xen_domctl_shadow_op', 40, {
  op: 'u32',
  mode: 'u32',
  mb: 'u32',
  dirty_bitmap: 'u64',
  pages: 'u64',
  stats: xen_domctl_shadow_op_stats,
});
export const XenDomctlShadowOp = cursorOf(xen_domctl_shadow_op);

export const xen_domctl_max_mem = struct('xen_domctl_max_mem', 8, { max_memkb: 'u64' });
export const XenDomctlMaxMem = cursorOf(xen_domctl_max_mem);

/** ctxt: guest pointer to a vcpu_guest_context. */
export const xen_domctl_vcpucontext = struct('xen_domctl_vcpucontext', 16, { vcpu: 'u32', ctxt: 'u64' });
export const XenDomctlVcpucontext = cursorOf(xen_domctl_vcpucontext);

export const xen_domctl_getvcpuinfo = struct('xen_domctl_getvcpuinfo', 24, {
  vcpu: 'u32',
  online: 'u8',
  blocked: 'u8',
  running: 'u8',
  cpu_time: 'u64', // ns
  cpu: 'u32',
});
export const XenDomctlGetvcpuinfo = cursorOf(xen_domctl_getvcpuinfo);

export const xen_domctl_nodeaffinity = struct('xen_domctl_nodeaffinity', 16, { nodemap: xenctl_bitmap });

export const XEN_VCPUAFFINITY_HARD = 1 << 0; // where it may run
export const XEN_VCPUAFFINITY_SOFT = 1 << 1; // where it should run
export const XEN_VCPUAFFINITY_FORCE = 1 << 2; // even against a pin override
/** set: the maps are in and out (the effective ones come back); get: out. */
export const xen_domctl_vcpuaffinity = struct('xen_domctl_vcpuaffinity', 40, {
  vcpu: 'u32',
  flags: 'u32',
  cpumap_hard: xenctl_bitmap,
  cpumap_soft: xenctl_bitmap,
});
export const XenDomctlVcpuaffinity = cursorOf(xen_domctl_vcpuaffinity);

export const xen_domctl_max_vcpus = struct('xen_domctl_max_vcpus', 4, { max: 'u32' });
export const XenDomctlMaxVcpus = cursorOf(xen_domctl_max_vcpus);

export const XEN_SCHEDULER_CREDIT = 5;
export const XEN_SCHEDULER_CREDIT2 = 6;
export const XEN_SCHEDULER_ARINC653 = 7;
export const XEN_SCHEDULER_RTDS = 8;
export const XEN_SCHEDULER_NULL = 9;
export const xen_domctl_sched_credit = struct('xen_domctl_sched_credit', 4, { weight: 'u16', cap: 'u16' });
export const XenDomctlSchedCredit = cursorOf(xen_domctl_sched_credit);
export const xen_domctl_sched_credit2 = struct('xen_domctl_sched_credit2', 4, { weight: 'u16', cap: 'u16' });
export const XenDomctlSchedCredit2 = cursorOf(xen_domctl_sched_credit2);
/** period and budget in microseconds. */
export const xen_domctl_sched_rtds = struct('xen_domctl_sched_rtds', 12, {
  period: 'u32',
  budget: 'u32',
  flags: 'u32', // XEN_DOMCTL_SCHEDRT_extra
});
export const XenDomctlSchedRtds = cursorOf(xen_domctl_sched_rtds);
export const XEN_DOMCTL_SCHEDRT_extra = 1 << 0;
export const xen_domctl_schedparam_vcpu_u = union('xen_domctl_schedparam_vcpu_u', 12, {
  credit: xen_domctl_sched_credit,
  credit2: xen_domctl_sched_credit2,
  rtds: xen_domctl_sched_rtds,
});
export const xen_domctl_schedparam_vcpu = struct('xen_domctl_schedparam_vcpu', 16, {
  u: xen_domctl_schedparam_vcpu_u,
  vcpuid: 'u32',
});
export const XenDomctlSchedparamVcpu = cursorOf(xen_domctl_schedparam_vcpu);
export const XEN_DOMCTL_SCHEDOP_putinfo = 0;
export const XEN_DOMCTL_SCHEDOP_getinfo = 1;
export const XEN_DOMCTL_SCHEDOP_putvcpuinfo = 2;
export const XEN_DOMCTL_SCHEDOP_getvcpuinfo = 3;
export const xen_domctl_scheduler_op_v = struct('xen_domctl_scheduler_op_v', 16, {
  vcpus: 'u64',
  nr_vcpus: 'u32',
  padding: 'u32',
});
export const xen_domctl_scheduler_op_u = union('xen_domctl_scheduler_op_u', 16, {
  credit: xen_domctl_sched_credit,
  credit2: xen_domctl_sched_credit2,
  rtds: xen_domctl_sched_rtds,
  v: xen_domctl_scheduler_op_v,
});
export const xen_domctl_scheduler_op = struct('xen_domctl_scheduler_op', 24, {
  sched_id: 'u32', // XEN_SCHEDULER_*
  cmd: 'u32', // XEN_DOMCTL_SCHEDOP_*
  u: xen_domctl_scheduler_op_u,
});
export const XenDomctlSchedulerOp = cursorOf(xen_domctl_scheduler_op);

export const xen_domctl_setdomainhandle = struct('xen_domctl_setdomainhandle', 16, {
  handle: { of: 'u8', count: XEN_DOMAIN_HANDLE_SIZE },
});

export const xen_domctl_hypercall_init = struct('xen_domctl_hypercall_init', 8, { gmfn: 'u64' });
export const XenDomctlHypercallInit = cursorOf(xen_domctl_hypercall_init);

/** A signed number of seconds. */
export const xen_domctl_settimeoffset = struct('xen_domctl_settimeoffset', 8, { time_offset_seconds: 'u64' });
export const XenDomctlSettimeoffset = cursorOf(xen_domctl_settimeoffset);

export const xen_domctl_address_size = struct('xen_domctl_address_size', 4, { size: 'u32' });
export const XenDomctlAddressSize = cursorOf(xen_domctl_address_size);

export const XEN_DOMCTL_SENDTRIGGER_NMI = 0;
export const XEN_DOMCTL_SENDTRIGGER_RESET = 1;
export const XEN_DOMCTL_SENDTRIGGER_INIT = 2;
export const XEN_DOMCTL_SENDTRIGGER_POWER = 3;
export const XEN_DOMCTL_SENDTRIGGER_SLEEP = 4;
export const xen_domctl_sendtrigger = struct('xen_domctl_sendtrigger', 8, { trigger: 'u32', vcpu: 'u32' });
export const XenDomctlSendtrigger = cursorOf(xen_domctl_sendtrigger);

/** `target` becomes a domain that `domain` may act on. */
export const xen_domctl_set_target = struct('xen_domctl_set_target', 2, { target: 'u16' });
export const XenDomctlSetTarget = cursorOf(xen_domctl_set_target);

export const xen_domctl_subscribe = struct('xen_domctl_subscribe', 4, { port: 'u32' });
export const XenDomctlSubscribe = cursorOf(xen_domctl_subscribe);

export const xen_domctl_tsc_info = struct('xen_domctl_tsc_info', 24, {
  tsc_mode: 'u32',
  gtsc_khz: 'u32',
  incarnation: 'u32',
  pad: 'u32',
  elapsed_nsec: 'u64',
});
export const XenDomctlTscInfo = cursorOf(xen_domctl_tsc_info);

/** `domain` becomes the one that receives the global virq. */
export const xen_domctl_set_virq_handler = struct('xen_domctl_set_virq_handler', 4, { virq: 'u32' });
export const XenDomctlSetVirqHandler = cursorOf(xen_domctl_set_virq_handler);

export const xen_domctl_paging_mempool = struct('xen_domctl_paging_mempool', 8, { size: 'u64' });
export const XenDomctlPagingMempool = cursorOf(xen_domctl_paging_mempool);
