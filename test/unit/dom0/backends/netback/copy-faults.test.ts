// netback's copies from and to pages that its frontends have not had it map, refused as a plan says.
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING as ADD,
  checkPlan,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER as INVALID,
  type Injected,
  NETIF_RSP_ERROR,
  NETIF_RSP_OKAY,
  NETTXF_more_data,
  XEN_NETIF_CTRL_STATUS_SUCCESS as SUCCESS,
} from '#pvbus';
import type { NetbackEvent } from '../../../../../dom0/backends/netback/messages.ts';
import { HostileNetfront } from '../../../../support/hostile-netfront.ts';
import { NetRig } from '../../../../support/net-rig.ts';

let rig: NetRig;
let injected: Injected[];
beforeEach(async () => {
  rig = await NetRig.start();
  injected = [];
  rig.onEvent(event => {
    const news = event as NetbackEvent;
    if (news.event === 'injected') injected.push(news.injected);
  });
});
afterEach(() => {
  expect(rig.core.internalErrors).toEqual([]);
});

function plant({ guest }: HostileNetfront, ...faults: object[]): void {
  const checked = checkPlan(faults, 'p');
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  const planted = checked.plan.faults.map(fault => ({ plan: 'p', seed: 1, startedNs: 0, fault }));
  rig.worker.handle({ op: 'faults', domid: guest.domid, handle: 0, label: `vif 0 of dom${guest.domid}`, planted });
}
/** Two on a bridge, neither with a page mapped. The second has room for frames. */
function pair(): [HostileNetfront, HostileNetfront] {
  const [a, b] = [new HostileNetfront(rig), new HostileNetfront(rig)];
  for (const front of [a, b]) front.connectWithControl();
  for (let i = 0; i < 16; i++) b.putRx(i);
  b.post();
  return [a, b];
}
const COPY = { part: 'grant', op: 'copy' } as const;
const statuses = (front: HostileNetfront): number[] => front.transmit().map(({ status }) => status);
const lengths = (front: HostileNetfront): number[] => front.rxResponses().map(({ status }) => status);

it('a packet that cannot be copied is answered with an error and goes nowhere; others do', () => {
  const [a, b] = pair();
  plant(a, { ...COPY, nth: 2, error: 'no_space' });
  for (let page = 0; page < 3; page++) {
    a.write(page, b.mac, 100 + page);
    a.putTx({ gref: a.ref(page), size: 100 + page });
  }
  expect(statuses(a)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_ERROR, NETIF_RSP_OKAY]);
  expect(lengths(b)).toEqual([100, 102]);
  expect(rig.statsOf(a.guest)!.stats).toMatchObject({ txErrors: 1, txFrames: 2, txCopied: 2 });
  expect(injected).toMatchObject([{ occurrences: [2], counts: { seen: 3, injected: 1 } }]);
  expect(injected[0]!.where).toBe(`vif 0 of dom${a.guest.domid}`);
});

it('a packet of several pages fails with one of them, and each page is an occurrence', () => {
  const [a, b] = pair();
  plant(a, { ...COPY, nth: [2, 5], error: 'eagain' });
  a.write(0, b.mac, 3000);
  for (let packet = 0; packet < 2; packet++) {
    a.putTx({ gref: a.ref(0), size: 1000, flags: NETTXF_more_data });
    a.putTx({ gref: a.ref(1), size: 100, flags: NETTXF_more_data }).putTx({ gref: a.ref(2), size: 100 });
  }
  a.putTx({ gref: a.ref(0), size: 64 });
  expect(statuses(a)).toEqual([...Array(6).fill(NETIF_RSP_ERROR), NETIF_RSP_OKAY]);
  expect(lengths(b)).toEqual([64]);
  expect(injected).toMatchObject([{ occurrences: [2, 5], counts: { seen: 7 } }]);
});

it('a frame that cannot be copied to its receiver is lost, and nothing is written into its page', () => {
  const [a, b] = pair();
  plant(b, { ...COPY, nth: 1, error: 'bad_gntref' });
  b.page(0).bytes.fill(0x5a);
  a.write(0, b.mac, 200);
  for (let i = 0; i < 2; i++) a.putTx({ size: 200 });
  expect(statuses(a)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_OKAY]);
  expect(lengths(b)).toEqual([NETIF_RSP_ERROR, 200]);
  expect(b.page(0).bytes.every(byte => byte === 0x5a)).toBe(true);
  expect(rig.statsOf(b.guest)!.stats).toMatchObject({ rxErrors: 1, rxCopied: 1 });
});

it('one grant is chosen by its number', () => {
  const [a, b] = pair();
  plant(a, { ...COPY, gref: a.ref(1), error: 'permission_denied' });
  for (const page of [0, 1, 2, 1]) {
    a.write(page, b.mac, 64);
    a.putTx({ gref: a.ref(page), size: 64 });
  }
  expect(statuses(a)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_ERROR, NETIF_RSP_OKAY, NETIF_RSP_ERROR]);
  expect(injected).toMatchObject([{ occurrences: [1, 2], counts: { seen: 2 } }]);
});

it('a list of pages that cannot be copied is refused; pages that are mapped are not copied', () => {
  const [a, b] = pair();
  plant(a, { ...COPY, nth: [1, 3], error: 'general_error' });
  const map = (): number => a.ask(ADD, 0, a.list([a.ref(0)]), 1).status;
  expect([map(), map()]).toEqual([INVALID, SUCCESS]);
  a.write(0, b.mac, 64);
  for (const page of [0, 1]) a.putTx({ gref: a.ref(page), size: 64 });
  expect(statuses(a)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_ERROR]);
});

it('without the plan each copy is made again', () => {
  const [a, b] = pair();
  plant(a, { ...COPY, error: 'no_space' });
  a.write(0, b.mac, 64);
  expect(statuses(a.putTx({ size: 64 }))).toEqual([NETIF_RSP_ERROR]);
  plant(a);
  expect(statuses(a.putTx({ size: 64 }))).toEqual([NETIF_RSP_OKAY]);
  expect(lengths(b)).toEqual([64]);
});

it('the process that serves it may end before a copy, which is not made, or after it', () => {
  const [a, b] = pair();
  a.write(0, b.mac, 64);
  for (const [kill, made] of [
    ['before', []],
    ['after', [64]],
  ] as const) {
    plant(a, { ...COPY, name: kill, nth: 1, kill });
    statuses(a.putTx({ size: 64 }));
    expect(lengths(b)).toEqual(made);
    statuses(a.putTx({ size: 64 })); // before the kill has come, and none of its occurrences
    expect(lengths(b)).toEqual([64]);
    plant(a);
  }
  expect(injected.map(({ fault, occurrences, counts, process }) => [fault, occurrences, counts.seen, process])).toEqual(
    [
      ['before', [1], 1, { kill: true }],
      ['after', [1], 1, { kill: true }],
    ],
  );
});
