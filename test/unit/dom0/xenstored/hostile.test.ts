// What a client may do to the daemon, and that it is the only one to notice. Numbers: the acts of the
// project's list of hostile acts.

import { describe, expect, test } from 'vitest';
import {
  domid,
  gfn,
  port,
  requestReconnect,
  XENSTORE_ERROR_COMM,
  XENSTORE_ERROR_NONE,
  XENSTORE_ERROR_PROTO,
  XENSTORE_ERROR_RINGIDX,
  XS_DIRECTORY,
  XS_ERROR,
  XS_READ,
  XS_RELEASE,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  xenstore_domain_interface,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import { usageOf } from '../../../../dom0/xenstored/store.ts';
import fc from '../../../support/properties.ts';
import { DomainClient, type RigClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

const AT = xenstore_domain_interface.at;

/** A host with a guest that has a home and a bystander that must never notice anything. */
function host(): { rig: XenstoreRig; guest: DomainClient; bystander: DomainClient; dom0: RigClient } {
  const rig = new XenstoreRig();
  const dom0 = rig.dom0();
  for (const id of [3, 5]) {
    dom0.send(XS_WRITE, `/local/domain/${id}\0`);
    dom0.send(XS_SET_PERMS, `/local/domain/${id}\0n${id}\0`);
  }
  const [guest, bystander] = [rig.domain(3), rig.domain(5)];
  bystander.send(XS_WRITE, 'key\0value');
  bystander.take();
  dom0.take();
  return { rig, guest, bystander, dom0 };
}

function servesOthers(rig: XenstoreRig, ...others: RigClient[]): void {
  for (const other of others) {
    other.send(XS_READ, '/local/domain/5/key\0');
    expect(other.next()?.payload.toString()).toBe('value');
  }
  expect(rig.server.check()).toBeUndefined();
  expect(rig.log.lines.filter(line => line.startsWith('error'))).toEqual([]);
}

const word = (client: DomainClient, at: number): number => client.page.view.getUint32(at, true);

describe('input of every kind', () => {
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc
      .array(fc.constantFrom('', '/', '/tool', 'data', '@releaseDomain', '3', '5', 'T', 'n3', 'b5', '\xff', 'a/b'), {
        maxLength: 4,
      })
      .map(parts => Buffer.from(parts.map(p => `${p}\0`).join(''), 'latin1')),
  );
  const frame = fc
    .record({
      type: fc.oneof(fc.nat(30), fc.constant(0xffffffff)),
      tx: fc.oneof(fc.nat(3), fc.constant(0xffffffff)),
      payload,
    })
    .map(({ type, tx, payload }) => xenstoreFrame(type, 7, tx, payload));

  test('is answered, request by request, and harms nobody else', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 60, size: 'max' }), frames => {
        const { rig, guest, bystander, dom0 } = host();
        const hostileSocket = rig.dom0();
        for (const client of [guest, hostileSocket]) {
          let replies = 0;
          for (const bytes of frames) {
            client.raw(bytes);
            replies += client.take().filter(f => f.type !== XS_WATCH_EVENT).length;
          }
          // A guest that was released (by the other client) is not served any more; all else is answered.
          if (rig.server.domains.has(domid(3))) expect(replies).toBe(frames.length);
        }
        // dom0 may do anything to anybody, so only the guest's doing can be held against the daemon here.
        expect(rig.server.check()).toBeUndefined();
        expect(rig.log.lines.filter(line => line.startsWith('error'))).toEqual([]);
        dom0.send(XS_DIRECTORY, '/\0');
        expect(dom0.take().at(-1)?.type).toBe(XS_DIRECTORY);
        bystander.take();
      }),
      { numRuns: 150 },
    );
  });

  test('from a guest, even as bytes without any form, costs the guest its ring at most', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), chunks => {
        const { rig, guest, bystander, dom0 } = host();
        for (const chunk of chunks) guest.raw(chunk);
        guest.collect();
        servesOthers(rig, bystander, dom0);
      }),
    );
  });

  test('split at every byte means the same as in one piece', () => {
    const { guest } = host();
    const bytes = Buffer.concat([
      xenstoreFrame(XS_WRITE, 1, 0, Buffer.from('k\0v')),
      xenstoreFrame(XS_READ, 2, 0, Buffer.from('k\0')),
    ]);
    for (let cut = 1; cut < bytes.length; cut++) {
      guest.raw(bytes.subarray(0, cut));
      guest.raw(bytes.subarray(cut));
      expect(guest.take().map(f => `${f.req_id} ${f.payload}`)).toEqual(['1 OK\0', '2 v']);
    }
  });
});

