import { expect, test } from 'vitest';
import { DOM0, ownedBy } from '../../../../dom0/xenstored/permissions.ts';
import { UNLIMITED } from '../../../../dom0/xenstored/quota.ts';
import { apply, emptyTree, type Tree } from '../../../../dom0/xenstored/store.ts';
import { type Watcher, Watches } from '../../../../dom0/xenstored/watches.ts';

/** Notes whom it was told of what, in one list for all. */
function listener(name: string, heard: string[]): Watcher {
  return { actor: DOM0, event: (path, token) => heard.push(`${name} ${path} ${token}`) };
}

function write(tree: Tree, path: string) {
  return apply(tree, { kind: 'write', path, value: '' }, DOM0, UNLIMITED, 1);
}

test('watches that are listed and put back are heard in the same order', () => {
  const heard: string[] = [];
  const [a, b] = [listener('a', heard), listener('b', heard)];
  const watches = new Watches();
  watches.add(a, '/x', '1', false);
  watches.add(b, '/x/y', '2', false, 0);
  watches.add(a, '/x/gone', '3', false);
  watches.add(a, '@releaseDomain', '4', false, 1);
  watches.add(b, '/', '5', false);
  watches.add(a, '/x/y', '6', false);
  watches.remove(a, '/x/gone', '3');
  expect(watches.of(a).map(({ token, nr }) => [token, nr])).toEqual([
    ['1', 0],
    ['4', 3],
    ['6', 5],
  ]);
  const again = new Watches();
  for (const watcher of [b, a]) {
    for (const watch of watches.of(watcher)) again.restore(watcher, JSON.parse(JSON.stringify(watch)), watches.nextNr);
  }
  expect(again.nextNr).toBe(6);
  for (const all of [watches, again]) {
    heard.length = 0;
    const { change } = write(emptyTree(), '/x/y');
    if (change) all.fire(change);
    all.fireSpecial('@releaseDomain', 7, ownedBy(0));
    expect(heard).toEqual(['a /x/y 1', 'b /x/y 2', 'b /x/y 5', 'a /x/y 6', 'a @releaseDomain/7 4']);
  }
  again.add(b, '/x/y/z', '7', true);
  expect(again.of(b).map(watch => watch.nr)).toEqual([1, 4, 6]);
});
