import { describe, expect, test } from 'vitest';
import {
  domid,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_PERMS,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WRITE,
} from '#pvbus';
import type { Connection } from '../../../../dom0/xenstored/connection.ts';
import type { Actor } from '../../../../dom0/xenstored/permissions.ts';
import { Quotas } from '../../../../dom0/xenstored/quota.ts';
import { apply, type Node, type Operation, Store, type Tree } from '../../../../dom0/xenstored/store.ts';
import { type Account, Transaction } from '../../../../dom0/xenstored/transaction.ts';
import { each } from '../../../../dom0/xenstored/usage.ts';
import fc from '../../../support/properties.ts';
import { type RigClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

interface Request {
  readonly type: number;
  readonly payload: string;
}

/** A host with some nodes and three clients of different rights. */
function host(): { rig: XenstoreRig; clients: RigClient[]; connections: Connection[] } {
  const rig = new XenstoreRig();
  const dom0 = rig.dom0();
  for (const [path, perms] of [
    ['/a', 'n3\0r5\0'],
    ['/b', 'b0\0'],
    ['/c', 'n0\0'],
  ]) {
    dom0.send(XS_WRITE, `${path}\0`);
    dom0.send(XS_SET_PERMS, `${path}\0${perms}`);
  }
  dom0.take();
  const clients = [dom0, rig.domain(3), rig.domain(5)];
  const guests = [3, 5].map(id => rig.server.domains.get(domid(id)).connection);
  return { rig, clients, connections: [dom0.connection, ...guests] };
}

function ask(client: RigClient, { type, payload }: Request, tx = 0): string {
  client.send(type, payload, tx);
  const reply = client.next();
  const text = reply?.payload.toString('latin1') ?? 'nothing';
  return reply?.type === XS_ERROR ? text.slice(0, -1) : text;
}

const path = fc
  .tuple(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('', '/x', '/y', '/x/z'))
  .map(([top, rest]) => `/${top}${rest}\0`);
const looking = fc.record({ type: fc.constantFrom(XS_READ, XS_READ, XS_DIRECTORY, XS_GET_PERMS), payload: path });
const writing = fc.tuple(path, fc.constantFrom('1', '2', '3', '4')).map(p => p.join(''));
const changing = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant(XS_WRITE), payload: writing }) },
  fc.record({ type: fc.constantFrom(XS_MKDIR, XS_RM), payload: path }),
  fc.record({
    type: fc.constant(XS_SET_PERMS),
    payload: fc.tuple(path, fc.constantFrom('n3\0r5\0', 'n3\0', 'b0\0', 'n5\0b3\0')).map(p => p.join('')),
  }),
);
const request: fc.Arbitrary<Request> = fc.oneof(looking, changing);

/** A client does something outside of a transaction, in one of its open ones, or begins or ends one. */
const step = fc.record({
  who: fc.nat(2),
  act: fc.oneof(
    { weight: 2, arbitrary: fc.constant('start' as const) },
    { weight: 2, arbitrary: fc.constant('commit' as const) },
    { weight: 6, arbitrary: fc.constant('inside' as const) },
    { weight: 3, arbitrary: fc.constant('outside' as const) },
  ),
  pick: fc.nat(20),
  request,
});

interface Done {
  readonly who: number;
  readonly request: Request;
  readonly reply: string;
}