describe('a ring', () => {
  test.each([4097, 2 ** 31, 2 ** 32 - 1])('whose message claims %i bytes is marked and ignored (act 57)', len => {
    const { rig, guest, bystander, dom0 } = host();
    const bytes = xenstoreFrame(XS_READ, 1, 0, new Uint8Array(0));
    new DataView(bytes.buffer).setUint32(12, len, true);
    guest.raw(bytes);
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_PROTO);
    guest.send(XS_READ, 'k\0');
    expect(guest.take()).toEqual([]);
    servesOthers(rig, bystander, dom0);
    expect(rig.log.lines.filter(line => line.includes('dom3') && line.includes('error 3'))).toHaveLength(1);
  });

  test.each([
    ['req_prod', 1025],
    ['req_prod', 2 ** 31],
    ['rsp_cons', 1],
    ['rsp_cons', 2 ** 31],
  ] as const)('whose %s is moved by %i is marked and ignored (act 58)', (index, by) => {
    const { rig, guest, bystander, dom0 } = host();
    guest.page.view.setUint32(AT[index], (word(guest, AT[index]) + by) >>> 0, true);
    rig.door.fromDomain(3);
    rig.run();
    // A lie in rsp_cons shows when there is something to say.
    dom0.send(XS_WRITE, '/local/domain/3/x\0');
    dom0.take();
    if (index === 'rsp_cons') guest.send(XS_READ, 'k\0');
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_RINGIDX);
    servesOthers(rig, bystander, dom0);
  });

  test('that was marked can be reset by its domain, and has nothing of before', () => {
    const { rig, guest, bystander, dom0 } = host();
    guest.send(XS_WATCH, 'x\0t\0');
    guest.take();
    guest.raw(Buffer.alloc(16, 0xff));
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_PROTO);
    const notified = rig.door.domains.get(domid(3))?.notified ?? 0;
    requestReconnect(guest.page, () => rig.door.fromDomain(3));
    rig.run();
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_NONE);
    expect(word(guest, AT.connection)).toBe(0);
    expect(rig.door.domains.get(domid(3))?.notified).toBe(notified + 1);
    dom0.send(XS_WRITE, '/local/domain/3/x\0');
    dom0.take();
    guest.send(XS_READ, 'x\0');
    expect(guest.take().map(f => f.type)).toEqual([XS_READ]);
    servesOthers(rig, bystander, dom0);
  });

  test('may begin anywhere: its indices wrap at 2^32', () => {
    const rig = new XenstoreRig();
    const { page } = rig.door.create(3);
    for (const at of [AT.req_cons, AT.req_prod, AT.rsp_cons, AT.rsp_prod]) page.view.setUint32(at, 0xfffffff0, true);
    rig.server.domains.introduce(domid(3), gfn(1000), port(1));
    const guest = new DomainClient(rig, 3, page);
    for (let i = 0; i < 100; i++) {
      guest.send(XS_READ, '/x\0');
      expect(guest.next()?.payload.toString()).toBe('EACCES\0');
    }
  });

  test('breaking and mending its ring for ever fills no log', () => {
    const { rig, guest } = host();
    for (let i = 0; i < 1000; i++) {
      guest.raw(Buffer.alloc(16, 0xff));
      requestReconnect(guest.page, () => rig.door.fromDomain(3));
      rig.run();
    }
    expect(rig.log.lines.length).toBeLessThan(20);
  });
});

