// A tree told as its differences from another: the snapshot an open transaction was begun with, beside the
// store of now. What both share, by identity, is not told.
import type { Permissions } from './permissions.ts';
import { type Node, nodeOf } from './store.ts';

/** One node that differs. Plain data. */
export interface NodePatch {
  readonly value: string;
  readonly perms: Permissions;
  readonly generation: number;
  readonly namesGeneration: number;
  /** Children that differ, or that the other has not. */
  readonly changed: readonly (readonly [name: string, patch: NodePatch])[];
  /** Children that only the other has. */
  readonly without: readonly string[];
}

/** What makes `node` of `other`. */
export function patchOf(node: Node, other: Node | undefined): NodePatch {
  const { value, perms, generation, namesGeneration } = node;
  const changed: (readonly [string, NodePatch])[] = [];
  const without: string[] = [];
  if (node.children !== other?.children) {
    for (const [name, child] of node.children.entries()) {
      const counterpart = other?.children.get(name);
      if (counterpart !== child) changed.push([name, patchOf(child, counterpart)]);
    }
    if (other) for (const [name] of other.children.entries()) if (!node.children.get(name)) without.push(name);
  }
  return { value, perms, generation, namesGeneration, changed, without };
}

/** The node that `patchOf` was given first, from the one it was given second. */
export function patched(patch: NodePatch, other: Node | undefined): Node {
  if (other && patch.changed.length === 0 && patch.without.length === 0) {
    const { value, perms, generation, namesGeneration } = patch;
    return { ...other, value, perms, generation, namesGeneration };
  }
  const children = new Map(other?.children.entries() ?? []);
  for (const name of patch.without) children.delete(name);
  for (const [name, child] of patch.changed) children.set(name, patched(child, other?.children.get(name)));
  return nodeOf(patch, children);
}
