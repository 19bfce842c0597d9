// What a fuzz run is made of, and how it is drawn by lot.

import * as xs from '#pvbus';
import * as newer from '../../../dom0/xenstored/newer-wire.ts';
import fc from '../../support/properties.ts';

/** A message. `tx`: 0 for none, else which of its client's open transactions, counted round; or NEVER_OPEN. */
export interface Ask {
  readonly type: number;
  readonly tx: number;
  /** A character for each byte. */
  readonly payload: string;
}

/** As `tx`: an id its client never had. */
export const NEVER_OPEN = 9;

export const DOMIDS = [3, 5, 9] as const;
export const SOCKETS = ['dom0', 'dom0b'] as const;
export type DoorAct = 'creates' | 'destroys' | 'vanishes' | 'shuts-down' | 'tells' | 'reconnects';

export type Step =
  /** Requests in one go, cut into pieces at these bytes. */
  | { readonly kind: 'ask'; readonly who: string; readonly asks: readonly Ask[]; readonly cuts: readonly number[] }
  /** So many bytes of a request; the rest comes before its client's next step. */
  | { readonly kind: 'half'; readonly who: string; readonly ask: Ask; readonly bytes: number }
  /** It leaves what it is sent unread until its own next step. */
  | { readonly kind: 'deaf'; readonly who: string }
  | { readonly kind: 'hang-up'; readonly who: string }
  | { readonly kind: 'door'; readonly act: DoorAct; readonly domid: number }
  /** The daemon is killed, and another one goes on from its journal. */
  | { readonly kind: 'restart' };

/** No payload is longer than is legal: what would be is cut. */
const ask = (type: number, payload: string): Ask => ({ type, tx: 0, payload: payload.slice(0, 4096) });
const step = (type: number, payload: string): Step => ({
  kind: 'ask',
  who: 'dom0',
  asks: [ask(type, payload)],
  cuts: [],
});

/** What every run begins with: two guests with homes, one that only exists, and a place that is open to all. */
export const PRELUDE: readonly Step[] = [
  ...DOMIDS.map((domid): Step => ({ kind: 'door', act: 'creates', domid })),
  step(xs.XS_WRITE, '/local/domain/3\0'),
  step(xs.XS_SET_PERMS, '/local/domain/3\0n3\0r5\0'),
  step(xs.XS_WRITE, '/local/domain/5\0'),
  step(xs.XS_SET_PERMS, '/local/domain/5\0n5\0'),
  step(xs.XS_WRITE, '/d\0'),
  step(xs.XS_SET_PERMS, '/d\0b0\0'),
  step(xs.XS_INTRODUCE, '3\x001\x001\0'),
  step(xs.XS_INTRODUCE, '5\x001\x001\0'),
];

const weighted = <T>(...choices: readonly (readonly [number, fc.Arbitrary<T>])[]): fc.Arbitrary<T> =>
  fc.oneof(...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })));
const one = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
/** Strings with a NUL after each. */
const texts = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map(all => all.map(text => `${text}\0`).join(''));

