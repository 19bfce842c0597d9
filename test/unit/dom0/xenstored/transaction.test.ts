import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  XS_DIRECTORY,
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
import { type RigClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

interface Request {
  readonly type: number;
  readonly payload: string;
}

/** A host with some nodes and three clients of different rights. */
function host(): RigClient[] {
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
  return [dom0, rig.domain(3), rig.domain(5)];
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
        const clients = host();
        const open: { who: number; tx: number; done: Done[]; began: Done[] }[] = [];
        const history: Done[][] = [];
        for (const { who, act, pick, request } of steps) {
          const client = clients[who]!;
          const mine = open.filter(t => t.who === who);
          const transaction = mine[pick % Math.max(1, mine.length)];
          if (act === 'start' && mine.length < 3) {
            const tx = Number(ask(client, { type: XS_TRANSACTION_START, payload: '\0' }).slice(0, -1));
            const began: Done[] = [];
            history.push(began);
            open.push({ who, tx, done: [], began });
          } else if (act === 'outside') {
            history.push([{ who, request, reply: ask(client, request) }]);
          } else if (act === 'inside' && transaction) {
            transaction.done.push({ who, request, reply: ask(client, request, transaction.tx) });
          } else if (act === 'commit' && transaction) {
            open.splice(open.indexOf(transaction), 1);
            const reply = ask(client, { type: XS_TRANSACTION_END, payload: 'T\0' }, transaction.tx);
            expect(['OK\0', 'EAGAIN']).toContain(reply);
            if (reply === 'EAGAIN') {
              conflicts++;
              continue;
            }
            commits++;
            const changed = transaction.done.some(d => d.reply === 'OK\0');
            if (changed) history.push(transaction.done);
            else transaction.began.push(...transaction.done);
          }
        }
        const alone = host();
        for (const { who, request, reply } of history.flat()) expect(ask(alone[who]!, request)).toBe(reply);
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
