// Faults of a plan befall a disk over NBD as they befall a raw one, and hold up only the request that they are for.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkPlan, type Planted } from '#pvbus';
import type { BlkGuest } from '../../../../support/blk-rig.ts';
import { NbdRig } from '../../../../support/nbd-rig.ts';
import { PlayNbdServer } from '../../../../support/play-nbd-server.ts';

const SIZE = 1 << 20;
let server: PlayNbdServer;
let rig: NbdRig;
let guest: BlkGuest;
let key: string;
let startedNs = 0;

function plant(...faults: object[]): void {
  startedNs++; // others than those before, whatever their names
  const checked = checkPlan(faults, 'p');
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  const planted: Planted[] = checked.plan.faults.map(fault => ({ plan: 'p', seed: 1, startedNs, fault }));
  rig.nbd.handle({ op: 'faults', key, label: key, planted });
}
const settle = async (): Promise<void> => {
  for (let quiet = 0; quiet < 20; ) {
    const moved = [guest.step(), rig.step()].includes('progress');
    quiet = moved ? 0 : quiet + 1;
    await Promise.resolve();
  }
};
const kinds = () => rig.failures as unknown as { op: string; injected?: { process?: object } }[];

beforeEach(async () => {
  server = new PlayNbdServer(new Uint8Array(SIZE).fill(7));
  rig = new NbdRig(server, () => 0);
  guest = rig.guest();
  key = `dom${guest.guest.domid}`;
  rig.open(key);
  await rig.settled();
  guest.connect({ sizeBytes: SIZE } as never);
});
afterEach(() => {
  expect(rig.core.internalErrors).toEqual([]);
});

describe('a disk over NBD with a fault planted', () => {
  it.each(['EIO', 'ENOSPC'])('fails the request with %s without asking the server, and no other', error => {
    plant({ part: 'disk', op: 'write', nth: [2], error });
    const page = new Uint8Array(4096).fill(1);
    guest.disk.write(0, page);
    expect(() => guest.disk.write(8, page)).toThrow(expect.objectContaining({ code: 'EIO' }));
    guest.disk.write(16, page);
    expect([0, 8, 16].map(sector => server.bytes[sector * 512])).toEqual([1, 7, 1]);
    expect(kinds().filter(({ op }) => op === 'injected').length).toBeGreaterThan(0);
  });

  it('delays one request and lets others pass it', async () => {
    plant({ part: 'disk', op: 'read', nth: [1], delay: 50 });
    const done: number[] = [];
    const into = [0, 1].map(() => new Uint8Array(512));
    for (const i of [0, 1]) void guest.disk.submitRead(i, into[i]!).then(() => done.push(i));
    await settle();
    expect(done).toEqual([1]);
    rig.core.clock.advance(51e6);
    await settle();
    expect(done).toEqual([1, 0]);
    expect(into.map(bytes => bytes[0])).toEqual([7, 7]);
  });

  it('stalls a request until the fault goes', async () => {
    plant({ part: 'disk', op: 'write', nth: [1], stall: true });
    let done = false;
    void guest.disk.submitWrite(0, new Uint8Array(512).fill(3)).then(() => {
      done = true;
    });
    await settle();
    rig.core.clock.advance(3600e9);
    await settle();
    expect([done, server.bytes[0]]).toEqual([false, 7]);
    plant();
    await settle();
    expect([done, server.bytes[0]]).toEqual([true, 3]);
  });

  it('stalls it also when the disk becomes larger meanwhile', async () => {
    plant({ part: 'disk', op: 'write', nth: [1], stall: true });
    let done = false;
    void guest.disk.submitWrite(0, new Uint8Array(512).fill(3)).then(() => {
      done = true;
    });
    await settle();
    void rig.nbd.handle({ op: 'hold', key });
    await settle();
    server.grow(2 * SIZE);
    rig.nbd.handle({ op: 'renew', key });
    await settle();
    expect(kinds().map(({ op }) => op)).toContain('grown');
    expect([done, server.bytes[0]]).toEqual([false, 7]);
    guest.disk.resize((2 * SIZE) / 512);
    guest.disk.write((2 * SIZE) / 512 - 1, new Uint8Array(512).fill(5));
    expect(server.bytes[2 * SIZE - 1]).toBe(5);
    plant();
    await settle();
    expect([done, server.bytes[0]]).toEqual([true, 3]);
  });

  it('turns one bit of what is read, or of what is written while the guest keeps what it has', () => {
    plant({ part: 'disk', op: 'read', nth: [1], corrupt: 5000 });
    const into = new Uint8Array(8192);
    guest.disk.read(0, into);
    expect([...into.entries()].filter(([, byte]) => byte !== 7).map(([at]) => at)).toEqual([5000]);
    plant({ part: 'disk', op: 'write', nth: [1], corrupt: 600 });
    const from = new Uint8Array(1024).fill(9);
    guest.disk.write(0, from);
    const wrong = [...server.bytes.subarray(0, 1024).entries()].filter(([, byte]) => byte !== 9);
    expect(wrong.map(([at]) => at)).toEqual([600]);
    expect(from.every(byte => byte === 9)).toBe(true);
  });

  it('tears a write: its first sectors are done, and it fails', () => {
    plant({ part: 'disk', op: 'write', nth: [1], torn: 5000 });
    expect(() => guest.disk.write(0, new Uint8Array(8192).fill(9))).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect([4607, 4608].map(at => server.bytes[at])).toEqual([9, 7]); // nine sectors
  });

  it('has the image end earlier', () => {
    plant({ part: 'disk', truncate: 65536 });
    guest.disk.read(120, new Uint8Array(4096));
    expect(() => guest.disk.read(121, new Uint8Array(4096))).toThrow(expect.objectContaining({ code: 'EIO' }));
  });

  it.each([
    ['before', 7],
    ['after', 4],
  ] as const)(
    'tells of the process that is to end %s the request; what comes then is left to the next one',
    async (kill, left) => {
      plant({ part: 'disk', op: 'write', nth: [1], kill });
      const write = (sector: number): void =>
        void guest.disk.submitWrite(sector, new Uint8Array(512).fill(4)).catch(() => {});
      write(0);
      await settle();
      write(8);
      await settle();
      const struck = kinds().filter(({ injected }) => injected?.process !== undefined);
      expect(struck).toMatchObject([{ injected: { counts: { seen: 1 } } }]);
      expect([0, 8].map(sector => server.bytes[sector * 512])).toEqual([left, 7]);
      expect(guest.worker.stats.responses).toBe(0);
    },
  );

  it('whose frontend goes while a request is held back never asks the server for it', async () => {
    plant({ part: 'disk', op: 'write', nth: [1], stall: true });
    void guest.disk.submitWrite(0, new Uint8Array(512).fill(3)).catch(() => {});
    await settle();
    const left = rig.disconnect(key);
    for (let i = 0; i < 5; i++) {
      rig.core.clock.advance(1e9);
      await settle();
    }
    await left;
    plant();
    await settle();
    expect(server.bytes[0]).toBe(7);
    for (const ref of guest.buffers!.refs) expect(guest.vcpu.grants.endAccess(ref as never)).toBe(true);
  });
});
