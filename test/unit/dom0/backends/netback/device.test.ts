// The life of a vif in xenstore, with the real driver or a hand at the frontend. Xen: io/netif.h, io/xenbus.h.
import { beforeEach, describe, expect, it } from 'vitest';
import { XenbusState } from '#pvbus';
import { HostileNetfront } from '../../../../support/hostile-netfront.ts';
import { NetGuest, NetRig } from '../../../../support/net-rig.ts';
import type { DeviceNodes } from '../../../../support/xenbus-device.ts';

let rig: NetRig;
let base: { mappings: number; ports: number };
beforeEach(async () => {
  rig = await NetRig.start();
  base = rig.held();
});

const inState = (path: string, state: XenbusState): Promise<void> =>
  rig.until(async () => (await rig.state(path)) === state);
const errorOf = (path: string): Promise<string> =>
  rig.toolstack.xs.read(path.replace(/^(\/local\/domain\/0\/)(.*)$/, '$1error/$2/error'));

/** A frontend of pages and a hand, its keys as a driver would write them, but for `changes`. */
async function byHand(
  changes: Readonly<Record<string, string | number | undefined>> = {},
  front = new HostileNetfront(rig),
): Promise<{ front: HostileNetfront; nodes: DeviceNodes }> {
  const nodes = await rig.plug(front.guest);
  await inState(nodes.backend, XenbusState.InitWait);
  const keys = {
    'tx-ring-ref': front.refs[0],
    'rx-ring-ref': front.refs[1],
    'event-channel': front.port,
    'request-rx-copy': 1,
    ...changes,
  };
  for (const [key, value] of Object.entries(keys)) {
    if (value !== undefined) await rig.toolstack.xs.write(`${nodes.frontend}/${key}`, String(value));
  }
  await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Initialised));
  return { front, nodes };
}

