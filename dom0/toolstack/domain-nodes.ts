// The xenstore nodes of a domain: what the toolstack writes before it runs, and takes away after its end.
// Xen: docs/misc/xenstore-paths; the order and the permissions are those of a domain libxl made.

import { type DomainConfig, type Domid, errorPath, parentOf, type XenstoreClient } from '#pvbus';
import type { DomainRings } from './domain-builder.ts';
import {
  availabilityPath,
  backendPath,
  consolePath,
  domainPath,
  libxlDevicePath,
  libxlPath,
  ownedBy,
  PRIVATE,
  readableBy,
  type StoreNode,
  sharedBy,
  storePath,
  vmPath,
} from './xenstore-paths.ts';

/** Bytes of console output that xenconsoled would keep for a reader; what `limit` has always said. */
const CONSOLE_LIMIT = 1 << 20;

export interface DomainNodes {
  readonly domid: Domid;
  readonly config: DomainConfig;
  /** Milliseconds since 1970. */
  readonly startTime: number;
}

/** All but those of `ringNodes`. */
export function domainNodes({ domid, config, startTime }: DomainNodes): StoreNode[] {
  const home = domainPath(domid);
  const vm = vmPath(config.uuid);
  const own = ownedBy(domid);
  const nodes: StoreNode[] = [
    { path: home, value: '', perms: readableBy(domid) },
    { path: `${home}/vm`, value: vm },
    { path: `${home}/name`, value: config.name },
    { path: `${home}/domid`, value: String(domid) },
    { path: vm, value: '', perms: readableBy(domid) },
    { path: `${vm}/name`, value: config.name },
    { path: `${vm}/uuid`, value: config.uuid },
    { path: `${vm}/start_time`, value: startTimeText(startTime) },
    { path: `${vm}/image/ostype`, value: 'linux' },
    ...(config.kernel === '' ? [] : [{ path: `${vm}/image/kernel`, value: config.kernel }]),
    ...(config.ramdisk === null ? [] : [{ path: `${vm}/image/ramdisk`, value: config.ramdisk }]),
    ...(config.cmdline === '' ? [] : [{ path: `${vm}/image/cmdline`, value: config.cmdline }]),
    { path: libxlPath(domid), value: '', perms: PRIVATE },
    { path: `${libxlPath(domid)}/type`, value: config.type },
    { path: `${libxlPath(domid)}/dm-version`, value: 'qemu_xen' },
  ];
  for (let i = 0; i < config.maxvcpus; i++) {
    nodes.push({ path: availabilityPath(domid, i), value: i < config.vcpus ? 'online' : 'offline' });
  }
  nodes.push(
    { path: `${home}/memory/static-max`, value: String(config.maxmem * 1024) },
    { path: `${home}/memory/target`, value: String(config.memory * 1024) },
    { path: `${home}/memory/videoram`, value: '0' },
    { path: `${home}/device`, value: '' },
    { path: `${home}/device/suspend/event-channel`, value: '', perms: own },
    { path: `${home}/control`, value: '' },
    // The guest acknowledges a request by emptying `shutdown`, and says in `feature-*` what it knows.
    { path: `${home}/control/shutdown`, value: '', perms: own },
    { path: `${home}/control/feature-poweroff`, value: '', perms: own },
    { path: `${home}/control/feature-reboot`, value: '', perms: own },
    { path: `${home}/control/feature-suspend`, value: '', perms: own },
    { path: `${home}/control/sysrq`, value: '', perms: own },
    { path: `${home}/control/platform-feature-multiprocessor-suspend`, value: '1' },
    { path: `${home}/control/platform-feature-xs_reset_watches`, value: '1' },
    { path: `${home}/data`, value: '', perms: own },
    { path: `${home}/drivers`, value: '', perms: own },
    { path: `${home}/feature`, value: '', perms: own },
    { path: `${home}/attr`, value: '', perms: own },
    { path: `${home}/error`, value: '', perms: own },
    ...consoleNodes(domid),
  );
  if (config.driver_domain) {
    // A driver domain announces what it serves below its own backend directory.
    nodes.push({ path: `${home}/backend`, value: '', perms: own });
    nodes.push({ path: `${home}/libxl`, value: '', perms: own });
  }
  return nodes;
}

/** Where a domain's rings to xenstored and consoled are; after `domainNodes`, whose permissions they inherit. */
export function ringNodes(domid: Domid, rings: DomainRings): StoreNode[] {
  return [
    { path: `${storePath(domid)}/port`, value: String(rings.storePort) },
    { path: `${storePath(domid)}/ring-ref`, value: String(rings.storeGfn) },
    { path: `${consolePath(domid)}/port`, value: String(rings.consolePort) },
    { path: `${consolePath(domid)}/ring-ref`, value: String(rings.consoleGfn) },
  ];
}

