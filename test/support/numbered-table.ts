// A table of docs/ whose rows have a number and name the tests of it, and the numbers that tests say they are of.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const textOf = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

/** Below test/, with their paths from there. */
export const testFiles = (): string[] =>
  readdirSync(fileURLToPath(new URL('..', import.meta.url)), { recursive: true })
    .map(String)
    .filter(path => path.endsWith('.test.ts'))
    .sort();

/** `act 7`, `acts 1 to 3, 22`: the numbers after a word, wherever in the text. */
export function numbersAfter(word: string, text: string): Set<number> {
  const numbers = new Set<number>();
  for (const [, list] of text.matchAll(new RegExp(`\\b${word}s? (\\d+(?:(?: to |, | and )\\d+)*)`, 'gi')))
    for (const [, from, to] of list!.matchAll(/(\d+)(?: to (\d+))?/g))
      for (let n = Number(from); n <= Number(to ?? from); n++) numbers.add(n);
  return numbers;
}

export interface NumberedRow {
  readonly number: number;
  /** Of its last column, below test/. */
  readonly files: readonly string[];
}
export const numberedRows = (doc: string): NumberedRow[] =>
  [...textOf(doc).matchAll(/^\| (\d+) \|.*\| (.*) \|$/gm)].map(([, number, files]) => ({
    number: Number(number),
    files: [...files!.matchAll(/`([^`]+)`/g)].map(([, file]) => file!),
  }));
