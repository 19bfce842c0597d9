import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { systemClock } from '#pvbus';
import { rehearse } from '../../../../dom0/xenstored/rehearsal.ts';
import { find } from '../../../../dom0/xenstored/store.ts';
import { TurnClock } from '../../../../dom0/xenstored/turn-clock.ts';

test('a rehearsal does what it is to compile, and leaves no descriptor open', () => {
  const open = (): number => readdirSync('/proc/self/fd').length;
  rehearse(new TurnClock(systemClock));
  const before = open();
  const { store } = rehearse(new TurnClock(systemClock));
  expect(open()).toBe(before);
  // All of it was done again from the journal: of 30 rounds of 4 clients a node made, changed three times, removed.
  expect(store.generation).toBeGreaterThanOrEqual(30 * 4 * 4);
  expect(find(store.tree, '/play')?.children.size).toBe(0);
});
