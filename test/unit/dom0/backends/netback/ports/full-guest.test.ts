// A guest that is slower than what comes for it by a port of its bridge: the rest stays where it comes from, in a peer's socket here,
// and is not read to be dropped. How long others may have to wait behind it is bounded.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TURN_FRAMES } from '../../../../../../dom0/backends/netback/ports/external-port.ts';
import { type NetGuest, NetRig } from '../../../../../support/net-rig.ts';
import { framed, StreamPeer } from '../../../../../support/stream-peer.ts';

const SENDER = Uint8Array.of(2, 0, 0, 0, 0, 7);
/** So many the ring holds. */
const RING = 256;

let rig: NetRig;
let dir: string;
let peer: StreamPeer;
/** What the peer's socket has not taken yet. */
let unsent: Uint8Array;
const port = (): string => `listen:${join(dir, 'p.sock')}`;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-full-'));
  rig = await NetRig.start({ readinessOf: () => ({ told: () => true, rearm: () => {} }) });
  unsent = new Uint8Array(0);
});
afterEach(() => {
  peer.close();
  rig.worker.handle({ op: 'removePort', bridge: 'xenbr0', port: port() });
  rmSync(dir, { recursive: true });
  expect(rig.core.internalErrors).toEqual([]);
});
function connect(): void {
  rig.worker.handle({ op: 'addPort', bridge: 'xenbr0', port: port(), patient: false });
  peer = StreamPeer.connect(join(dir, 'p.sock'))!;
  rig.settle();
}
const frameTo = (guest: NetGuest, number: number): Uint8Array => {
  const frame = new Uint8Array(1514);
  frame.set(guest.vif.mac);
  frame.set(SENDER, 6);
  new DataView(frame.buffer).setUint32(20, number);
  return frame;
};
/** The numbers of those that come to it; a bridge sends it others' as well. */
function numbers(guest: NetGuest): number[] {
  const got: number[] = [];
  guest.vif.onFrame((bytes, offset) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
    if (view.getUint8(5) === guest.vif.mac[5]) got.push(view.getUint32(20));
  });
  return got;
}
const send = (...frames: readonly Uint8Array[]): void => {
  unsent = Buffer.concat([unsent, framed(...frames)]);
};
/** Until nobody but `idle` has anything to do. */
function run(...idle: readonly NetGuest[]): void {
  const others = rig.guests.filter(guest => !idle.includes(guest));
  for (let taken = 1; taken > 0; ) {
    rig.settle(rig, ...others);
    taken = unsent.length === 0 ? 0 : peer.raw(unsent.subarray(0, 1 << 18));
    unsent = unsent.subarray(Math.max(0, taken));
  }
}

describe('what comes by a port for a guest that has no room', () => {
  it('stays where it comes from until there is room, and nothing is lost', async () => {
    const guest = await rig.guest();
    const got = numbers(guest);
    connect();
    send(...Array.from({ length: 2000 }, (_, i) => frameTo(guest, i)));
    run(guest);
    const taken = rig.statsOf(guest)!.stats.rxFrames;
    expect(taken).toBeGreaterThan(RING / 2);
    expect(taken).toBeLessThanOrEqual(RING);
    expect(unsent.length).toBeGreaterThan(0);
    run();
    expect(got).toEqual(Array.from({ length: 2000 }, (_, i) => i));
    expect(rig.statsOf(guest)!.stats.rxDropped).toBe(0);
  });
  it('holds up what is for others for as long as a guest that takes none has earned, and no more then', async () => {
    const [deaf, other] = [await rig.guest(), await rig.guest()];
    const got = numbers(other);
    connect();
    const began = rig.core.clock.ns;
    const both = (from: number): void => {
      send(...Array.from({ length: 500 }, (_, i) => [frameTo(deaf, from + i), frameTo(other, from + i)]).flat());
    };
    both(0);
    run(deaf);
    expect(got.length).toBeLessThan(RING);
    for (; got.length < 500; run(deaf)) rig.core.clock.ns = rig.worker.deadline()!;
    expect(rig.core.clock.ns).toBeGreaterThan(began);
    expect(rig.core.clock.ns - began).toBeLessThanOrEqual(RING * 40e3);
    // Those after that are lost, as all for a guest without room.
    expect(rig.statsOf(deaf)!.stats).toMatchObject({ rxFrames: RING, rxDropped: 500 - RING });
    both(500);
    run(deaf);
    expect(got).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(rig.statsOf(deaf)!.stats).toMatchObject({ rxFrames: RING, rxDropped: 1000 - RING });
  });
  it('act 24: holds it up for 20 ms at most, however much that guest took before', async () => {
    const [deaf, other] = [await rig.guest(), await rig.guest()];
    const got = numbers(other);
    connect();
    send(...Array.from({ length: 5000 }, (_, i) => frameTo(deaf, i)));
    run();
    const began = rig.core.clock.ns;
    send(...Array.from({ length: 230 }, (_, i) => frameTo(deaf, i)), frameTo(other, 1));
    run(deaf);
    expect(got).toEqual([]);
    expect(rig.worker.deadline()).toBe(began + 20e6);
  });
  it('holds nothing up for longer than the guest has earned by what it took: 40 us for each page', async () => {
    const [slow, other] = [await rig.guest(), await rig.guest()];
    const got = numbers(other);
    connect();
    const began = rig.core.clock.ns;
    send(...Array.from({ length: 3000 }, (_, i) => [frameTo(slow, i), frameTo(other, i)]).flat());
    // It takes its frames when it is too late each time.
    for (run(slow); got.length < 3000; run(slow)) {
      rig.core.clock.ns = rig.worker.deadline()!;
      rig.step();
      rig.settle(slow);
    }
    expect(rig.core.clock.ns - began).toBeLessThanOrEqual(rig.statsOf(slow)!.stats.rxFrames * 40e3);
  });
  it('goes on at once when that guest is no more', async () => {
    const [deaf, other] = [await rig.guest(), await rig.guest()];
    const got = numbers(other);
    connect();
    send(...Array.from({ length: 500 }, (_, i) => [frameTo(deaf, i), frameTo(other, i)]).flat());
    run(deaf);
    expect(got.length).toBeLessThan(RING);
    rig.destroy(deaf);
    await rig.until(() => rig.statsOf({ domid: deaf.domid }) === undefined);
    run();
    expect(got).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });
  it('lets its thread sleep meanwhile, at whichever frame of a turn it is held up', async () => {
    const guest = await rig.guest();
    connect();
    for (let before = 0; before < TURN_FRAMES; before++) {
      for (const count of [before, 2 * RING]) {
        send(...Array.from({ length: count }, (_, i) => frameTo(guest, i)));
        run(guest); // falls silent
      }
      expect(rig.worker.deadline()).toBeDefined();
      run();
    }
  });
  it('ends with its peer, and the next one is served', async () => {
    const guest = await rig.guest();
    const got = numbers(guest);
    connect();
    send(...Array.from({ length: 300 }, (_, i) => frameTo(guest, i)));
    run(guest);
    peer.close();
    unsent = new Uint8Array(0);
    run();
    rig.core.clock.ns += 1e9;
    run();
    peer = StreamPeer.connect(join(dir, 'p.sock'))!;
    rig.settle();
    send(frameTo(guest, 9000));
    run();
    expect(got.at(-1)).toBe(9000);
  });
});