describe('transactions', () => {
  test('that commit are as if each had run alone: when it ended, or if it changed nothing when it began', () => {
    let commits = 0;
    let conflicts = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 30, maxLength: 90, size: 'max' }), steps => {
        const { rig, clients, connections } = host();
        const { store } = rig.server;
        const open: { who: number; tx: number; done: Done[] }[] = [];
        const history: Done[][] = [];
        /** How much of the history each tree is made of. */
        const moments = new Map<Tree, number>();
        const between: Done[][] = [];
        for (const { who, act, pick, request } of steps) {
          const client = clients[who]!;
          const mine = open.filter(t => t.who === who);
          const transaction = mine[pick % Math.max(1, mine.length)];
          if (!moments.has(store.tree)) moments.set(store.tree, history.length);
          if (act === 'start' && mine.length < 3) {
            const tx = Number(ask(client, { type: XS_TRANSACTION_START, payload: '\0' }).slice(0, -1));
            open.push({ who, tx, done: [] });
          } else if (act === 'outside') {
            history.push([{ who, request, reply: ask(client, request) }]);
          } else if (act === 'inside' && transaction) {
            transaction.done.push({ who, request, reply: ask(client, request, transaction.tx) });
          } else if (act === 'commit' && transaction) {
            open.splice(open.indexOf(transaction), 1);
            const base = connections[who]!.transactions.get(transaction.tx)?.state().base;
            const reply = ask(client, { type: XS_TRANSACTION_END, payload: 'T\0' }, transaction.tx);
            expect(['OK\0', 'EAGAIN']).toContain(reply);
            if (reply === 'EAGAIN') {
              conflicts++;
              continue;
            }
            commits++;
            const changed = transaction.done.some(d => d.reply === 'OK\0');
            if (changed) history.push(transaction.done);
            else {
              const moment = moments.get(base!)!; // some tree that the store has had
              between[moment] ??= [];
              between[moment].push(...transaction.done);
            }
          }
        }
        const { clients: alone } = host();
        const all = [...history, []].flatMap((done, moment) => [...(between[moment] ?? []), ...done]);
        for (const { who, request, reply } of all) expect(ask(alone[who]!, request)).toBe(reply);
        expect(everything(alone[0]!)).toBe(everything(clients[0]!));
      }),
      { numRuns: 200 },
    );
    // The property would hold too if nothing ever committed.
    expect(commits).toBeGreaterThan(conflicts);
    expect(conflicts).toBeGreaterThan(0);
  });

  test('of sixteen clients that each add a node to one directory all commit at the first attempt', () => {
    const rig = new XenstoreRig();
    const clients = Array.from({ length: 16 }, () => rig.dom0());
    const ids = clients.map(c => Number(ask(c, { type: XS_TRANSACTION_START, payload: '\0' }).slice(0, -1)));
    clients.forEach((c, i) => {
      ask(c, { type: XS_WRITE, payload: `/dir/${i}\0x` }, ids[i]);
    });
    clients.forEach((c, i) => {
      expect(ask(c, { type: XS_TRANSACTION_END, payload: 'T\0' }, ids[i])).toBe('OK\0');
    });
    expect(ask(clients[0]!, { type: XS_DIRECTORY, payload: '/dir\0' }).split('\0')).toHaveLength(17);
  });

  test('that were refused where they had removed a node themselves depend on who may make it there', () => {
    const { rig, clients } = host();
    const [dom0, dom3] = clients as [RigClient, RigClient];
    const outcome = (meanwhile: string): string[] => {
      ask(dom0, { type: XS_WRITE, payload: '/b\0' });
      ask(dom0, { type: XS_SET_PERMS, payload: '/b\0b0\0' });
      const tx = Number(ask(dom3, { type: XS_TRANSACTION_START, payload: '\0' }).slice(0, -1));
      const replies = [
        ask(dom3, { type: XS_RM, payload: '/b\0' }, tx),
        ask(dom3, { type: XS_WRITE, payload: '/b\0x' }, tx),
      ];
      if (meanwhile !== '') ask(dom0, { type: XS_SET_PERMS, payload: meanwhile });
      return [...replies, ask(dom3, { type: XS_TRANSACTION_END, payload: 'T\0' }, tx)];
    };
    expect(outcome('')).toEqual(['OK\0', 'EACCES', 'OK\0']);
    expect(outcome('/c\0n0\0r3\0')).toEqual(['OK\0', 'EACCES', 'OK\0']);
    // From here on it would be allowed.
    expect(outcome('/\0n0\0b3\0')).toEqual(['OK\0', 'EACCES', 'EAGAIN']);
    expect(rig.server.check()).toBeUndefined();
  });

  test('of a guest end at its quota of operations, however it spends them', () => {
    const rig = new XenstoreRig();
    const dom0 = rig.dom0();
    ask(dom0, { type: XS_WRITE, payload: '/local/domain/3\0' });
    ask(dom0, { type: XS_SET_PERMS, payload: '/local/domain/3\0n3\0' });
    const dom3 = rig.domain(3);
    const tx = Number(ask(dom3, { type: XS_TRANSACTION_START, payload: '\0' }).slice(0, -1));
    let refused = 0;
    for (let i = 0; i < 2500; i++) {
      if (ask(dom3, { type: XS_WRITE, payload: `n\0${i}` }, tx) === 'ENOSPC') refused++;
      if (ask(dom3, { type: XS_RM, payload: 'n\0' }, tx) === 'ENOSPC') refused++;
    }
    expect(refused).toBe(5000 - 4 * 1024);
    // Writing one node again and again is one operation.
    const other = Number(ask(dom3, { type: XS_TRANSACTION_START, payload: '\0' }).slice(0, -1));
    for (let i = 0; i < 5000; i++) expect(ask(dom3, { type: XS_WRITE, payload: `m\0${i}` }, other)).toBe('OK\0');
    expect(ask(dom3, { type: XS_TRANSACTION_END, payload: 'T\0' }, other)).toBe('OK\0');
    expect(ask(dom3, { type: XS_READ, payload: 'm\0' })).toBe('4999');
  });
});