describe('a vif', () => {
  it('publishes what netback can do, waits, and is connected with a frontend that has the least of keys', async () => {
    const { front, nodes } = await byHand();
    await inState(nodes.backend, XenbusState.Connected);
    const published = Object.fromEntries(
      await Promise.all(
        (await rig.toolstack.xs.directory(nodes.backend))
          .filter(key => key.startsWith('feature') || key.startsWith('multi') || key.startsWith('hotplug'))
          .map(async key => [key, await rig.toolstack.xs.read(`${nodes.backend}/${key}`)]),
      ),
    );
    expect(published).toEqual({
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
      'feature-rx-copy': '1',
      'feature-rx-flip': '0',
      'feature-split-event-channels': '1',
      'feature-multicast-control': '1',
      'feature-ctrl-ring': '1',
      'multi-queue-max-queues': '4',
      'hotplug-status': 'connected',
    });
    front.write(0, new Uint8Array(6).fill(255), 60);
    expect(front.putTx({ size: 60, id: 3 }).transmit()).toEqual([{ id: 3, status: 0 }]);
  });

  describe('whose frontend has several queues', () => {
    const keysOf = (
      { queue: { txRingRef, rxRingRef, txPort } }: HostileNetfront,
      i: number,
    ): Record<string, number> => ({
      [`queue-${i}/tx-ring-ref`]: txRingRef,
      [`queue-${i}/rx-ring-ref`]: rxRingRef,
      [`queue-${i}/event-channel`]: txPort,
    });
    const above = { 'tx-ring-ref': undefined, 'rx-ring-ref': undefined, 'event-channel': undefined };
    const queues = async (
      count: number,
      changes: (all: readonly HostileNetfront[]) => Readonly<Record<string, string | number | undefined>>,
    ): Promise<{ all: HostileNetfront[]; nodes: DeviceNodes }> => {
      const first = new HostileNetfront(rig);
      const all = [first, ...Array.from({ length: count - 1 }, () => first.another())];
      const keys = Object.assign({}, above, ...all.map(keysOf), { 'multi-queue-num-queues': count }, changes(all));
      return { all, nodes: (await byHand(keys, first)).nodes };
    };

    it('is connected with all of them, which may have one event channel each or two', async () => {
      const { all, nodes } = await queues(4, ([, second]) => ({
        'queue-1/event-channel': undefined,
        'queue-1/event-channel-tx': second!.port,
        'queue-1/event-channel-rx': second!.vcpu.events.allocUnbound(rig.vcpu.domid),
      }));
      await inState(nodes.backend, XenbusState.Connected);
      expect(rig.held()).toEqual({ mappings: base.mappings + 8, ports: base.ports + 5 });
      for (const one of all) {
        one.write(0, new Uint8Array(6).fill(255), 60);
        expect(one.putTx({ size: 60, id: 3 }).transmit()).toEqual([{ id: 3, status: 0 }]);
      }
      await rig.toolstack.remove(nodes);
      await rig.until(() => rig.report().vifs.length === 0);
      expect(rig.held()).toEqual(base);
    });
    it.each<
      [
        string,
        number,
        (all: readonly HostileNetfront[]) => Readonly<Record<string, string | number | undefined>>,
        RegExp,
      ]
    >([
      ['than were offered', 5, () => ({}), /multi-queue-num-queues is "5", expected a number up to 4/],
      ['than it has keys of', 2, () => ({ 'multi-queue-num-queues': 3 }), /queue-2\/tx-ring-ref is missing/],
      ['and half of one', 2, () => ({ 'queue-1/rx-ring-ref': undefined }), /queue-1\/rx-ring-ref is missing/],
      [
        'and one without a port',
        2,
        () => ({ 'queue-1/event-channel': undefined }),
        /queue-1\/event-channel is missing/,
      ],
      ['and one of no numbers', 2, () => ({ 'queue-0/tx-ring-ref': '1; ls' }), /queue-0\/tx-ring-ref is "1; ls"/],
      ['and none', 2, () => ({ 'multi-queue-num-queues': 0 }), /wants no queue/],
      [
        'of the same page',
        2,
        ([a]) => ({ 'queue-1/tx-ring-ref': a!.queue.txRingRef }),
        /two of its rings are one page/,
      ],
      ['of the same port', 2, ([a]) => ({ 'queue-1/event-channel': a!.port }), /port \d+ of dom/],
    ])('but of more %s is refused: nothing is left of it', async (_what, count, changes, why) => {
      const { nodes } = await queues(count, changes);
      await inState(nodes.backend, XenbusState.Closing);
      expect(await errorOf(nodes.backend)).toMatch(why);
      expect(rig.held()).toEqual(base);
    });
    it('but one only, has that beside its other keys', async () => {
      const { nodes } = await queues(1, () => ({}));
      await inState(nodes.backend, XenbusState.Closing);
      expect(await errorOf(nodes.backend)).toMatch(/frontend's tx-ring-ref is missing/);
    });
  });

  it('takes split event channels and a control ring', async () => {
    const front = new HostileNetfront(rig);
    const second = front.vcpu.events.allocUnbound(rig.vcpu.domid);
    const control = front.vcpu.events.allocUnbound(rig.vcpu.domid);
    const nodes = await rig.plug(front.guest);
    await inState(nodes.backend, XenbusState.InitWait);
    const keys = {
      'tx-ring-ref': front.refs[0],
      'rx-ring-ref': front.refs[1],
      'event-channel-tx': front.port,
      'event-channel-rx': second,
      'ctrl-ring-ref': front.refs[2],
      'event-channel-ctrl': control,
      'request-rx-copy': 1,
      'multi-queue-num-queues': 1,
    };
    for (const [key, value] of Object.entries(keys)) {
      await rig.toolstack.xs.write(`${nodes.frontend}/${key}`, String(value));
    }
    await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Initialised));
    await inState(nodes.backend, XenbusState.Connected);
    expect(rig.held()).toEqual({ mappings: base.mappings + 3, ports: base.ports + 3 });
  });

  it.each<[string, Readonly<Record<string, string | number | undefined>>, RegExp]>([
    ['without a ring', { 'tx-ring-ref': undefined }, /tx-ring-ref is missing/],
    ['with a ring that is no number', { 'rx-ring-ref': '7; ls' }, /rx-ring-ref is "7; ls"/],
    ['with a negative ring', { 'rx-ring-ref': -1 }, /rx-ring-ref is "-1"/],
    ['with a ring nobody granted', { 'tx-ring-ref': 4000 }, /gref 4000 of dom/],
    ['with a port of nobody', { 'event-channel': 3000 }, /port 3000 of dom/],
    ['with a million queues', { 'multi-queue-num-queues': 1_000_000 }, /multi-queue-num-queues is "1000000"/],
    ['that wants pages flipped', { 'request-rx-copy': undefined }, /flipped/],
    ['with half a control ring', { 'ctrl-ring-ref': 5 }, /event-channel-ctrl is missing/],
    ['with half of split channels', { 'event-channel-tx': 5 }, /event-channel-rx is missing/],
  ])('of a frontend %s goes to Closing and says why (act 27)', async (_how, changes, why) => {
    const { nodes } = await byHand(changes);
    await inState(nodes.backend, XenbusState.Closing);
    expect(await errorOf(nodes.backend)).toMatch(why);
    expect(rig.held()).toEqual(base);
    expect(rig.report().vifs).toEqual([]);
  });

  it('whose own mac makes no sense is refused: the toolstack hears of it', async () => {
    for (const mac of ['', '00:16:3e:00:00', '01:00:5e:00:00:01']) {
      const guest = rig.core.guest({ pages: 64 });
      const nodes = await rig.plug(guest, { mac: '00:16:3e:00:00:01' }, { mac });
      await inState(nodes.backend, XenbusState.Closing);
      expect(await errorOf(nodes.backend)).toMatch(/is no station's address/);
    }
  });

  it('that broke the protocol is Closing with a reason, gives everything back, and may come again', async () => {
    const { front, nodes } = await byHand();
    await inState(nodes.backend, XenbusState.Connected);
    front.set('tx', 'req_prod', 1000);
    rig.settle(rig);
    await inState(nodes.backend, XenbusState.Closing);
    expect(await errorOf(nodes.backend)).toMatch(/EPROTO vif 0 of dom\d+: .* its tx ring claims more requests/);
    expect(rig.held()).toEqual(base);
    await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Closed));
    await inState(nodes.backend, XenbusState.Closed);
    await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Initialising));
    await inState(nodes.backend, XenbusState.InitWait);
  });

  it('is given back in full when its nodes are removed under it (act 29), and when its domain ends', async () => {
    const { nodes } = await byHand();
    await inState(nodes.backend, XenbusState.Connected);
    await rig.toolstack.remove(nodes);
    await rig.until(() => rig.report().vifs.length === 0);
    expect(rig.held()).toEqual(base);

    const guest = await rig.guest();
    const other = await rig.guest();
    guest.vif.send(new Uint8Array(60), 60);
    rig.destroy(guest);
    await rig.until(() => rig.report().vifs.length === 1);
    expect(rig.statsOf(other)).toBeDefined();
    const still = rig.held();
    rig.destroy(other);
    await rig.until(() => rig.report().vifs.length === 0);
    expect(still.mappings).toBeGreaterThan(base.mappings);
    expect(rig.held()).toEqual(base);
    expect(rig.core.internalErrors).toEqual([]);
  });

  it('plugged and unplugged 15 times leaves nothing behind at either end', async () => {
    const guest = rig.core.guest({ pages: 1024 });
    const nodes = await rig.plug(guest);
    const domU = new NetGuest(rig, guest, nodes);
    rig.guests.push(domU);
    await domU.netfront.start();
    await inState(nodes.backend, XenbusState.Connected);
    rig.settle();
    const { domain } = guest;
    const free = domU.vcpu.frames.available;
    const ports = domain.ports.open;
    for (let i = 0; i < 15; i++) {
      await rig.toolstack.askToClose(nodes);
      await rig.until(async () => (await rig.state(nodes.frontend)) === XenbusState.Closed);
      await inState(nodes.backend, XenbusState.Closed);
      await rig.toolstack.remove(nodes);
      await rig.until(() => domU.netfront.interfaces().length === 0 && rig.report().vifs.length === 0);
      expect(rig.held()).toEqual(base);
      expect(domain.grants.pinned).toBe(0);
      await rig.plug(guest);
      await rig.until(() => domU.netfront.interfaces().length === 1);
      await inState(nodes.backend, XenbusState.Connected);
      await rig.until(() => domU.vif.stats.staticGrants === 512);
    }
    expect(domain.ports.open).toBe(ports);
    expect(domU.vcpu.frames.available).toBe(free);
    expect(domU.vif.txBuffer()).toBeDefined();
  });
});

