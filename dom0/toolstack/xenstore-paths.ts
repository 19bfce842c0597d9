// Every xenstore path the toolstack writes, and who may touch it. Xen: docs/misc/xenstore-paths.

/** A node to write. Without `perms` it inherits its parent's. */
export interface StoreNode {
  readonly path: string;
  readonly value: string;
  readonly perms?: readonly string[];
}

export const domainPath = (domid: number): string => `/local/domain/${domid}`;
export const vmPath = (uuid: string): string => `/vm/${uuid}`;
/** The toolstack's own notes, which no guest may read. */
export const libxlPath = (domid: number): string => `/libxl/${domid}`;
export const libxlDevicePath = (domid: number, type: string, devid: number): string =>
  `${libxlPath(domid)}/device/${type}/${devid}`;
export const backendPath = (backend: number, type: string, domid: number, devid: number): string =>
  `${domainPath(backend)}/backend/${type}/${domid}/${devid}`;
export const frontendPath = (domid: number, type: string, devid: number): string =>
  type === 'console' ? consolePath(domid) : `${domainPath(domid)}/device/${type}/${devid}`;
/** The primary console is a directory of its own, not under device/. */
export const consolePath = (domid: number): string => `${domainPath(domid)}/console`;
export const storePath = (domid: number): string => `${domainPath(domid)}/store`;
export const namePath = (domid: number): string => `${domainPath(domid)}/name`;
export const memoryPath = (domid: number): string => `${domainPath(domid)}/memory`;
/** Xen: libxl's own; the hypervisor knows pools by number alone. */
export const poolPath = (id: number): string => `/local/pool/${id}`;
export const poolNamePath = (id: number): string => `${poolPath(id)}/name`;
export const availabilityPath = (domid: number, vcpu: number): string =>
  `${domainPath(domid)}/cpu/${vcpu}/availability`;
export const shutdownPath = (domid: number): string => `${domainPath(domid)}/control/shutdown`;

/** Owned by dom0, read by nobody else. */
export const PRIVATE: readonly string[] = ['n0'];
/** Owned by dom0, read by the domain. */
export const readableBy = (domid: number): readonly string[] => ['n0', `r${domid}`];
/** The domain's own. */
export const ownedBy = (domid: number): readonly string[] => [`n${domid}`];
/** One end of a device: its owner writes it, the other end reads it. */
export const sharedBy = (owner: number, otherend: number): readonly string[] => [`n${owner}`, `r${otherend}`];
