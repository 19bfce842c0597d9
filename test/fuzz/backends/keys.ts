// What a guest writes into xenstore for its devices, and when: keys and states of any kind, in any order, while the backend
// negotiates, serves and is asked to close; nodes that go. It costs that guest its device at most: nothing leaves the backend
// but a line for each failure that names the offender, nothing stays mapped, bound, open or watched, and another guest's device
// serves it all the while.
import { XenError, XS_RM, XS_WRITE } from '#pvbus';
import fc from '../../support/properties.ts';
import { ODD_NUMBERS } from '../odd-numbers.ts';
import type { Kind } from './innocents.ts';
import { Ground, PAGES, PORTS } from './keys-ground.ts';

const CASES_PER_RIG = 200;

/** As a driver publishes them: `r` and a number is a ring's page, `p` and one a port. */
const HONEST: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  vbd: { 'ring-ref': 'r0', 'event-channel': 'p0', protocol: 'x86_64-abi', 'feature-persistent': '1' },
  vif: { 'tx-ring-ref': 'r1', 'rx-ring-ref': 'r2', 'event-channel': 'p0', 'request-rx-copy': '1' },
  pvcalls: { version: '1', 'ring-ref': 'r0', port: 'p0' },
  '9pfs': { version: '1', 'num-rings': '1', 'ring-ref0': 'r0', 'event-channel-0': 'p0' },
};
const numbered = (name: string, n: number): string[] => Array.from({ length: n }, (_, i) => `${name}${i}`);
/** Of more than one ring or page. */
const SEVERAL: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  vbd: {
    ...{ 'multi-queue-num-queues': '2', 'ring-page-order': '1' },
    ...{ 'queue-0/ring-ref0': 'r0', 'queue-0/ring-ref1': 'r1', 'queue-0/event-channel': 'p0' },
    ...{ 'queue-1/ring-ref0': 'r2', 'queue-1/ring-ref1': 'r3', 'queue-1/event-channel': 'p1' },
  },
  vif: {
    ...{ 'multi-queue-num-queues': '2', 'feature-sg': '1', 'feature-gso-tcpv4': '1', 'request-multicast-control': '1' },
    ...{ 'queue-0/tx-ring-ref': 'r1', 'queue-0/rx-ring-ref': 'r2', 'queue-0/event-channel': 'p0' },
    ...{ 'queue-1/tx-ring-ref': 'r3', 'queue-1/rx-ring-ref': 'r4' },
    ...{ 'queue-1/event-channel-tx': 'p1', 'queue-1/event-channel-rx': 'p2' },
    ...{ 'ctrl-ring-ref': 'r6', 'event-channel-ctrl': 'p3' },
  },
  pvcalls: {},
  '9pfs': { 'num-rings': '2', 'ring-ref1': 'r0', 'event-channel-1': 'p1' },
};
/** What else its backend reads, or the toolstack has written. */
const OTHERS: Readonly<Record<Kind, readonly string[]>> = {
  vbd: ['num-ring-pages', ...numbered('ring-ref', 4), 'queue-0', 'queue-1/ring-ref'],
  vif: ['feature-no-csum-offload', 'feature-ipv6-csum-offload', 'feature-gso-tcpv6', 'event-channel-tx', 'mac'],
  pvcalls: ['listen', 'connect'],
  '9pfs': [...numbered('ring-ref', 4), ...numbered('event-channel-', 4), 'tag'],
};

/** Often one that is nearly right. */
const value = fc.oneof(
  { weight: 4, arbitrary: fc.nat(PAGES).map(n => `r${n}`) }, // one more than there are
  { weight: 3, arbitrary: fc.nat(PORTS).map(n => `p${n}`) },
  { weight: 6, arbitrary: fc.integer({ min: -2, max: 20 }).map(String) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 66n }).map(String) },
  { weight: 3, arbitrary: fc.constantFrom(...ODD_NUMBERS, '4294967295', '4294967296') },
  { weight: 1, arbitrary: fc.constantFrom('x86_32-abi', 'x86_64-abi', 'arm-abi', '1,2', 'xenbr0', '/local/domain/0') },
  { weight: 1, arbitrary: fc.string({ maxLength: 40, unit: 'binary-ascii' }).map(s => s.replaceAll('\0', '')) },
  { weight: 1, arbitrary: fc.constant('9'.repeat(3000)) },
);
const state = fc.constantFrom('1', '3', '4', '3', '4', '5', '6', '0', '2', '7', '8', '9');
const slip = fc.option(fc.record({ which: fc.nat(20), value }), { freq: 2, nil: undefined });

