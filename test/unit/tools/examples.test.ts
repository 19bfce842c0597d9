// What help and docs name of examples/ is there, also in the package.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { COMMANDS } from '../../../tools/commands/table.ts';
import { root } from '../../support/host-view.ts';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const docs = readdirSync(join(root, 'docs')).filter(name => name.endsWith('.md'));
const texts: [string, string][] = [
  ['xl help', COMMANDS.map(({ options = '', examples = '' }) => `${options}\n${examples}`).join('\n')],
  ...[...docs.map(name => `docs/${name}`), 'README.md'].map((path): [string, string] => [path, read(path)]),
];
const named = texts.flatMap(([where, text]) =>
  [...text.matchAll(/\bexamples\/[\w./-]*\w/g)].map(([path]): [string, string] => [where, path]),
);

it('there are such', () => {
  expect(new Set(named.map(([where]) => where))).toContain('xl help');
});
it.each(named)('%s: %s is there', (_, path) => {
  expect(existsSync(join(root, path))).toBe(true);
});
it('the package has them', () => {
  expect((JSON.parse(read('package.json')) as { files: string[] }).files).toContain('examples');
});
