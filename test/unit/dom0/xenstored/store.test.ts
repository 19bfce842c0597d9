import { describe, expect, test } from 'vitest';
import { DOM0 } from '../../../../dom0/xenstored/permissions.ts';
import { UNLIMITED } from '../../../../dom0/xenstored/quota.ts';
import {
  apply,
  find,
  listing,
  type Operation,
  Store,
  type Tree,
  usageOf,
  walk,
} from '../../../../dom0/xenstored/store.ts';
import { wrongIn } from '../../../../dom0/xenstored/tree-check.ts';
import fc from '../../../support/properties.ts';

/** xenstore as a flat map from path to value: what the tree must always look like from outside. */
class Model {
  readonly nodes = new Map([
    ['/', ''],
    ['/tool', ''],
    ['/tool/xenstored', ''],
  ]);
  write(path: string, value: string): string {
    this.mkdir(path);
    this.nodes.set(path, value);
    return 'OK';
  }
  mkdir(path: string): string {
    for (let at = path; !this.nodes.has(at); at = parentOf(at)) this.nodes.set(at, '');
    return 'OK';
  }
  rm(path: string): string {
    if (path === '/') return 'EINVAL';
    if (!this.nodes.has(parentOf(path))) return 'ENOENT';
    for (const at of [...this.nodes.keys()]) if (at === path || at.startsWith(`${path}/`)) this.nodes.delete(at);
    return 'OK';
  }
  names(path: string): string[] {
    const prefix = path === '/' ? '/' : `${path}/`;
    const below = [...this.nodes.keys()].filter(at => at !== '/' && at.startsWith(prefix));
    return below.map(at => at.slice(prefix.length)).filter(name => !name.includes('/'));
  }
}
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

const path = fc
  .array(fc.constantFrom('a', 'b', 'c', '1', '10', '9'), { minLength: 0, maxLength: 4 })
  .map(names => `/${names.join('/')}`);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    path,
    value: fc.constantFrom('x', 'yy', ''),
  }),
  fc.record({ kind: fc.constant('mkdir' as const), path }),
  fc.record({ kind: fc.constant('rm' as const), path }),
);

