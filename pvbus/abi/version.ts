// Xen: public/version.h. xen_version(cmd, argument).

import { cursorOf, struct } from '../struct.ts';

export const XENVER_version = 0; // no argument; returns major << 16 | minor
export const XENVER_extraversion = 1;
export const XENVER_compile_info = 2;
export const XENVER_capabilities = 3;
export const XENVER_changeset = 4;
export const XENVER_platform_parameters = 5;
export const XENVER_get_features = 6;
export const XENVER_pagesize = 7; // argument NULL; returns 4096
export const XENVER_guest_handle = 8;
export const XENVER_commandline = 9;
export const XENVER_build_id = 10;
// Xen after 4.17: like build_id, but for texts that no longer fit the fixed arrays above.
export const XENVER_extraversion2 = 11;
export const XENVER_capabilities2 = 12;
export const XENVER_changeset2 = 13;
export const XENVER_commandline2 = 14;

export const XEN_EXTRAVERSION_LEN = 16;
export const XEN_CAPABILITIES_INFO_LEN = 1024;
export const XEN_CHANGESET_INFO_LEN = 64;
/** sizeof(xen_commandline_t). */
export const XEN_COMMANDLINE_LEN = 1024;

export const xen_compile_info = struct('xen_compile_info', 144, {
  compiler: { of: 'u8', count: 64 },
  compile_by: { of: 'u8', count: 16 },
  compile_domain: { of: 'u8', count: 32 },
  compile_date: { of: 'u8', count: 32 },
});

export const xen_platform_parameters = struct('xen_platform_parameters', 8, { virt_start: 'u64' });
export const XenPlatformParameters = cursorOf(xen_platform_parameters);

/** In: submap_idx. Out: submap, one bit per XENFEAT_* (see features.ts). */
export const xen_feature_info = struct('xen_feature_info', 8, { submap_idx: 'u32', submap: 'u32' });
export const XenFeatureInfo = cursorOf(xen_feature_info);

/** `len` bytes follow. */
export const xen_build_id = struct('xen_build_id', 4, { len: 'u32' });
export const XenBuildId = cursorOf(xen_build_id);
