// A program waits in a call for its disk. What its backend does meanwhile must reach the driver, although no promise
// of the domain gets a turn: this is how a disk looks to a program when its backend dies, comes back, or goes.

import { describe, expect, it, vi } from 'vitest';
import { XenbusState } from '#pvbus';
import fc from '../../../support/properties.ts';
import { describeRequest, MortalBackend, WaitingGuest } from '../../../support/waiting-guest.ts';

const S = XenbusState;
const pattern = (seed: number, sectors: number): Uint8Array =>
  Uint8Array.from({ length: sectors * 512 }, (_, i) => (i >> 9) * 31 + seed * 7 + (i & 3));

/** Have the next backend connect whenever the frontend offers a ring, and call `serve` when it is connected. */
function successor(guest: WaitingGuest, serve = (backend: MortalBackend): void => backend.serve()): MortalBackend {
  const backend = new MortalBackend(guest);
  guest.meanwhile = () => {
    if (guest.state('frontend') === S.Connected) serve(backend);
    else if (guest.state('frontend') === S.Initialised && backend.state !== S.Connected) backend.connect();
  };
  return backend;
}

describe('a call that waits for its disk', () => {
  it.each([
    ['comes back to InitWait', [S.InitWait]],
    ['is Closed, then InitWait', [S.Closed, S.InitWait]],
    ['closes in order and starts again', [S.Closing, S.Closed, S.InitWait]],
    ['starts from the beginning', [S.Initialising, S.InitWait]],
    ['is unknown for a while', [S.Unknown, S.InitWait]],
  ])('returns with the data when the backend dies and its successor %s', async (_, states) => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.medium.set(pattern(1, 8), 5 * 512);
    const left = [...states];
    let alive = true;
    guest.meanwhile = () => {
      if (alive) {
        alive = false;
        expect(backend.take().map(describeRequest)).toEqual(['read 5+8']);
        backend.die();
      }
      const next = left.shift();
      if (next !== undefined) guest.store.write(`${guest.backend}/state`, next);
      else successor(guest);
    };
    const into = new Uint8Array(8 * 512);
    guest.disk.read(5, into);
    expect(into).toEqual(pattern(1, 8));
    expect(guest.disk.worker.stats).toMatchObject({ replayed: 1, quarantined: 0 });
    expect(guest.state('frontend')).toBe(S.Connected);
  });

  it('fault 27: replays exactly what was not answered, in its order, before what comes later', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    const { disk, medium } = guest;
    // Answered from the last to the first, so that slots are used again in another order.
    guest.meanwhile = () => {
      for (const r of backend.take().reverse()) backend.answer(r);
    };
    const reads = [0, 1, 2, 3, 4].map(at => disk.submitRead(at, new Uint8Array(512)));
    disk.flush();
    let unanswered: string[] = [];
    guest.meanwhile = () => {
      const requests = backend.take();
      // Done but not said, said but not done by anybody else: answers to the second and third, then the end.
      backend.perform(requests[0]!);
      for (const r of requests.slice(1, 3)) {
        backend.perform(r);
        backend.answer(r);
      }
      unanswered = backend.taken.map(describeRequest);
      backend.die();
      guest.store.write(`${guest.backend}/state`, S.InitWait);
      let first = true;
      successor(guest, next => {
        const seen = next.take().map(describeRequest);
        if (first && seen.length > 0) {
          first = false;
          expect(seen.slice(0, unanswered.length)).toEqual(unanswered);
        }
        next.serve();
      });
    };
    // Some of them over one another: the later one is what is there.
    const model = new Uint8Array(medium.length);
    const writes = [40, 8, 24, 10, 9, 60, 12, 11].map((at, i) => {
      const data = pattern(i, 4);
      model.set(data, at * 512);
      return disk.submitWrite(at, data);
    });
    disk.flush();
    expect(unanswered).toEqual([
      'write 40+4',
      'write 10+4',
      'write 9+4',
      'write 60+4',
      'write 12+4',
      'write 11+4',
      'flush 0+0',
    ]);
    expect(Buffer.compare(medium, model)).toBe(0);
    await Promise.all([...reads, ...writes]);
  });

  it('fails with ENODEV when the disk is unplugged, and so do all after it', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    const { disk } = guest;
    guest.meanwhile = () => {
      backend.take();
      backend.die();
      guest.unplug();
    };
    const gone = expect.objectContaining({ code: 'ENODEV' });
    expect(() => disk.write(0, pattern(3, 200))).toThrow(gone);
    expect(() => disk.read(0, new Uint8Array(512))).toThrow(gone);
    expect(() => disk.flush()).toThrow(gone);
    await expect(disk.submitRead(0, new Uint8Array(512))).rejects.toEqual(gone);
    guest.until(() => guest.blkfront.disks().length === 0);
    expect(guest.guest.domain.grants.pinned).toBe(0);
  });

  it('fails with ENODEV when the disk is unplugged while no backend is there', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    let turns = 0;
    guest.meanwhile = () => {
      if (turns++ === 0) {
        backend.die();
        backend.state = S.Closed;
      } else if (turns === 10) guest.unplug();
    };
    expect(() => guest.disk.read(0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'ENODEV' }));
  });

  it('fails with EIO when the backend breaks the protocol', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.meanwhile = () => {
      const [request] = backend.take();
      if (request) backend.answer({ ...request, id_hi: request.id_hi + 1 });
    };
    expect(() => guest.disk.read(0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'EIO' }));
  });

  it('act 36: a backend that answers nothing is connected to anew after a minute, and then answers', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.medium.set(pattern(5, 1));
    let seconds = 0;
    guest.meanwhile = () => {
      if (guest.state('frontend') === S.Connected) {
        seconds++;
        guest.second();
        return;
      }
      backend.die();
      if (backend.state === S.Connected) backend.state = S.Closed;
      else successor(guest).state = S.InitWait;
    };
    const into = new Uint8Array(512);
    guest.disk.read(0, into);
    expect(into).toEqual(pattern(5, 1));
    expect(seconds).toBe(60);
    expect(guest.disk.worker.stats.replayed).toBe(1);
    expect(guest.log.lines.filter(line => line.includes('does not answer'))).toHaveLength(2);
  });

  it.each([
    ['does not react to being closed either', false, 120],
    ['comes back each time and answers nothing', true, 180],
  ])('act 36: a disk whose backend %s fails with EIO in the end', async (_, comesBack, after) => {
    const { guest } = await WaitingGuest.withDisk();
    let seconds = 0;
    let now: MortalBackend | undefined;
    guest.meanwhile = () => {
      const state = guest.state('frontend');
      if (comesBack && state === S.Closed) guest.store.write(`${guest.backend}/state`, S.InitWait);
      else if (comesBack && state === S.Initialised) {
        now?.die();
        now = new MortalBackend(guest);
        now.connect();
      } else {
        seconds++;
        guest.second();
      }
    };
    expect(() => guest.disk.read(0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(seconds).toBe(after);
    expect(guest.store.read(`/local/domain/1/error/device/vbd/51712/error`)).toMatch(/^ETIMEDOUT .*does not answer/);
    expect(() => guest.disk.flush()).toThrow(expect.objectContaining({ code: 'EIO' }));
  });

  it('a backend that says that it has lost its server is waited for, until it has one again or says no more', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.store.write(`${guest.backend}/reconnecting`, 1);
    let seconds = 0;
    guest.meanwhile = () => {
      seconds++;
      guest.second();
      if (seconds === 1000) backend.serve();
    };
    guest.disk.read(0, new Uint8Array(512));
    expect(seconds).toBe(1000);
    expect(guest.disk.worker.stats).toMatchObject({ replayed: 0, errors: 0 });

    guest.store.write(`${guest.backend}/reconnecting`, 0);
    seconds = 1000;
    expect(() => guest.disk.read(0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(seconds).toBeLessThan(1130);
  });

  it('a backend that is slow but answers is waited for, however long it all takes', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.meanwhile = () => {
      for (let i = 0; i < 50; i++) guest.second();
      backend.take();
      const [first] = backend.taken;
      if (!first) return;
      backend.perform(first);
      backend.answer(first);
    };
    guest.disk.write(0, pattern(6, 256));
    expect(Buffer.compare(guest.medium, pattern(6, 256))).toBe(0);
    expect(guest.disk.worker.stats).toMatchObject({ replayed: 0, errors: 0 });
  });

  // The notification is lost; the look of once a second finds the answer.
  it('fault 6: finds an answer that nobody notified of', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    expect(guest.blkfront.frontend.waits()).toBe(false);
    guest.meanwhile = () => {
      expect(guest.blkfront.frontend.waits()).toBe(true); // so the kernel wakes once a second
      backend.notify = () => {};
      backend.serve();
    };
    guest.disk.read(0, new Uint8Array(512));
    expect(guest.blkfront.frontend.waits()).toBe(false);
  });

  it('fault 6: notifies a backend that owes answers once a second, until it has them', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    const { core, blkfront, vcpu } = guest;
    const notify = vi.spyOn(vcpu.events, 'notify');
    const heard: number[] = [];
    guest.meanwhile = () => {
      heard.push(notify.mock.calls.length);
      if (heard.length === 4) backend.serve();
      for (let quarters = 0; quarters < 4; quarters++) {
        core.clock.ns += 0.25e9;
        blkfront.frontend.tick(core.clock.now());
      }
    };
    guest.disk.read(0, new Uint8Array(512));
    expect(heard).toEqual([1, 2, 3, 4]); // the first is that of the request
  });

  // Each answer is taken once, whenever and in whatever order it is announced.
  it('fault 7, fault 8: bears notifications that come a hundred thousand times, late, and for answers in another order', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.medium.set(pattern(7, 256));
    const notify = backend.notify.bind(backend);
    backend.notify = () => {};
    let turns = 0;
    guest.meanwhile = () => {
      backend.take();
      for (const r of [...backend.taken].reverse()) {
        backend.perform(r);
        backend.answer(r);
      }
      // They are heard of many turns later, or much too often.
      if (turns++ % 2 === 1) for (let i = 0; i < 40_000; i++) notify();
    };
    const into = new Uint8Array(256 * 512);
    for (let i = 0; i < 6; i++) {
      guest.disk.read(0, into.fill(0));
      expect(Buffer.compare(into, pattern(7, 256))).toBe(0);
    }
    expect(turns).toBeGreaterThan(5);
    const { requests, responses, replayed } = guest.disk.worker.stats;
    expect({ responses, replayed }).toEqual({ responses: requests, replayed: 0 });
  });

  it('act 39: a backend that flaps and keeps what it has mapped costs neither memory nor ports', async () => {
    const { guest } = await WaitingGuest.withDisk();
    const { frames } = guest.vcpu;
    const before = { frames: frames.available, ports: guest.guest.domain.ports.open };
    let rounds = 0;
    let now: MortalBackend | undefined;
    guest.meanwhile = () => {
      const state = guest.state('frontend');
      if (rounds === 100 && state === S.Connected) return now!.serve();
      if (state === S.Initialised && guest.state('backend') === S.InitWait) {
        now = new MortalBackend(guest);
        now.connect(); // the one before keeps its mapping
        return;
      }
      if (state === S.Connected) rounds++;
      if (state === S.Connected || state === S.Closed) guest.store.write(`${guest.backend}/state`, S.InitWait);
    };
    guest.disk.read(0, new Uint8Array(512));
    expect(rounds).toBe(100);
    expect({ frames: frames.available, ports: guest.guest.domain.ports.open }).toEqual(before);
    expect(guest.log.lines.filter(line => line.startsWith('error'))).toEqual([]);
  });

  it('fault 36: survives backends that die in every state of the handshake', async () => {
    const { guest, backend } = await WaitingGuest.withDisk();
    guest.medium.set(pattern(4, 1));
    backend.die();
    guest.store.write(`${guest.backend}/state`, S.InitWait);
    // Each of them leaves another state behind, before or after the frontend has seen the one before.
    const deaths = [S.InitWait, S.Initialised, S.Connected, S.Closing, S.Closed, S.Initialising, S.Unknown];
    let idle = 0;
    guest.meanwhile = () => {
      if (idle++ % 3 !== 0) return;
      const state = deaths.shift();
      if (state === undefined) {
        guest.store.write(`${guest.backend}/state`, S.InitWait);
        successor(guest);
      } else {
        if (guest.state('frontend') === S.Initialised) {
          const mayfly = new MortalBackend(guest);
          mayfly.connect();
          mayfly.die();
        }
        guest.store.write(`${guest.backend}/state`, state);
      }
    };
    const into = new Uint8Array(512);
    guest.disk.read(0, into);
    expect(into).toEqual(pattern(4, 1));
  });

  it('fault 27, fault 28: whatever the backends do and whenever they die, the disk is as the program made it', async () => {
    const op = fc.oneof(
      fc.record({ op: fc.constant('write'), at: fc.nat(200), sectors: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ op: fc.constant('read'), at: fc.nat(200), sectors: fc.integer({ min: 1, max: 50 }) }),
      fc.constant({ op: 'flush', at: 0, sectors: 0 }),
    );
    // How a life goes: so many requests answered, so many done without an answer, the state that is left behind.
    const life = fc.record({
      answers: fc.nat(6),
      silent: fc.nat(3),
      leaves: fc.constantFrom(S.InitWait, S.Closed, S.Initialising, S.Connected, S.Closing),
    });
    let made: { guest: WaitingGuest; backend: MortalBackend } | undefined;
    await fc.assert(
      fc.asyncProperty(
        fc.array(op, { minLength: 1, maxLength: 12 }),
        fc.array(life, { maxLength: 6 }),
        async (ops, lives) => {
          const { guest, backend } = made ?? (await WaitingGuest.withDisk());
          made = undefined; // after a failure there is a new one
          guest.medium.fill(0);
          let now: MortalBackend = backend;
          let owed: string[] = [];
          let answers = 0;
          guest.meanwhile = () => {
            if (guest.state('frontend') !== S.Connected || now.state !== S.Connected) {
              if (now.state === S.Connected) return; // its frontend has not seen it yet
              if (now.state !== S.InitWait) now.state = now.state === S.Closing ? S.Closed : S.InitWait;
              else if (guest.state('frontend') === S.Initialised) now.connect();
              return;
            }
            const fresh = now.take();
            if (owed.length > 0 && fresh.length > 0) {
              expect(fresh.slice(0, owed.length).map(describeRequest)).toEqual(owed);
              owed = [];
            }
            const fate = lives[0];
            if (fate === undefined) return now.serve();
            for (const r of [...now.taken]) {
              if (answers >= fate.answers) break;
              now.perform(r);
              now.answer(r);
              answers++;
            }
            if (answers < fate.answers) return;
            for (const r of now.taken.slice(0, fate.silent)) now.perform(r);
            lives.shift();
            answers = 0;
            owed = now.taken.map(describeRequest);
            now.die();
            now = new MortalBackend(guest);
            // A process that has died says nothing; who follows it begins with InitWait.
            if (fate.leaves !== S.Connected) now.state = fate.leaves;
            else now.state = S.InitWait;
          };
          const model = new Uint8Array(guest.medium.length);
          ops.forEach(({ op: kind, at, sectors }, i) => {
            if (kind === 'flush') guest.disk.flush();
            else if (kind === 'write') {
              const data = pattern(i, sectors);
              model.set(data, at * 512);
              guest.disk.write(at, data);
            } else {
              const into = new Uint8Array(sectors * 512);
              guest.disk.read(at, into);
              expect(Buffer.compare(into, model.subarray(at * 512, (at + sectors) * 512))).toBe(0);
            }
          });
          expect(Buffer.compare(guest.medium, model)).toBe(0);
          expect(guest.disk.worker.idle).toBe(true);
          expect(guest.disk.worker.stats.quarantined).toBe(0);
          made = { guest, backend: now };
        },
      ),
      { numRuns: 40 },
    );
  });
});
