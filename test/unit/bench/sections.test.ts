// docs/benchmarks.md has a section for each group of `npm run bench`, as that prints it.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type Group, heading, SECTIONS } from '../../bench/sections.ts';

const doc = readFileSync(new URL('../../../docs/benchmarks.md', import.meta.url), 'utf8');
const groups = Object.keys(SECTIONS) as Group[];

it('has the groups in their order, and no other section', () => {
  const titles = [...doc.matchAll(/^## (.*)$/gm)].map(([, title]) => title);
  expect(titles).toEqual(groups.map(group => SECTIONS[group].title));
});

it.each(groups)('says how to read the table of %s', group => {
  expect(doc).toContain(`\n${heading(group)}\n`);
});
