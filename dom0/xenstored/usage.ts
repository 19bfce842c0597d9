// What some nodes are to each domain, as a value. It is kept of everything below each node, so that a
// removal knows what it takes from whom, and the end of a domain where to look, without a walk.

export interface Usage {
  readonly domid: number;
  /** How many nodes it owns, and what they take. */
  readonly nodes: number;
  readonly bytes: number;
  /** How many entries of permissions name it. */
  readonly named: number;
}

/**
 * Of the domains to whom the nodes are something, or of those to whom a change makes a difference. Few are
 * a list in the order of the domids; many are lists of a range of domids each.
 */
export type Usages = readonly Usage[] | Ranges;

class Ranges {
  /** By `domid >> RANGE`. */
  readonly lists: readonly (readonly Usage[])[];
  constructor(lists: readonly (readonly Usage[])[]) {
    this.lists = lists;
  }
}

const RANGE = 4;
/** A list is faster to copy than ranges are to change up to about this many. */
const FEW = 16;
const NOTHING: readonly Usage[] = [];

export const NO_USAGE: Usages = NOTHING;

export function usageIn(usages: Usages, domid: number): Usage | undefined {
  const list = usages instanceof Ranges ? (usages.lists[domid >> RANGE] ?? NOTHING) : usages;
  for (const usage of list) if (usage.domid === domid) return usage;
  return undefined;
}

/** In the order of the domids. */
export function each(usages: Usages): readonly Usage[] {
  return usages instanceof Ranges ? usages.lists.flat() : usages;
}

/** Both together. */
export function plus(a: Usages, b: Usages): Usages {
  if (b instanceof Ranges) return a instanceof Ranges ? inRanges(a.lists, each(b)) : inRanges(b.lists, a);
  if (a instanceof Ranges) return inRanges(a.lists, b);
  if (a.length === 0) return b;
  let sum = a;
  for (const usage of b) sum = inList(sum, usage);
  return sum.length > FEW ? inRanges([], sum) : sum;
}

function inRanges(lists: readonly (readonly Usage[])[], more: readonly Usage[]): Ranges {
  const sum = lists.slice();
  for (const usage of more) {
    const range = usage.domid >> RANGE;
    while (sum.length <= range) sum.push(NOTHING);
    sum[range] = inList(sum[range]!, usage); // just made sure of
  }
  return new Ranges(sum);
}

function inList(list: readonly Usage[], usage: Usage): readonly Usage[] {
  let at = 0;
  while (at < list.length && list[at]!.domid < usage.domid) at++;
  const now = list[at];
  if (now?.domid !== usage.domid) return [...list.slice(0, at), usage, ...list.slice(at)];
  const both = added(now, usage);
  if (!both) return [...list.slice(0, at), ...list.slice(at + 1)];
  if (list.length === 1) return [both];
  const sum = list.slice();
  sum[at] = both;
  return sum;
}

/** Nothing when nothing is left. */
function added(a: Usage, b: Usage): Usage | undefined {
  const nodes = a.nodes + b.nodes;
  const bytes = a.bytes + b.bytes;
  const named = a.named + b.named;
  return nodes === 0 && bytes === 0 && named === 0 ? undefined : { domid: a.domid, nodes, bytes, named };
}

export function minus(usages: Usages): readonly Usage[] {
  return each(usages).map(u => ({ domid: u.domid, nodes: -u.nodes, bytes: -u.bytes, named: -u.named }));
}