describe('a client that does not read', () => {
  test('is not served further once 20 replies wait, and all the others are (act 64)', () => {
    const { rig, guest, bystander, dom0 } = host();
    const { writer } = xenstoreRing(guest.page, 'front');
    const request = xenstoreFrame(XS_READ, 1, 0, Buffer.from('/local/domain/3\0'));
    let sent = 0;
    for (let i = 0; i < 1001; i++) {
      if (writer.writable() < request.length) break;
      writer.write(request);
      sent++;
      rig.door.fromDomain(3);
      rig.run();
    }
    // The reply ring holds 64 empty replies, 20 wait in the daemon, and the request ring is full.
    expect(sent).toBeLessThan(64 + 20 + 1024 / request.length + 64);
    servesOthers(rig, bystander, dom0);
    // Once it reads, it gets an answer to each request it made.
    let replies = 0;
    for (let got = guest.take(); got.length > 0; got = guest.take()) replies += got.length;
    expect(replies).toBe(sent);
  });

  test('costs bounded memory for its watch events, and is cut off after 20 seconds (act 65)', () => {
    const { rig, guest, bystander, dom0 } = host();
    guest.send(XS_WATCH, 'data\0t\0');
    guest.take();
    for (let i = 0; i < 5000; i++) dom0.send(XS_WRITE, `/local/domain/3/data/${i % 500}\0`);
    dom0.take();
    rig.clock.advance(19e9);
    rig.server.checkStalled();
    rig.run();
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_NONE);
    rig.clock.advance(2e9);
    rig.server.checkStalled();
    rig.run();
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_COMM);
    expect(rig.log.lines.some(line => line.includes('dom3') && line.includes('20 s'))).toBe(true);
    servesOthers(rig, bystander, dom0);
  });

  test('but slowly takes one byte now and then is not cut off', () => {
    const { rig, guest, dom0 } = host();
    guest.send(XS_WATCH, 'data\0t\0');
    guest.take();
    for (let i = 0; i < 500; i++) dom0.send(XS_WRITE, `/local/domain/3/data/${i}\0`);
    const { reader } = xenstoreRing(guest.page, 'front');
    for (let i = 0; i < 60; i++) {
      reader.read(new Uint8Array(1));
      rig.door.fromDomain(3);
      rig.run();
      rig.clock.advance(1e9);
      rig.server.checkStalled();
      rig.run();
    }
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_NONE);
  });

  test('of dom0 is cut off too, and holds up no writer', () => {
    const rig = new XenstoreRig();
    const [deaf, dom0] = [rig.dom0(), rig.dom0()];
    deaf.send(XS_WATCH, '/\0t\0');
    for (let i = 0; i < 1000; i++) {
      dom0.send(XS_WRITE, `/x/${i % 10}\0`);
      expect(dom0.next()?.type).toBe(XS_WRITE);
    }
    expect(deaf.connection.output.bytes).toBeLessThan(1000);
    rig.clock.advance(21e9);
    rig.server.checkStalled();
    expect(deaf.connection.broken).toMatch(/read nothing/);
  });

  test('of huge events is cut off at its memory quota', () => {
    const { rig, guest, bystander, dom0 } = host();
    guest.send(XS_WATCH, `data\0${'t'.repeat(3000)}\0`);
    guest.take();
    for (let i = 0; i < 2000; i++) dom0.send(XS_WRITE, `/local/domain/3/data/${i}\0`);
    dom0.take();
    rig.run();
    expect(word(guest, AT.error)).toBe(XENSTORE_ERROR_COMM);
    servesOthers(rig, bystander, dom0);
  });
});

