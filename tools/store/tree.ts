// The nodes below a path, as one transaction sees them.

import { XenError, type XenstoreClient } from '#pvbus';
import { about, storeFailure } from './failure.ts';

export interface StoreNode<T> {
  /** Relative when the path it was found below is. */
  readonly path: string;
  readonly name: string;
  readonly found: T;
  readonly children: readonly StoreNode<T>[];
}

interface Draft<T> extends StoreNode<T> {
  found: T;
  children: Draft<T>[];
  readonly siblings: Draft<T>[];
}

/** Nodes asked about at once: enough that nobody waits for the other, few enough to bound what is under way. */
const SLICE = 64;

/** Level by level. `look` is called once for each node and says what is to be known of it. */
export async function readBelow<T>(
  store: XenstoreClient,
  root: string,
  tx: number,
  look: (path: string) => Promise<T>,
): Promise<readonly StoreNode<T>[]> {
  const drafts = (path: string, names: readonly string[]): Draft<T>[] => {
    const siblings: Draft<T>[] = [];
    for (const name of names) {
      // `found` is there before anybody is given the node.
      siblings.push({ path: below(path, name), name, found: undefined as T, children: [], siblings });
    }
    return siblings;
  };
  const fill = async (draft: Draft<T>): Promise<void> => {
    const { path, siblings } = draft;
    try {
      const [found, names] = await Promise.all([look(path), store.directory(path, tx)]);
      draft.found = found;
      draft.children = drafts(path, names);
    } catch (error) {
      const gone = error instanceof XenError && error.code === 'ENOENT';
      if (!gone) throw storeFailure(error, path);
      // Listed, yet not there: a daemon whose transactions are no snapshots. It will refuse to commit this one.
      siblings.splice(siblings.indexOf(draft), 1);
    }
  };
  const top = drafts(root, await about(root, store.directory(root, tx)));
  for (let level = [...top]; level.length > 0; level = level.flatMap(draft => draft.children)) {
    for (let at = 0; at < level.length; at += SLICE) {
      await Promise.all(level.slice(at, at + SLICE).map(fill));
    }
  }
  return top;
}

export const below = (path: string, name: string): string => (path === '/' ? `/${name}` : `${path}/${name}`);

/** Parents before their children, in the daemon's order. */
export function* preorder<T>(
  nodes: readonly StoreNode<T>[],
): Generator<{ readonly node: StoreNode<T>; readonly depth: number }> {
  const stack = [...nodes].reverse().map(node => ({ node, depth: 0 }));
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    yield next;
    const { node, depth } = next;
    for (let i = node.children.length - 1; i >= 0; i--) stack.push({ node: node.children[i]!, depth: depth + 1 });
  }
}
