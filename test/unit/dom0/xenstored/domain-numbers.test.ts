// A domain's number is given to another one some time after its end. Nothing may come with it.
import { describe, expect, test } from 'vitest';
import {
  domid,
  XS_ERROR,
  XS_GET_PERMS,
  XS_READ,
  XS_RELEASE,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
} from '#pvbus';
import { XS_GET_FEATURE, XS_GET_QUOTA, XS_SET_FEATURE, XS_SET_QUOTA } from '../../../../dom0/xenstored/newer-wire.ts';
import { usageOf } from '../../../../dom0/xenstored/store.ts';
import { wrongIn } from '../../../../dom0/xenstored/tree-check.ts';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { type RigClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

function ask(client: RigClient, type: number, payload: string, tx = 0): string {
  client.send(type, payload, tx);
  const reply = client.take().find(frame => frame.type !== XS_WATCH_EVENT);
  return `${reply?.type === XS_ERROR ? '!' : ''}${reply?.payload.toString('latin1').replace(/\0$/, '')}`;
}

/** How a domain comes to its end. */
const ends: readonly [string, (rig: XenstoreRig, dom0: RigClient) => void][] = [
  ['that dies', rig => rig.door.destroy(3)],
  [
    'that is released, and then dies',
    (rig, dom0) => {
      expect(ask(dom0, XS_RELEASE, '3\0')).toBe('OK');
      rig.door.destroy(3);
    },
  ],
  [
    'that dies, and is released before anybody says so',
    (rig, dom0) => {
      rig.door.vanish(3);
      expect(ask(dom0, XS_RELEASE, '3\0')).toBe('OK');
    },
  ],
];

describe.each(ends)('of a domain %s the next one of its number', (_, end) => {
  test('has no watch, node, right, target, quota, feature, transaction or event', () => {
    const rig = new XenstoreRig();
    const dom0 = rig.dom0();
    for (const [type, payload] of [
      [XS_SET_FEATURE, '3\x001\0'],
      [XS_SET_QUOTA, '3\0nodes\x005\0'],
      [XS_WRITE, '/local/domain/3\0'],
      [XS_SET_PERMS, '/local/domain/3\0n3\0'],
      [XS_WRITE, '/for3\0secret'],
      [XS_SET_PERMS, '/for3\0n0\0r3\0b5\0'],
      [XS_SET_PERMS, '@releaseDomain\0n0\0r3\0r5\0'],
      [XS_SET_PERMS, '@releaseDomain/3\0n5\0'],
      [XS_SET_PERMS, '@introduceDomain/5\0n0\0r3\0'],
    ] as const) {
      expect(ask(dom0, type, payload), payload).toBe('OK');
    }
    const one = rig.domain(3);
    const five = rig.domain(5);
    expect(ask(dom0, XS_SET_TARGET, '3\x005\0')).toBe('OK');
    expect(ask(dom0, XS_SET_TARGET, '5\x003\0')).toBe('OK');
    ask(one, XS_WRITE, 'a\0b');
    ask(one, XS_SET_PERMS, 'a\0n3\0r5\0');
    ask(one, XS_WATCH, '@releaseDomain\0w\0');
    ask(one, XS_WATCH, '/for3\0w\0');
    const tx = Number(ask(one, XS_TRANSACTION_START, '\0'));
    expect(ask(five, XS_READ, '/local/domain/3/a\0')).toBe('b');
    end(rig, dom0);
    expect(rig.server.store.tree.root.below).not.toContainEqual(expect.objectContaining({ domid: 3 }));
    expect(wrongIn(rig.server.store.tree)).toBeUndefined();

    const next = rig.domain(3);
    // Told to the old one, had it lived.
    ask(dom0, XS_WRITE, '/for3\0secret again');
    rig.door.destroy(9);
    expect(next.take()).toEqual([]);
    expect(ask(next, XS_READ, '/for3\0')).toBe('!EACCES');
    expect(ask(next, XS_READ, 'a\0')).toBe('!EACCES');
    expect(ask(next, XS_READ, 'a\0', tx)).toBe('!ENOENT');
    expect(ask(dom0, XS_READ, '/local/domain/3\0')).toBe('!ENOENT');
    expect(ask(dom0, XS_GET_PERMS, '/for3\0')).toBe('n0\0b5');
    expect(ask(dom0, XS_GET_PERMS, '@releaseDomain\0')).toBe('n0\0r5');
    expect(ask(dom0, XS_GET_PERMS, '@releaseDomain/3\0')).toBe('n0\0r5');
    expect(ask(dom0, XS_GET_PERMS, '@introduceDomain/5\0')).toBe('n0');
    expect(ask(dom0, XS_GET_QUOTA, '3\0nodes\0')).toBe('1000');
    expect(ask(dom0, XS_GET_FEATURE, '3\0')).toBe('15');
    expect(rig.server.domains.get(domid(3)).connection.actor.target).toBeUndefined();
    expect(rig.server.domains.get(domid(5)).connection.actor.target).toBeUndefined();
    // What dom5 may see was for dom5; the rights it had of dom3 are gone.
    ask(dom0, XS_WRITE, '/of3\0x');
    ask(dom0, XS_SET_PERMS, '/of3\0n3\0');
    expect(ask(five, XS_READ, '/of3\0')).toBe('!EACCES');
    expect(ask(five, XS_READ, '/for3\0')).toBe('secret again');
  });
});

test('what was prepared for a domain that never came goes when another domain ends', () => {
  const rig = new XenstoreRig();
  const dom0 = rig.dom0();
  rig.domain(5);
  ask(dom0, XS_SET_QUOTA, '4\0nodes\x005\0');
  ask(dom0, XS_SET_FEATURE, '4\x001\0');
  rig.door.create(6);
  ask(dom0, XS_SET_QUOTA, '6\0nodes\x006\0');
  rig.door.destroy(5);
  expect(ask(dom0, XS_GET_QUOTA, '4\0nodes\0')).toBe('1000');
  expect(ask(dom0, XS_GET_FEATURE, '4\0')).toBe('15');
  // dom6 is there, and about to be introduced.
  expect(ask(dom0, XS_GET_QUOTA, '6\0nodes\0')).toBe('6');
});

describe('a domain that is in many places of the store when it dies', () => {
  /** 500 nodes of its own, each with one of dom0's below, so that none can simply go. */
  function crowd(disk?: MemoryDisk): { rig: XenstoreRig; dom0: RigClient } {
    const rig = new XenstoreRig(disk);
    const dom0 = rig.dom0();
    rig.domain(3);
    for (let i = 0; i < 500; i++) {
      ask(dom0, XS_WRITE, `/shared/${i % 20}/${i}/of-dom0\0`);
      ask(dom0, XS_SET_PERMS, `/shared/${i % 20}/${i}\0n3\0`);
    }
    return { rig, dom0 };
  }
  const left = (rig: XenstoreRig): number => usageOf(rig.server.store.tree, 3).nodes;

  test('goes a little in each turn, so that others are served meanwhile', () => {
    const { rig, dom0 } = crowd();
    rig.door.destroy(3);
    for (let before = 500; before > 0; ) {
      expect(before - left(rig)).toBeLessThanOrEqual(50);
      expect(rig.server.hasWork).toBe(true);
      before = left(rig);
      dom0.send(XS_WRITE, '/tool\0x');
      rig.server.step();
      if (left(rig) === 0) break;
    }
    rig.run();
    expect(left(rig)).toBe(0);
    expect(rig.server.hasWork).toBe(false);
    expect(dom0.take().every(frame => frame.type === XS_WRITE)).toBe(true);
    expect(ask(dom0, XS_GET_PERMS, '/shared/7/7\0')).toBe('n0');
  });

  test('is gone altogether before another one of its number is there', () => {
    const { rig } = crowd();
    rig.door.destroy(3);
    expect(left(rig)).toBeGreaterThan(0);
    const next = rig.domain(3);
    expect(left(rig)).toBe(0);
    expect(ask(next, XS_READ, '/shared/7/7\0')).toBe('!EACCES');
    // And what that one has stays.
    const dom0 = rig.dom0();
    ask(dom0, XS_SET_PERMS, '/shared/7/7\0n3\0');
    rig.run();
    expect(ask(next, XS_READ, '/shared/7/7\0')).toBe('');
  });

  test('goes on going when the daemon is another one', () => {
    const { rig } = crowd(new MemoryDisk());
    rig.door.destroy(3);
    rig.server.step();
    const before = left(rig);
    expect(before).toBeGreaterThan(0);
    rig.restart();
    expect(left(rig)).toBeLessThanOrEqual(before);
    rig.run();
    expect(left(rig)).toBe(0);
    expect(wrongIn(rig.server.store.tree)).toBeUndefined();
  });
});