function consoleNodes(domid: Domid): StoreNode[] {
  const frontend = consolePath(domid);
  const backend = backendPath(0, 'console', domid, 0);
  const libxl = libxlDevicePath(domid, 'console', 0);
  const backendKeys: [string, string][] = [
    ['frontend', frontend],
    ['frontend-id', String(domid)],
    ['online', '1'],
    ['state', '1'],
    ['protocol', 'vt100'],
  ];
  return [
    { path: backend, value: '', perms: sharedBy(0, domid) },
    ...backendKeys.map(([key, value]) => ({ path: `${backend}/${key}`, value })),
    // Xen: the guest may only read its primary console's directory.
    { path: frontend, value: '', perms: readableBy(domid) },
    { path: `${frontend}/backend`, value: backend },
    { path: `${frontend}/backend-id`, value: '0' },
    { path: `${frontend}/limit`, value: String(CONSOLE_LIMIT) },
    { path: `${frontend}/type`, value: 'xenconsoled' },
    { path: `${frontend}/output`, value: 'pty' },
    { path: `${libxl}/backend`, value: backend },
    ...backendKeys.map(([key, value]) => ({ path: `${libxl}/${key}`, value })),
  ];
}

/** Seconds and hundredths since 1970, as libxl writes them. */
export function startTimeText(ms: number): string {
  const hundredths = Math.floor(ms / 10);
  return `${Math.floor(hundredths / 100)}.${String(hundredths % 100).padStart(2, '0')}`;
}

/** All of them or none. */
export async function writeNodes(xs: XenstoreClient, nodes: readonly StoreNode[]): Promise<void> {
  await xs.transaction(async tx => void (await Promise.all(requestNodes(xs, nodes, tx))));
}
/** Requests of one connection are answered in order, so none waits for the one before. */
function requestNodes(xs: XenstoreClient, nodes: readonly StoreNode[], tx: number): Promise<void>[] {
  const requests: Promise<void>[] = [];
  for (const { path, value, perms } of nodes) {
    requests.push(xs.write(path, value, tx));
    if (perms !== undefined) requests.push(xs.setPerms(path, perms, tx));
  }
  return requests;
}

/**
 * The same while something else is done: a transaction that begins before its nodes are known and commits without
 * waiting for the replies before. A node that is refused fails `done` when the others are there already.
 */
export class NodeWriting {
  /** Resolves when they are there. */
  readonly done: Promise<void>;
  readonly #xs: XenstoreClient;
  readonly #nodes: StoreNode[] = [];
  /** Of the latest attempt. */
  #tx: number | undefined;
  #requests: Promise<void>[] = [];
  #commit: () => void = () => {};
  #give: (reason: unknown) => void = () => {};

  constructor(xs: XenstoreClient) {
    this.#xs = xs;
    const complete = new Promise<void>((resolve, reject) => {
      this.#commit = resolve;
      this.#give = reject;
    });
    complete.catch(() => {}); // heard of by the transaction, if that has begun
    const committed = xs.transaction(async tx => {
      this.#tx = tx;
      this.#requests = [];
      this.#request(this.#nodes, tx);
      await complete;
    });
    this.done = committed.then(async () => void (await Promise.all(this.#requests)));
    this.done.catch(() => {}); // heard of by whoever waits for it
  }
  add(nodes: readonly StoreNode[]): void {
    this.#nodes.push(...nodes);
    if (this.#tx !== undefined) this.#request(nodes, this.#tx);
  }
  /** That was all. */
  commit(): void {
    this.#commit();
  }
  /** There will be no nodes. Resolves when nothing is left of the transaction; one that is over already stays. */
  async abandon(reason: unknown): Promise<void> {
    this.#give(reason);
    await this.done.catch(() => {});
  }
  #request(nodes: readonly StoreNode[], tx: number): void {
    const requests = requestNodes(this.#xs, nodes, tx);
    for (const request of requests) request.catch(() => {}); // heard of by done
    this.#requests.push(...requests);
  }
}

/** Remove subtrees, present or not. */
export async function removeNodes(xs: XenstoreClient, paths: readonly string[]): Promise<void> {
  await xs.transaction(async tx => {
    await Promise.all(
      paths.map(path =>
        xs.rm(path, tx).catch(error => {
          if ((error as { code?: string }).code !== 'ENOENT') throw error; // not even its parent exists
        }),
      ),
    );
  });
}

/** What dom0 has backends of, and so a directory in xenstore for. */
export const BACKEND_TYPES = ['console', 'vbd', 'vif', 'pvcalls', '9pfs'];

/**
 * Remove what a domain and its devices had, with the directories of its backends, which are empty then.
 * `backends`: the backend directory of each device.
 */
export async function removeDomainNodes(
  xs: XenstoreClient,
  domid: Domid,
  uuid: string,
  backends: readonly string[],
): Promise<void> {
  const own = BACKEND_TYPES.map(type => parentOf(backendPath(0, type, domid, 0)));
  const perDomain = new Set([...own, ...backends.map(parentOf)]);
  const errors = [...perDomain].map(path => parentOf(errorPath(path)));
  await removeNodes(xs, [...perDomain, ...errors, domainPath(domid), vmPath(uuid), libxlPath(domid)]);
}
/** /local/domain/0/backend/vbd/3/51712 -> /local/domain/0/backend/vbd/3 */
