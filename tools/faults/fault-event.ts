// An event of a fault as `xl events` and `xl fault run` print it.

import type { FaultEvent } from '#pvbus';
import { escapeText } from '../store/escape.ts';

export function faultEventLine({ at, what, plan, fault, seed, occurrences, count, total, text }: FaultEvent): string {
  const time = new Date(at).toISOString();
  if (what === 'reaction') return `${time} ${escapeText(text)}`;
  const name = `fault ${plan}:${fault}`;
  if (what !== 'injected') return `${time} ${name} ${what}: ${escapeText(text)}`;
  const shown = `${occurrences.length < count ? '... ' : ''}${occurrences.join(' ')}`;
  return `${time} ${name} injected at ${shown} of ${escapeText(text)} (seed ${seed}, ${total} so far)`;
}
