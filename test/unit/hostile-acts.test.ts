// docs/hostile-acts.md, held against the tests it names.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const textOf = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

/** `act 7`, `acts 1 to 3, 22` in a title, or a row of the table of acts. */
function actsIn(text: string): Set<number> {
  const acts = new Set<number>();
  for (const [, list] of text.matchAll(/\bacts? (\d+(?:(?: to |, | and )\d+)*)/gi))
    for (const [, from, to] of list!.matchAll(/(\d+)(?: to (\d+))?/g))
      for (let act = Number(from); act <= Number(to ?? from); act++) acts.add(act);
  for (const [, act] of text.matchAll(/(?:^ {2}\[\s*|ends\(\s*|refuses\()(\d+),/gm)) acts.add(Number(act));
  return acts;
}
const ALL = Array.from({ length: 74 }, (_, i) => i + 1).filter(act => act !== 73);

const rows = [...textOf('docs/hostile-acts.md').matchAll(/^\| (\d+) \|.*\| (.*) \|$/gm)].map(([, act, files]) => ({
  act: Number(act),
  files: [...files!.matchAll(/`([^`]+)`/g)].map(([, file]) => file!),
}));

it('every act has its row, and every row a test', () => {
  expect(rows.map(({ act }) => act)).toEqual(ALL);
  for (const { act, files } of rows) expect(files, `act ${act}`).not.toEqual([]);
});
it.each(rows)('act $act is in the files its row names', ({ act, files }) => {
  for (const file of files) expect(actsIn(textOf(`test/${file}`)), file).toContain(act);
});
it('acts on real processes are all told of', () => {
  const real = 'topology/hostile-acts/main.test.ts';
  const told = rows.filter(({ files }) => files.includes(real)).map(({ act }) => act);
  expect([...actsIn(textOf(`test/${real}`))].sort((a, b) => a - b)).toEqual(told);
});
