// Xen: public/xen.h with the pages every guest shares with Xen: shared_info, vcpu_info, start_info.
// C's `long`, `xen_ulong_t`, `xen_pfn_t` and guest handles (pointers) are u64 in this ABI (x86-64).

import { cursorOf, struct, union } from '../struct.ts';
import { arch_shared_info, arch_vcpu_info, XEN_LEGACY_MAX_VCPUS } from './arch-x86-xen.ts';

// Hypercall numbers.
export const __HYPERVISOR_set_trap_table = 0;
export const __HYPERVISOR_mmu_update = 1;
export const __HYPERVISOR_set_gdt = 2;
export const __HYPERVISOR_stack_switch = 3;
export const __HYPERVISOR_set_callbacks = 4;
export const __HYPERVISOR_fpu_taskswitch = 5;
export const __HYPERVISOR_sched_op_compat = 6;
export const __HYPERVISOR_platform_op = 7;
export const __HYPERVISOR_set_debugreg = 8;
export const __HYPERVISOR_get_debugreg = 9;
export const __HYPERVISOR_update_descriptor = 10;
export const __HYPERVISOR_memory_op = 12;
export const __HYPERVISOR_multicall = 13;
export const __HYPERVISOR_update_va_mapping = 14;
export const __HYPERVISOR_set_timer_op = 15;
export const __HYPERVISOR_event_channel_op_compat = 16;
export const __HYPERVISOR_xen_version = 17;
export const __HYPERVISOR_console_io = 18;
export const __HYPERVISOR_physdev_op_compat = 19;
export const __HYPERVISOR_grant_table_op = 20;
export const __HYPERVISOR_vm_assist = 21;
export const __HYPERVISOR_update_va_mapping_otherdomain = 22;
export const __HYPERVISOR_iret = 23;
export const __HYPERVISOR_vcpu_op = 24;
export const __HYPERVISOR_set_segment_base = 25;
export const __HYPERVISOR_mmuext_op = 26;
export const __HYPERVISOR_xsm_op = 27;
export const __HYPERVISOR_nmi_op = 28;
export const __HYPERVISOR_sched_op = 29;
export const __HYPERVISOR_callback_op = 30;
export const __HYPERVISOR_xenoprof_op = 31;
export const __HYPERVISOR_event_channel_op = 32;
export const __HYPERVISOR_physdev_op = 33;
export const __HYPERVISOR_hvm_op = 34;
export const __HYPERVISOR_sysctl = 35;
export const __HYPERVISOR_domctl = 36;
export const __HYPERVISOR_kexec_op = 37;
export const __HYPERVISOR_tmem_op = 38;
export const __HYPERVISOR_argo_op = 39;
export const __HYPERVISOR_xenpmu_op = 40;
export const __HYPERVISOR_dm_op = 41;
export const __HYPERVISOR_hypfs_op = 42;
// 48..55 are left to architectures; xenolith.ts uses the first.
export const __HYPERVISOR_arch_0 = 48;
export const __HYPERVISOR_arch_1 = 49;
export const __HYPERVISOR_arch_2 = 50;
export const __HYPERVISOR_arch_3 = 51;
export const __HYPERVISOR_arch_4 = 52;
export const __HYPERVISOR_arch_5 = 53;
export const __HYPERVISOR_arch_6 = 54;
export const __HYPERVISOR_arch_7 = 55;

// Virtual interrupts. Per vCPU (V) or for one domain in the whole system, the handler (G).
export const VIRQ_TIMER = 0; // V: the singleshot or periodic timer fired
export const VIRQ_DEBUG = 1; // V: asks the guest to print its state
export const VIRQ_CONSOLE = 2; // G: input on Xen's own console
export const VIRQ_DOM_EXC = 3; // G: some domain shut down, crashed or died
export const VIRQ_TBUF = 4; // G: the trace buffer has records
export const VIRQ_DEBUGGER = 6; // G: a domain paused for its debugger
export const VIRQ_XENOPROF = 7; // V: a profiling sample is there
export const VIRQ_CON_RING = 8; // G: bytes in Xen's console ring
export const VIRQ_PCPU_STATE = 9; // G: a physical CPU went online or offline
export const VIRQ_MEM_EVENT = 10; // G: a memory event
export const VIRQ_ARGO = 11; // G: Argo message
export const VIRQ_ENOMEM = 12; // G: little free memory left
export const VIRQ_XENPMU = 13; // V: performance counter interrupt
export const VIRQ_ARCH_0 = 16;
export const VIRQ_ARCH_1 = 17;
export const VIRQ_ARCH_2 = 18;
export const VIRQ_ARCH_3 = 19;
export const VIRQ_ARCH_4 = 20;
export const VIRQ_ARCH_5 = 21;
export const VIRQ_ARCH_6 = 22;
export const VIRQ_ARCH_7 = 23;
export const NR_VIRQS = 24;

// console_io: (cmd, count, buffer)
export const CONSOLEIO_write = 0;
export const CONSOLEIO_read = 1;

// vm_assist: (cmd, type)
export const VMASST_CMD_enable = 0;
export const VMASST_CMD_disable = 1;
export const VMASST_TYPE_4gb_segments = 0;
export const VMASST_TYPE_4gb_segments_notify = 1;
export const VMASST_TYPE_writable_pagetables = 2;
export const VMASST_TYPE_pae_extended_cr3 = 3;
export const VMASST_TYPE_architectural_iopl = 4;
/** Set XEN_RUNSTATE_UPDATE while a runstate area is being written, so that a reader can tell. */
export const VMASST_TYPE_runstate_update_flag = 5;
export const VMASST_TYPE_m2p_strict = 32;

