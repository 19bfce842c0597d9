import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shellQuoted } from '../../../tools/shell-quoted.ts';
import { onHost, spelled, spellingOf } from '../../../tools/spelling.ts';

let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'xl-spelling-')));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);
function file(name: string): string {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), '');
  return at(name);
}
function link(name: string, to: string): void {
  mkdirSync(dirname(at(name)), { recursive: true });
  symlinkSync(at(to), at(name));
}

/** The temporary folder's name may need it. */
const word = (path: string): string => (/[^\w./-]/.test(path) ? shellQuoted(path) : path);

describe('what a shell calls xl by', () => {
  it('is a path from the checkout, and from above it', () => {
    const xl = file('c/bin/xl');
    file('c/package.json');
    mkdirSync(at('c/node_modules/.bin'), { recursive: true });
    expect(['c', 'c/bin', '.'].map(cwd => spellingOf(xl, at(cwd)))).toEqual(['bin/xl', './xl', 'c/bin/xl']);
  });

  it('is the whole path from elsewhere, quoted where a shell needs that', () => {
    expect(spellingOf(file('c/bin/xl'), at('c/docs'))).toBe(word(at('c/bin/xl')));
    expect(spellingOf(file("it's one/bin/xl"), folder)).toBe(`'it'\\''s one/bin/xl'`);
  });

  it('is npx in the project that has it, and only where npx finds it', () => {
    const xl = file('app/node_modules/xenolith/bin/xl');
    link('app/node_modules/.bin/xl', 'app/node_modules/xenolith/bin/xl');
    file('app/src/deep/a.ts');
    for (const own of ['part', 'node_modules/xenolith']) file(`app/${own}/package.json`);
    expect(spellingOf(xl, at('app'))).toBe('npx xl');
    expect(spellingOf(xl, at('app/src/deep'))).toBe('npx xl');
    expect(spellingOf(xl, at('app/part'))).toBe(word(xl));
    expect(spellingOf(xl, at('app/node_modules/xenolith'))).toBe('bin/xl');
  });

  it('is not npx where that is another xl, or one of a package of a package', () => {
    const xl = file('app/node_modules/other/node_modules/xenolith/bin/xl');
    expect(spellingOf(xl, at('app'))).toBe('node_modules/other/node_modules/xenolith/bin/xl');
    file('app/node_modules/.bin/xl');
    expect(spellingOf(xl, at('app'))).toBe('node_modules/other/node_modules/xenolith/bin/xl');
  });

  it('is its name where PATH leads to it first', () => {
    const xl = file('lib/node_modules/xenolith/bin/xl');
    link('bin/xl', 'lib/node_modules/xenolith/bin/xl');
    mkdirSync(at('home'));
    const here = (...path: string[]): string => spellingOf(xl, at('home'), path.join(':'));
    expect(here(at('nosuch'), at('bin'))).toBe('xl');
    expect(spellingOf(xl, at('home'))).toBe(word(xl));
    file('sbin/xl');
    expect(here(at('sbin'), at('bin'))).toBe(word(xl));
  });

  it('is not its name where only what npm has started finds that', () => {
    const xl = file('cache/node_modules/xenolith/bin/xl');
    link('cache/node_modules/.bin/xl', 'cache/node_modules/xenolith/bin/xl');
    mkdirSync(at('home'));
    expect(spellingOf(xl, at('home'), at('cache/node_modules/.bin'))).toBe(word(xl));
  });
});

it.each([
  ['xl list', 'npx xl list'],
  ['xl', 'npx xl'],
  ['xl destroy a && xl up b; xl list|xl x', 'npx xl destroy a && npx xl up b; npx xl list|npx xl x'],
  ['kill $(xl domid a)', 'kill $(npx xl domid a)'],
  ['echo \'a; xl b\' "; xl c" xl d', 'echo \'a; xl b\' "; xl c" xl d'],
  ['xlint a; bin/xl b; cd xl', 'xlint a; bin/xl b; cd xl'],
])('%s becomes %s', (line, expected) => {
  expect(spelled(line, 'npx xl')).toBe(expected);
});

it.each([
  [{}, 'npx xl'],
  [{ XENOLITH_HOST: 'default' }, 'npx xl --host default'],
  [{ XENOLITH_HOST: 'lab' }, 'npx xl --host lab'],
  [{ XENOLITH_HOST: 'lab', XENOLITH_RUN_DIR: '/run/lab' }, 'XENOLITH_RUN_DIR=/run/lab npx xl'],
  [{ XENOLITH_RUN_DIR: '/run/a lab' }, "XENOLITH_RUN_DIR='/run/a lab' npx xl"],
])('of the host that %o means, in a shell that has none of that, or has others: %s', (env, expected) => {
  expect(onHost('npx xl', env)).toBe(expected);
});
