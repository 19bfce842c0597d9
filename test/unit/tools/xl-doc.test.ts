// docs/xl.md names every command of the real xl and every key of xl.cfg, each once.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { XL_4_17 } from '../../../tools/commands/table.ts';
import { READ_KEYS, XL_KEYS } from '../../../tools/config/keys.ts';

const text = readFileSync(new URL('../../../docs/xl.md', import.meta.url), 'utf8');
const rows = (heading: string): string[][] =>
  text
    .split(`## ${heading}\n`)[1]!
    .split('\n## ')[0]!
    .split('\n')
    .filter(line => line.startsWith('| `'))
    .map(line =>
      line
        .split('|')
        .slice(1, -1)
        .map(cell => cell.trim()),
    );
const named = (cells: readonly string[]): string[] => [...cells[0]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
const VERDICTS = ['same', 'differs', 'ignored', 'not here'];

describe('docs/xl.md', () => {
  it.each([
    ['Commands', XL_4_17, ['list -l', 'xentop', 'help']],
    ['Keys of xl.cfg', [...XL_KEYS], []],
  ])('%s: each is there once, with what becomes of it', (heading, wanted, more) => {
    const table = rows(heading);
    const names = table.flatMap(named).filter(name => !more.includes(name));
    expect([...names].sort()).toEqual([...new Set(wanted)].sort());
    for (const row of table) expect(VERDICTS).toContain(row[1]);
    for (const row of table) if (row[1] === 'ignored') expect(named(row).filter(key => READ_KEYS.has(key))).toEqual([]);
    for (const row of table) if (row[1] !== 'same') expect(row[2]).not.toBe('');
  });
});
