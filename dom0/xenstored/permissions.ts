// Who may read and write a node. Xen: docs/misc/xenstore.txt, GET_PERMS.
import { DOMID_ANY, parseDecimal } from '#pvbus';
import { Refusal } from './refusal.ts';

export const READ = 1;
export const WRITE = 2;
const LETTERS = ['n', 'r', 'w', 'b'] as const; // index: READ | WRITE

/** On whose behalf a request is made. */
export interface Actor {
  readonly domid: number;
  /** dom0: reads and writes everything, is held by no quota. */
  readonly privileged: boolean;
  /** SET_TARGET: the domain whose rights this one has as well. */
  target: number | undefined;
}

export const DOM0: Actor = { domid: 0, privileged: true, target: undefined };

export interface Permissions {
  /** May do everything, whatever the letters say. */
  readonly owner: number;
  /** What domains without an entry may do. */
  readonly others: number;
  readonly entries: readonly { readonly domid: number; readonly access: number }[];
}

export function ownedBy(owner: number, others = 0): Permissions {
  return { owner, others, entries: [] };
}

/** What `actor` may do: READ | WRITE. */
export function accessOf(actor: Actor, perms: Permissions): number {
  if (actor.privileged || isOwner(actor, perms)) return READ | WRITE;
  let any = perms.others;
  for (const { domid, access } of perms.entries) {
    if (domid === actor.domid || domid === actor.target) return access;
    if (domid === DOMID_ANY) any = access; // for every domain that has no entry of its own
  }
  return any;
}

export function mayRead(actor: Actor, perms: Permissions): boolean {
  return (accessOf(actor, perms) & READ) !== 0;
}

export function mayWrite(actor: Actor, perms: Permissions): boolean {
  return (accessOf(actor, perms) & WRITE) !== 0;
}

export function isOwner(actor: Actor, perms: Permissions): boolean {
  return actor.privileged || perms.owner === actor.domid || perms.owner === actor.target;
}

export function samePermissions(a: Permissions, b: Permissions): boolean {
  if (a === b) return true;
  if (a.owner !== b.owner || a.others !== b.others || a.entries.length !== b.entries.length) return false;
  return a.entries.every((entry, i) => entry.domid === b.entries[i]?.domid && entry.access === b.entries[i]?.access);
}

/** The same with every mention of `domid` taken out; an owner's place goes to dom0. */
export function withoutDomain(perms: Permissions, domid: number): Permissions {
  const named = perms.entries.some(entry => entry.domid === domid);
  if (perms.owner !== domid && !named) return perms;
  const orphaned = perms.owner === domid;
  return {
    owner: orphaned ? 0 : perms.owner,
    others: perms.others,
    entries: perms.entries.filter(entry => entry.domid !== domid),
  };
}

/** From the wire: a letter and a decimal domid each, the owner first. Throws EINVAL. */
export function parsePermissions(texts: readonly string[]): Permissions {
  const parsed = texts.map(text => {
    const access = LETTERS.indexOf(text.slice(0, 1) as (typeof LETTERS)[number]);
    const domid = parseDecimal(text.slice(1), 0xffff);
    if (access < 0 || domid === undefined) {
      throw new Refusal('EINVAL', `${JSON.stringify(text.slice(0, 20))} is no permission`);
    }
    return { domid, access };
  });
  const [first, ...entries] = parsed;
  if (!first) throw new Refusal('EINVAL', 'no permissions');
  return { owner: first.domid, others: first.access, entries };
}

export function formatPermissions(perms: Permissions): string[] {
  return [{ domid: perms.owner, access: perms.others }, ...perms.entries].map(e => `${LETTERS[e.access]}${e.domid}`);
}
