import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NameMap } from '../../../../dom0/xenstored/name-map.ts';

const empty: NameMap<number> = NameMap.empty;

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
      expect([...map.entries()]).toEqual([...model].sort(([a], [b]) => (a < b ? -1 : 1)));
      expect(map.size).toBe(model.size);
      expect(map.nameBytes).toBe([...model.keys()].reduce((sum, name) => sum + name.length + 1, 0));
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
