// Which of the differences explained in docs/xenstore.md random conversations run into, and how each is told from
// anything else: by the replies, by events that only one of the two sends, by the order.
import type { Which } from '../support/transcript.ts';

/** What one client was sent: replies and events as transcripts write them. */
export type Sent = readonly string[];

/** What one client was sent after a request, by two daemons: ours and one of Xen's. */
export interface Exchange {
  /** `hears` when it was another's. */
  readonly request: string;
  /** The client is no dom0. */
  readonly guest: boolean;
  /** Somebody's transaction was ended. */
  readonly commit: boolean;
  /** Somebody has removed a node, now or in the transaction that has ended. */
  readonly removal: boolean;
  /** The request is of a transaction that has begun before somebody else's last change. */
  readonly overlapped: boolean;
  readonly ours: Sent;
  readonly theirs: Sent;
}

interface Rule {
  readonly name: string;
  readonly daemons: readonly Which[];
  /** Whether it explains these two replies. */
  readonly replies?: (exchange: Exchange, ours: string, theirs: string) => boolean;
  /** After that the two stores are no longer the same. */
  readonly parts?: true;
  /** Whether it explains events that only the other daemon sends. */
  readonly more?: (exchange: Exchange, events: Sent) => boolean;
  /** Whether it explains events that only ours sends. */
  readonly fewer?: (exchange: Exchange, events: Sent) => boolean;
}

export const isEvent = (text: string): boolean => text.startsWith('EVENT ');
const isError = (text: string): boolean => /^E[A-Z0-9]+$/.test(text);
const same = (a: Sent, b: Sent): boolean => a.length === b.length && a.every((text, i) => text === b[i]);
const names = (reply: string): string[] => reply.split('\0').sort();
const OK = 'OK\0';
/** Two events of one watch: of a node, and of one above it. */
function isBelow(below: string, above: string): boolean {
  const [path = '', token] = below.split('\0');
  const [top, other] = above.split('\0');
  return token === other && path.startsWith(`${top}/`);
}

const RULES: readonly Rule[] = [
  {
    name: 'special-nodes',
    daemons: ['ocaml'],
    replies: ({ request }) => request === 'DIRECTORY /|',
  },
  {
    name: 'listing-order',
    daemons: ['c', 'ocaml'],
    replies: ({ request }, ours, theirs) => request.startsWith('DIRECTORY ') && same(names(ours), names(theirs)),
  },
  {
    name: 'watch-of-anything',
    daemons: ['c', 'ocaml'],
    replies: ({ request }, ours, theirs) =>
      request.startsWith('WATCH ') && ours === 'EINVAL' && [OK, 'EEXIST'].includes(theirs),
    more: ({ request }) => request.startsWith('WATCH '),
  },
  {
    name: 'unwatch-of-anything',
    daemons: ['c', 'ocaml'],
    replies: ({ request }, ours, theirs) =>
      request.startsWith('UNWATCH ') && ours === 'EINVAL' && [OK, 'ENOENT'].includes(theirs),
  },
  {
    name: 'existence-shown',
    daemons: ['ocaml'],
    replies: ({ guest, request }, ours, theirs) =>
      guest && ours === 'EACCES' && (theirs === 'ENOENT' || (theirs === OK && request.startsWith('RM '))),
  },
  {
    name: 'root',
    daemons: ['ocaml'],
    parts: true,
    replies: ({ request }, _, theirs) => /^(MKDIR|RM) \/\|$/.test(request) && theirs === OK,
    fewer: (_, events) => events.every(text => text.startsWith('EVENT /\0')),
  },
  {
    name: 'give-away',
    daemons: ['ocaml'],
    replies: ({ request }, ours, theirs) => request.startsWith('SET_PERMS ') && ours === 'EPERM' && theirs === 'EACCES',
  },
  {
    name: 'merging',
    daemons: ['c'],
    parts: true,
    replies: ({ request, overlapped }, ours, theirs) =>
      overlapped && request.startsWith('TRANSACTION_END T') && !isError(ours) && theirs === 'EAGAIN',
  },
  {
    name: 'snapshot',
    daemons: ['c', 'ocaml'],
    parts: true,
    replies: ({ overlapped }) => overlapped,
    // Ours has removed what was not there at the transaction's start, and says so.
    fewer: ({ commit, removal, overlapped }) => commit && removal && overlapped,
  },
  {
    name: 'watches-below',
    daemons: ['ocaml'],
    more: ({ removal }) => removal,
  },
  {
    name: 'events-of-a-transaction',
    daemons: ['ocaml'],
    more: ({ commit }) => commit,
  },
  {
    name: 'events-of-a-transaction',
    daemons: ['c'],
    // What it had changed went with a node above it, of which ours tells.
    more: ({ commit, ours }, events) =>
      commit && events.every(below => ours.some(above => isEvent(above) && isBelow(below, above))),
  },
  {
    name: 'events-by-parent',
    daemons: ['c'],
    fewer: ({ guest, commit, removal }) => guest && commit && removal,
  },
];

