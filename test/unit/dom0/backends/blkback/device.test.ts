// A vbd from the toolstack's nodes to a disk in a guest and back: blkback and blkfront negotiate through a
// real xenstored, over rings and event channels of the real hypervisor core, in one thread.
import { mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { domid, XenbusState, type XenError } from '#pvbus';
import type { Backend } from '../../../../../dom0/backends/backend-device.ts';
import { createBlkback } from '../../../../../dom0/backends/blkback/device.ts';
import { RawFile } from '../../../../../dom0/backends/blkback/disk-image.ts';
import { type BlkbackMessage, BlkbackWorker } from '../../../../../dom0/backends/blkback/worker.ts';
import { NbdImages } from '../../../../../dom0/backends/nbd/nbd-images.ts';
import { Blkfront } from '../../../../../domu-kernel/drivers/blkfront/device.ts';
import type { Disk } from '../../../../../domu-kernel/drivers/blkfront/disk.ts';
import { BlkRig } from '../../../../support/blk-rig.ts';
import type { Guest } from '../../../../support/core-rig.ts';
import { NbdRig } from '../../../../support/nbd-rig.ts';
import { PlayNbdServer } from '../../../../support/play-nbd-server.ts';
import { type DeviceNodes, PaperToolstack, settle } from '../../../../support/xenbus-device.ts';
import { ListLog, XenstoreRig } from '../../../../support/xenstore-rig.ts';

const S = XenbusState;
const SIZE = 1 << 20;

let blk: BlkRig;
let tools: PaperToolstack;
let store: XenstoreRig;
let log: ListLog;
let backend: Backend;
let dir: string;
let running: { step(): unknown }[];
let stepping = true;
let onEvent: (event: unknown) => void;

/** A running domain in the hypervisor and in xenstore, with blkfront's whole driver. */
class Machine {
  readonly guest: Guest;
  readonly blkfront: Blkfront;
  readonly log = new ListLog();

  constructor(vcpus = 1) {
    this.guest = blk.core.guest({ pages: 2048, vcpus });
    store.domain(this.guest.domid);
    const vcpu = this.guest.kernel();
    this.blkfront = new Blkfront({
      xs: tools.client(this.log),
      vcpu,
      log: this.log,
      blocking: {
        waitUntil: condition => {
          for (let i = 0; !condition(); i++) {
            if (i > 10_000) throw new Error('the answer does not come');
            blk.step();
            this.step();
          }
        },
      },
    });
    this.vcpu = vcpu;
    running.push(this);
  }
  readonly vcpu: ReturnType<Guest['kernel']>;
  step(): void {
    this.vcpu.events.poll();
    this.blkfront.step();
  }
  get disk(): Disk {
    const [disk] = this.blkfront.disks();
    if (!disk) throw new Error('this domain has no disk');
    return disk;
  }
}

const newBackend = (others: Partial<Parameters<typeof createBlkback>[0]> = {}): Backend =>
  createBlkback({
    xs: tools.client(log),
    log,
    ...others,
    thread: {
      // The thread's calls arrive between its steps.
      call: async message => blk.worker.handle(message as BlkbackMessage),
      onEvent: listener => {
        onEvent = listener;
      },
    },
  });

function newImage(name: string, bytes = SIZE): string {
  const path = join(dir, name);
  writeFileSync(path, new Uint8Array(bytes).fill(7));
  return path;
}
const plug = (machine: Machine, path: string, keys: Record<string, string | number> = {}, devid = 51712) =>
  tools.plug('vbd', machine.guest.domid, devid, { params: path, mode: 'w', dev: 'xvda', ...keys });
const becomes = (path: string, state: XenbusState): Promise<void> =>
  settle(async () => (await tools.state(path)) === String(state));
const errorOf = (machine: Machine, devid = 51712): Promise<string> =>
  tools.xs.read(`/local/domain/0/error/backend/vbd/${machine.guest.domid}/${devid}/error`);

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'vbd-'));
  blk = new BlkRig();
  store = new XenstoreRig();
  tools = new PaperToolstack(store);
  log = new ListLog();
  running = [{ step: () => blk.step() }];
  backend = newBackend();
  await backend.start();
  stepping = true;
  const drive = (): void => {
    for (const part of running) part.step();
    for (const failure of blk.failures.splice(0)) onEvent(failure);
    if (stepping) setImmediate(drive);
  };
  drive();
});
afterEach(async () => {
  expect(blk.core.internalErrors).toEqual([]);
  await backend.stop();
  stepping = false;
  rmSync(dir, { recursive: true });
});

