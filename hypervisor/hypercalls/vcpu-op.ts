// vcpu_op(cmd, vcpu id, argument). Xen: public/vcpu.h.
import {
  PAGE_SIZE,
  SHUTDOWN_poweroff,
  VCPU_INFO_UNIT,
  VCPUOP_down,
  VCPUOP_get_physid,
  VCPUOP_get_runstate_info,
  VCPUOP_initialise,
  VCPUOP_is_up,
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_runstate_phys_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_register_vcpu_time_memory_area,
  VCPUOP_register_vcpu_time_phys_area,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VCPUOP_stop_periodic_timer,
  VCPUOP_stop_singleshot_timer,
  VCPUOP_up,
  vcpu_guest_context,
  vcpu_info,
  vcpu_register_vcpu_info,
  vcpu_runstate_info,
  vcpu_set_periodic_timer,
  vcpu_set_singleshot_timer,
  vcpu_time_info,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_ENXIO,
  XEN_LEGACY_MAX_VCPUS,
} from '#pvbus';
import { DEFERRED, type Result } from '../deferred.ts';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainLife } from '../domain-life.ts';
import type { EventChannels } from '../event-channels.ts';
import type { GuestClocks } from '../guest-clock.ts';
import { joinU64, readTime, readU64 } from '../guest-memory.ts';
import { FRAME_RAM, FRAME_XEN } from '../memory.ts';
import type { VcpuTimers } from '../vcpu-timers.ts';

const MIN_PERIOD_NS = 1e6;
const MAX_PERIOD_NS = 2 ** 62;
/** ~0 as a u64: an area that is no longer wanted. */
const UNREGISTER_LOW = 0xffffffff;
/** Bytes of a guest pointer that is itself the argument. */
const POINTER = 8;

export class VcpuOp {
  private readonly life: DomainLife;
  private readonly events: EventChannels;
  private readonly timers: VcpuTimers;
  private readonly guestClocks: GuestClocks;

  constructor(life: DomainLife, events: EventChannels, timers: VcpuTimers, guestClocks: GuestClocks) {
    this.life = life;
    this.events = events;
    this.timers = timers;
    this.guestClocks = guestClocks;
  }

  call(caller: Vcpu, cmd: number, id: number, arg: number): Result {
    const { domain } = caller;
    const vcpu = domain.vcpu(id);
    if (vcpu === undefined) return -XEN_ENOENT;
    const { physmap } = domain;
    switch (cmd) {
      case VCPUOP_initialise:
        return this.initialise(vcpu, arg);
      case VCPUOP_up:
        if (!vcpu.initialised) return -XEN_EINVAL;
        if (!vcpu.up) this.life.bringUp(vcpu);
        return 0;
      case VCPUOP_down:
        return this.down(caller, vcpu);
      case VCPUOP_is_up:
        return vcpu.up ? 1 : 0;
      case VCPUOP_get_runstate_info:
        if (!physmap.reachable(arg, vcpu_runstate_info.size)) return -XEN_EFAULT;
        this.life.refreshRunstate(vcpu);
        this.life.copyRunstate(vcpu, domain.memory.view, arg);
        return 0;
      case VCPUOP_register_runstate_memory_area:
        return this.registerRunstate(vcpu, arg);
      case VCPUOP_register_runstate_phys_area:
        return this.registerArea(domain, arg, vcpu_runstate_info.size, address => {
          vcpu.runstateArea = address;
          if (address >= 0) this.life.refreshRunstate(vcpu);
        });
      case VCPUOP_register_vcpu_time_memory_area: {
        if (!physmap.reachable(arg, POINTER)) return -XEN_EFAULT;
        const address = readU64(domain.memory.view, arg);
        if (!physmap.reachable(address, vcpu_time_info.size)) return -XEN_EFAULT;
        vcpu.timeArea = address;
        this.guestClocks.writeTime(vcpu);
        return 0;
      }
      case VCPUOP_register_vcpu_time_phys_area:
        return this.registerArea(domain, arg, vcpu_time_info.size, address => {
          vcpu.timeArea = address;
          this.guestClocks.writeTime(vcpu);
        });
      case VCPUOP_set_periodic_timer: {
        if (!physmap.reachable(arg, vcpu_set_periodic_timer.size)) return -XEN_EFAULT;
        const at = arg + vcpu_set_periodic_timer.at.period_ns;
        const period = domain.memory.view.getUint32(at + 4, true) * 2 ** 32 + domain.memory.view.getUint32(at, true);
        if (period < MIN_PERIOD_NS || period > MAX_PERIOD_NS) return -XEN_EINVAL;
        this.timers.setPeriodic(vcpu, period);
        return 0;
      }
      case VCPUOP_stop_periodic_timer:
        this.timers.stopPeriodic(vcpu);
        return 0;
      case VCPUOP_set_singleshot_timer: {
        if (vcpu !== caller) return -XEN_EINVAL;
        if (!physmap.reachable(arg, vcpu_set_singleshot_timer.size)) return -XEN_EFAULT;
        this.timers.setSingleshot(
          vcpu,
          readTime(domain.memory.view, arg + vcpu_set_singleshot_timer.at.timeout_abs_ns),
        );
        return 0;
      }
      case VCPUOP_stop_singleshot_timer:
        if (vcpu !== caller) return -XEN_EINVAL;
        this.timers.stopSingleshot(vcpu);
        return 0;
      case VCPUOP_register_vcpu_info:
        return this.registerVcpuInfo(vcpu, arg);
      case VCPUOP_get_physid:
        return -XEN_EINVAL; // Xen: only for a vCPU that is pinned for good
      default:
        return -XEN_ENOSYS;
    }
  }

