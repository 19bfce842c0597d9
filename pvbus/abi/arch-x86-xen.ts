// Xen: public/arch-x86/xen.h and arch-x86/xen-x86_64.h, what a paravirtual guest needs of them.

import { cursorOf, struct } from '../struct.ts';

/** vCPUs whose vcpu_info is inside shared_info; the others register one (VCPUOP_register_vcpu_info). */
export const XEN_LEGACY_MAX_VCPUS = 32;

export const FLAT_RING3_CS32 = 0xe023;
export const FLAT_RING3_CS64 = 0xe033;
export const FLAT_RING3_DS32 = 0xe02b;
export const FLAT_RING3_DS64 = 0x0000;
export const FLAT_RING3_SS32 = 0xe02b;
export const FLAT_RING3_SS64 = 0xe02b;

export const arch_vcpu_info = struct('arch_vcpu_info', 16, { cr2: 'u64', pad: 'u64' });
export const ArchVcpuInfo = cursorOf(arch_vcpu_info);

export const arch_shared_info = struct('arch_shared_info', 48, {
  max_pfn: 'u64',
  pfn_to_mfn_frame_list_list: 'u64',
  nmi_reason: 'u64',
  p2m_cr3: 'u64',
  p2m_vaddr: 'u64',
  p2m_generation: 'u64',
});
export const ArchSharedInfo = cursorOf(arch_shared_info);

/** A guest's registers. A segment register fills 8 bytes; the padding has no meaning. */
export const cpu_user_regs = struct('cpu_user_regs', 200, {
  r15: 'u64',
  r14: 'u64',
  r13: 'u64',
  r12: 'u64',
  rbp: 'u64',
  rbx: 'u64',
  r11: 'u64',
  r10: 'u64',
  r9: 'u64',
  r8: 'u64',
  rax: 'u64',
  rcx: 'u64',
  rdx: 'u64',
  rsi: 'u64',
  rdi: 'u64',
  error_code: 'u32',
  entry_vector: 'u32',
  rip: 'u64',
  cs: 'u16',
  _pad0: { of: 'u16', count: 1 },
  saved_upcall_mask: 'u8',
  _pad1: { of: 'u8', count: 3 },
  rflags: 'u64',
  rsp: 'u64',
  ss: 'u16',
  _pad2: { of: 'u16', count: 3 },
  es: 'u16',
  _pad3: { of: 'u16', count: 3 },
  ds: 'u16',
  _pad4: { of: 'u16', count: 3 },
  fs: 'u16',
  _pad5: { of: 'u16', count: 3 },
  gs: 'u16',
  _pad6: { of: 'u16', count: 3 },
});
export const CpuUserRegs = cursorOf(cpu_user_regs);

/** One entry of a guest's virtual interrupt table; `flags` holds DPL (bits 0-1) and clear-IF (bit 2). */
export const trap_info = struct('trap_info', 16, { vector: 'u8', flags: 'u8', cs: 'u16', address: 'u64' });
export const TrapInfo = cursorOf(trap_info);

export const VGCF_i387_valid = 1 << 0;
export const VGCF_in_kernel = 1 << 2;
export const VGCF_failsafe_disables_events = 1 << 3;
export const VGCF_syscall_disables_events = 1 << 4;
export const VGCF_online = 1 << 5;

/** All of a vCPU's state: VCPUOP_initialise's argument and setvcpucontext's. */
export const vcpu_guest_context = struct('vcpu_guest_context', 5168, {
  fpu_ctxt: { of: 'u8', count: 512 },
  flags: 'u64', // VGCF_*
  user_regs: cpu_user_regs,
  trap_ctxt: { of: trap_info, count: 256 },
  ldt_base: 'u64',
  ldt_ents: 'u64',
  gdt_frames: { of: 'u64', count: 16 },
  gdt_ents: 'u64',
  kernel_ss: 'u64',
  kernel_sp: 'u64',
  ctrlreg: { of: 'u64', count: 8 },
  debugreg: { of: 'u64', count: 8 },
  event_callback_eip: 'u64',
  failsafe_callback_eip: 'u64',
  syscall_callback_eip: 'u64',
  vm_assist: 'u64',
  fs_base: 'u64',
  gs_base_kernel: 'u64',
  gs_base_user: 'u64',
});
export const VcpuGuestContext = cursorOf(vcpu_guest_context);

export const XEN_X86_EMU_LAPIC = 1 << 0;
export const XEN_X86_EMU_HPET = 1 << 1;
export const XEN_X86_EMU_PM = 1 << 2;
export const XEN_X86_EMU_RTC = 1 << 3;
export const XEN_X86_EMU_IOAPIC = 1 << 4;
export const XEN_X86_EMU_PIC = 1 << 5;
export const XEN_X86_EMU_VGA = 1 << 6;
export const XEN_X86_EMU_IOMMU = 1 << 7;
export const XEN_X86_EMU_PIT = 1 << 8;
export const XEN_X86_EMU_USE_PIRQ = 1 << 9;
export const XEN_X86_EMU_VPCI = 1 << 10;
export const XEN_X86_EMU_ALL = (1 << 11) - 1;
export const XEN_X86_MSR_RELAXED = 1 << 0;
export const XEN_X86_MISC_FLAGS_MAX = XEN_X86_MSR_RELAXED;

export const xen_arch_domainconfig = struct('xen_arch_domainconfig', 8, { emulation_flags: 'u32', misc_flags: 'u32' });
export const XenArchDomainconfig = cursorOf(xen_arch_domainconfig);
