// A daemon that is killed, and its successor: what was answered has happened, once, and nobody is answered twice.

import { describe, expect, it } from 'vitest';
import {
  domid,
  type Page,
  XENSTORE_RECONNECT,
  XenstoreFrameReader,
  XS_CONTROL,
  XS_DIRECTORY,
  XS_ERROR,
  XS_INTRODUCE,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  xenstore_domain_interface,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import { Batch } from '../../../../dom0/journal-file.ts';
import { walk } from '../../../../dom0/xenstored/store.ts';
import { Killed, MemoryDisk } from '../../../support/memory-journal.ts';
import fc from '../../../support/properties.ts';
import { DomainClient, type RigClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

const CONNECTION = xenstore_domain_interface.at.connection / 4;

/** Everything that has to outlive a daemon, as plain data. Watches of sockets are numbered too. */
function whole({ server }: XenstoreRig): unknown {
  const { nextWatch: _, domains, ...state } = server.state();
  return plain({
    ...state,
    domains: domains.map(({ client: { watches, ...client }, ...domain }) => {
      return { ...domain, ...client, watches: watches.map(({ nr, ...watch }) => watch) };
    }),
    nodes: [...walk(server.store.tree.root, '/')].map(([path, node]) => {
      const { value, perms, generation, namesGeneration, count, below } = node;
      return [path, Buffer.from(value).toString('latin1'), perms, generation, namesGeneration, count, below];
    }),
    check: server.check() ?? 'good',
  });
}

/** The same with bytes as text. */
function plain(data: unknown): unknown {
  if (data instanceof Uint8Array) return Buffer.from(data).toString('latin1');
  if (Array.isArray(data)) return data.map(plain);
  if (typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(
    Object.entries(data)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => [k, plain(v)]),
  );
}

/** A host with two domains, each with a directory of its own that both may write. */
function office(): { rig: XenstoreRig; disk: MemoryDisk; domains: DomainClient[] } {
  const disk = new MemoryDisk();
  const rig = new XenstoreRig(disk);
  const dom0 = rig.dom0();
  const domains = [1, 2].map(id => {
    const { page } = rig.door.create(id);
    ask(dom0, XS_INTRODUCE, `${id}\x001000\x001\0`);
    ask(dom0, XS_MKDIR, `/local/domain/${id}\0`);
    ask(dom0, XS_SET_PERMS, `/local/domain/${id}\0b${id}\0`);
    return new DomainClient(rig, id, page);
  });
  return { rig, disk, domains };
}

function ask(client: RigClient, type: number, payload: string, tx_id = 0): string {
  const id = client.send(type, payload, tx_id);
  for (;;) {
    const frame = client.next();
    if (!frame) throw new Error(`no answer to ${type} ${payload}`);
    if (frame.type === XS_WATCH_EVENT) continue;
    expect(frame.req_id).toBe(id);
    return `${frame.type === XS_ERROR ? '!' : ''}${frame.payload.toString('latin1').replace(/\0$/, '')}`;
  }
}

/** What has happened so far is in the journal's snapshot from then on. */
async function writtenAnew(rig: XenstoreRig, disk: MemoryDisk): Promise<void> {
  const dom0 = rig.dom0();
  for (const before = disk.file; disk.file === before; ) {
    ask(dom0, XS_WRITE, `/filler\0${'x'.repeat(2000)}`);
    rig.run();
    await new Promise(resolve => setImmediate(resolve));
  }
}

describe('the successor of a daemon that ended between two turns', () => {
  it('has the tree, the watches, the open transactions and the replies that nobody has taken', () => {
    const { rig, domains } = office();
    const [one, two] = domains as [DomainClient, DomainClient];
    const dom0 = rig.dom0();
    expect(ask(one, XS_WRITE, 'name\0first')).toBe('OK');
    expect(ask(one, XS_WATCH, '/local/domain/2\0tok\0')).toBe('OK');
    one.take();
    const tx = Number(ask(one, XS_TRANSACTION_START, '\0'));
    ask(one, XS_WRITE, 'inside\x00tx', tx);
    expect(ask(one, XS_READ, 'name\0', tx)).toBe('first');
    ask(dom0, XS_WRITE, '/local/domain/1/name\0second');
    ask(two, XS_WRITE, '/local/domain/2/a\0b');
    two.send(XS_READ, '/local/domain/2/a\0');
    rig.run();
    const before = whole(rig);

    rig.restart();
    rig.run();
    expect(whole(rig)).toEqual(before);
    // It has seen `name` before that was changed.
    expect(ask(one, XS_READ, 'name\0', tx)).toBe('first');
    expect(ask(one, XS_TRANSACTION_END, 'T\0', tx)).toBe('!EAGAIN');
    expect(two.take().map(frame => frame.payload.toString())).toEqual(['b']);
    ask(two, XS_WRITE, '/local/domain/2/a\0c');
    expect(one.take().map(frame => frame.payload.toString())).toContain('/local/domain/2/a\0tok\0');
  });

  it('counts on in its faults: of rings always, of sockets from what was kept', () => {
    const { rig, domains } = office();
    const [one] = domains as [DomainClient];
    const fault = { name: 'f', part: 'xenstore', op: 'read', nth: 100, error: 'EIO' };
    const planted = JSON.stringify({ plan: 'p', seed: 1, startedNs: 0, fault });
    let dom0 = rig.dom0();
    const seen = (): number => JSON.parse(ask(dom0, XS_CONTROL, 'fault\0show\0p@f\0')).seen;
    const restart = (): void => {
      rig.restart();
      rig.run();
      dom0 = rig.dom0();
    };
    ask(dom0, XS_CONTROL, `fault\0add\0${planted}\0`);
    for (const client of [dom0, one, dom0, one, dom0]) ask(client, XS_READ, '/local\0');
    expect(seen()).toBe(5);
    expect(ask(dom0, XS_CONTROL, 'fault\0keep\0')).toBe('OK');
    restart();
    expect(seen()).toBe(5);
    for (const client of [dom0, one]) ask(client, XS_READ, '/local\0');
    restart();
    expect(seen()).toBe(6);
  });

  it.each([
    ['since its snapshot', false],
    ['in its snapshot', true],
  ])(
    'fault 17: has 128 watches of each of 50 domains, set %s, which fire without anybody connecting anew',
    async (_, old) => {
      const disk = new MemoryDisk();
      const rig = new XenstoreRig(disk);
      const dom0 = rig.dom0();
      const [DOMAINS, WATCHES] = [50, 128];
      const guests = Array.from({ length: DOMAINS }, (_, i) => {
        const { page } = rig.door.create(i + 1);
        ask(dom0, XS_INTRODUCE, `${i + 1}\x001000\x001\0`);
        const guest = new DomainClient(rig, i + 1, page);
        for (let w = 0; w < WATCHES; w++) expect(ask(guest, XS_WATCH, `/shared/${w}\0${w}\0`)).toBe('OK');
        guest.take();
        return guest;
      });
      ask(dom0, XS_WRITE, '/shared\0');
      ask(dom0, XS_SET_PERMS, '/shared\0r0\0');
      for (const guest of guests) guest.take();
      if (old) await writtenAnew(rig, disk);
      const before = whole(rig);
      rig.restart();
      expect(whole(rig)).toEqual(before);
      const again = rig.dom0();
      for (const w of [0, 63, 127]) {
        ask(again, XS_WRITE, `/shared/${w}\0x`);
        ask(again, XS_SET_PERMS, `/shared/${w}\0r0\0`);
      }
      for (const guest of guests) {
        const told = guest.take().map(frame => frame.payload.toString());
        expect(new Set(told)).toEqual(new Set([0, 63, 127].map(w => `/shared/${w}\0${w}\0`)));
      }
    },
  );

  it('does not know what a socket has done in a transaction that it has not ended', () => {
    const { rig } = office();
    const dom0 = rig.dom0();
    const open = Number(ask(dom0, XS_TRANSACTION_START, '\0'));
    ask(dom0, XS_WRITE, '/a\0lost', open);
    const done = Number(ask(dom0, XS_TRANSACTION_START, '\0'));
    ask(dom0, XS_WRITE, '/b\0kept', done);
    ask(dom0, XS_WRITE, '/c/d\0kept', done);
    expect(ask(dom0, XS_TRANSACTION_END, 'T\0', done)).toBe('OK');
    rig.restart();
    const again = rig.dom0();
    expect(ask(again, XS_READ, '/a\0')).toBe('!ENOENT');
    expect(ask(again, XS_READ, '/b\0')).toBe('kept');
    expect(ask(again, XS_READ, '/c/d\0')).toBe('kept');
  });

  it('tells of a domain that died while nobody was there', () => {
    const { rig, domains } = office();
    ask(domains[0]!, XS_WRITE, 'mine\0x');
    rig.door.vanish(1);
    rig.restart();
    rig.run();
    const dom0 = rig.dom0();
    expect(ask(dom0, XS_READ, '/local/domain/1/mine\0')).toBe('!ENOENT');
    expect(rig.log.lines).toContain('dom1 is gone');
  });

  it('goes on taking out what a released domain owned, and leaves it what it is given later', () => {
    const { rig, domains } = office();
    const dom0 = rig.dom0();
    for (let i = 0; i < 120; i++) ask(domains[0]!, XS_WRITE, `/local/domain/2/${i}\0x`);
    dom0.send(XS_RELEASE, '1\0');
    const before = whole(rig);
    expect(before).toMatchObject({ leaving: [1], released: [1] });
    rig.restart();
    expect(whole(rig)).toEqual(before);
    rig.run();
    const again = rig.dom0();
    expect(ask(again, XS_DIRECTORY, '/local/domain/2\0')).toBe('');
    expect(ask(again, XS_READ, '/local/domain/1\0')).toBe('!ENOENT');
    ask(again, XS_MKDIR, '/late\0');
    ask(again, XS_SET_PERMS, '/late\0n1\0');
    rig.restart();
    rig.run();
    expect(ask(rig.dom0(), XS_READ, '/late\0')).toBe('');
    rig.door.vanish(1);
    rig.server.domains.check();
    expect(ask(rig.dom0(), XS_READ, '/late\0')).toBe('!ENOENT');
    expect(whole(rig)).toMatchObject({ leaving: [], released: [] });
  });

  it('knows the target that a domain was given within a transaction', () => {
    const { rig } = office();
    const dom0 = rig.dom0();
    const tx = Number(ask(dom0, XS_TRANSACTION_START, '\0'));
    expect(ask(dom0, XS_SET_TARGET, '1\x002\0', tx)).toBe('OK');
    const before = whole(rig);
    expect(before).toMatchObject({ domains: [{ target: 2 }, {}] });
    rig.restart();
    expect(whole(rig)).toEqual(before);
  });

  it('finishes a reconnection that the domain had asked for', () => {
    const { rig, domains } = office();
    const [one] = domains as [DomainClient];
    ask(one, XS_WATCH, 'x\0tok\0');
    one.take();
    one.page.words[CONNECTION] = XENSTORE_RECONNECT;
    rig.restart();
    rig.run();
    expect(one.page.words[CONNECTION]).toBe(0);
    ask(one, XS_WRITE, 'x\0y');
    expect(one.take()).toEqual([]); // the watch is forgotten
  });

  it('goes on after a new snapshot, with the changes that came while it was written', () => {
    const { rig, disk } = office();
    const dom0 = rig.dom0();
    const value = 'v'.repeat(2000);
    for (let i = 0; disk.file!.bytes.length < 300e3; i++) dom0.send(XS_WRITE, `/big/${i % 100}\0${value}`);
    dom0.connection.drain(bytes => bytes.length);
    const size = disk.file!.bytes.length;
    return new Promise<void>(resolve => {
      let i = 0;
      const turn = (): void => {
        ask(dom0, XS_WRITE, `/while/${i++}\0${value}`);
        rig.run();
        if (disk.file!.bytes.length >= size) return void setImmediate(turn);
        const before = whole(rig);
        rig.restart();
        rig.run();
        expect(whole(rig)).toEqual(before);
        expect(ask(rig.dom0(), XS_READ, `/while/${i - 1}\0`)).toBe(value);
        resolve();
      };
      turn();
    });
  });
});

describe('a journal', () => {
  it('fault 19: is read up to where it is damaged', () => {
    const { rig, disk } = office();
    const dom0 = rig.dom0();
    const ends: number[] = [];
    for (let i = 0; i < 20; i++) {
      ask(dom0, XS_WRITE, `/n/${i}\0v`);
      ends.push(disk.file!.bytes.length);
    }
    const good = disk.file!.bytes;
    for (const [cut, flip] of [
      [3, -1],
      [0, -5],
      [1, -20],
      [0, -200],
    ] as const) {
      const bytes = Buffer.from(good.subarray(0, good.length - cut));
      if (cut === 0) bytes[bytes.length + flip]! ^= 0x40;
      disk.file!.bytes = bytes;
      const damage = cut > 0 ? bytes.length : bytes.length + flip;
      const whole = ends.filter(end => end <= damage).length;
      rig.log.lines.length = 0;
      rig.restart();
      const client = rig.dom0();
      for (let i = 0; i < 20; i++) expect(ask(client, XS_READ, `/n/${i}\0`)).toBe(i < whole ? 'v' : '!ENOENT');
      expect(rig.log.lines.join('\n')).toMatch(/cut off its last \d+ bytes/);
      rig.run();
    }
  });

  it('fault 19: that is torn in an introduction, wherever, keeps nothing of it that the next one could be taken for', () => {
    const introduced = (rig: XenstoreRig, id: number): string => {
      rig.door.create(id);
      return ask(rig.dom0(), XS_INTRODUCE, `${id}\x001000\x001\0`);
    };
    const { rig, disk } = office();
    const from = disk.file!.bytes.length;
    expect(introduced(rig, 3)).toBe('OK');
    const whole = Buffer.from(disk.file!.bytes);
    for (let cut = 1; cut <= whole.length - from; cut++) {
      disk.file!.bytes = Buffer.from(whole.subarray(0, whole.length - cut));
      rig.restart();
      expect(rig.server.domains.domids()).toEqual([0, 1, 2]);
      expect(introduced(rig, 4)).toBe('OK');
      rig.restart();
      expect(rig.server.domains.domids()).toEqual([0, 1, 2, 4]);
    }
  });

  it('that is not one, or of another version, is refused and left as it is', () => {
    const { rig, disk } = office();
    const good = Buffer.from(disk.file!.bytes);
    disk.file!.bytes = Buffer.from('something else altogether');
    expect(() => rig.restart()).toThrow('this is not a journal of xenstored');
    expect(disk.file!.bytes.toString()).toBe('something else altogether');
    good.writeUInt32LE(99, 8);
    disk.file!.bytes = good;
    expect(() => rig.restart()).toThrow('a journal of version 99; xenstored reads version 1');
  });

  it.each([
    ['no such kind', 99, ''],
    ['half of one', 1, '\x01'],
    ['of a domain that nobody has introduced', 2, '\x07\0\x01\0'],
    ['no data', 5, '\xc1'],
  ])('with a record that says nothing, %s, is refused as a journal and left as it is', (_, kind, body) => {
    const { rig, disk } = office();
    const batch = new Batch();
    batch.put(batch.begin(kind, body.length), Buffer.from(body, 'latin1'));
    batch.end();
    const bytes = Buffer.concat([disk.file!.bytes, batch.bytes]);
    disk.file!.bytes = bytes;
    expect(() => rig.restart()).toThrow(
      expect.objectContaining({
        code: 'EINVAL',
        message: expect.stringContaining(`a journal whose record before byte ${bytes.length} cannot be repeated: `),
      }),
    );
    expect(disk.file!.bytes).toEqual(bytes);
  });

  it('fault 20: on a full disk is given up, said so, and kept again when there is room', () => {
    const { rig, disk } = office();
    const dom0 = rig.dom0();
    ask(dom0, XS_WRITE, '/before\0x');
    disk.beforeAppend = () => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    };
    expect(ask(dom0, XS_WRITE, '/during\0x')).toBe('OK');
    // What it would bring back is not true any more.
    expect(disk.file).toBeUndefined();
    expect(rig.log.lines.join('\n')).toMatch(/journal: ENOSPC.*nothing is kept now/);
    disk.beforeAppend = () => {};
    rig.clock.advance(2e9);
    return new Promise<void>(resolve => {
      const turn = (): void => {
        rig.run();
        if (!disk.file) return void setImmediate(turn);
        rig.restart();
        expect(ask(rig.dom0(), XS_READ, '/during\0')).toBe('x');
        resolve();
      };
      turn();
    });
  });
});

// ---- killed at any moment ----

/** A guest's end of its ring that goes on through the end of a daemon: what it has not sent stays in its queue. */
class Guest {
  readonly page: Page;
  readonly replies: { type: number; req_id: number; text: string }[] = [];
  sent = 0;
  watches = 0;
  open = 0;
  started = 0;
  #queue = Buffer.alloc(0);
  readonly #frames = new XenstoreFrameReader();
  readonly #chunk = new Uint8Array(300); // it takes its replies in pieces

  constructor(page: Page) {
    this.page = page;
  }
  send(type: number, payload: string, tx_id = 0): void {
    this.sent++;
    const frame = xenstoreFrame(type, this.sent, tx_id, Buffer.from(payload, 'latin1'));
    this.#queue = Buffer.concat([this.#queue, frame]);
  }
  /** Move what there is room for. */
  write(): boolean {
    const n = xenstoreRing(this.page, 'front').writer.write(this.#queue);
    this.#queue = this.#queue.subarray(n);
    return n > 0;
  }
  read(): boolean {
    const n = xenstoreRing(this.page, 'front').reader.read(this.#chunk);
    for (let at = 0; at < n; ) {
      at += this.#frames.take(this.#chunk.subarray(0, n), at);
      if (!this.#frames.complete) continue;
      const { type, req_id, payload } = this.#frames.frame;
      const text = Buffer.from(payload).toString('latin1').replace(/\0$/, '');
      if (type === XS_TRANSACTION_START) this.open = Number(text);
      if (type !== XS_WATCH_EVENT) this.replies.push({ type, req_id, text });
    }
    return n > 0;
  }
}

type Act = readonly [who: number, what: string, name: number, where: number];
const WHATS = ['write', 'big write', 'read', 'rm', 'watch', 'start', 'end', 'abort', 'pump', 'read replies'] as const;
const acts: fc.Arbitrary<Act[]> = fc.array(fc.tuple(fc.nat(2), fc.constantFrom(...WHATS), fc.nat(3), fc.nat(2)), {
  minLength: 5,
  maxLength: 80,
});

describe('a daemon killed at any moment', () => {
  it('fault 16: is followed by one with the same state, and every request takes effect and is answered once', () => {
    fc.assert(
      fc.property(acts, fc.uniqueArray(fc.nat(60), { maxLength: 8 }), fc.boolean(), (script, kills, afterwards) => {
        const { rig, disk } = office();
        const guests = [1, 2].map(id => new Guest(rig.door.domains.get(domid(id))!.page));
        let dom0 = rig.dom0();
        let appends = 0;
        let expected: unknown;
        disk.beforeAppend = () => {
          appends++;
          if (!afterwards && kills.includes(appends)) throw new Killed();
        };
        disk.afterAppend = () => {
          if (!afterwards || !kills.includes(appends)) return;
          expected = restarting ? undefined : whole(rig);
          throw new Killed();
        };
        let restarting = false;
        let moved = false;
        /** The next daemon may be killed as well. */
        const restart = (): void => {
          restarting = true;
          for (let up = false; !up; ) {
            try {
              rig.restart();
              up = true;
            } catch (error) {
              if (!(error instanceof Killed)) throw error;
            }
          }
          restarting = false;
        };
        const surviving = (body: () => void): void => {
          expected = undefined;
          try {
            body();
          } catch (error) {
            if (!(error instanceof Killed)) throw error;
            moved = true;
            restart();
            if (expected !== undefined) expect(whole(rig)).toEqual(expected);
            dom0 = rig.dom0();
          }
        };
        const step = (): void => {
          moved = false;
          surviving(() => {
            for (const [i, guest] of guests.entries()) {
              if (guest.write()) moved = true;
              rig.door.fromDomain(i + 1);
            }
            if (rig.server.step() === 'progress') moved = true;
          });
        };
        for (const [who, what, name, where] of script) {
          const path = `/local/domain/${1 + (where % 2)}/${'abcd'[name]}`;
          const guest = guests[who];
          if (!guest) {
            // Cut off, it may have happened or not; nobody was told.
            if (what === 'rm') surviving(() => void ask(dom0, XS_RM, `${path}\0`));
            else surviving(() => void ask(dom0, XS_WRITE, `${path}\0${what}`));
            continue;
          }
          const tx = where === 2 ? guest.open : 0;
          if (what === 'write') guest.send(XS_WRITE, `${path}\0${guest.sent}`, tx);
          else if (what === 'big write') guest.send(XS_WRITE, `${path}\0${'x'.repeat(900)}`, tx);
          else if (what === 'read') guest.send(XS_READ, `${path}\0`, tx);
          else if (what === 'rm') guest.send(XS_RM, `${path}\0`, tx);
          else if (what === 'watch') guest.send(XS_WATCH, `${path}\0t${guest.watches++}\0`);
          else if (what === 'start') {
            guest.send(XS_TRANSACTION_START, '\0');
            guest.started++;
          } else if (what === 'end') guest.send(XS_TRANSACTION_END, 'T\0', guest.open);
          else if (what === 'abort') guest.send(XS_TRANSACTION_END, 'F\0', guest.open);
          else if (what === 'read replies') guest.read();
          step();
        }
        do {
          step();
          for (const guest of guests) if (guest.read()) moved = true;
        } while (moved);
        for (const guest of guests) {
          expect(guest.replies.map(reply => reply.req_id)).toEqual(Array.from({ length: guest.sent }, (_, i) => i + 1));
          // Done twice, one of these would be refused or counted on.
          const watched = guest.replies.filter(reply => reply.type === XS_WATCH);
          expect(watched.length).toBe(guest.watches);
          const ids = guest.replies
            .filter(reply => reply.type === XS_TRANSACTION_START)
            .map(reply => Number(reply.text));
          expect(ids).toEqual(ids.map((_, i) => i + 1));
        }
        const end = whole(rig);
        restart();
        expect(whole(rig)).toEqual(end);
      }),
      { numRuns: 300 },
    );
  });
});
