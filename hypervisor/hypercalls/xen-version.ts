// xen_version(cmd, argument). Xen: public/version.h, common/kernel.c.
import {
  PAGE_SIZE,
  setU64,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_COMMANDLINE_LEN,
  XEN_DOMAIN_HANDLE_SIZE,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOBUFS,
  XEN_ENODATA,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_EXTRAVERSION_LEN,
  XENFEAT_auto_translated_physmap,
  XENFEAT_dom0,
  XENFEAT_NR_SUBMAPS,
  XENFEAT_not_direct_mapped,
  XENVER_build_id,
  XENVER_capabilities,
  XENVER_capabilities2,
  XENVER_changeset,
  XENVER_changeset2,
  XENVER_commandline,
  XENVER_commandline2,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_extraversion2,
  XENVER_get_features,
  XENVER_guest_handle,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
  xen_build_id,
  xen_compile_info,
  xen_feature_info,
  xen_platform_parameters,
} from '#pvbus';
import type { Domain, Vcpu } from '../domain.ts';
import { writeText } from '../guest-memory.ts';
import { mayCall } from '../privilege.ts';

/** The interface this hypervisor implements: that of Xen's public headers in Debian 12. */
const MAJOR = 4;
const MINOR = 17;
const DENIED = '<denied>';

/** What this hypervisor says of itself. */
export interface BuildInfo {
  readonly extraversion: string;
  readonly changeset: string;
  readonly compiler: string;
  readonly compileBy: string;
  readonly compileDomain: string;
  readonly compileDate: string;
  readonly commandLine: string;
  /** Empty: none. */
  readonly buildId: Uint8Array;
}
const CAPABILITIES = 'xen-3.0-x86_64';

export class XenVersion {
  private readonly build: BuildInfo;

  constructor(build: BuildInfo) {
    this.build = build;
  }

  call(caller: Vcpu, cmd: number, arg: number): number {
    const { domain } = caller;
    const { build } = this;
    switch (cmd) {
      case XENVER_version:
        return (MAJOR << 16) | MINOR;
      case XENVER_extraversion:
        return text(domain, arg, XEN_EXTRAVERSION_LEN, build.extraversion);
      case XENVER_compile_info: {
        if (!domain.physmap.reachable(arg, xen_compile_info.size)) return -XEN_EFAULT;
        const { at, size } = xen_compile_info;
        const { bytes } = domain.memory;
        writeText(bytes, arg + at.compiler, at.compile_by - at.compiler, build.compiler);
        writeText(bytes, arg + at.compile_by, at.compile_domain - at.compile_by, build.compileBy);
        writeText(bytes, arg + at.compile_domain, at.compile_date - at.compile_domain, build.compileDomain);
        writeText(bytes, arg + at.compile_date, size - at.compile_date, build.compileDate);
        return 0;
      }
      case XENVER_capabilities:
        return text(domain, arg, XEN_CAPABILITIES_INFO_LEN, CAPABILITIES);
      case XENVER_changeset:
        return text(domain, arg, XEN_CHANGESET_INFO_LEN, build.changeset);
      case XENVER_platform_parameters:
        if (!domain.physmap.reachable(arg, xen_platform_parameters.size)) return -XEN_EFAULT;
        // Xen: 0 for a guest that sees nothing of the hypervisor in its address space.
        setU64(domain.memory.view, arg + xen_platform_parameters.at.virt_start, 0);
        return 0;
      case XENVER_get_features:
        return this.features(domain, arg);
      case XENVER_pagesize:
        return arg === 0 ? PAGE_SIZE : -XEN_EINVAL;
      case XENVER_guest_handle:
        if (!domain.physmap.reachable(arg, XEN_DOMAIN_HANDLE_SIZE)) return -XEN_EFAULT;
        domain.memory.bytes.set(domain.handle, arg);
        return 0;
      case XENVER_commandline: {
        const allowed = mayCall('xen_commandline', domain, domain);
        return text(domain, arg, XEN_COMMANDLINE_LEN, allowed ? build.commandLine : DENIED);
      }
      case XENVER_build_id:
        if (!mayCall('xen_build_id', domain, domain)) return -XEN_EPERM;
        return build.buildId.length === 0 ? -XEN_ENODATA : buffer(domain, arg, build.buildId);
      case XENVER_extraversion2:
        return buffer(domain, arg, Buffer.from(build.extraversion));
      case XENVER_capabilities2:
        return buffer(domain, arg, Buffer.from(CAPABILITIES));
      case XENVER_changeset2:
        return buffer(domain, arg, Buffer.from(build.changeset));
      case XENVER_commandline2:
        if (!mayCall('xen_commandline', domain, domain)) return -XEN_EPERM;
        return buffer(domain, arg, Buffer.from(build.commandLine));
      default:
        return -XEN_ENOSYS;
    }
  }

  private features(domain: Domain, arg: number): number {
    if (!domain.physmap.reachable(arg, xen_feature_info.size)) return -XEN_EFAULT;
    const { view } = domain.memory;
    const { at } = xen_feature_info;
    if (view.getUint32(arg + at.submap_idx, true) >= XENFEAT_NR_SUBMAPS) return -XEN_EINVAL;
    let submap = (1 << XENFEAT_auto_translated_physmap) | (1 << XENFEAT_not_direct_mapped);
    if (domain.isPrivileged) submap |= 1 << XENFEAT_dom0;
    view.setUint32(arg + at.submap, submap >>> 0, true);
    return 0;
  }
}

function text(domain: Domain, arg: number, size: number, value: string): number {
  if (!domain.physmap.reachable(arg, size)) return -XEN_EFAULT;
  writeText(domain.memory.bytes, arg, size, value);
  return 0;
}
/** A length and as many bytes. NULL asks for the length. */
function buffer(domain: Domain, arg: number, value: Uint8Array): number {
  if (arg === 0) return value.length;
  if (!domain.physmap.reachable(arg, xen_build_id.size)) return -XEN_EFAULT;
  const room = domain.memory.view.getUint32(arg + xen_build_id.at.len, true);
  if (room < value.length) return -XEN_ENOBUFS;
  if (!domain.physmap.reachable(arg + xen_build_id.size, value.length)) return -XEN_EFAULT;
  domain.memory.bytes.set(value, arg + xen_build_id.size);
  return value.length;
}
