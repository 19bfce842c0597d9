// docs/hostile-acts.md, held against the tests it names.
import { expect, it } from 'vitest';
import { numberedRows, numbersAfter, textOf } from '../support/numbered-table.ts';

/** `act 7` in a title, or a row of the table of acts. */
function actsIn(text: string): Set<number> {
  const acts = numbersAfter('act', text);
  for (const [, act] of text.matchAll(/(?:^ {2}\[\s*|ends\(\s*|refuses\()(\d+),/gm)) acts.add(Number(act));
  return acts;
}
const ALL = Array.from({ length: 74 }, (_, i) => i + 1).filter(act => act !== 73);

const rows = numberedRows('docs/hostile-acts.md');

it('every act has its row, and every row a test', () => {
  expect(rows.map(({ number }) => number)).toEqual(ALL);
  for (const { number, files } of rows) expect(files, `act ${number}`).not.toEqual([]);
});
it.each(rows)('act $number is in the files its row names', ({ number, files }) => {
  for (const file of files) expect(actsIn(textOf(`test/${file}`)), file).toContain(number);
});
it.each(['topology/hostile-acts/main.test.ts', 'topology/hostile-backend/main.test.ts'])(
  'acts on real processes are all told of: %s',
  real => {
    const told = rows.filter(({ files }) => files.includes(real)).map(({ number }) => number);
    expect([...actsIn(textOf(`test/${real}`))].sort((a, b) => a - b)).toEqual(told);
  },
);