  private down(caller: Vcpu, vcpu: Vcpu): Result {
    const { domain } = vcpu;
    // Xen: a domain none of whose vCPUs could ever run again has shut down.
    if (domain.vcpus.every(other => other === vcpu || !other.up)) {
      this.life.shutdown(domain, SHUTDOWN_poweroff);
      return 0;
    }
    if (!vcpu.up) return 0;
    this.life.bringDown(vcpu);
    if (vcpu !== caller) return 0;
    // It stops here, and goes on when another one brings it up.
    vcpu.waiting = { kind: 'down' };
    return DEFERRED;
  }

  private initialise(vcpu: Vcpu, arg: number): number {
    const { domain } = vcpu;
    // Xen: only the first vCPUs have a vcpu_info in shared_info.
    if (vcpu.id >= XEN_LEGACY_MAX_VCPUS && !vcpu.infoRegistered) return -XEN_EINVAL;
    if (!domain.physmap.reachable(arg, vcpu_guest_context.size)) return -XEN_EFAULT;
    if (vcpu.initialised) return -XEN_EEXIST;
    vcpu.context = domain.memory.bytes.slice(arg, arg + vcpu_guest_context.size);
    vcpu.initialised = true;
    return 0;
  }

  private registerRunstate(vcpu: Vcpu, arg: number): number {
    const { physmap, memory } = vcpu.domain;
    if (!physmap.reachable(arg, POINTER)) return -XEN_EFAULT;
    const address = readU64(memory.view, arg);
    if (!physmap.reachable(address, vcpu_runstate_info.size)) return -XEN_EFAULT;
    vcpu.runstateArea = address;
    this.life.refreshRunstate(vcpu);
    return 0;
  }
  /** An area named by its guest-physical address, which may not be split between two frames. */
  private registerArea(domain: Domain, arg: number, size: number, place: (address: number) => void): number {
    const { physmap, memory } = domain;
    if (!physmap.reachable(arg, POINTER)) return -XEN_EFAULT;
    const low = memory.view.getUint32(arg, true);
    const high = memory.view.getUint32(arg + 4, true);
    if (low === UNREGISTER_LOW && high === UNREGISTER_LOW) {
      place(-1);
      return 0;
    }
    const address = joinU64(high, low);
    if (low % 8 !== 0 || (low % PAGE_SIZE) + size > PAGE_SIZE) return -XEN_ENXIO;
    if (!physmap.reachable(address, size)) return -XEN_EINVAL;
    place(address);
    return 0;
  }

  private registerVcpuInfo(vcpu: Vcpu, arg: number): number {
    const { domain } = vcpu;
    const { physmap } = domain;
    if (!physmap.reachable(arg, vcpu_register_vcpu_info.size)) return -XEN_EFAULT;
    const { view } = domain.memory;
    const gfn = readU64(view, arg + vcpu_register_vcpu_info.at.mfn);
    const offset = view.getUint32(arg + vcpu_register_vcpu_info.at.offset, true);
    if (offset % 8 !== 0 || offset + vcpu_info.size > PAGE_SIZE) return -XEN_ENXIO;
    if (vcpu.infoRegistered) return -XEN_EBUSY;
    // Where it is, is told in a word.
    if (gfn * PAGE_SIZE >= VCPU_INFO_UNIT * 2 ** 32) return -XEN_EINVAL;
    const kind = physmap.kind(gfn);
    if (kind !== FRAME_RAM && kind !== FRAME_XEN) return -XEN_EINVAL;
    physmap.hold(gfn);
    vcpu.moveInfo(gfn * PAGE_SIZE + offset);
    vcpu.infoRegistered = true;
    this.events.infoMoved(vcpu);
    this.guestClocks.writeTime(vcpu);
    // Xen: an event may have been marked in the old place meanwhile; the guest looks at everything once.
    vcpu.info.selectAll();
    this.events.upcall(vcpu);
    return 0;
  }
}