// Domain ids. Real domains are 0 .. DOMID_FIRST_RESERVED - 1; the rest have a meaning of their own.
export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_SELF = 0x7ff0; // the caller
export const DOMID_IO = 0x7ff1; // owner of memory-mapped I/O
export const DOMID_XEN = 0x7ff2; // owner of Xen's own shared pages
export const DOMID_COW = 0x7ff3; // owner of shared copy-on-write pages
export const DOMID_INVALID = 0x7ff4; // nobody
export const DOMID_ANY = 0x7ff5; // createdomain: choose one (Xen after 4.17)
export const DOMID_IDLE = 0x7fff;
export const DOMID_MASK = 0x7fff;

/** One element of a multicall. `result` is the element's own return value. */
export const multicall_entry = struct('multicall_entry', 64, {
  op: 'u64',
  result: 'u64',
  args: { of: 'u64', count: 6 },
});
export const MulticallEntry = cursorOf(multicall_entry);

/**
 * How a guest turns a TSC value into system time (ns since boot).
 * `version` is odd while Xen writes: read it, the fields, and it again; retry when odd or changed.
 * time = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul) >> 32
 */
export const vcpu_time_info = struct('vcpu_time_info', 32, {
  version: 'u32',
  pad0: 'u32',
  tsc_timestamp: 'u64',
  system_time: 'u64',
  tsc_to_system_mul: 'u32',
  tsc_shift: 'i8',
  flags: 'u8', // XEN_PVCLOCK_*
  pad1: { of: 'u8', count: 2 },
});
export const VcpuTimeInfo = cursorOf(vcpu_time_info);
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1 << 0;
export const XEN_PVCLOCK_GUEST_STOPPED = 1 << 1;

/**
 * One vCPU's part of the event channel state.
 * evtchn_upcall_pending: set by Xen when an upcall is due, cleared by the guest before it scans.
 * evtchn_upcall_mask: the vCPU's interrupt flag; set by Xen on upcall, owned by the guest.
 * evtchn_pending_sel: one bit per word of shared_info.evtchn_pending that may hold pending ports.
 */
export const vcpu_info = struct('vcpu_info', 64, {
  evtchn_upcall_pending: 'u8',
  evtchn_upcall_mask: 'u8',
  evtchn_pending_sel: 'u64',
  arch: arch_vcpu_info,
  time: vcpu_time_info,
});
export const VcpuInfo = cursorOf(vcpu_info);

/**
 * The page Xen and a guest share. A port is bit (port % 64) of word (port / 64) of both arrays.
 * Pending is set by Xen and cleared by the guest; mask is the guest's (Xen clears it only in unmask).
 * The wall clock at boot is wc_sec (with wc_sec_hi) and wc_nsec, versioned like vcpu_time_info.
 */
export const shared_info = struct('shared_info', 3136, {
  vcpu_info: { of: vcpu_info, count: XEN_LEGACY_MAX_VCPUS },
  evtchn_pending: { of: 'u64', count: 64 },
  evtchn_mask: { of: 'u64', count: 64 },
  wc_version: 'u32',
  wc_sec: 'u32',
  wc_nsec: 'u32',
  wc_sec_hi: 'u32',
  arch: arch_shared_info,
});
export const SharedInfo = cursorOf(shared_info);

export const start_info_console_domU = struct('start_info_console_domU', 16, { mfn: 'u64', evtchn: 'u32' });
export const start_info_console_dom0 = struct('start_info_console_dom0', 8, { info_off: 'u32', info_size: 'u32' });
export const start_info_console = union('start_info_console', 16, {
  domU: start_info_console_domU,
  dom0: start_info_console_dom0,
});
export const MAX_GUEST_CMDLINE = 1024;

/** What the domain builder leaves for the guest's first instruction. */
export const start_info = struct('start_info', 1168, {
  magic: { of: 'u8', count: 32 }, // "xen-<version>-<platform>", NUL-terminated
  nr_pages: 'u64', // memory of this domain
  shared_info: 'u64', // machine address of shared_info
  flags: 'u32', // SIF_*
  store_mfn: 'u64', // the xenstore ring's page
  store_evtchn: 'u32',
  console: start_info_console,
  pt_base: 'u64',
  nr_pt_frames: 'u64',
  mfn_list: 'u64',
  mod_start: 'u64', // the ramdisk: a virtual address, or a pfn with SIF_MOD_START_PFN
  mod_len: 'u64', // bytes
  cmd_line: { of: 'i8', count: MAX_GUEST_CMDLINE },
  first_p2m_pfn: 'u64',
  nr_p2m_frames: 'u64',
});
export const StartInfo = cursorOf(start_info);
export const SIF_PRIVILEGED = 1 << 0; // the domain may use privileged calls
export const SIF_INITDOMAIN = 1 << 1; // the first domain, dom0
export const SIF_MULTIBOOT_MOD = 1 << 2; // mod_start is a xen_multiboot_mod_list
export const SIF_MOD_START_PFN = 1 << 3; // mod_start is a pfn
export const SIF_VIRT_P2M_4TOOLS = 1 << 4;
export const SIF_PM_MASK = 0xff << 8;

/** A guest pointer to a bitmap with its length, as in CPU affinities. */
export const xenctl_bitmap = struct('xenctl_bitmap', 16, { bitmap: 'u64', nr_bits: 'u32' });
export const XenctlBitmap = cursorOf(xenctl_bitmap);

/** xen_domain_handle_t: a domain's UUID. */
export const XEN_DOMAIN_HANDLE_SIZE = 16;