function attempt(store: Store, op: Operation): string {
  try {
    store.commit(apply(store.tree, op, DOM0, UNLIMITED, store.nextGeneration()).tree);
    return 'OK';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function play(model: Model, op: Operation): string {
  if (op.kind === 'write') return model.write(op.path, op.value);
  return op.kind === 'mkdir' ? model.mkdir(op.path) : model.rm(op.path);
}

describe('the store', () => {
  test('does what a flat map of paths does, and keeps its counts right', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60, size: 'max' }), operations => {
        const store = new Store();
        const model = new Model();
        for (const op of operations) expect(attempt(store, op)).toBe(play(model, op));
        for (const [at, value] of model.nodes) {
          const node = find(store.tree, at);
          expect(node?.value).toBe(value);
          expect([...listing(node!)].sort()).toEqual(model.names(at).sort());
        }
        const { tree } = store;
        expect(wrongIn(tree)).toBeUndefined();
        expect(usageOf(tree, 0).nodes).toBe(model.nodes.size);
      }),
    );
  });

  test('leaves every earlier tree as it was', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), operations => {
        const store = new Store();
        const seen: { tree: Tree; text: string }[] = [];
        for (const op of operations) {
          seen.push({ tree: store.tree, text: dump(store.tree) });
          attempt(store, op);
        }
        for (const { tree, text } of seen) expect(dump(tree)).toBe(text);
      }),
    );
  });

  test('gives a node a new generation when its value, permissions or children change, and only then', () => {
    const store = new Store();
    const generation = (at: string): number | undefined => find(store.tree, at)?.generation;
    attempt(store, { kind: 'write', path: '/a/b/c', value: '1' });
    const [a, b, c] = ['/a', '/a/b', '/a/b/c'].map(generation);
    attempt(store, { kind: 'write', path: '/a/b/c', value: '2' });
    expect(generation('/a')).toBe(a);
    expect(generation('/a/b')).toBe(b);
    expect(generation('/a/b/c')).not.toBe(c);
    attempt(store, { kind: 'mkdir', path: '/a/b/d' });
    expect(generation('/a')).toBe(a);
    expect(generation('/a/b')).not.toBe(b);
  });

  test('of depth 1500 is walked and removed without recursion', () => {
    const store = new Store();
    const deep = '/a'.repeat(1500);
    expect(attempt(store, { kind: 'write', path: deep, value: 'x' })).toBe('OK');
    expect(usageOf(store.tree, 0).nodes).toBe(1503);
    expect(attempt(store, { kind: 'rm', path: '/a' })).toBe('OK');
    expect(usageOf(store.tree, 0).nodes).toBe(3);
  });

  test('finds what a domain owns or is named in, and only that, without a walk', () => {
    const owners = fc.constantFrom(0, 3, 5, 34); // 34: of the same tag as 3
    const made = fc.record({ path, owner: owners, named: fc.array(owners, { maxLength: 2 }) });
    fc.assert(
      fc.property(fc.array(made, { maxLength: 40, size: 'max' }), fc.integer({ min: 1, max: 3 }), (nodes, most) => {
        const store = new Store();
        for (const { path, owner, named } of nodes) {
          attempt(store, { kind: 'mkdir', path });
          const perms = { owner, others: 0, entries: named.map(domid => ({ domid, access: 1 })) };
          if (path !== '/') attempt(store, { kind: 'set-perms', path, perms });
        }
        const before = [...walk(store.tree.root, '/')];
        const below = (at: string) => before.filter(([path]) => path === at || path.startsWith(`${at}/`));
        const whole = (at: string) => below(at).every(([, node]) => node.perms.owner === 3);
        const expected = before
          .filter(([at]) => at === '/' || !whole(at))
          .map(([at, { perms }]) => {
            const entries = perms.entries.filter(({ domid }) => domid !== 3);
            return [at, { owner: perms.owner === 3 ? 0 : perms.owner, others: 0, entries }] as const;
          });
        while (store.removeDomain(3, most).length > 0);
        const after = [...walk(store.tree.root, '/')].map(([at, { perms }]) => [at, perms] as const);
        expect(new Map(after)).toEqual(new Map(expected));
        expect(usageOf(store.tree, 3)).toEqual({ domid: 3, nodes: 0, bytes: 0, named: 0 });
        expect(wrongIn(store.tree)).toBeUndefined();
      }),
    );
  });

  test('looks neither at what it removes nor, for a domain, at what is not its own', () => {
    const store = new Store();
    for (let i = 0; i < 3000; i++) {
      attempt(store, { kind: 'mkdir', path: `/big/${i}` });
      const perms = { owner: i % 2 ? 3 : 5, others: 0, entries: [] };
      attempt(store, { kind: 'set-perms', path: `/big/${i}`, perms });
    }
    attempt(store, { kind: 'mkdir', path: '/other' });
    attempt(store, { kind: 'set-perms', path: '/other', perms: { owner: 7, others: 0, entries: [] } });
    // The children of /big are made unreadable: whoever looks at one of them fails.
    const { root } = store.tree;
    const big = root.children.get('big')!;
    const blind = new Proxy(big.children, {
      get: (map, key) => {
        if (key === 'tags' || key === 'nameBytes' || key === 'size') return map[key];
        throw new Error(`looked for ${String(key)} of the children`);
      },
    });
    const hidden = root.children.with('big', { ...big, children: blind }, big.children.tags);
    store.restore({ ...store.tree, root: { ...root, children: hidden } }, store.generation);
    expect(store.removeDomain(7)).toHaveLength(1);
    expect(attempt(store, { kind: 'rm', path: '/big' })).toBe('OK');
    expect([0, 3, 5].map(domid => usageOf(store.tree, domid).nodes)).toEqual([3, 0, 0]);
    expect(wrongIn(store.tree)).toBeUndefined();
  });
});

function dump(tree: Tree): string {
  const lines: string[] = [];
  for (const [at, { value, generation }] of walk(tree.root, '/')) {
    lines.push(`${at} ${value} ${generation}`);
  }
  return lines.join('\n');
}