const goodPath = weighted(
  [6, one('/d', '/d/a', '/d/b', '/d/a/x', '/d/a/x/y')],
  [
    3,
    one('/local/domain/3', '/local/domain/3/data', '/local/domain/3/data/k', '/local/domain/5', '/local/domain/5/data'),
  ],
  [3, one('data', 'data/k', 'other')],
  [
    2,
    one('/', '/e', '/e/f', '/tool', '/d/1', '/d/10', '/d/9', '/d/01', '/local', '/local/domain', '/local/domain/9/x'),
  ],
);
const oddPath = weighted(
  [
    4,
    one(
      '',
      '//',
      '/d/',
      '/d//a',
      'd/',
      '@nothing',
      '@releaseDomain',
      '/local/domain/',
      '/local/domain/x',
      '/local/domain/70000',
    ),
  ],
  [2, one('/d/\xe4', '/d /a', '/d/a\n', '/d/@', '/d/a-_Z')],
  [
    1,
    fc
      .tuple(one('/d/', '/', 'data/', ''), one(1000, 2000, 2047, 2048, 2049, 3069, 3071, 3072))
      .map(([p, n]) => p + 'l'.repeat(n)),
  ],
  [1, one(10, 10, 60, 60, 60, 998).map(n => `/d${'/z'.repeat(n)}`)],
);
const path = weighted([30, goodPath], [1, oddPath]);
const special = one(
  '@introduceDomain',
  '@releaseDomain',
  '@releaseDomain/3',
  '@introduceDomain/5',
  '@releaseDomain/x',
  '@other',
);
const value = weighted([8, one('', '1', '2', 'v\0w')], [1, one(30, 100, 2000, 2040, 2044).map(n => 'v'.repeat(n))]);
const perm = weighted(
  [12, one('n0', 'b0', 'r0', 'n3', 'b3', 'r3', 'w3', 'n5', 'b5', 'r5', 'n9', 'r32757')],
  [1, one('x3', 'n', '', 'r70000')],
);
const perms = weighted(
  [3, fc.array(perm, { minLength: 1, maxLength: 7 })],
  [
    3,
    one(
      ['n0', 'r32757'],
      ['n0', 'r3'],
      ['n0', 'b3', 'n5'],
      ['b0', 'n32757', 'r3'],
      ['n3', 'b5'],
      ['n5', 'r3'],
      ['r3', 'w9'],
    ),
  ],
).map(all => all.filter((p, i) => !p.endsWith('757') || all.indexOf(p) === i));
const permsText = weighted([6, fc.tuple(perm).map(p => p as string[])], [4, perms]).map(all =>
  all.map(p => `${p}\0`).join(''),
);
const token = weighted([12, one('t', 'u')], [1, one('', '\xff', 't'.repeat(4000))]);
const domid = weighted([20, one('3', '5', '9')], [1, one('0', '1', '32751', '32752', '32753', '65536', '', 'x', '03')]);
const depth = one('0', '1', '2', '3', '-1');
const count = weighted([6, one('0', '1', '2', '3', '6', '20')], [1, one('100', '4000', '', 'x')]);
/** A quota, with a value that is soon reached. */
const someQuota = weighted(
  [6, fc.tuple(one('nodes', 'watches', 'transactions', 'outstanding', 'transaction-nodes', 'permissions'), count)],
  [2, fc.tuple(one('nodes'), one('1', '2', '3', '4', '5'))],
  [2, fc.tuple(one('node-size'), one('4', '8', '12', '20', '110', '0'))],
  [1, fc.tuple(one('path-max'), one('0', '3', '12', '2048'))],
  [1, fc.tuple(one('nothing', 'memory-soft'), count)],
);

