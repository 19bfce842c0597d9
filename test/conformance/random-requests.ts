// Random conversations, as lines of a transcript: two clients of dom0 and two guests that read, write, watch and
// change rights around a few nodes, in and out of transactions, now and then in ways that are not allowed.
import type { Line } from '../support/transcript.ts';

export const GUESTS = ['3', '5'];
export const CLIENTS = ['dom0', 'dom0b', ...GUESTS.map(id => `dom${id}`)];

/** What leads from wherever an earlier conversation has ended to where every one begins. */
export const BEGINNING: readonly Line[] = [
  ...CLIENTS.map(who => `${who}  -  RESET_WATCHES |`),
  'dom0  -  SET_PERMS /|n0|',
  'dom0  -  RM /x|',
  'dom0  -  RM /local/domain/0|',
  'dom0  -  WRITE /x/a|',
  ...GUESTS.flatMap(id => [
    `dom0  -  RM /local/domain/${id}|`,
    `dom0  -  WRITE /local/domain/${id}/a|`,
    `dom0  -  SET_PERMS /local/domain/${id}|n${id}|`,
    `dom0  -  SET_PERMS /local/domain/${id}/a|n${id}|`,
  ]),
].map(line);

/** What is left out because the daemon that is compared with does not do it, or does something else altogether. */
export interface Profile {
  /** Guests are given no right to write what is not theirs. */
  readonly guestsStayAtHome: boolean;
  /** Every payload has as many strings as it should. */
  readonly wellFormed: boolean;
}

/** One line, its columns two spaces apart. */
export function line(text: string): Line {
  const [who = '', tx = '', request = ''] = text.split('  ');
  return { number: 0, n: 1, text, who, tx, request, expected: [], differences: {} };
}

/** The next conversation of `length` requests. `random` gives numbers in [0, 1). */
export function randomConversation(random: () => number, length: number, profile: Profile): Line[] {
  const below = (n: number): number => Math.floor(random() * n);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!; // never empty
  const chance = (percent: number): boolean => below(100) < percent;
  const open = new Map<string, string[]>(CLIENTS.map(who => [who, []]));
  let transactions = 0;
  /** Whoever has a transaction open has the store for itself, in every other conversation. */
  const alone = chance(50);

  const path = (who: string): string => {
    if (chance(2)) return pick(['', '/x//a', '/x/', 'a b', `/${'x'.repeat(3100)}`, '/x/a.b', '/']);
    const below = pick(['', '/a', '/b', '/a/b', '/a/b/c', '/10', '/9', '/b/a']);
    const [, id = '0'] = /^dom([0-9]+)/.exec(who) ?? [];
    const guest = id !== '0';
    if (below !== '' && chance(guest ? 40 : 5)) return below.slice(1);
    const homes = ['/x', '/x', '/local/domain/3', '/local/domain/5'];
    return pick(guest ? [...homes, `/local/domain/${id}`] : homes) + below;
  };
  const permissions = (who: string): string => {
    const [, id = '0'] = /^dom([0-9]+)/.exec(who) ?? [];
    const owner = id === '0' ? pick(['0', '0', '3', '5']) : chance(90) ? id : pick(['0', '3', '5']);
    const stay = profile.guestsStayAtHome;
    const others = stay ? pick(['n', 'r']) : pick(['n', 'n', 'r', 'w', 'b']);
    const entries = Array.from({ length: below(3) }, () => `${stay ? pick(['n', 'r']) : pick(['n', 'r', 'w', 'b'])}`);
    return [`${others}${owner}`, ...entries.map(letter => letter + pick(['0', '3', '5']))].map(p => `${p}|`).join('');
  };
  const watchPath = (who: string): string =>
    chance(10) ? pick(['@introduceDomain', '@releaseDomain', '@nothing', '/']) : path(who);
  const value = (): string => pick(['', '1', 'two', 'a|b', '{v*300}']);
  const malformed = (): string =>
    `${pick(['READ', 'DIRECTORY', 'GET_PERMS', 'WATCH', 'UNWATCH', 'WRITE', 'MKDIR', 'RM', 'SET_PERMS'])} ${pick([
      '""',
      '|',
      '/x',
      '/x|a|b|c|d',
      '||',
      '/x|x3|',
    ])}`;

  const requests: readonly (readonly [number, (who: string) => string])[] = [
    [14, who => `READ ${path(who)}|`],
    [20, who => `WRITE ${path(who)}|${value()}`],
    [6, who => `MKDIR ${path(who)}|`],
    [8, who => `RM ${path(who)}|`],
    [8, who => `DIRECTORY ${path(who)}|`],
    [5, who => `GET_PERMS ${path(who)}|`],
    [10, who => `SET_PERMS ${path(who)}|${permissions(who)}`],
    [8, who => `WATCH ${watchPath(who)}|${pick(['t', 'u'])}|`],
    [3, who => `UNWATCH ${watchPath(who)}|${pick(['t', 'u'])}|`],
    [1, () => 'RESET_WATCHES |'],
    [2, () => `GET_DOMAIN_PATH ${pick(['0', '3', '77'])}|`],
    [2, () => `IS_DOMAIN_INTRODUCED ${pick(['0', '3', '77'])}|`],
    [profile.wellFormed ? 0 : 2, () => malformed()],
  ];
  const total = requests.reduce((sum, [weight]) => sum + weight, 0);
  const request = (who: string): string => {
    let at = below(total);
    for (const [weight, make] of requests) {
      at -= weight;
      if (at < 0) return make(who);
    }
    throw new Error('not reached');
  };

  return Array.from({ length }, () => {
    const anybody = pick(['dom0', 'dom0', 'dom0', 'dom0b', 'dom3', 'dom3', 'dom5']);
    const who = (alone ? CLIENTS.find(client => open.get(client)?.length) : undefined) ?? anybody;
    const ids = open.get(who) ?? [];
    if (chance(6) && ids.length < (alone ? 1 : 3)) {
      transactions++;
      ids.push(`T${transactions}`);
      return line(`${who}  -  TRANSACTION_START |  $T${transactions}|`);
    }
    const tx = ids.length > 0 && (alone || chance(60)) ? pick(ids) : '-';
    if (tx !== '-' && chance(15)) {
      ids.splice(ids.indexOf(tx), 1);
      return line(`${who}  ${tx}  TRANSACTION_END ${chance(80) ? 'T' : 'F'}|`);
    }
    const text = request(who);
    if (text.startsWith('RESET_WATCHES')) ids.length = 0;
    return line(`${who}  ${text.startsWith('RESET_WATCHES') ? '-' : tx}  ${text}`);
  });
}
