// How control hypercalls are made: the operation's struct in the vCPU's scratch memory, filled in, called, checked.
import {
  __HYPERVISOR_domctl,
  __HYPERVISOR_sysctl,
  errnoName,
  type Vcpu,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_SYSCTL_INTERFACE_VERSION,
  XenError,
  xen_domctl,
  xen_sysctl,
} from '#pvbus';

/** Fills in an operation's own struct, which is at `u`. */
export type Fill = (view: DataView, u: number) => void;

export class ControlCalls {
  readonly vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  /** Throws XenError with the hypervisor's errno, `what` having been refused. Returns where the struct `u` lies. */
  domctl(cmd: number, domid: number, what: string, fill?: Fill): number {
    this.vcpu.scratch.reset();
    return this.domctlMore(cmd, domid, what, fill);
  }
  /** The same for a caller that has reset the scratch, and put there what the struct points to. */
  domctlMore(cmd: number, domid: number, what: string, fill?: Fill): number {
    const op = this.vcpu.scratch.alloc(xen_domctl.size);
    this.check(this.tryDomctl(op, cmd, domid, fill), what);
    return op + xen_domctl.at.u;
  }
  /** `op`: room for a xen_domctl. Returns what the hypercall does. */
  tryDomctl(op: number, cmd: number, domid: number, fill?: Fill): number {
    const { view } = this.vcpu.scratch;
    view.setUint32(op + xen_domctl.at.cmd, cmd, true);
    view.setUint32(op + xen_domctl.at.interface_version, XEN_DOMCTL_INTERFACE_VERSION, true);
    view.setUint16(op + xen_domctl.at.domain, domid, true);
    fill?.(view, op + xen_domctl.at.u);
    return this.vcpu.hypercall(__HYPERVISOR_domctl, op);
  }
  /** As domctl. */
  sysctl(cmd: number, what: string, fill?: Fill): number {
    this.vcpu.scratch.reset();
    return this.sysctlMore(cmd, what, fill);
  }
  sysctlMore(cmd: number, what: string, fill?: Fill): number {
    const { view } = this.vcpu.scratch;
    const op = this.vcpu.scratch.alloc(xen_sysctl.size);
    view.setUint32(op + xen_sysctl.at.cmd, cmd, true);
    view.setUint32(op + xen_sysctl.at.interface_version, XEN_SYSCTL_INTERFACE_VERSION, true);
    fill?.(view, op + xen_sysctl.at.u);
    this.check(this.vcpu.hypercall(__HYPERVISOR_sysctl, op), what);
    return op + xen_sysctl.at.u;
  }
  check(rc: number, what: string): number {
    if (rc < 0) throw new XenError(errnoName(-rc), `the hypervisor refused to ${what}: ${errnoName(-rc)}`);
    return rc;
  }
}

export const set64 = (view: DataView, at: number, n: number): void => view.setBigUint64(at, BigInt(n), true);
/** Exact below 2^53, which every size and time here is. */
export const get64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));