/** A domain whose disk on `path` is connected. */
async function withDisk(path: string, keys: Record<string, string | number> = {}): Promise<[Machine, DeviceNodes]> {
  const machine = new Machine();
  const nodes = await plug(machine, path, keys);
  await machine.blkfront.start();
  await becomes(nodes.backend, S.Connected);
  await becomes(nodes.frontend, S.Connected);
  await backend.settled();
  return [machine, nodes];
}

describe('a vbd', () => {
  it('connects, says what it can do, and moves bytes between guest and image', async () => {
    const path = newImage('a');
    const [machine, nodes] = await withDisk(path);
    const keys: Record<string, string> = {};
    for (const key of await tools.xs.directory(nodes.backend))
      keys[key] = await tools.xs.read(`${nodes.backend}/${key}`);
    expect(keys).toMatchObject({
      sectors: '2048',
      'sector-size': '512',
      'physical-sector-size': '512',
      info: '0',
      'feature-flush-cache': '1',
      'feature-barrier': '1',
      'feature-persistent': '1',
      'feature-max-indirect-segments': '256',
      'feature-discard': '1',
      'discard-alignment': '0',
      'max-ring-page-order': '4',
      'max-ring-pages': '16',
      'multi-queue-max-queues': '8',
      'hotplug-status': 'connected',
    });
    const { disk } = machine;
    expect([disk.name, disk.sectors, disk.sectorSize, disk.readOnly]).toEqual(['xvda', 2048, 512, false]);
    disk.write(8, new Uint8Array(4096).fill(0x41));
    disk.flush();
    expect(
      readFileSync(path)
        .subarray(4096, 8192)
        .every(b => b === 0x41),
    ).toBe(true);
    const into = new Uint8Array(512);
    disk.read(0, into);
    expect(into.every(b => b === 7)).toBe(true);
    disk.discard(0, 8);
    disk.read(0, into);
    expect(into.every(b => b === 0)).toBe(true);
  });

  it('that is read-only, or a CD-ROM, is so for the guest', async () => {
    const [machine] = await withDisk(newImage('a'), { mode: 'r' });
    expect(machine.disk.readOnly).toBe(true);
    const nodes = await plug(machine, newImage('b'), { mode: 'w', 'device-type': 'cdrom' }, 51728);
    await becomes(nodes.frontend, S.Connected);
    expect(await tools.xs.read(`${nodes.backend}/info`)).toBe('7');
    expect(machine.blkfront.disks().map(d => [d.name, d.readOnly])).toEqual([
      ['xvda', true],
      ['xvdb', true],
    ]);
  });

  it('without discard offers none', async () => {
    const [machine] = await withDisk(newImage('a'), { 'discard-enable': 0 });
    expect(machine.disk.discardGranularity).toBe(0);
    expect(() => machine.disk.discard(0, 8)).toThrow(expect.objectContaining({ code: 'EOPNOTSUPP' }));
  });

  it('of a size that is no whole number of sectors has the whole ones', async () => {
    const [machine] = await withDisk(newImage('a', 10_000));
    expect(machine.disk.sectors).toBe(19);
  });

  const bad: [string, (path: string) => Record<string, string>, RegExp][] = [
    ['that does not exist', path => ({ params: `${path}.not` }), /ENOENT vbd 51712 of dom\d+: its image .*a\.not/],
    ['that is a directory', () => ({ params: dir, mode: 'r' }), /EINVAL .* is not a regular file/],
    ['that is a directory to be written', () => ({ params: dir }), /EISDIR/],
    ['that is not absolute', () => ({ params: 'etc/passwd' }), /EINVAL .* is not an absolute path/],
    ['that is not named', () => ({ params: '' }), /ENODEV .* it has no image/],
    ['in a mode nobody knows', () => ({ mode: 'x' }), /EINVAL .* mode x/],
  ];
  it.each(bad)('with an image %s goes to Closing and says why', async (_, keys, message) => {
    const machine = new Machine();
    const nodes = await plug(machine, newImage('a'), keys(join(dir, 'a')));
    await settle(
      async () => await tools.xs.exists(`/local/domain/0/error/backend/vbd/${machine.guest.domid}/51712/error`),
    );
    expect(await errorOf(machine)).toMatch(message);
    await machine.blkfront.start();
    await becomes(nodes.frontend, S.Closed);
    await becomes(nodes.backend, S.Closed);
    expect(machine.blkfront.disks()).toEqual([]);
  });

  it('fault 25: on an image that keeps others waiting goes on with another thread, and loses no request', async () => {
    await backend.stop();
    const slowVcpu = blk.core.dom0.kernel(4);
    const slowWorker = new BlkbackWorker({
      ...{ vcpu: slowVcpu, log: blk.log, clock: blk.core.clock },
      ...{ tell: event => blk.failures.push(event as never), wake: () => {} },
    });
    running.push({
      step: () => {
        slowVcpu.events.poll();
        slowWorker.step();
      },
    });
    const calls: string[] = [];
    const startSlow = () => ({
      call: async (message: unknown) => {
        calls.push((message as BlkbackMessage).op);
        return slowWorker.handle(message as BlkbackMessage);
      },
      onEvent: () => {},
    });
    backend = newBackend({ startSlow });
    await backend.start();
    blk.openImage = c => {
      const raw = new RawFile(c.fd, c.sizeBytes);
      const read: typeof raw.read = (...args) => {
        blk.core.clock.advance(150e6);
        raw.read(...args);
      };
      const { sizeBytes } = raw;
      return { sizeBytes, read, write: raw.write.bind(raw), flush: () => raw.flush(), discard: raw.discard.bind(raw) };
    };
    const path = newImage('slow');
    const [machine, nodes] = await withDisk(path);
    const { disk } = machine;
    const into = new Uint8Array(512);
    for (let i = 0; i < 200 && !calls.includes('connect'); i++) {
      await disk.submitWrite(i, new Uint8Array(512).fill(i));
      await disk.submitRead(i, into);
      expect(into[0]).toBe(i & 0xff);
    }
    expect(calls).toEqual(['connect']);
    for (let i = 0; i < 40; i++) {
      const [back, more] = [new Uint8Array(512), new Uint8Array(512).fill(100 + i)];
      await disk.submitWrite(i, more);
      await disk.submitRead(i, back);
      expect(Buffer.from(back).equals(Buffer.from(more))).toBe(true);
    }
    expect(await tools.state(nodes.frontend)).toBe(String(S.Connected));
    expect(log.lines.some(line => line.includes('its image is slow'))).toBe(true);
    await tools.remove(nodes);
    await settle(() => Promise.resolve(calls.at(-1) === 'disconnect'));
  });

  it('whose image has grown says so, and its guest has the new sectors without having lost a request', async () => {
    const path = newImage('grows');
    const [machine, nodes] = await withDisk(path);
    const { disk } = machine;
    const before = disk.sectors;
    expect(() => disk.write(before, new Uint8Array(512))).toThrow(/the disk has 2048/);
    const writing = disk.submitWrite(0, new Uint8Array(64 << 10).fill(5));
    truncateSync(path, (before + 100) * 512 + 7);
    await tools.xs.write(`${nodes.backend}/resize`, '1');
    await settle(() => Promise.resolve(disk.sectors === before + 100));
    await writing;
    expect(await tools.xs.read(`${nodes.backend}/sectors`)).toBe(String(before + 100));
    disk.write(before + 99, new Uint8Array(512).fill(6));
    expect(readFileSync(path)[(before + 99) * 512]).toBe(6);
    expect(readFileSync(path)[0]).toBe(5);
    // One that has shrunk is as large as it was: what is missing fails when it is asked for.
    truncateSync(path, 4096);
    await tools.xs.write(`${nodes.backend}/resize`, '2');
    await backend.settled();
    expect(disk.sectors).toBe(before + 100);
    expect(await tools.state(nodes.frontend)).toBe(String(S.Connected));
  });

  it('of a server is as large as it has become, also when that is asked for twice', async () => {
    const server = new PlayNbdServer(new Uint8Array(SIZE));
    const nbd = new NbdRig(server, () => 0);
    await backend.stop();
    blk = nbd;
    const xs = tools.client(log);
    const read = xs.read.bind(xs);
    const late: unknown[] = [];
    let reads = 0;
    xs.read = (path, ...rest) => {
      // The first growth comes while the second wish is read.
      if (path.endsWith('/resize') && ++reads === 2) for (const event of late) hear(event);
      return read(path, ...rest);
    };
    const thread = { call: async (message: unknown) => nbd.nbd.handle(message), onEvent: () => {} };
    backend = newBackend({ xs, nbd: new NbdImages({ startThread: () => thread, runDir: dir, log }) });
    const hear = onEvent;
    onEvent = event => late.push(event);
    await backend.start();
    const [machine, nodes] = await withDisk('nbd:unix:/play');
    server.grow(2 * SIZE);
    await tools.xs.write(`${nodes.backend}/resize`, '1');
    await settle(() => Promise.resolve(late.length > 0));
    expect(late).toMatchObject([{ op: 'grown', sizeBytes: 2 * SIZE }]);
    await tools.xs.write(`${nodes.backend}/resize`, '2');
    await settle(() => Promise.resolve(machine.disk.sectors === (2 * SIZE) / 512));
  });

  it('on an image that another domain writes is refused, by whatever path, unless forced', async () => {
    const path = newImage('a');
    const [first] = await withDisk(path);
    const alias = join(dir, 'alias');
    symlinkSync(path, alias);
    const second = new Machine();
    const nodes = await plug(second, alias, { mode: 'r' });
    await settle(async () => (await tools.state(nodes.backend)) === String(S.Closing));
    expect(await errorOf(second)).toMatch(/EBUSY .* in use by vbd 51712 of dom/);
    await plug(second, alias, { mode: 'w!' }, 51728);
    await second.blkfront.start();
    expect(second.blkfront.disks().map(d => d.name)).toEqual(['xvdb']);
    first.disk.write(0, new Uint8Array(512).fill(0x42));
    const into = new Uint8Array(512);
    second.blkfront.disks()[0]!.read(0, into);
    expect(into[0]).toBe(0x42);
  });

  it('shared by readers serves them all, and its image is free again when they are gone', async () => {
    const path = newImage('a');
    const [, one] = await withDisk(path, { mode: 'r' });
    const [, two] = await withDisk(path, { mode: 'r' });
    await tools.remove(one);
    await tools.remove(two);
    await settle(() => backend.devices().length === 0);
    const [machine] = await withDisk(path, { mode: 'w' });
    machine.disk.write(0, new Uint8Array(512));
  });

  it('unplugged in order closes at both ends and leaves nothing', async () => {
    const [machine, nodes] = await withDisk(newImage('a'));
    machine.disk.write(0, new Uint8Array(512).fill(1));
    const free = machine.vcpu.frames.available;
    const { disk } = machine;
    await tools.askToClose(nodes);
    await becomes(nodes.backend, S.Closed);
    await tools.remove(nodes);
    await settle(() => backend.devices().length === 0 && machine.blkfront.disks().length === 0);
    expect(() => disk.read(0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    await settle(() => machine.vcpu.frames.available > free);
    expect(disk.worker.stats.quarantined).toBe(0);
    expect(await tools.xs.exists(nodes.backend)).toBe(false);
  });

  it('survives a backend that dies: what waits is done by its successor, without the program noticing', async () => {
    const path = newImage('a');
    const [machine, nodes] = await withDisk(path);
    const { disk } = machine;
    disk.write(0, new Uint8Array(512).fill(1));
    await backend.stop();
    const waiting = disk.submitWrite(8, new Uint8Array(512).fill(0x99));
    for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve));
    backend = newBackend();
    await backend.start();
    await waiting;
    await becomes(nodes.frontend, S.Connected);
    expect(readFileSync(path)[4096]).toBe(0x99);
    const into = new Uint8Array(512);
    disk.read(8, into);
    expect(into[0]).toBe(0x99);
    expect(machine.log.lines.some(line => line.includes('connected again'))).toBe(true);
  });

  it('fault 13: of a domain that is gone lets go of its grants and image; another domain reads on', async () => {
    const path = newImage('a');
    const [machine, nodes] = await withDisk(path);
    const [other] = await withDisk(newImage('b'));
    machine.disk.write(0, new Uint8Array(512).fill(5));
    running = running.filter(part => part !== machine);
    blk.core.hypervisor.life.crash(machine.guest.domain, 'killed by a test');
    blk.core.settle();
    tools.destroy(machine.guest.domid);
    await becomes(nodes.backend, S.Closed);
    other.disk.read(0, new Uint8Array(4096));
    await tools.remove(nodes);
    await settle(() => backend.devices().length === 1);
    const [again] = await withDisk(path);
    const into = new Uint8Array(512);
    again.disk.read(0, into);
    expect(into[0]).toBe(5);
  });

  // Act 27, 28.
  const wrong: [string, Record<string, string>, RegExp][] = [
    ['ring-page-order 99', { 'ring-page-order': '99' }, /ring-page-order/],
    ['num-ring-pages 3', { 'num-ring-pages': '3' }, /num-ring-pages is 3/],
    ['num-ring-pages 32', { 'num-ring-pages': '32' }, /num-ring-pages/],
    ['a million queues', { 'multi-queue-num-queues': '1000000' }, /multi-queue-num-queues/],
    ['a queue more than offered', { 'multi-queue-num-queues': '9' }, /multi-queue-num-queues/],
    ['no queues', { 'multi-queue-num-queues': '0' }, /multi-queue-num-queues is 0/],
    ['two queues and describes none', { 'multi-queue-num-queues': '2' }, /queue-[01]\/[a-z-]+ is missing/],
    [
      'two queues of one ring',
      {
        ...{ 'multi-queue-num-queues': '2', 'queue-0/ring-ref': '9', 'queue-0/event-channel': '1' },
        ...{ 'queue-1/ring-ref': '9', 'queue-1/event-channel': '2' },
      },
      /gref 9 is in two places/,
    ],
    ['a ring of two pages and names none', { 'ring-page-order': '1' }, /ring-ref[01] is missing/],
    [
      'a ring of one page twice',
      { 'ring-page-order': '1', 'ring-ref0': '9', 'ring-ref1': '9' },
      /gref 9 is in two places/,
    ],
    ['a ring-ref that is no number', { 'ring-ref': 'ring' }, /ring-ref/],
    ['no event channel', { 'event-channel': '' }, /event-channel/],
    ['a gref that is not granted', { 'ring-ref': '30000' }, /gref 30000/],
    ['a port that is not its own', { 'event-channel': '4095' }, /port 4095/],
    ['another protocol', { protocol: 'x86_32-abi' }, /protocol "x86_32-abi"/],
    ['feature-persistent 7', { 'feature-persistent': '7' }, /feature-persistent/],
  ];
  it.each(wrong)('whose frontend says %s is given up; another vbd reads on', async (_, keys, message) => {
    const [other] = await withDisk(newImage('other'));
    const machine = new Machine();
    const nodes = await plug(machine, newImage('a'));
    await becomes(nodes.backend, S.InitWait);
    const { grants, events } = machine.vcpu;
    const good = {
      'ring-ref': String(grants.grantAccess(domid(0), grants.allocShared(domid(0), 1).gfn)),
      'event-channel': String(events.allocUnbound(domid(0))),
      protocol: 'x86_64-abi',
      'feature-persistent': '1',
    };
    await tools.xs.transaction(async tx => {
      for (const [key, value] of Object.entries({ ...good, ...keys, state: '3' })) {
        await tools.xs.write(`${nodes.frontend}/${key}`, value, tx);
      }
    });
    await becomes(nodes.backend, S.Closing);
    expect(await errorOf(machine)).toMatch(message);
    other.disk.read(0, new Uint8Array(512));
  });

  it('has the pages of its ring counted by either of the two schemes', async () => {
    const machine = new Machine();
    const { grants, events } = machine.vcpu;
    const nodes = await plug(machine, newImage('a'));
    await becomes(nodes.backend, S.InitWait);
    const shared = grants.allocShared(domid(0), 2);
    const [first, second] = [0, 1].map(i => grants.grantAccess(domid(0), shared.gfn + i));
    const keys = {
      ...{ 'num-ring-pages': 2, 'ring-ref0': first, 'ring-ref1': second, protocol: 'x86_64-abi' },
      ...{ 'event-channel': events.allocUnbound(domid(0)), state: 3 },
    };
    await tools.xs.transaction(async tx => {
      for (const [key, value] of Object.entries(keys)) await tools.xs.write(`${nodes.frontend}/${key}`, `${value}`, tx);
    });
    await becomes(nodes.backend, S.Connected);
    // Still mapped.
    expect([first, second].map(ref => grants.endAccess(ref!))).toEqual([false, false]);
  });

  it('of a domain with several vCPUs has a queue for each that is up, and one when the backend offers one', async () => {
    const machine = new Machine(4);
    const home = `/local/domain/${machine.guest.domid}/cpu`;
    for (const [id, word] of ['online', 'online', 'offline', 'online'].entries())
      await tools.xs.write(`${home}/${id}/availability`, word);
    const path = newImage('a');
    const nodes = await plug(machine, path);
    await machine.blkfront.start();
    await becomes(nodes.frontend, S.Connected);
    expect(await tools.xs.read(`${nodes.frontend}/multi-queue-num-queues`)).toBe('3');
    const rings = await Promise.all([0, 1, 2].map(q => tools.xs.read(`${nodes.frontend}/queue-${q}/ring-ref`)));
    expect(new Set(rings).size).toBe(3);
    const { disk } = machine;
    for (let i = 0; i < 40; i++) disk.write(i * 8, new Uint8Array(4096).fill(i));
    disk.flush();
    expect([0, 39].map(i => readFileSync(path)[i * 4096])).toEqual([0, 39]);

    // A backend of another kind takes its place, which knows nothing of queues.
    await backend.stop();
    await tools.xs.write(`${nodes.backend}/multi-queue-max-queues`, '1');
    await tools.xs.write(`${nodes.backend}/state`, '2');
    await becomes(nodes.frontend, S.Initialised);
    expect(await tools.xs.read(`${nodes.frontend}/multi-queue-num-queues`)).toBe('1');
    expect(await tools.xs.read(`${nodes.frontend}/ring-ref`)).not.toBe('');
  });

  // Act 1, seen from outside.
  it('whose frontend breaks its ring is given up with its name; another vbd reads on', async () => {
    const [other] = await withDisk(newImage('other'));
    const [machine, nodes] = await withDisk(newImage('a'));
    const ref = Number(await tools.xs.read(`${nodes.frontend}/ring-ref`));
    const gfn = machine.guest.view.getUint32(machine.guest.entryAt(ref) + 4, true);
    const page = machine.vcpu.memory.page(gfn);
    running = running.filter(part => part !== machine);
    Atomics.store(page.words, 0, 1000);
    machine.vcpu.events.notify(Number(await tools.xs.read(`${nodes.frontend}/event-channel`)) as never); // a port
    await becomes(nodes.backend, S.Closing);
    expect(await errorOf(machine)).toMatch(/EINVAL vbd 51712 of dom\d+: its ring claims more requests than it holds/);
    other.disk.read(0, new Uint8Array(512));
    other.disk.flush();
  });

  const claims: [string, Record<string, string | undefined>, RegExp][] = [
    ['no sectors', { sectors: '0' }, /claims "0" sectors/],
    ['nothing of its sectors', { sectors: undefined }, /51712: the backend does not say how many sectors it has$/],
    ['2^63 sectors', { sectors: '9223372036854775808' }, /sectors/],
    ['sectors of 3 bytes', { 'sector-size': '3' }, /sectors of 3 bytes/],
    ['a size that is no number', { sectors: 'many' }, /claims "many" sectors/],
  ];
  it.each(claims)('act 38: whose backend claims %s is refused by the guest', async (_, keys, message) => {
    await backend.stop();
    const machine = new Machine();
    const nodes = await plug(machine, newImage('a'), { 'feature-max-indirect-segments': 'garbage' });
    await tools.xs.write(`${nodes.backend}/state`, String(S.InitWait));
    const started = machine.blkfront.start();
    await becomes(nodes.frontend, S.Initialised);
    await tools.xs.transaction(async tx => {
      for (const [key, value] of Object.entries({ sectors: '2048', 'sector-size': '512', ...keys, state: '4' })) {
        if (value !== undefined) await tools.xs.write(`${nodes.backend}/${key}`, value, tx);
      }
    });
    await becomes(nodes.frontend, S.Closed);
    await started;
    const reason = machine.blkfront.frontend.devices()[0]?.ready();
    await expect(reason).rejects.toSatisfy((error: XenError) => message.test(error.message));
    expect(machine.blkfront.disks()).toEqual([]);
  });
});