test('a listing in parts has another generation when the transaction itself has changed it, and only then', () => {
  const rig = new XenstoreRig();
  const [dom0, other] = [rig.dom0(), rig.dom0()];
  ask(dom0, { type: XS_WRITE, payload: '/d/a\0' });
  const tx = Number.parseInt(ask(dom0, { type: XS_TRANSACTION_START, payload: '\0' }), 10);
  const generation = (): string | undefined =>
    ask(dom0, { type: XS_DIRECTORY_PART, payload: '/d\x000\0' }, tx).split('\0')[0];
  const seen = [generation()];
  ask(other, { type: XS_MKDIR, payload: '/d/elsewhere\0' });
  expect(generation()).toBe(seen[0]);
  ask(dom0, { type: XS_WRITE, payload: '/d/a\0x' }, tx);
  expect(generation()).toBe(seen[0]);
  for (const [type, payload] of [
    [XS_MKDIR, '/d/b\0'],
    [XS_RM, '/d/b\0'],
    [XS_MKDIR, '/d/b\0'],
    [XS_WRITE, '/d/c/d\0'],
  ] as const) {
    ask(dom0, { type, payload }, tx);
    seen.push(generation());
  }
  expect(new Set(seen).size).toBe(5);
});

const dom3: Actor = { domid: 3, privileged: false, target: undefined };
const operation: fc.Arbitrary<Operation> = fc
  .record({
    kind: fc.constantFrom('write' as const, 'write' as const, 'mkdir' as const, 'rm' as const, 'set-perms' as const),
    path: fc.constantFrom('/h', '/h/a', '/h/a/b', '/h/c', '/h/c/d', '/x'),
    size: fc.constantFrom(0, 1, 40, 80),
    perms: fc.constantFrom(
      { owner: 3, others: 0, entries: [] },
      { owner: 3, others: 1, entries: [{ domid: 5, access: 3 }] },
      { owner: 5, others: 3, entries: [] },
    ),
  })
  .map(({ kind, path, size, perms }) => {
    if (kind === 'write') return { kind, path, value: 'x'.repeat(size) };
    return kind === 'set-perms' ? { kind, path, perms } : { kind, path };
  });

/** A store with a home for dom3, and quotas that a few operations reach. */
function small(): { store: Store; account: Account } {
  const quotas = new Quotas();
  for (const [name, value] of Object.entries({ nodes: 4, memory: 400, 'node-size': 100, 'transaction-nodes': 6 })) {
    quotas.set(name, value, 3);
  }
  const store = new Store();
  const dom0: Actor = { domid: 0, privileged: true, target: undefined };
  for (const op of [
    { kind: 'mkdir', path: '/h' },
    { kind: 'set-perms', path: '/h', perms: { owner: 3, others: 0, entries: [] } },
  ] satisfies Operation[]) {
    store.commit(apply(store.tree, op, dom0, quotas.limits(0, true), store.nextGeneration()).tree);
  }
  return { store, account: { limits: () => quotas.limits(3, false), held: () => 0 } };
}

