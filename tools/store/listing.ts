// A tree of nodes as lines, the way Debian's xenstore-ls prints them.

import type { Colours } from './colours.ts';
import { escapeText, escapeValue } from './escape.ts';
import { preorder, type StoreNode } from './tree.ts';

/** What a listing knows of a node. */
export interface Listed {
  readonly value: Uint8Array;
  /** As on the wire, the owner first. */
  readonly perms: readonly string[] | undefined;
}

export interface ListingStyle {
  readonly colours: Colours;
  /** Paths instead of indented names. */
  readonly full: boolean;
  /** Columns of the terminal, where values are cut to keep the tree readable. */
  readonly width: number | undefined;
  /** By path, the name of the domain whose directory that is. */
  readonly domains: ReadonlyMap<string, string>;
}

/** Permissions stand in this column, behind dots. */
const PERMS_COLUMN = 60;
/** Before permissions, where no dots fit. */
const GAP = 3;
/** Of a value that is cut, at least this much. */
const SHORTEST = 8;
/** No escape begins like this: a cut value is not taken for a whole one. */
const CUT = '\\...';

export function* listing(nodes: readonly StoreNode<Listed>[], style: ListingStyle): Generator<string> {
  for (const { node, depth } of preorder(nodes)) yield line(node, style.full ? 0 : depth, style);
}

function line(node: StoreNode<Listed>, depth: number, { colours, full, width, domains }: ListingStyle): string {
  const { perms } = node.found;
  const label = escapeText(full ? node.path : node.name);
  const suffix = perms === undefined ? '' : `(${perms.map(escapeText).join(',')})`;
  const before = depth + label.length + ' = ""'.length;
  const columns = full ? undefined : width;
  const after = suffix === '' ? 0 : GAP + suffix.length;
  const value = cut(escapeValue(node.found.value), (columns ?? Number.POSITIVE_INFINITY) - before - after);
  const { directory, leaf, dim } = colours;
  const name = (node.children.length > 0 ? directory : leaf)(label);
  const dots = suffix === '' ? '' : leader(before + value.length, full ? 0 : permsColumn(columns));
  const text = `${' '.repeat(depth)}${name}${dim(' = "')}${colours.value(value)}${dim(`"${dots}`)}`;
  const domain = domains.get(node.path);
  return `${text}${colours.perms(suffix)}${domain === undefined ? '' : dim(`  # ${escapeText(domain)}`)}`;
}

/** The longest beginning that has no piece of an escape at its end. */
const WHOLE_ESCAPES = /^(?:[^\\]|\\[tnr\\]|\\x..|\\00.)*/;

function cut(value: string, room: number): string {
  const kept = Math.max(SHORTEST, room - CUT.length);
  if (value.length <= Math.max(room, kept + CUT.length)) return value;
  return `${WHOLE_ESCAPES.exec(value.slice(0, kept))![0]}${CUT}`;
}

const permsColumn = (columns: number | undefined): number => Math.min(PERMS_COLUMN, (columns ?? Infinity) - 12);

/** At least GAP blanks; dots in every other column up to `to`, the same ones in each line. */
function leader(from: number, to: number): string {
  let text = ' ';
  for (let column = from + 1; column < to; column++) text += column % 2 === 1 ? '.' : ' ';
  return `${text}  `;
}
