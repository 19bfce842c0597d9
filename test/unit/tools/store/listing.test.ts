import { describe, expect, it } from 'vitest';
import { colours } from '../../../../tools/store/colours.ts';
import { type Listed, type ListingStyle, listing } from '../../../../tools/store/listing.ts';
import type { StoreNode } from '../../../../tools/store/tree.ts';

function node(path: string, value: string, ...children: StoreNode<Listed>[]): StoreNode<Listed> {
  const found = { value: Buffer.from(value), perms: undefined };
  return { path, name: path.slice(path.lastIndexOf('/') + 1), found, children };
}
const withPerms = (one: StoreNode<Listed>, ...perms: string[]): StoreNode<Listed> => ({
  ...one,
  found: { ...one.found, perms },
});
const lines = (nodes: StoreNode<Listed>[], style: Partial<ListingStyle> = {}): string[] => [
  ...listing(nodes, { colours: colours(false), full: false, width: undefined, domains: new Map(), ...style }),
];
const TREE = [node('/a', '', node('/a/b', 'x\ny', node('/a/b/c', '1')), node('/a/d', '2')), node('/e', '3')];

describe('a listing', () => {
  it('indents by one blank a level', () => {
    expect(lines(TREE)).toEqual(['a = ""', ' b = "x\\ny"', '  c = "1"', ' d = "2"', 'e = "3"']);
  });

  it('shows paths when they are asked for', () => {
    expect(lines(TREE, { full: true })).toEqual([
      ...['/a = ""', '/a/b = "x\\ny"', '/a/b/c = "1"', '/a/d = "2"', '/e = "3"'],
    ]);
  });

  it('puts permissions behind dots, in one column as long as that is free', () => {
    const perms = [
      withPerms(node('/a', ''), 'n0'),
      withPerms(node('/ab', ''), 'n0', 'r3'),
      withPerms(node('/l', 'v'.repeat(54)), 'b1'),
      withPerms(node('/l', 'v'.repeat(80)), 'b1'),
    ];
    expect(lines(perms)).toEqual([
      `a = ""${' .'.repeat(27)}  (n0)`,
      `ab = "" ${' .'.repeat(26)}  (n0,r3)`,
      `l = "${'v'.repeat(54)}"   (b1)`,
      `l = "${'v'.repeat(80)}"   (b1)`,
    ]);
    expect(lines(perms.slice(0, 1), { full: true })).toEqual(['/a = ""   (n0)']);
  });

  it('cuts values, and only values, to the width of a terminal, between two escapes', () => {
    for (const value of ['v'.repeat(100), '\\'.repeat(50), '\x01\xff\t'.repeat(20)]) {
      for (let width = 40; width <= 80; width++) {
        const [line] = lines([withPerms(node('/name', value), 'n0', 'r3')], { width });
        expect(line!.length, line).toBeLessThanOrEqual(width);
        expect(line, line).toMatch(/^name = "([^\\]|\\[tnr\\]|\\x[0-9a-f]{2}|\\00[0-7])*\\\.\.\." {3}\(n0,r3\)$/);
      }
    }
    const name = 'n'.repeat(50);
    expect(lines([node(`/${name}`, 'a longer value')], { width: 40 })[0]).toBe(`${name} = "a longer\\..."`);
    expect(lines([node(`/${name}`, 'short')], { width: 40 })[0]).toBe(`${name} = "short"`);
  });

  it('cuts nothing without a width, and no paths', () => {
    const long = node('/l', 'v'.repeat(3000));
    expect(lines([long])[0]).toHaveLength(3006);
    expect(lines([long], { full: true, width: 80 })[0]).toHaveLength(3007);
  });

  it('paints directories, leaves, values, permissions and names of domains differently', () => {
    const as = (tag: string) => (text: string) => (text === '' ? '' : `<${tag}:${text}>`);
    const tagged = {
      ...{ directory: as('dir'), leaf: as('leaf'), value: as('value') },
      ...{ perms: as('perms'), missing: as('missing'), dim: as('dim') },
    };
    const tree = [node('/d', '', withPerms(node('/d/l', 'w'), 'n0'))];
    expect(lines(tree, { full: true, colours: tagged, domains: new Map([['/d', 'web']]) })).toEqual([
      '<dir:/d><dim: = "><dim:"><dim:  # web>',
      '<leaf:/d/l><dim: = "><value:w><dim:"   ><perms:(n0)>',
    ]);
    const painted = Object.values(colours(true)).map(paint => paint('x'));
    expect(new Set([...painted, 'x']).size).toBe(7);
  });

  it('shows what hostile hands have written harmlessly', () => {
    const evil = withPerms(node('/\x1b[2J', '\x1b]0;title\x07'), '\x1b[31m');
    for (const full of [false, true]) {
      expect(lines([evil], { full, domains: new Map([['/\x1b[2J', 'we\x1bb']]) })[0]).toMatch(/^[ -~]*$/);
    }
  });
});
