import { expect, test } from 'vitest';
import { NameMap } from '../../../../dom0/xenstored/name-map.ts';
import fc from '../../../support/properties.ts';

const empty: NameMap<number> = NameMap.empty;

const isNumber = (name: string): boolean => String(Number(name)) === name;
/** Numbers first and by value, then names by their characters. */
function inOrder(a: string, b: string): number {
  if (isNumber(a) && isNumber(b)) return Number(a) - Number(b);
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1;
  return a < b ? -1 : 1;
}

test('a name map holds what a Map holds after the same changes, and its counts agree', () => {
  const change = fc.oneof(
    fc.record({ name: fc.stringMatching(/^[a-e0-3]{1,3}$/), value: fc.integer() }),
    fc.record({ name: fc.stringMatching(/^[a-e0-3]{1,3}$/), value: fc.constant(undefined) }),
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 200 }), changes => {
      let map = empty;
      const model = new Map<string, number>();
      for (const { name, value } of changes) {
        map = value === undefined ? map.without(name) : map.with(name, value);
        if (value === undefined) model.delete(name);
        else model.set(name, value);
        expect(map.get(name)).toBe(value);
      }
      expect([...map.entries()]).toEqual([...model].sort(([a], [b]) => inOrder(a, b)));
      expect(map.size).toBe(model.size);
      expect(map.nameBytes).toBe([...model.keys()].reduce((sum, name) => sum + name.length + 1, 0));
    }),
  );
});

test('names are had from any byte of their listing on', () => {
  const names = fc.uniqueArray(fc.stringMatching(/^([a-c]{1,5}|[1-9][0-9]?)$/), { maxLength: 40 });
  fc.assert(
    fc.property(names, given => {
      const map = given.reduce((map, name) => map.with(name, 0), empty);
      const all = [...given].sort(inOrder).map(name => `${name}\0`);
      const listing = all.join('');
      for (let offset = 0; offset <= listing.length; offset++) {
        const rest = [...map.namesFrom(offset)].map(name => `${name}\0`).join('');
        expect(rest).toBe(listing.slice(offset));
      }
    }),
  );
});

test('values are found by their tags, whatever was changed before', () => {
  const change = fc.record({
    name: fc.stringMatching(/^[a-e0-3]{1,2}$/),
    tags: fc.option(fc.nat(7), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 100 }), changes => {
      let map = empty;
      const model = new Map<string, number>();
      for (const { name, tags } of changes) {
        map = tags === undefined ? map.without(name) : map.with(name, tags, tags);
        if (tags === undefined) model.delete(name);
        else model.set(name, tags);
      }
      for (const tag of [1, 2, 4]) {
        const names = [...model].filter(([, tags]) => tags & tag).map(([name]) => name);
        expect([...map.tagged(tag)].map(([name]) => name)).toEqual(names.sort(inOrder));
        expect((map.tags & tag) !== 0).toBe(names.length > 0);
      }
    }),
  );
});

test('a change leaves the map it was made from as it was', () => {
  const one = empty.with('a', 1).with('b', 2);
  const two = one.with('a', 3).without('b').with('c', 4);
  expect([...one.entries()]).toEqual([
    ['a', 1],
    ['b', 2],
  ]);
  expect([...two.entries()]).toEqual([
    ['a', 3],
    ['c', 4],
  ]);
});

test('names that come in order do not make a map deep', () => {
  let map = empty;
  for (let i = 0; i < 20_000; i++) map = map.with(String(i).padStart(6, '0'), i);
  // A list would overflow the stack here, and take minutes above.
  expect(map.size).toBe(20_000);
  expect(map.get('012345')).toBe(12_345);
  for (let i = 0; i < 20_000; i += 2) map = map.without(String(i).padStart(6, '0'));
  expect(map.size).toBe(10_000);
});
