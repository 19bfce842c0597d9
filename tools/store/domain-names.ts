// Which nodes are the directory of a domain, and what it is called.

import { XenError, type XenstoreClient } from '#pvbus';
import { preorder, type StoreNode } from './tree.ts';

const DIRECTORIES = [
  /^\/local\/domain\/([0-9]+)$/,
  /^\/libxl\/([0-9]+)$/,
  /^\/local\/domain\/[0-9]+\/backend\/[^/]+\/([0-9]+)$/,
];
/** Relative paths are domain 0's: every client of the socket is. */
const HOME = '/local/domain/0';

function domainOf(path: string): string | undefined {
  const absolute = path.startsWith('/') ? path : `${HOME}/${path}`;
  for (const pattern of DIRECTORIES) {
    const [, domid] = pattern.exec(absolute) ?? [];
    if (domid !== undefined) return domid;
  }
  return undefined;
}

/** By path, the name of the domain; nothing for a domain without one. */
export async function domainNames(
  store: XenstoreClient,
  nodes: readonly StoreNode<unknown>[],
  tx: number,
): Promise<ReadonlyMap<string, string>> {
  const domids = new Map<string, string>();
  for (const { node } of preorder(nodes)) {
    const domid = domainOf(node.path);
    if (domid !== undefined) domids.set(node.path, domid);
  }
  const names = new Map<string, string>();
  for (const domid of new Set(domids.values())) names.set(domid, await nameOf(store, domid, tx));
  return new Map(
    [...domids].map(([path, domid]) => [path, names.get(domid)!] as const).filter(([, name]) => name !== ''),
  );
}

async function nameOf(store: XenstoreClient, domid: string, tx: number): Promise<string> {
  try {
    return await store.read(`/local/domain/${domid}/name`, tx);
  } catch (error) {
    // No name, or a number that cannot be a domain's: whose directory it is stays open.
    if (error instanceof XenError && ['ENOENT', 'EINVAL', 'EACCES'].includes(error.code)) return '';
    throw error;
  }
}
