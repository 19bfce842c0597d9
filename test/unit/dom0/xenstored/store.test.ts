import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DOM0 } from '../../../../dom0/xenstored/permissions.ts';
import { UNLIMITED } from '../../../../dom0/xenstored/quota.ts';
import {
  apply,
  countUsage,
  find,
  listing,
  type Operation,
  Store,
  type Tree,
} from '../../../../dom0/xenstored/store.ts';

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
    value: fc.constantFrom('x', 'yy', '').map(v => Buffer.from(v)),
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
  if (op.kind === 'write') return model.write(op.path, Buffer.from(op.value).toString());
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
          expect(Buffer.from(node?.value ?? []).toString()).toBe(value);
          expect([...listing(node!)].sort()).toEqual(model.names(at).sort());
        }
        const { tree } = store;
        expect([...tree.usage.entries()]).toEqual([...countUsage(tree).entries()]);
        expect(tree.usage.get('0')?.nodes).toBe(model.nodes.size);
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
    attempt(store, { kind: 'write', path: '/a/b/c', value: Buffer.from('1') });
    const [a, b, c] = ['/a', '/a/b', '/a/b/c'].map(generation);
    attempt(store, { kind: 'write', path: '/a/b/c', value: Buffer.from('2') });
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
    expect(attempt(store, { kind: 'write', path: deep, value: Buffer.from('x') })).toBe('OK');
    expect(store.tree.usage.get('0')?.nodes).toBe(1503);
    expect(attempt(store, { kind: 'rm', path: '/a' })).toBe('OK');
    expect(store.tree.usage.get('0')?.nodes).toBe(3);
  });
});

function dump(tree: Tree): string {
  const lines: string[] = [];
  const open: [string, ReturnType<typeof find>][] = [['', tree.root]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [at, node] = next;
    lines.push(`${at} ${Buffer.from(node?.value ?? []).toString()} ${node?.generation}`);
    for (const [name, child] of node?.children.entries() ?? []) open.push([`${at}/${name}`, child]);
  }
  return lines.join('\n');
}
