// SECURITY.md names the test that performs each of its claims: each is there.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../support/host-view.ts';

const rows = [...readFileSync(join(root, 'SECURITY.md'), 'utf8').matchAll(/^\|.*\| (.+) \| `(\S+\.test\.ts)` \|$/gm)];

it('claims have tests', () => {
  expect(rows.length).toBeGreaterThan(15);
  const missing = rows.filter(([, title, file]) => !readFileSync(join(root, 'test', file!), 'utf8').includes(title!));
  expect(missing.map(([row]) => row)).toEqual([]);
});
