// What a backend writes into xenstore, and when: states and keys of any kind, while the frontend negotiates; a backend that
// is another one; nodes that go. The guest loses its device at most, says so once, and has all that it shared back when the
// device has gone. (A console's frontend reads no key: its page and port are the domain builder's.)
import { XenbusState } from '#pvbus';
import fc from '../../support/properties.ts';
import { ODD_NUMBERS } from '../odd-numbers.ts';
import { KeyedGuest, type Kind } from './keys-ground.ts';

const CASES_PER_RIG = 200;

/** As a backend offers them, and with Connected. */
const HONEST: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  vbd: {
    ...{ sectors: '2048', 'sector-size': '512', info: '0', 'feature-flush-cache': '1', 'feature-discard': '1' },
    ...{ 'feature-max-indirect-segments': '256', 'multi-queue-max-queues': '8', 'max-ring-page-order': '4' },
  },
  vif: { 'feature-rx-copy': '1', 'feature-ctrl-ring': '1', 'feature-sg': '1', 'feature-gso-tcpv4': '1' },
  pvcalls: { versions: '1', 'function-calls': '1', 'max-page-order': '4', 'feature-half-close': '1' },
  '9pfs': { versions: '1', 'max-rings': '4', 'max-ring-page-order': '4' },
};
const OTHERS: Readonly<Record<Kind, readonly string[]>> = {
  vbd: ['discard-granularity', 'mode', 'hotplug-status', 'reconnecting'],
  vif: ['feature-ipv6-csum-offload', 'feature-gso-tcpv6', 'multi-queue-max-queues'],
  pvcalls: ['max-dataring-page-order', 'listening-80'],
  '9pfs': [],
};
const value = fc.oneof(
  fc.integer({ min: -2, max: 9 }).map(String),
  fc.bigInt({ min: 0n, max: 2n ** 66n }).map(String),
  fc.constantFrom(...ODD_NUMBERS, '٤', '512', '2048', '1,2', '9'.repeat(3000)),
  fc.string({ maxLength: 40, unit: 'grapheme' }).map(s => s.replaceAll('\0', '')),
);
/** Often a handshake that would do. */
const state = fc.constantFrom('2', '4', '2', '4', '5', '6', '1', '3', '0', '7', '9');

const actOf = (kind: Kind) =>
  fc.record({
    act: fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          act: fc.constant('offer' as const),
          slip: fc.option(fc.tuple(fc.nat(8), value), { freq: 3 }),
          state: fc.constantFrom('2', '2', '4', '4', '3'),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          act: fc.constant('write' as const),
          key: fc.constantFrom(...Object.keys(HONEST[kind]), ...OTHERS[kind], 'online', 'state'),
          value,
        }),
      },
      { weight: 4, arbitrary: fc.record({ act: fc.constant('state' as const), state }) },
      { weight: 1, arbitrary: fc.record({ act: fc.constant('vanish' as const) }) },
      // By the toolstack: a backend of another domain, or of none.
      {
        weight: 1,
        arbitrary: fc.record({
          act: fc.constant('another' as const),
          to: fc.constantFrom('0', '7', '32751', '32752', '', 'x'),
        }),
      },
      { weight: 1, arbitrary: fc.record({ act: fc.constant('replug' as const) }) },
    ),
    steps: fc.nat(6),
  });

const grounds = new Map<Kind, KeyedGuest>();

export const backendKeys = (kind: Kind) =>
  fc.asyncProperty(fc.array(actOf(kind), { minLength: 1, maxLength: 25 }), async acts => {
    const made = grounds.get(kind) ?? (await warm(kind));
    grounds.delete(kind); // after a failure there is a new one
    const { store, frontend, path, backend, log } = made;
    const before = made.held();
    made.plug();
    let lives = 1;
    for (const { act, steps } of acts) {
      if (act.act === 'offer') {
        for (const [i, [key, said]] of Object.entries(HONEST[kind]).entries())
          store.write(`${backend}/${key}`, act.slip?.[0] === i ? act.slip[1] : said);
        store.write(`${backend}/state`, act.state);
      } else if (act.act === 'write') store.write(`${backend}/${act.key}`, act.value);
      else if (act.act === 'state') store.write(`${backend}/state`, act.state);
      else if (act.act === 'vanish') store.remove(backend);
      else if (act.act === 'another') {
        store.write(`${path}/backend-id`, act.to);
        store.write(`${path}/backend`, `${backend.replace('/domain/0/', `/domain/${act.to || '0'}/`)}`);
      } else {
        made.unplug();
        made.plug();
        lives++;
      }
      for (let i = 0; i < steps; i++) made.turn();
      const own = Number(store.read(`${path}/state`) ?? XenbusState.Initialising);
      if (!(own >= XenbusState.Initialising && own <= XenbusState.Closed)) throw new Error(`our state is ${own}`);
      for (const sectors of made.sectors())
        if (!Number.isSafeInteger(sectors * 512)) throw new Error(`a disk of ${sectors} sectors`);
    }
    made.unplug();
    made.until(() => frontend.devices().length === 0 && frontend.deadline() === undefined);
    if (frontend.waits()) throw new Error('something is waited for that is gone');
    const held = made.held();
    for (const [what, count] of Object.entries(before))
      if (held[what] !== count) throw new Error(`${held[what]} ${what}, ${count} before`);
    const errors = log.lines.filter(line => line.startsWith('error: '));
    if (errors.length > lives) throw new Error(`${errors.length} errors of ${lives} devices:\n${errors.join('\n')}`);
    for (const line of errors)
      if (/: EIO: |[a-z]Error\b|undefined|Cannot read/.test(line)) throw new Error(`an error of its own: ${line}`);
    log.lines.length = 0;
    if (++made.cases < CASES_PER_RIG) grounds.set(kind, made);
  });

/** One whose tables of grants and ports are as large as they get. */
async function warm(kind: Kind): Promise<KeyedGuest> {
  const made = await KeyedGuest.of(kind);
  made.plug();
  for (const state of [2, 4]) {
    for (const [key, said] of Object.entries(HONEST[kind])) made.store.write(`${made.backend}/${key}`, said);
    made.store.write(`${made.backend}/state`, state);
    made.until(() => made.store.read(`${made.path}/state`) === (state === 2 ? '3' : '4'));
  }
  made.unplug();
  made.until(() => made.frontend.devices().length === 0);
  made.log.lines.length = 0;
  return made;
}