export interface Found {
  /** As docs/xenstore.md has them. */
  readonly names: readonly string[];
  /** Nothing explains what is left. */
  readonly unknown: boolean;
  /** The stores are not the same any more. */
  readonly parts: boolean;
}

/** How two answers differ. */
export function difference(which: Which, exchange: Exchange): Found {
  const found: string[] = [];
  const explained = (rule: Rule | undefined): boolean => {
    if (rule && !found.includes(rule.name)) found.push(rule.name);
    return rule !== undefined;
  };
  const rules = RULES.filter(({ daemons }) => daemons.includes(which));
  const stripped = exchange.theirs.map(text => text.replace(/ in transaction 0$/, ''));
  if (!same(stripped, exchange.theirs)) found.push('watch-in-transaction');
  const theirs = stripped.filter((text, i) => stripped.indexOf(text) === i);
  if (theirs.length < stripped.length) found.push('unread-events'); // one more than once; ours has it once
  const { ours } = exchange;

  const [mine, other] = [ours, theirs].map(sent => sent.find(text => !isEvent(text)) ?? '');
  if (mine !== other) {
    const rule = rules.find(({ replies }) => replies?.(exchange, mine ?? '', other ?? ''));
    if (!explained(rule)) return { names: found, unknown: true, parts: true };
    if (rule?.parts) return { names: found, unknown: false, parts: true };
  }
  const more = theirs.filter(text => isEvent(text) && !ours.includes(text));
  const fewer = ours.filter(text => isEvent(text) && !theirs.includes(text));
  const fewerRule = fewer.length > 0 ? rules.find(rule => rule.fewer?.(exchange, fewer)) : undefined;
  const unknown =
    (more.length > 0 && !explained(rules.find(rule => rule.more?.(exchange, more)))) ||
    (fewer.length > 0 && !explained(fewerRule));
  if (fewerRule?.name === 'snapshot') return { names: found, unknown, parts: true };

  // What both have sent, in the order of each; the reply has no place among the events here.
  const eventsOf = (sent: Sent, of: Sent): string[] => sent.filter(text => isEvent(text) && of.includes(text));
  if (!same(eventsOf(ours, theirs), eventsOf(theirs, ours))) found.push('event-order');
  const first = (sent: Sent): boolean => sent.some(isEvent) && !isEvent(sent[0] ?? '');
  const replied = !isEvent(mine ?? '') && exchange.request !== 'hears';
  if (replied && which === 'ocaml' && first(theirs) && !first(ours)) found.push('events-after-reply');
  else if (replied && ours.some(isEvent) && theirs.some(isEvent) && first(ours) !== first(theirs)) {
    return { names: found, unknown: true, parts: false };
  }
  return { names: found, unknown, parts: false };
}

/** Every difference that is told here, as `c name` or `ocaml name`. */
export const toldDifferences: readonly string[] = [
  ...RULES.flatMap(({ name, daemons }) => daemons.map(which => `${which} ${name}`)),
  ...['c event-order', 'ocaml event-order', 'ocaml events-after-reply'],
  ...['ocaml watch-in-transaction', 'c unread-events', 'ocaml unread-events'],
];