const of = (type: number, payload: fc.Arbitrary<string>): fc.Arbitrary<Ask> => payload.map(text => ask(type, text));
const pathAnd = (path: fc.Arbitrary<string>, rest: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(path, rest).map(([p, r]) => `${p}\0${r}`);

const lookingAt = (path: fc.Arbitrary<string>): fc.Arbitrary<Ask> =>
  weighted(
    [4, of(xs.XS_READ, texts(path))],
    [3, of(xs.XS_DIRECTORY, texts(path))],
    [2, of(xs.XS_GET_PERMS, texts(path))],
    [1, of(xs.XS_GET_PERMS, texts(special))],
    [2, of(xs.XS_DIRECTORY_PART, texts(path, one('0', '1', '2', '5', '3000')))],
  );
const changing = (path: fc.Arbitrary<string>): fc.Arbitrary<Ask> =>
  weighted(
    [8, of(xs.XS_WRITE, pathAnd(path, value))],
    [3, of(xs.XS_MKDIR, texts(path))],
    [4, of(xs.XS_RM, texts(path))],
    [4, of(xs.XS_SET_PERMS, pathAnd(path, permsText))],
    [1, of(xs.XS_SET_PERMS, pathAnd(special, permsText))],
  );
const watching = (path: fc.Arbitrary<string>): fc.Arbitrary<Ask> =>
  weighted(
    [6, of(xs.XS_WATCH, texts(path, token))],
    [2, of(xs.XS_WATCH, texts(path, token, depth))],
    [2, of(xs.XS_WATCH, texts(special, token))],
    [1, of(xs.XS_WATCH, texts(special, token, one('1', '1', '1', '0', '2', '-1')))],
    [3, of(xs.XS_UNWATCH, texts(weighted([6, path], [1, special]), token))],
    [1, of(xs.XS_RESET_WATCHES, one('\0', ''))],
  );
const transacting = weighted(
  [5, of(xs.XS_TRANSACTION_START, one('\0'))],
  [4, of(xs.XS_TRANSACTION_END, one('T\0'))],
  [1, of(xs.XS_TRANSACTION_END, one('F\0', 'X\0', ''))],
);
/** dom0's business, and what it is told that tries it without being dom0. */
const introducing = weighted(
  [4, of(xs.XS_INTRODUCE, texts(domid, one('1', '-1', 'x'), weighted([12, one('1')], [1, one('', '0', 'x')])))],
  [2, of(xs.XS_RELEASE, texts(domid))],
  [2, of(xs.XS_RESUME, texts(domid))],
  [2, of(xs.XS_SET_TARGET, texts(domid, domid))],
  [2, of(newer.XS_SET_FEATURE, texts(domid, one('0', '1', '5', '15', '16', 'x')))],
  [2, of(newer.XS_GET_FEATURE, texts(domid))],
);
const limiting = weighted(
  [
    5,
    of(
      newer.XS_SET_QUOTA,
      fc.tuple(domid, someQuota).map(([id, [name, n]]) => `${id}\0${name}\0${n}\0`),
    ),
  ],
  [
    1,
    of(
      newer.XS_SET_QUOTA,
      someQuota.map(([name, n]) => `${name}\0${n}\0`),
    ),
  ],
  [
    1,
    of(
      newer.XS_GET_QUOTA,
      fc.tuple(domid, someQuota).map(([id, [name]]) => `${id}\0${name}\0`),
    ),
  ],
  [1, of(newer.XS_GET_QUOTA, weighted([1, one('', '\0')], [2, someQuota.map(([name]) => `${name}\0`)]))],
);
const controlling = weighted(
  [3, of(xs.XS_CONTROL, one('check\0', 'help\0', 'print\0hello\0', 'print\0', 'nothing\0', '', 'memreport\0'))],
  [2, of(xs.XS_CONTROL, one('quota\0', 'quota\x003\0', 'quota\x009\0', 'quota\0max\0', 'quota\0max\0-r\0'))],
  [
    2,
    of(
      xs.XS_CONTROL,
      someQuota.map(([name, n]) => `quota\0set\0${name}\0${n}\0`),
    ),
  ],
);
const ruling = weighted([6, introducing], [4, limiting], [1, controlling]);
const asking = weighted(
  [1, of(newer.XS_GET_FEATURE, weighted([1, one('', '\0')], [1, texts(domid)]))],
  [1, of(xs.XS_GET_DOMAIN_PATH, texts(domid))],
  [2, of(xs.XS_IS_DOMAIN_INTRODUCED, texts(domid))],
);
/** Any type with any payload; of CONTROL only what is harmless to the run. */
const wild = fc
  .tuple(
    weighted([8, fc.nat({ max: 30 })], [1, one(255, 0x7fffffff, 0xffffffff)]),
    weighted(
      [2, one('', '\0', '\0\0', 'x', '/d', '/d\0\0', '\0/d\0', '3\0', 'T', '3', '\xff'.repeat(20))],
      [
        2,
        fc
          .array(one('/d/a', 'data', '3', '5', 't', 'n3', 'T', '', '@releaseDomain'), { maxLength: 4 })
          .map(all => all.map(t => `${t}\0`).join('')),
      ],
      [1, fc.string({ unit: fc.nat({ max: 255 }).map(n => String.fromCharCode(n)), maxLength: 30 })],
      [1, one('a'.repeat(4096), '\0'.repeat(4096), `/d\0${'v'.repeat(4093)}`, `/d/${'a\0'.repeat(2000)}`)],
    ),
  )
  .map(([type, payload]) => ask(type, payload));

/** A request as it is, or in one of the transactions its client has open. */
const anywhere = (arbitrary: fc.Arbitrary<Ask>, outside: number): fc.Arbitrary<Ask> =>
  fc
    .tuple(arbitrary, weighted([3 * outside, one(0)], [18, one(1, 1, 1, 2, 3)], [1, one(NEVER_OPEN)]))
    .map(([request, tx]) => ({ ...request, tx }));

const socket = one<string>(...SOCKETS);
const anybody = one('dom0', 'dom0', 'dom0b', 'dom3', 'dom3', 'dom5', 'dom5', 'dom9');
const cuts = weighted([6, one<number[]>([])], [1, fc.array(fc.nat({ max: 60 }), { minLength: 1, maxLength: 5 })]);
const requestOf = (who: fc.Arbitrary<string>, what: fc.Arbitrary<Ask>): fc.Arbitrary<Step> =>
  fc.tuple(who, what, cuts).map(([who, request, cuts]) => ({ kind: 'ask', who, asks: [request], cuts }));
const door = fc.record({
  kind: one('door' as const),
  act: one<DoorAct>('creates', 'creates', 'destroys', 'vanishes', 'shuts-down', 'tells', 'reconnects'),
  domid: one<number>(...DOMIDS),
});

/** Who is in a run, what it is about, and how much there is of each kind. */
interface Theme {
  readonly who: fc.Arbitrary<string>;
  readonly path: fc.Arbitrary<string>;
  readonly rule: fc.Arbitrary<Ask>;
  readonly looks: number;
  readonly changes: number;
  readonly watches: number;
  readonly transactions: number;
  readonly rules: number;
  readonly wild: number;
  readonly doors: number;
}

function stepOf(theme: Theme): fc.Arbitrary<Step> {
  const { who, path } = theme;
  const [look, change, watch] = [lookingAt(path), changing(path), watching(path)];
  const request = weighted(
    [theme.looks, anywhere(look, 3)],
    [theme.changes, anywhere(change, 3)],
    [theme.watches, watch],
    [theme.transactions, transacting.map(end => (end.type === xs.XS_TRANSACTION_END ? { ...end, tx: 1 } : end))],
    [1, anywhere(transacting, 1)],
    [1, ruling],
    [1, asking],
    [theme.wild, anywhere(wild, 6)],
  );
  const several = fc.array(anywhere(weighted([1, look], [2, change], [1, watch]), 2), { minLength: 2, maxLength: 8 });
  return weighted<Step>(
    [60, requestOf(who, request)],
    [theme.rules, requestOf(socket, theme.rule)],
    [4, fc.record({ kind: one('ask' as const), who, asks: several, cuts })],
    [2, fc.record({ kind: one('half' as const), who, ask: request, bytes: fc.nat({ max: 40 }) })],
    [Math.ceil(theme.watches / 2), fc.record({ kind: one('deaf' as const), who })],
    [1, fc.record({ kind: one('hang-up' as const), who: socket })],
    [1, fc.record({ kind: one('restart' as const) })],
    [theme.doors, door],
  );
}

const fewPaths = weighted(
  [8, one('/d', '/d/a', '/d/b', '/d/a/x')],
  [1, one('/local/domain/3/data', '/local/domain/5', 'data', '/', '/e')],
);
const homes = weighted(
  [3, one('/local/domain/3', '/local/domain/3/data', '/local/domain/5', '/local/domain/5/data/k', 'data', 'data/k')],
  [2, one('/d', '/d/a', '/d/a/x')],
);
const everything = { who: anybody, path, rule: ruling, looks: 12, changes: 14, watches: 6, transactions: 9 };
const THEMES: readonly Theme[] = [
  { ...everything, rules: 6, wild: 2, doors: 4 },
  // Transactions in each other's way.
  {
    ...everything,
    who: one('dom0', 'dom3', 'dom5'),
    path: fewPaths,
    looks: 12,
    changes: 12,
    watches: 2,
    transactions: 8,
    rules: 0,
    wild: 0,
    doors: 0,
  },
  // Who hears of what.
  {
    ...everything,
    path: fewPaths,
    looks: 1,
    changes: 14,
    watches: 12,
    transactions: 5,
    rules: 0,
    wild: 1,
    doors: 1,
  },
  // Domains that come and go.
  {
    ...everything,
    path: homes,
    rule: introducing,
    looks: 4,
    changes: 10,
    watches: 6,
    transactions: 3,
    rules: 25,
    wild: 1,
    doors: 25,
  },
  // Little of everything.
  {
    ...everything,
    who: one('dom3', 'dom3', 'dom5', 'dom0'),
    path: weighted([2, fewPaths], [1, one('data', 'data/k', 'data/1', 'data/2', 'other')]),
    rule: limiting,
    looks: 4,
    changes: 14,
    watches: 3,
    transactions: 6,
    rules: 12,
    wild: 0,
    doors: 0,
  },
];

/** The steps of a run, each about one theme: what happens often together finds more than a little of everything. */
export const anySteps = (maxLength: number): fc.Arbitrary<Step[]> =>
  fc.oneof(...THEMES.map(theme => fc.array(stepOf(theme), { minLength: 1, maxLength, size: 'max' })));