const outcomeOf = (act: () => unknown): string => {
  try {
    act();
    return 'OK';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

/** Everything in a tree, generations too. */
function dump(tree: Tree): string {
  const lines = [JSON.stringify(each(tree.usage)), JSON.stringify([...tree.special.entries()])];
  const open: [string, Node][] = [['', tree.root]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [at, { value, perms, generation, namesGeneration, children }] = next;
    lines.push(`${at} ${value.length} ${JSON.stringify(perms)} ${generation} ${namesGeneration}`);
    for (const [name, child] of children.entries()) open.push([`${at}/${name}`, child]);
  }
  return lines.join('\n');
}

describe('a transaction restored from its state', () => {
  test('is the same in tree, generations, quotas and end', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 25 }), fc.array(operation, { maxLength: 6 }), (first, then) => {
        const { store, account } = small();
        const one = new Transaction(store, dom3, account);
        for (const op of first) {
          outcomeOf(() => one.apply(op));
          if (op.kind === 'mkdir') outcomeOf(() => one.saw(op.path, 15));
        }
        const two = Transaction.restored(store, dom3, account, one.state());
        expect(dump(two.tree)).toBe(dump(one.tree));
        for (const op of then) expect(outcomeOf(() => two.apply(op))).toBe(outcomeOf(() => one.apply(op)));
        expect(dump(two.tree)).toBe(dump(one.tree));
        expect(two.state()).toEqual(one.state());
        const ends = [one, two].map(transaction => {
          const { tree, generation } = store;
          const end = outcomeOf(() => transaction.commit());
          const result = `${end} ${store.generation} ${dump(store.tree)}`;
          store.restore(tree, generation);
          return result;
        });
        expect(ends[1]).toBe(ends[0]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the generations of the store', () => {
  test('are taken by what changes it alone: not by open, ended or refused transactions, nor by refused requests', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 20 }), fc.array(operation, { maxLength: 20 }), (idle, done) => {
        const generations = [idle, []].map(given => {
          const { store, account } = small();
          const aborted = new Transaction(store, dom3, account);
          for (const op of given) outcomeOf(() => aborted.apply(op));
          const committed = new Transaction(store, dom3, account);
          for (const op of done) outcomeOf(() => committed.apply(op));
          outcomeOf(() => committed.commit());
          return `${store.generation} ${dump(store.tree)}`;
        });
        expect(generations[0]).toBe(generations[1]);
      }),
    );
    const rig = new XenstoreRig();
    const dom0 = rig.dom0();
    const before = rig.server.store.generation;
    expect(ask(rig.domain(3), { type: XS_WRITE, payload: '/refused\0' })).toBe('EACCES');
    expect(rig.server.store.generation).toBe(before);
    ask(dom0, { type: XS_WRITE, payload: '/done\0' });
    expect(rig.server.store.generation).toBe(before + 1);
    ask(dom0, { type: XS_MKDIR, payload: '/done\0' });
    expect(rig.server.store.generation).toBe(before + 1);
  });

  test.each([0, 2 ** 30 - 1, 2 ** 30, 2 ** 31, 2 ** 40])(
    "in a transaction are above the store's, which are at %d",
    last => {
      const store = new Store();
      const dom0: Actor = { domid: 0, privileged: true, target: undefined };
      const unlimited: Account = { limits: () => new Quotas().limits(0, true), held: () => 0 };
      store.restore(store.tree, last);
      store.commit(
        apply(store.tree, { kind: 'write', path: '/a', value: '' }, dom0, unlimited.limits(), last + 1).tree,
      );
      const transaction = new Transaction(store, dom0, unlimited);
      const generations = ['/a', '/a/b', '/a'].map(path => {
        transaction.apply({ kind: 'write', path, value: path });
        return transaction.tree.root.children.get('a')!.generation; // written above
      });
      expect(generations.every(generation => generation > last + 1)).toBe(true);
      transaction.commit();
      expect(store.generation).toBeLessThanOrEqual(last + 4);
      expect(store.tree.root.children.get('a')?.generation).toBe(store.generation);
    },
  );
});

/** The whole tree with values and permissions, as dom0 sees it. */
function everything(dom0: RigClient): string {
  const lines: string[] = [];
  const open = ['/'];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const payload = `${at}\0`;
    lines.push(`${at} ${ask(dom0, { type: XS_READ, payload })} ${ask(dom0, { type: XS_GET_PERMS, payload })}`);
    const names = ask(dom0, { type: XS_DIRECTORY, payload }).split('\0').slice(0, -1);
    open.push(...names.map(name => `${at === '/' ? '' : at}/${name}`));
  }
  return lines.join('\n');
}
