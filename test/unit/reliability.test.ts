// The catalogue of docs/reliability.md, held against the tests it names.
import { expect, it } from 'vitest';
import { numberedRows, numbersAfter, testFiles, textOf } from '../support/numbered-table.ts';

/** Numbers of titles; a comment is none. */
const faultsIn = (file: string): Set<number> =>
  numbersAfter('fault', textOf(`test/${file}`).replace(/^\s*\/[/*].*$/gm, ''));
/** Saving and migration are not there yet. */
const MIGRATION = [46, 47, 48, 49, 50];
const ALL = Array.from({ length: 56 }, (_, i) => i + 1).filter(fault => !MIGRATION.includes(fault));

const rows = numberedRows('docs/reliability.md');

it('every fault of the catalogue has its row, and every row a test', () => {
  expect(rows.map(({ number }) => number)).toEqual(ALL);
  for (const { number, files } of rows) expect(files, `fault ${number}`).not.toEqual([]);
});
it.each(rows)('fault $number is in a title of each file its row names', ({ number, files }) => {
  for (const file of files) expect(faultsIn(file), file).toContain(number);
});
it('a title has no number but that of a row', () => {
  for (const file of testFiles())
    for (const fault of faultsIn(file)) expect(ALL, `${file}: fault ${fault}`).toContain(fault);
});