const actOf = (kind: Kind) => {
  const keys = [...Object.keys(HONEST[kind]), ...Object.keys(SEVERAL[kind]), ...OTHERS[kind], 'state', 'backend'];
  return fc.record({
    act: fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          act: fc.constant('publish' as const),
          several: fc.boolean(),
          slip,
          state: fc.constantFrom('3', '4', '4'),
        }),
      },
      { weight: 5, arbitrary: fc.record({ act: fc.constant('write' as const), key: fc.constantFrom(...keys), value }) },
      { weight: 5, arbitrary: fc.record({ act: fc.constant('state' as const), state }) },
      { weight: 2, arbitrary: fc.record({ act: fc.constant('remove' as const), key: fc.constantFrom(...keys) }) },
      {
        weight: 1,
        arbitrary: fc.record({
          act: fc.constantFrom('vanish' as const, 'detach' as const, 'replug' as const, 'unplug' as const),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          act: fc.constant('scribble' as const),
          page: fc.nat(3),
          word: fc.oneof(fc.nat(20), fc.nat(1023)),
          value: fc.oneof(fc.nat(40), fc.integer()),
          port: fc.nat(PORTS - 1),
        }),
      },
    ),
    turns: fc.oneof(fc.nat(3), fc.nat(40)),
  });
};
const end = fc.constantFrom('remove', 'remove', 'remove', 'close', 'close', 'destroy');

const grounds = new Map<Kind, Ground>();

export const frontendKeys = (kind: Kind) =>
  fc.asyncProperty(fc.array(actOf(kind), { minLength: 1, maxLength: 16 }), end, async (acts, how) => {
    const ground = grounds.get(kind) ?? (await Ground.of(kind));
    grounds.delete(kind); // after a failure there is a new one
    const { writer, tools, log, devid } = ground;
    const { domid } = writer.guest;
    const before = ground.held();
    writer.begin();
    const nodes = await ground.plug(domid);
    const write = (key: string, text: string): void => {
      const [, what, n] = /^([rp])([0-9]+)$/.exec(text) ?? [];
      const said =
        what === 'r' ? (writer.refs[Number(n)] ?? 9999) : what === 'p' ? (writer.ports[Number(n)] ?? 4000) : text;
      writer.client.send(XS_WRITE, `${nodes.frontend}/${key}\0${said}`);
    };
    let failures = 2; // of its end
    for (const { act, turns } of acts) {
      if (act.act === 'publish') {
        const keys = Object.entries({ ...HONEST[kind], ...(act.several && SEVERAL[kind]) });
        for (const [i, [key, text]] of keys.entries()) write(key, act.slip?.which === i ? act.slip.value : text);
        write('state', act.state);
      } else if (act.act === 'write') write(act.key, act.value);
      else if (act.act === 'state') write('state', act.state);
      else if (act.act === 'remove') writer.client.send(XS_RM, `${nodes.frontend}/${act.key}\0`);
      else if (act.act === 'vanish') writer.client.send(XS_RM, `${nodes.frontend}\0`);
      else if (act.act === 'scribble') {
        writer.scribble(act.page, act.word, act.value);
        writer.notify(act.port);
      } else if (act.act === 'unplug') await tools.remove(nodes).catch(ignore);
      else if (act.act === 'replug') await ground.plug(domid);
      else await tools.askToClose(nodes).catch(ignore);
      writer.client.take();
      failures += turns + 2;
      for (let i = 0; i < turns; i++) await ground.turn();
    }
    await ground.innocent.serve();
    if (!ground.innocentServed) throw new Error('the innocent’s device is not connected');
    if (how === 'close') await tools.askToClose(nodes).catch(ignore);
    if (how === 'destroy') ground.replaceWriter();
    await tools.remove(nodes).catch(ignore);
    await ground.until(() => ground.backend.find(domid, devid) === undefined);
    await ground.settled();
    if (how !== 'destroy') {
      if (writer.guest.domain.grants.pinned !== 0) throw new Error('its pages are in use');
      writer.end();
    }
    const held = ground.held();
    for (const [what, count] of Object.entries(before))
      if (held[what] !== count) throw new Error(`${held[what]} ${what} are held, ${count} were before`);
    if (ground.thrown.length > 0) throw ground.thrown[0];
    if (ground.core.internalErrors.length > 0) throw new Error(ground.core.internalErrors.join('\n'));
    const { lines } = log;
    for (const line of lines) if (!isOf(line, domid)) throw new Error(`what is said of dom${domid}: ${line}`);
    const said = lines.filter(line => line.startsWith('error: ')).length;
    if (said > failures) throw new Error(`${said} errors are said:\n${lines.join('\n')}`);
    lines.length = 0;
    if (++ground.cases === CASES_PER_RIG) await ground.remove();
    else grounds.set(kind, ground);
  });

/** It is gone, or not there yet. */
function ignore(error: unknown): void {
  if (!(error instanceof XenError)) throw error;
}
/** A line of the log about that device, which no mistake of the backend's own has made. */
function isOf(line: string, domid: number): boolean {
  if (/: EIO: |[a-z]Error\b|undefined|Cannot read/.test(line)) return false;
  return [...line.matchAll(/\bdom([0-9]+)|\bbackend\/[a-z0-9]+\/([0-9]+)/g)].every(m =>
    [0, domid].includes(Number(m[1] ?? m[2])),
  );
}
