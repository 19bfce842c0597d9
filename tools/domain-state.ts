// A domain's state: six letters for `xl list`, a word for people.

import type { DomainInfo } from '#pvbus';

type Flags = Pick<DomainInfo, 'running' | 'blocked' | 'paused' | 'shutdown' | 'shutdown_reason' | 'dying'>;

/** `-b----`, `---sc-`: one letter a state, the fifth says why it shut down. */
export function stateLetters(domain: Flags): string {
  const { running, blocked, paused, shutdown, shutdown_reason: reason, dying } = domain;
  const why = shutdown && reason !== null ? ('-rscwS'[reason] ?? '?') : '-';
  const letter = (is: boolean, text: string): string => (is ? text : '-');
  return `${letter(running, 'r')}${letter(blocked, 'b')}${letter(paused, 'p')}${letter(shutdown, 's')}${why}${letter(dying, 'd')}`;
}

export type StateWord = 'dying' | 'crashed' | 'shutdown' | 'paused' | 'running' | 'blocked' | 'runnable';

/** The one that tells most, of several that may hold. */
export function stateWord(domain: Flags): StateWord {
  if (domain.dying) return 'dying';
  if (domain.shutdown) return domain.shutdown_reason === 3 ? 'crashed' : 'shutdown';
  if (domain.paused) return 'paused';
  if (domain.running) return 'running';
  return domain.blocked ? 'blocked' : 'runnable';
}