describe('a netback that starts anew', () => {
  it('fault 31: finds its vifs, and frames flow again between the guests it left', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    // The toolstack restarts the backend: the old one lets go, the new one finds the nodes as they are.
    await rig.backend.stop();
    expect(rig.held()).toEqual(base);
    await rig.restartBackend();
    for (const guest of [a, b]) {
      await rig.until(async () => (await rig.state(guest.nodes.frontend)) === XenbusState.Connected);
      await rig.until(async () => (await rig.state(guest.nodes.backend)) === XenbusState.Connected);
      await rig.until(() => guest.vif.txBuffer() !== undefined);
    }
    let got = 0;
    b.vif.onFrame(() => got++);
    const frame = new Uint8Array(60);
    frame.set(b.vif.mac);
    frame.set(a.vif.mac, 6);
    for (let i = 0; i < 1000; i++) {
      expect(a.vif.send(frame, 60)).toBe(true);
      if (i % 100 === 99) rig.settle();
    }
    expect(got).toBe(1000);
    expect([a.vif.stats.quarantined, b.vif.stats.quarantined]).toEqual([0, 0]);
  });
  it('fault 31: takes nothing of a frontend that is Connected still, whose rings are of the one before, until that begins anew', async () => {
    const { front, nodes } = await byHand();
    await inState(nodes.backend, XenbusState.Connected);
    const connected = rig.held();
    await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Connected));
    await rig.backend.settled();
    await rig.backend.stop();
    await rig.restartBackend();
    await inState(nodes.backend, XenbusState.InitWait);
    // Told of it once more, it looks once more.
    await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Connected));
    await rig.backend.settled();
    rig.settle();
    expect(await rig.state(nodes.backend)).toBe(XenbusState.InitWait);
    expect([rig.held(), rig.report().vifs]).toEqual([base, []]);
    // Its port went with the backend that had bound it.
    const port = front.vcpu.events.allocUnbound(rig.vcpu.domid);
    await rig.toolstack.xs.write(`${nodes.frontend}/event-channel`, String(port));
    await rig.toolstack.xs.write(`${nodes.frontend}/state`, String(XenbusState.Initialised));
    await inState(nodes.backend, XenbusState.Connected);
    expect(rig.held()).toEqual(connected);
  });
});