describe('a guest', () => {
  test('has 1000 nodes, 128 watches and 10 transactions, and no more (act 63)', () => {
    const { rig, guest, bystander, dom0 } = host();
    const ok = (type: number, payload: (i: number) => string, tries: number): number => {
      let n = 0;
      for (let i = 0; i < tries; i++) {
        guest.send(type, payload(i));
        const frames = guest.take();
        if (frames.some(f => f.type === type)) n++;
        else expect(frames.map(f => f.payload.toString())).toEqual(['ENOSPC\0']);
      }
      return n;
    };
    expect(ok(XS_WATCH, i => `w${i}\0t\0`, 1000)).toBe(128);
    expect(ok(XS_TRANSACTION_START, () => '\0', 100)).toBe(10);
    // Its home and ten directories of a hundred; a directory may not list more than 2048 bytes of names.
    expect(ok(XS_WRITE, i => `d${Math.floor(i / 100)}/${i}\0`, 1100)).toBe(1000 - 1 - 10);
    servesOthers(rig, bystander, dom0);
  });

  test('is named when it meets a quota first, and at every doubling (act 63)', () => {
    const { rig, guest } = host();
    for (let i = 0; i < 128 + 5; i++) guest.send(XS_WATCH, `w${i}\0t\0`);
    for (let i = 0; i < 11; i++) guest.send(XS_TRANSACTION_START, '\0');
    guest.collect();
    const refusals = rig.log.lines.filter(line => line.includes('refused'));
    expect(refusals).toEqual([
      'warning: dom3: XS_WATCH refused: ENOSPC: its quota of watches is 128; 1 such refusal so far',
      'warning: dom3: XS_WATCH refused: ENOSPC: its quota of watches is 128; 2 such refusals so far',
      'warning: dom3: XS_WATCH refused: ENOSPC: its quota of watches is 128; 4 such refusals so far',
      'warning: dom3: XS_TRANSACTION_START refused: ENOSPC: its quota of transactions is 10; 1 such refusal so far',
    ]);
  });

  test('is named when it goes on asking for what it may not have, not for what is not there (acts 59 to 61)', () => {
    const { rig, guest, dom0 } = host();
    const ask = (client: RigClient, times: number): void => {
      for (let i = 0; i < times; i++) {
        client.send(XS_WRITE, '/\0x');
        client.send(XS_READ, '/local/domain/3/none\0');
        client.take();
      }
    };
    ask(dom0, 100);
    ask(guest, 63);
    const refusals = (): string[] => rig.log.lines.filter(line => line.includes('refused'));
    expect(refusals()).toEqual([]);
    ask(guest, 64);
    expect(refusals()).toEqual(['warning: dom3: XS_WRITE refused: EACCES; 64 such refusals so far']);
    // The next domain of the number has no home yet, and may not read there either.
    rig.door.destroy(3);
    ask(rig.domain(3), 31);
    expect(refusals()).toHaveLength(1);
  });

  test('may make a tree as deep as a path can be, and dom0 can remove it (act 66)', () => {
    const { rig, guest, bystander, dom0 } = host();
    dom0.send(XS_WATCH, `/local/domain/3${'/d'.repeat(900)}\0t\0`);
    dom0.take();
    guest.send(XS_WRITE, `${'d/'.repeat(998)}d\0x`);
    expect(guest.next()?.payload.toString()).toBe('OK\0');
    dom0.take();
    dom0.send(XS_RM, '/local/domain/3\0');
    expect(dom0.take().map(f => f.type)).toEqual([XS_WATCH_EVENT, XS_RM]);
    servesOthers(rig, bystander, dom0);
  });

  test('that dies in the middle of a message leaves nothing', () => {
    const { rig, guest, bystander, dom0 } = host();
    guest.send(XS_WATCH, 'a\0t\0');
    guest.send(XS_TRANSACTION_START, '\0');
    guest.raw(xenstoreFrame(XS_WRITE, 1, 0, Buffer.from('k\0value')).subarray(0, 20));
    rig.door.destroy(3);
    expect(rig.door.mapped.has(domid(3))).toBe(false);
    expect(rig.door.bound.size).toBe(1); // the bystander's
    expect(usageOf(rig.server.store.tree, 3)).toEqual({ domid: 3, nodes: 0, bytes: 0, named: 0 });
    servesOthers(rig, bystander, dom0);
  });

  test('that vanishes before the daemon is told costs it nothing but that guest', () => {
    const { rig, guest, bystander, dom0 } = host();
    guest.send(XS_WATCH, 'x\0t\0');
    guest.take();
    rig.door.vanish(3);
    guest.send(XS_READ, 'x\0');
    dom0.send(XS_WRITE, '/local/domain/3/x\0');
    dom0.take();
    servesOthers(rig, bystander, dom0);
    rig.door.destroy(3);
    servesOthers(rig, bystander, dom0);
  });

  test('that is released by its own toolstack while it has a request under way harms nobody (act 68)', () => {
    const { rig, guest, bystander, dom0 } = host();
    const { writer } = xenstoreRing(guest.page, 'front');
    writer.write(xenstoreFrame(XS_READ, 1, 0, Buffer.from('k\0')));
    rig.door.fromDomain(3);
    dom0.send(XS_RELEASE, '3\0');
    expect(dom0.next()?.payload.toString()).toBe('OK\0');
    rig.run();
    expect(guest.take()).toEqual([]);
    servesOthers(rig, bystander, dom0);
  });

  // Xen: XSA-324
  test('whose watch token leaves no room for a path gets no event rather than a frame that is too long', () => {
    const { guest, dom0 } = host();
    guest.send(XS_WATCH, `d\0${'t'.repeat(4090)}\0`);
    const [reply, event] = guest.take();
    expect(reply?.type).toBe(XS_WATCH);
    expect(event?.payload.length).toBe(2 + 4091);
    dom0.send(XS_WRITE, `/local/domain/3/d/${'x'.repeat(100)}\0`);
    expect(guest.take()).toEqual([]);
  });

  test('is told an error for a reply that would not fit a frame', () => {
    const { dom0 } = host();
    for (let i = 0; i < 100; i++) dom0.send(XS_WRITE, `/d/${'n'.repeat(50)}${i}\0`);
    dom0.take();
    dom0.send(XS_DIRECTORY, '/d\0');
    const reply = dom0.next();
    expect([reply?.type, reply?.payload.toString()]).toEqual([XS_ERROR, 'E2BIG\0']);
  });
});
