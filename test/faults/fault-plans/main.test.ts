// Each kind of fault on real processes: what the guest sees of it, what the one log says, and that the same plan over the
// same work befalls the same occurrences again.
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runPaths, socketTransport, XenError, XenstoreClient } from '#pvbus';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { serveOn } from '../../support/host-peer.ts';
import { dist, HostView } from '../../support/host-view.ts';
import { commandLine, eventually, family, processOfDomain } from '../../support/processes.ts';

// As whoever installs it has it: the built one.
const { baseline, expectInvariant, faultTrace, guestKernel, Host, inject, toolstackSteps }: typeof library =
  await import(dist('library.mjs'));

const ramdisk = fileURLToPath(new URL('guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'fault-plans-'));
const image = join(dir, 'disk.img');
/** For the domains that come and go beside. */
const other = join(dir, 'other.img');
const PAGE = 4096;

let host: library.Host;
let xl: HostView;
let console_: library.DomainConsole;
/** Says what it hears. */
let echo: { port: number; server: Server };
/** Connections that it has had. */
let heard = 0;

/** What the guest says of a line. */
async function ask(line: string): Promise<string> {
  console_.write(`${line}\n`);
  const text = await console_.waitFor(/> .* </);
  return /> (.*) </.exec(text)![1]!;
}
/** A fault that is there for `body`. */
async function during<T>(fault: library.Fault | library.Fault[], body: () => Promise<T>, seed = 0): Promise<T> {
  const injection = await inject(host, fault, { seed });
  try {
    return await body();
  } finally {
    await injection.remove();
  }
}
/**
 * The guest's devices are connected to the process that is dom0 now: what that writes to xenstore, and opens, is not to be
 * counted with what tests do.
 */
async function connectedAnew(): Promise<void> {
  const domid = await host.domain('one').domid();
  await eventually('its devices are connected anew', async () => {
    const texts = (await host.events()).flatMap(one => (one.event === 'fault' ? [one.text] : []));
    const since = texts.slice(texts.findLastIndex(text => / serves as dom0, /.test(text)));
    if (!/ serves as dom0, /.test(since[0] ?? '')) return true;
    const isAgain = (device: string) => since.some(text => text.startsWith(`${device} of dom${domid}: connected anew`));
    return ['vbd 51712', 'pvcalls 0'].every(isAgain);
  });
}
function onImage(sector: number): Uint8Array {
  const bytes = new Uint8Array(PAGE);
  const fd = openSync(image, 'r');
  readSync(fd, bytes, 0, PAGE, sector * 512);
  closeSync(fd);
  return bytes;
}
const page = (byte: number): Uint8Array => new Uint8Array(PAGE).fill(byte);

beforeAll(async () => {
  for (const path of [image, other]) {
    writeFileSync(path, '');
    truncateSync(path, 1 << 20);
  }
  echo = await serveOn(socket => {
    heard++;
    socket.pipe(socket).on('error', () => {});
    socket.on('error', () => {}); // a host whose process dies
  });
  host = await Host.start({ memory: '256M' });
  xl = new HostView(host.runDir);
  const pvcalls = [`listen=0:80,connect=${echo.port}`];
  await host.domain('one').create({ ramdisk, memory: 16, disk: [`${image},raw,xvda,w`], pvcalls });
  console_ = await host.domain('one').console();
  await console_.waitFor('ready');
  // Its program is ready before its pvcalls device: what that writes to xenstore is not to be counted with what tests do.
  await expectInvariant(host, 'I8', { domains: ['one'] }, { within: 30_000 });
});
afterAll(async () => {
  await host?.stop();
  echo?.server.close();
  rmSync(dir, { recursive: true });
});

const OF = { domain: 'one', device: 'xvda' } as const;

describe('what the host does about it', () => {
  it('is in the events, with the fault that it answers to: what a backend answered', async () => {
    const fault = { ...OF, name: 'bad', part: 'disk', op: 'write', error: 'EIO' } as const;
    await using injection = await inject(host, fault, { plan: 'answered', seed: 77 });
    const reaction = expect.objectContaining({
      ...{ what: 'reaction', plan: 'answered', fault: 'bad', seed: 77 },
      text: expect.stringMatching(/^blkback: vbd 51712 of dom\d+: request op 1 failed: /),
    });
    await ask('write 0 1');
    await injection.happened();
    await eventually('it is told', async () => (await host.events()).some(event => reaction.asymmetricMatch(event)));
  });

  it('a disk that fails half of what it is asked hides nothing, and the file of the events has it all', async () => {
    const before = (await host.events()).filter(event => event.event !== 'fault' || event.what !== 'injected');
    await during({ ...OF, part: 'disk', op: 'write', probability: '50%', error: 'EIO' }, async () => {
      for (let n = 0; n < 20; n++) await ask(`write 0 ${n}`);
    });
    expect((await host.events()).map(event => JSON.stringify(event))).toEqual(
      expect.arrayContaining(before.map(event => JSON.stringify(event))),
    );
    const printed = (await host.events()).map(({ at }) => at);
    const kept = readFileSync(join(host.runDir, 'log', 'events.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    // More may have come since.
    expect(kept.map(({ time_ms }) => time_ms).slice(0, printed.length)).toEqual(printed);
  });
});

describe('a disk', () => {
  it('fails the write that is chosen and no other', async () => {
    const said = await during({ ...OF, part: 'disk', op: 'write', nth: 2, error: 'ENOSPC' }, async () => [
      await ask('write 0 1'),
      await ask('write 0 2'),
      await ask('write 8 3'),
    ]);
    expect(said).toEqual(['ok', 'failed EIO', 'ok']);
    expect([onImage(0), onImage(8)]).toEqual([page(1), page(3)]);
  });
  it('that is waited for and never comes says what was seen instead', async () => {
    const never: library.Fault = { ...OF, name: 'never', part: 'disk', op: 'write', nth: 100, error: 'EIO' };
    await using injection = await inject(host, never, { plan: 'late' });
    for (const at of [0, 8, 16]) expect(await ask(`write ${at} 1`)).toBe('ok');
    await eventually('it is told', async () => (await injection.status())[0]!.seen === 3);
    await expect(injection.happened(2, 'never', { within: 50 })).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: 'fault late:never has happened 0 times in 0.05 s, 2 were waited for: seen 3, injected 0',
    });
    await expect(injection.happened(1, 'other')).rejects.toThrow('there is no fault late:other');
    await injection.remove();
    await expect(injection.happened(1, undefined, { within: 0 })).rejects.toThrow('plan late is not on');
  });
  it('is waited for no longer than is said, also while dom0 stands still', async () => {
    await using injection = await inject(host, { ...OF, part: 'disk', op: 'write', nth: 100, error: 'EIO' });
    const dom0 = family(host.pid).find(pid => commandLine(pid).includes('/dom0.js '))!;
    process.kill(dom0, 'SIGSTOP');
    try {
      await expect(injection.happened(1, undefined, { within: 50 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    } finally {
      process.kill(dom0, 'SIGCONT');
    }
  });
  it('fault 22: is read and written whole though system calls are short or interrupted', async () => {
    const odd: library.Fault[] = [
      { ...OF, part: 'disk', nth: [1, 2], short: 700 },
      { ...OF, part: 'disk', nth: [3, 4], error: 'EINTR' },
    ];
    const said = await during(odd, async () => [
      await ask('write 16 4'),
      await ask('read 16 4'),
      await ask('write 24 5'),
      await ask('read 24 5'),
    ]);
    expect(said).toEqual(['ok', 'same', 'ok', 'same']);
    expect([onImage(16), onImage(24)]).toEqual([page(4), page(5)]);
  });
  it('tears a write, of which each sector is then old or new', async () => {
    expect(await ask('write 32 1')).toBe('ok');
    expect(await during({ ...OF, part: 'disk', op: 'write', torn: 1024 }, () => ask('write 32 2'))).toBe('failed EIO');
    expect([...onImage(32).subarray(0, 1024)].every(byte => byte === 2)).toBe(true);
    const write = { sector: 32, data: page(2), before: page(1) };
    await expectInvariant(host, 'I2', { image, unacknowledged: [write] });
  });
  it('fault 24: reads one bit wrong, the same one from the same seed', async () => {
    const fault: library.Fault = { ...OF, part: 'disk', op: 'read', nth: 1, corrupt: true };
    await ask('write 40 0');
    const first = await during(fault, () => ask('read 40 0'), 11);
    expect(first).toMatch(/^other at \d+: (1|2|4|8|16|32|64|128)$/);
    expect(await during(fault, () => ask('read 40 0'), 11)).toBe(first);
    expect(await ask('read 40 0')).toBe('same');
  });
  it('fault 23: loses what its cache had not flushed', async () => {
    const faults: library.Fault[] = [
      { ...OF, name: 'cache', part: 'disk', op: 'write', cache: true },
      { ...OF, name: 'lose', part: 'disk', op: 'read', nth: 2, lose: true },
    ];
    const said = await during(faults, async () => {
      const kept = [await ask('write 48 1'), await ask('flush'), await ask('write 48 2'), await ask('read 48 2')];
      return [...kept, await ask('read 48 1')];
    });
    expect(said).toEqual(['ok', 'ok', 'ok', 'same', 'same']);
    expect(onImage(48)).toEqual(page(1));
  });
  it('fault 23: has lost some of it, sector by sector, where its cache kept a share', async () => {
    expect([await ask('write 48 1'), await ask('flush')]).toEqual(['ok', 'ok']);
    const cached: library.Fault = { ...OF, name: 'half', part: 'disk', op: 'write', cache: '50%' };
    const left = await during(cached, async () => {
      // Written over and over, and read as it was written last.
      for (const version of [2, 3, 4]) expect(await ask(`write 48 ${version}`)).toBe('ok');
      expect(await ask('read 48 4')).toBe('same');
      return onImage(48);
    });
    const sectors = Array.from({ length: 8 }, (_, i) => left.subarray(i * 512, (i + 1) * 512));
    for (const sector of sectors)
      expect([1, 2, 3, 4].some(version => sector.every(byte => byte === version))).toBe(true);
    expect(new Set(sectors.map(([first]) => first)).size).toBeGreaterThan(1);
    // The plan has ended in order: nothing is lost.
    expect(onImage(48)).toEqual(page(4));
  });
  it('that stalls answers nothing until the fault is gone, and then the very request', async () => {
    const stalled = await inject(host, { ...OF, part: 'disk', op: 'write', nth: 1, stall: true });
    const answer = ask('write 56 9');
    await stalled.happened();
    expect(onImage(56)).toEqual(page(0));
    await stalled.remove();
    expect(await answer).toBe('ok');
    expect(onImage(56)).toEqual(page(9));
  });
  it('fault 26: that ends early has nothing behind its end', async () => {
    const said = await during({ ...OF, part: 'disk', truncate: 64 * 512 }, async () => [
      await ask('read 56 9'),
      await ask('read 64 0'),
    ]);
    expect(said).toEqual(['same', 'failed EIO']);
  });
});

describe('a disk of another domain', () => {
  let domid: number;
  let console2: library.DomainConsole;
  const OF2 = { domain: 'two', device: 'xvda' } as const;
  const create = async (): Promise<void> => {
    const two = host.domain('two');
    await two.create({ ramdisk, memory: 16, disk: [`${other},raw,xvda,w`], on_crash: 'destroy' });
    domid = await two.domid();
    console2 = await two.console();
    await console2.waitFor('ready');
  };
  const onOther = (): Uint8Array => readFileSync(other).subarray(160 * 512, 161 * 512);
  let before: library.Baseline;
  beforeAll(async () => {
    before = await baseline(host);
    await create();
  });
  afterAll(() => host.domain('two').destroy());

  it('fault 25: that takes long holds up nobody else, and no more than a ring of requests', async () => {
    const slow = await inject(host, { ...OF2, part: 'disk', op: 'write', from: 1, delay: '10m' });
    const many = 100;
    console2.write(`over 160 ${many}\n`);
    await slow.happened();
    for (let i = 1; i <= 20; i++)
      expect([await ask(`write 80 ${i}`), await ask(`read 80 ${i}`)]).toEqual(['ok', 'same']);
    expect(onOther()).toEqual(Buffer.alloc(512));
    // One is looked at, and is the only one.
    expect(await slow.status()).toMatchObject([{ seen: 1, injected: 1 }]);
    await slow.remove();
    expect(await console2.waitFor(/> .* </)).toContain('> ok <');
    expect(onOther()).toEqual(Buffer.alloc(512, many));
  });
  it('fault 38: whose guest is killed with requests under way has done them or not, lets go, and has another domid next', async () => {
    const killed = domid;
    const held = await inject(host, { ...OF2, part: 'disk', op: 'write', nth: 3, stall: true });
    console2.write('over 160 12\n');
    await held.happened();
    const all = family(host.pid);
    process.kill(processOfDomain(killed, all), 'SIGKILL');
    await held.remove();
    await eventually('its domain is gone', async () => !(await host.domains()).some(one => one.domid === killed));
    const [sector] = onOther();
    expect(sector).toBeGreaterThanOrEqual(1);
    expect(onOther()).toEqual(Buffer.alloc(512, sector));
    console2.close();
    await expectInvariant(host, 'I5', before);
    await create();
    expect(domid).not.toBe(killed);
    console2.write('read 160 0\n');
    expect(await console2.waitFor(/> .* </)).toContain(`other at 0: ${sector}`);
  });
});

describe('events and grants', () => {
  it('notifications may come late, twice and in a storm', async () => {
    const faults: library.Fault[] = [
      { ...OF, part: 'event', op: 'send', nth: [1, 2], delay: 30 },
      { ...OF, part: 'event', op: 'receive', every: 2, duplicate: 1000 },
      { ...OF, part: 'event', op: 'send', every: 2, duplicate: 1000 },
    ];
    const said = await during(faults, async () => {
      const all: string[] = [];
      for (let i = 0; i < 6; i++) all.push(await ask(`write 72 ${i}`), await ask(`read 72 ${i}`));
      return all;
    });
    expect(new Set(said)).toEqual(new Set(['ok', 'same']));
  });
  /** A write that is asked for while those are there, of which the first is of what the backend hears `heard` times. */
  async function written(byte: number, faults: library.Fault[], heard = 1): Promise<void> {
    await using injection = await inject(host, faults);
    expect(await ask(`write 160 ${byte}`)).toBe('ok');
    await injection.happened();
    // What befalls nothing is told of a little later.
    await eventually(`it is heard ${heard} times`, async () => (await injection.status())[0]!.seen >= heard);
    expect([onImage(160), await ask(`read 160 ${byte}`)]).toEqual([page(byte), 'same']);
  }
  it('fault 6: all of them are lost both ways for a while: the first look after it that is heard does the request', async () => {
    const lost = { ...OF, part: 'event', drop: true } as const;
    const faults: library.Fault[] = [
      { ...lost, name: 'heard', op: 'receive', nth: [1, 2, 3] },
      { ...lost, name: 'told', op: 'send', nth: 1 },
    ];
    // Its own notification is the first; each look makes another, more where the backend takes longer than until the next.
    await written(1, faults, 4);
  });
  it('fault 8: each comes 5 s late: requests are done late, once, and right', async () => {
    const late = { ...OF, part: 'event', delay: '5s' } as const;
    await written(11, [
      { ...late, name: 'heard', op: 'receive' },
      { ...late, name: 'told', op: 'send', nth: 1 },
    ]);
  });
  it('fault 8: the next one overtakes every other: requests are done once, and right', async () => {
    const overtaken = { ...OF, part: 'event', every: 2, reorder: true } as const;
    const faults: library.Fault[] = [
      { ...overtaken, name: 'heard', op: 'receive' },
      { ...overtaken, name: 'told', op: 'send' },
    ];
    await using injection = await inject(host, faults);
    for (let byte = 1; byte <= 4; byte++) expect(await ask(`write 160 ${byte}`)).toBe('ok');
    expect(await ask('over 160 30')).toBe('ok');
    await injection.happened(2);
    expect([onImage(160), await ask('read 160 30')]).toEqual([page(30), 'same']);
  });
  it('of the console, of xenstore and of sockets come late, each channel by the number that the guest has of it', async () => {
    const domid = await host.domain('one').domid();
    const of = `/local/domain/${domid}`;
    const ports = ['console/port', 'store/port', 'device/pvcalls/0/port'];
    const [console, store, pvcalls] = await Promise.all(
      ports.map(async path => Number(await host.xenstore.read(`${of}/${path}`))),
    );
    const late = { part: 'event', domain: 'one', delay: 20 } as const;
    await using injection = await inject(host, [
      { ...late, name: 'console', port: console!, op: 'receive', nth: 1 },
      { ...late, name: 'store', type: 'xenstore', port: store!, nth: [1, 2] },
      { ...late, name: 'pvcalls', port: pvcalls!, op: 'receive', nth: [1, 2] },
      { ...late, name: 'none', type: 'console', port: store! },
    ]);
    expect(await ask('store late')).toBe('told late');
    expect(await ask(`echo ${echo.port} late`)).toBe('echoed late');
    for (const name of ['console', 'store', 'pvcalls']) await injection.happened(1, name);
    const where = (await faultTrace(host)).filter(line => /^(console|store|pvcalls) 1 /.test(line));
    expect(where).toEqual([
      `console 1 console 0 of dom${domid}`,
      `pvcalls 1 pvcalls 0 of dom${domid}`,
      expect.stringMatching(new RegExp(`^store 1 (send to|receive from) dom${domid}$`)),
    ]);
    expect((await injection.status()).find(({ fault }) => fault === 'none')).toMatchObject({ seen: 0 });
  });
  it('fault 10: a grant that cannot be mapped fails its request, and the next one is served', async () => {
    // A disk that is new maps what it is lent.
    await host.domain('two').create({ ramdisk, memory: 16, disk: [`${other},raw,xvda,w`], paused: true });
    const mapping = await inject(host, { domain: 'two', part: 'grant', nth: 2, error: 'no_space' });
    const console2 = await host.domain('two').console();
    await host.domain('two').unpause();
    await console2.waitFor('ready');
    const said: string[] = [];
    for (let i = 0; i < 3; i++) {
      console2.write('read 72 0\n');
      said.push(/> (.*) </.exec(await console2.waitFor(/> .* </))![1]!);
    }
    await mapping.happened();
    await mapping.remove();
    expect(said).toContain('failed EIO');
    expect(said.at(-1)).toBe('same');
    await host.domain('two').destroy();
  });
});

describe('a hypercall', () => {
  const REFUSED = { part: 'hypercall', domain: 'one', op: 'EVTCHNOP_alloc_unbound', error: 'ENOSPC' } as const;
  /** Of the disk that comes and goes. */
  const DISK = 51712 + 16;
  let vbd: string;
  beforeAll(async () => {
    vbd = `/local/domain/${await host.domain('one').domid()}/device/vbd/${DISK}`;
  });
  const state = (): Promise<string | null> => host.xenstore.read(`${vbd}/state`).catch(() => null);
  const attach = async (): Promise<void> =>
    expect(await xl.xl('block-attach', 'one', `${other},raw,xvdb,w`)).toMatchObject({ exitCode: 0 });
  const detach = async (): Promise<void> =>
    expect(await xl.xl('block-detach', 'one', 'xvdb')).toMatchObject({ exitCode: 0 });
  const connects = () => eventually('it is connected', async () => (await state()) === '4');

  it('that is refused costs the disk that needs it; with the next one all is well', async () => {
    await using refused = await inject(host, { ...REFUSED, name: 'full', nth: 1 }, { plan: 'ports', seed: 5 });
    await attach();
    await refused.happened();
    await eventually('it is given up', async () => (await state()) === '6');
    expect(await ask('write 168 1')).toBe('ok');
    await detach();
    await attach();
    await connects();
    expect(await refused.status()).toMatchObject([{ seen: 2, injected: 1 }]);
    const domid = await host.domain('one').domid();
    expect(await faultTrace(host)).toContain(`full 1 EVTCHNOP_alloc_unbound by dom${domid}`);
    await detach();
  });
  it('that is delayed keeps its vCPU waiting, until the fault goes; others go on', async () => {
    const { error: _, ...alloc } = REFUSED;
    const late = await inject(host, { ...alloc, nth: 1, delay: '1h' });
    await attach();
    await late.happened();
    console_.write('write 168 2\n');
    await host.domain('two').create({ ramdisk, memory: 16 });
    await (await host.domain('two').console()).waitFor('ready');
    await host.domain('two').destroy();
    expect(await state()).not.toBe('4');
    await late.remove();
    await console_.waitFor('> ok <');
    await connects();
    await detach();
  });
  it('that is refused keeps a port of the host waiting, however often, and no longer than the fault is there', async () => {
    expect(await ask('serve')).toBe('ok');
    const backend = `/local/domain/0/backend/pvcalls/${await host.domain('one').domid()}/0`;
    const port = await eventually('it listens', () => host.xenstore.read(`${backend}/listening-80`).catch(() => false));
    /** Each of a connection of its own: status and text, or why there is none. */
    const get = (): Promise<string> =>
      fetch(`http://127.0.0.1:${port}/`, {
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(10_000),
      }).then(
        async answer => `${answer.status} ${await answer.text()}`,
        (error: Error) => error.message,
      );
    const refused = await inject(host, { ...REFUSED, name: 'full' });
    expect(await get()).toBe('200 served'); // accepted ahead
    await refused.happened(2);
    await refused.remove();
    await eventually('it is served again', async () => (await get()) === '200 served');
    expect(await ask('serve-no-more')).toBe('ok');
  });
  it("of dom0's is refused: the backend says so, of that device alone", async () => {
    const bind = { part: 'hypercall', domain: 0, op: 'EVTCHNOP_bind_interdomain', nth: 1, error: 'EAGAIN' } as const;
    await using refused = await inject(host, bind);
    await attach();
    await refused.happened();
    await eventually('it is told', async () =>
      (await host.events()).some(
        one => one.event === 'fault' && /^vbd 51728 of dom\d+: its backend says EAGAIN/.test(one.text),
      ),
    );
    await detach();
  });
  it('is counted in a domain that comes later, and further on when dom0 is another process', async () => {
    const { domain: _, ...refused } = REFUSED;
    await using later = await inject(host, { ...refused, name: 'full', domain: 'two', nth: [2, 4] }, { plan: 'later' });
    await host.domain('two').create({ ramdisk, memory: 16 });
    await (await host.domain('two').console()).waitFor('ready');
    const domid = await host.domain('two').domid();
    const home = `/local/domain/${domid}`;
    const read = (path: string): Promise<string> => host.xenstore.read(`${home}/${path}`).catch(() => '');
    /** What becomes of another disk. */
    const attached = async (n: number): Promise<string> => {
      expect(await xl.xl('block-attach', 'two', `${other},raw,xvd${'abc'[n]},r`)).toMatchObject({ exitCode: 0 });
      const vbd = `device/vbd/${51712 + 16 * n}`;
      return await eventually('it is connected, or given up', async () => {
        const why = await read(`error/${vbd}/error`);
        return why !== '' ? why.split(' ')[0]! : (await read(`${vbd}/state`)) === '4' && 'connected';
      });
    };
    expect([await attached(0), await attached(1)]).toEqual(['connected', 'ENOSPC']);
    await later.happened(1);
    {
      await using killed = await inject(host, { part: 'process', process: 'dom0', kill: true, after: 1000 });
      await killed.happened();
      await eventually('another one has told that they go on', async () =>
        (await later.events().catch(() => [])).some(one => one.event === 'fault' && /again/.test(one.text)),
      );
    }
    console_.close();
    console_ = await host.domain('one').console();
    // Behind what it has said before.
    console_.write('store counted\n');
    await console_.waitFor('> told counted <');
    // The first one is connected anew, over a channel that is the third.
    await eventually('it has asked for it', async () => (await later.status())[0]?.seen === 3);
    expect(await attached(2)).toBe('ENOSPC');
    await later.happened(2);
    const ours = (await faultTrace(host)).filter(line => line.startsWith('full ') && line.endsWith(`dom${domid}`));
    expect(ours).toEqual([2, 4].map(n => `full ${n} EVTCHNOP_alloc_unbound by dom${domid}`));
    await host.domain('two').destroy();
  });
});

describe('sockets of the host', () => {
  it('refuse, fail, come late and in parts where they are to', async () => {
    const { port } = echo;
    const pvcalls = { part: 'pvcalls', domain: 'one' } as const;
    const faults: library.Fault[] = [
      { ...pvcalls, name: 'refused', op: 'connect', nth: 2, error: 'ECONNREFUSED' },
      { ...pvcalls, name: 'late', op: 'connect', nth: 3, delay: 20 },
      { ...pvcalls, name: 'parts', op: 'send', times: 2, short: 1 },
      { ...pvcalls, name: 'reset', op: 'receive', from: 4, times: 1, error: 'ECONNRESET' },
    ];
    const injection = await inject(host, faults);
    expect([await ask(`echo ${port} abc`), await ask(`echo ${port} d`)]).toEqual(['echoed abc', 'failed ECONNREFUSED']);
    const said: string[] = [];
    while (!said.includes('failed ECONNRESET')) said.push(await ask(`echo ${port} e`));
    expect(said[0]).toMatch(/^echoed e$|^failed ECONNRESET$/);
    await injection.happened();
    await injection.remove();
    expect(await ask(`echo ${port} whole`)).toBe('echoed whole');
    const trace = await faultTrace(host);
    expect(trace).toContain('refused 2 pvcalls 0 of dom1');
  });
  it('stall until the fault goes', async () => {
    const stalled = await inject(host, { part: 'pvcalls', domain: 'one', op: 'receive', nth: 1, stall: true });
    const answer = ask(`echo ${echo.port} later`);
    await stalled.happened();
    await stalled.remove();
    expect(await answer).toBe('echoed later');
  });
  it.each([
    ['before', 0],
    ['after', 1],
  ] as const)('take dom0 with them %s a connect; the next one is made by its successor', async (kill, made) => {
    const before = heard;
    await using killed = await inject(host, { part: 'pvcalls', domain: 'one', op: 'connect', nth: 2, kill });
    expect(await ask(`echo ${echo.port} a`)).toBe('echoed a');
    console_.write(`echo ${echo.port} lost\n`);
    await killed.happened();
    console_.close();
    console_ = await host.domain('one').console();
    console_.write(`store ${kill}\n`);
    // What it has said before comes first.
    expect(await console_.waitFor(`> told ${kill} <`)).toMatch(/ lost\r?\n[\s\S]*> failed E[A-Z]+ </);
    expect(heard - before).toBe(1 + made);
    expect(await ask(`echo ${echo.port} b`)).toBe('echoed b');
    await eventually('all is told', async () => (await killed.status())[0]!.seen === 3);
    expect(await killed.status()).toMatchObject([{ seen: 3, injected: 1 }]);
  });
});

describe('a shared folder', () => {
  const shared = join(dir, 'shared');
  const onHost = (name: string): string => readFileSync(join(shared, name), 'utf8');
  const OF9 = { part: '9pfs', domain: 'folder' } as const;
  let console9: library.DomainConsole;
  /** The shell's status of a line. */
  const sh = async (line: string): Promise<number> => {
    console9.write(`${line}\n`);
    return Number(/> (\d+) </.exec(await console9.waitFor(/> \d+ </))![1]);
  };
  beforeAll(async () => {
    const root = join(dir, 'root');
    for (const folder of ['etc', 'folder']) mkdirSync(join(root, folder), { recursive: true });
    mkdirSync(join(shared, 'deep'), { recursive: true });
    const rc = 'mount -t 9p work /folder\necho ready\nwhile read -r line; do eval "$line"; echo "> $? <"; done\n';
    writeFileSync(join(root, 'etc/rc'), rc);
    await execa('tar', ['-cf', join(dir, 'root.tar'), '-C', root, '.']);
    const p9 = [`tag=work,path=${shared},security_model=none`];
    await host.domain('folder').create({ ramdisk: join(dir, 'root.tar'), memory: 32, p9 });
    console9 = await host.domain('folder').console();
    await console9.waitFor('ready');
  });
  afterAll(async () => {
    console9.close();
    await host.domain('folder').destroy();
  });

  it('fails the message that is chosen, by what it is and by its path', async () => {
    await using failing = await inject(host, [
      { ...OF9, name: 'write', op: 'write', nth: 2, error: 'ENOSPC' },
      { ...OF9, name: 'deep', path: '/deep', op: 'lcreate', error: 'EDQUOT' },
    ]);
    expect(await sh('echo 1 > /folder/a')).toBe(0);
    expect(await sh('echo 2 > /folder/b')).not.toBe(0);
    expect(await sh('echo 3 > /folder/c')).toBe(0);
    expect(await sh('echo 4 > /folder/deep/d')).not.toBe(0);
    expect(['a', 'b', 'c'].map(onHost)).toEqual(['1\n', '', '3\n']);
    expect(existsSync(join(shared, 'deep/d'))).toBe(false);
    await failing.happened();
    const domid = await host.domain('folder').domid();
    const trace = (await faultTrace(host)).filter(line => line.includes('9pfs'));
    expect(trace).toEqual([`deep 1 9pfs 0 of dom${domid}`, `write 2 9pfs 0 of dom${domid}`]);
  });
  it('moves little at a time, late, and is read and written whole', async () => {
    const faults: library.Fault[] = [
      { ...OF9, name: 'short', op: 'write', short: 3 },
      { ...OF9, name: 'late', op: 'read', nth: 1, delay: 20 },
    ];
    const text = 'all of this';
    await during(faults, async () => {
      expect(await sh(`echo ${text} > /folder/whole`)).toBe(0);
      expect(await sh('cp /folder/whole /folder/copy')).toBe(0);
    });
    expect(['whole', 'copy'].map(onHost)).toEqual([`${text}\n`, `${text}\n`]);
  });
  it('stalls until the fault goes', async () => {
    const stalled = await inject(host, { ...OF9, op: 'mkdir', nth: 1, stall: true });
    const made = sh('mkdir /folder/stalled');
    await stalled.happened();
    expect(existsSync(join(shared, 'stalled'))).toBe(false);
    await stalled.remove();
    expect(await made).toBe(0);
    expect(existsSync(join(shared, 'stalled'))).toBe(true);
  });
  it.each([
    ['before', false],
    ['after', true],
  ] as const)(
    'is killed %s a mkdir, whose caller is told that nobody knows; then it is served again',
    async (kill, is) => {
      await using killed = await inject(host, { ...OF9, op: 'mkdir', nth: 2, kill });
      expect(await sh(`mkdir /folder/first-${kill}`)).toBe(0);
      console9.write(`mkdir /folder/second-${kill}\n`);
      await killed.happened();
      console9.close();
      console9 = await host.domain('folder').console();
      await console9.waitFor(new RegExp(String.raw`second-${kill}[\s\S]*> 1 <`));
      expect(existsSync(join(shared, `second-${kill}`))).toBe(is);
      expect(await sh(`mkdir /folder/third-${kill}`)).toBe(0);
      await eventually('all is told', async () => (await killed.status())[0]!.seen === 3);
      expect(await killed.status()).toMatchObject([{ seen: 3, injected: 1 }]);
      await expectInvariant(host, 'I9', {});
      console_.close();
      console_ = await host.domain('one').console();
      // What it has said before comes first.
      console_.write(`store folder-${kill}\n`);
      await console_.waitFor(`> told folder-${kill} <`);
    },
  );
});

describe('a console', () => {
  it('stalls both ways until the fault goes, also one that comes later', async () => {
    const stalled = await inject(host, [
      { name: 'input', part: 'console', domain: 'one', op: 'write', nth: 1, stall: true },
      { name: 'output', part: 'console', domain: 'two', op: 'read', nth: 1, stall: true },
    ]);
    await host.domain('two').create({ ramdisk, memory: 16 });
    const console2 = await host.domain('two').console();
    const answer = ask('store typed');
    await stalled.happened();
    const told = `/local/domain/${await host.domain('one').domid()}/data/told`;
    expect(await host.xenstore.read(told).catch(() => undefined)).not.toBe('typed');
    await stalled.remove();
    expect(await answer).toBe('told typed');
    await console2.waitFor('ready');
    expect((await faultTrace(host)).filter(line => /^(in|out)put 1 console 0 of /.test(line)).length).toBe(2);
    await host.domain('two').destroy();
  });
  it('loses what is typed', async () => {
    const lost = await inject(host, { part: 'console', domain: 'one', op: 'write', nth: 1, drop: true });
    console_.write('store unheard\n');
    await lost.happened();
    await lost.remove();
    expect(await ask('store heard')).toBe('told heard');
  });
});

describe('xenstore', () => {
  beforeAll(connectedAnew);

  it('refuses the requests that are chosen, of sockets and of domains', async () => {
    const path = '/tool/test';
    const refused = await inject(host, { part: 'xenstore', domain: 0, path, op: 'write', nth: 2, error: 'EIO' });
    await host.xenstore.write(path, '1');
    await expect(host.xenstore.write(path, '2')).rejects.toMatchObject({ code: 'EIO' });
    await host.xenstore.write(path, '3');
    expect(await host.xenstore.read(path)).toBe('3');
    await refused.happened();
    await refused.remove();
    const said = await during({ part: 'xenstore', domain: 'one', op: 'write', nth: 1, error: 'EIO' }, async () => [
      await ask('store a'),
      await ask('store b'),
    ]);
    expect(said).toEqual(['failed EIO', 'told b']);
    await expectInvariant(host, 'I7', {});
  });
  it('ends a transaction with EAGAIN, which its client tries again', async () => {
    let tries = 0;
    await during({ part: 'xenstore', op: 'commit', domain: 0, nth: [1, 2], error: 'EAGAIN' }, () =>
      host.xenstore.transaction(async tx => {
        tries++;
        await host.xenstore.write('/tool/test', String(tries), tx);
      }),
    );
    expect(tries).toBeGreaterThan(1);
    expect(await host.xenstore.read('/tool/test')).toBe(String(tries));
  });
  it('answers late', async () => {
    const late = await inject(host, { part: 'xenstore', domain: 'one', op: 'write', nth: 1, delay: 50 });
    expect(await ask('store c')).toBe('told c');
    await late.happened();
    await late.remove();
  });
  it.each(['before', 'after'] as const)('fault 16: is killed %s a commit, whose client hears nothing', async kill => {
    const path = '/tool/test';
    const connect = async () => new XenstoreClient(await socketTransport(runPaths(host.runDir).xenstoredSocket));
    const client = await connect();
    const never: library.Fault = { part: 'xenstore', op: 'read', domain: 0, path, nth: 100, error: 'EIO' };
    await using reads = await inject(host, never);
    // The last: a plan is begun by commits of domain 0.
    await using killed = await inject(host, { part: 'xenstore', op: 'commit', domain: 0, nth: 2, kill });
    await client.read(path);
    await client.read(path);
    const commit = (value: string): Promise<void> => client.transaction(tx => client.write(path, value, tx));
    await commit('first');
    await expect(commit('second')).rejects.toThrow(XenError);
    client.close();
    await killed.happened();
    // The guest's ring goes on where it was.
    expect(await ask(`store ${kill}`)).toBe(`told ${kill}`);
    const again = await connect();
    expect(await again.read(path)).toBe(kill === 'after' ? 'second' : 'first');
    for (const value of ['third', 'fourth']) await again.transaction(tx => again.write(path, value, tx));
    again.close();
    expect(await killed.status()).toMatchObject([{ injected: 1, seen: 4 }]);
    expect(await reads.status()).toMatchObject([{ injected: 0, seen: 3 }]);
    await expectInvariant(host, 'I7', {});
  });
  it.each(['before', 'after'] as const)(
    "fault 16: is killed %s a domain's writes, each of which is done once",
    async kill => {
      await using killed = await inject(host, { part: 'xenstore', op: 'write', domain: 'one', nth: [2, 4], kill });
      const said = [await ask('store a'), await ask('store b'), await ask('store c'), await ask('store d')];
      expect(said).toEqual(['told a', 'told b', 'told c', 'told d']);
      await killed.happened(2);
      const numbers = (await killed.events()).flatMap(event => (event.event === 'fault' ? event.occurrences : []));
      expect(numbers).toEqual([2, 4]);
    },
  );
  it('stands still at a request, and everything waits', async () => {
    await using stopped = await inject(host, { part: 'xenstore', op: 'write', domain: 'one', nth: 1, stop: 300 });
    const from = performance.now();
    expect(await ask('store s')).toBe('told s');
    expect(performance.now() - from).toBeGreaterThan(290);
    await stopped.happened();
  });
});

describe('processes and time', () => {
  it('fault 51: the wall clock steps, for guests too', async () => {
    const before = Number(await ask('time'));
    await during({ part: 'clock', shift: '1h' }, () =>
      eventually('the guest has the new time', async () => Number(await ask('time')) >= before + 3600),
    );
    await during({ part: 'clock', shift: '-1h' }, () =>
      eventually('and the old one', async () => Number(await ask('time')) < before + 3600),
    );
  });
  it('a domain stops for a while and goes on', async () => {
    const stopped = await inject(host, { part: 'process', domain: 'one', stop: 200 });
    await stopped.happened();
    expect(await ask('read 72 5')).toBe('same');
    await stopped.remove();
  });
  it('a guest is killed at its very write, and its backend is not', async () => {
    const own = { ramdisk, memory: 16, disk: [`${other},raw,xvda,w`] };
    await host.domain('two').create(own);
    const console2 = await host.domain('two').console();
    await console2.waitFor('ready');
    const kill = { part: 'disk', domain: 'two', op: 'write', nth: 2, kill: 'before', process: 'guest' } as const;
    await using killed = await inject(host, kill);
    const restarts = async () =>
      (await host.events()).filter(one => one.event === 'fault' && /serves as/.test(one.text));
    const before = (await restarts()).length;
    for (const at of [0, 8]) console2.write(`write ${at} 7\n`);
    await eventually('it has ended', async () => !(await host.domains()).some(({ name }) => name === 'two'));
    await killed.happened();
    const bytes = readFileSync(other);
    expect([bytes[0], bytes[8 * 512]]).toEqual([7, 0]);
    expect((await restarts()).length).toBe(before);
    console2.close();
  });
  it('dom0 is killed at what a guest writes to its console, which is there', async () => {
    await using killed = await inject(host, { part: 'console', domain: 'one', op: 'read', nth: 1, kill: 'before' });
    console_.write('store loud\n');
    await killed.happened();
    console_.close();
    console_ = await host.domain('one').console();
    await console_.waitFor('> told loud <');
    await connectedAnew();
  });
  it('xenstored is killed, comes back, and goes on with its faults where it was', async () => {
    const refused = await inject(host, { part: 'xenstore', domain: 'one', op: 'write', nth: 3, error: 'ENOSPC' });
    expect([await ask('store a'), await ask('store b')]).toEqual(['told a', 'told b']);
    const killed = await inject(host, { part: 'process', process: 'xenstored', kill: true });
    await killed.happened();
    expect(await ask('store c')).toBe('failed ENOSPC');
    expect(await ask('store d')).toBe('told d');
    await refused.happened();
    await refused.remove();
    await killed.remove();
    await expectInvariant(host, 'I7', {});
  });
  it("dom0's process is killed; its plans go on where they were, and each injection is told once", async () => {
    const refused = await inject(host, { ...OF, part: 'disk', op: 'write', nth: [2, 4], error: 'EIO' });
    expect([await ask('write 112 1'), await ask('write 112 2')]).toEqual(['ok', 'failed EIO']);
    await refused.happened(1);
    // Not before it has said that the plan is on.
    const killed = await inject(host, { part: 'process', process: 'dom0', kill: true, after: 1000 });
    await killed.happened();
    await eventually('another one has told that they go on', async () =>
      (await refused.events().catch(() => [])).some(one => one.event === 'fault' && /again/.test(one.text)),
    );
    console_.close();
    console_ = await host.domain('one').console();
    console_.write('store hello\n');
    await console_.waitFor('> told hello <');
    expect([await ask('write 112 3'), await ask('write 112 4')]).toEqual(['ok', 'failed EIO']);
    await refused.happened(2);
    const injected = (events: library.HostEvent[]) =>
      events.flatMap(one => (one.event === 'fault' && one.what === 'injected' ? [one.occurrences] : []));
    expect(injected(await refused.events())).toEqual([[2], [4]]);
    expect(injected(await killed.events())).toEqual([[1]]);
    expect(await killed.status()).toMatchObject([{ injected: 1, state: 'over' }]);
    await refused.remove();
    await killed.remove();
  });
  it('fault 27: dom0 is killed among writes of one place, which its successor does in their order', async () => {
    const killed = await inject(host, { ...OF, part: 'disk', op: 'write', nth: 12, kill: 'before' });
    console_.write('over 120 30\n');
    await killed.happened();
    console_.close();
    console_ = await host.domain('one').console();
    console_.write('store written\n');
    await console_.waitFor('> told written <');
    expect(await ask('flush')).toBe('ok');
    expect(onImage(120)).toEqual(page(30));
    await killed.remove();
  });
  it('fault 28: dom0 is killed when a write is done and not answered; it is done again, and what follows comes after it', async () => {
    const killed = await inject(host, { ...OF, part: 'disk', op: 'write', nth: 12, kill: 'after' });
    console_.write('over 136 30\n');
    await killed.happened();
    console_.close();
    console_ = await host.domain('one').console();
    console_.write('store again\n');
    await console_.waitFor('> told again <');
    expect(await ask('flush')).toBe('ok');
    expect(onImage(136)).toEqual(page(30));
    await killed.remove();
  });
  it('a kill loses no count, of its device or another one that the same process serves: the plan replays exactly', async () => {
    await host.domain('two').create({ ramdisk, memory: 16, disk: [`${other},raw,xvda,w`] });
    let console2 = await host.domain('two').console();
    await console2.waitFor('ready');
    const two = async (): Promise<string> => {
      console2.write('write 0 1\n');
      return /> (.*) </.exec(await console2.waitFor(/> .* </))![1]!;
    };
    const faults: library.Fault[] = [
      { ...OF, name: 'kill', part: 'disk', op: 'write', nth: 4, kill: 'after' },
      { ...OF, name: 'same', part: 'disk', op: 'write', nth: 7, error: 'EIO' },
      { domain: 'two', name: 'other', part: 'disk', op: 'write', nth: 3, error: 'EIO' },
    ];
    const run = async (plan: string): Promise<unknown> => {
      await using injection = await inject(host, faults, { plan });
      const said: string[] = [];
      for (let n = 0; n < 3; n++) said.push(await ask(`write 144 ${n}`));
      said.push(await two(), await two());
      console_.write('write 144 3\n');
      await injection.happened(1, 'kill');
      for (const old of [console_, console2]) old.close();
      [console_, console2] = [await host.domain('one').console(), await host.domain('two').console()];
      for (const again of [console_, console2]) {
        again.write(`store ${plan}\n`);
        await again.waitFor(`> told ${plan} <`);
      }
      // The fourth was done twice.
      for (let n = 4; n < 7; n++) said.push(await ask(`write 144 ${n}`));
      said.push(await two());
      await injection.happened();
      const seen = async () => (await injection.status()).map(one => one.seen);
      await eventually('all is told', async () => String(await seen()) === '8,8,3').catch(() => {});
      return { said, seen: await seen() };
    };
    const wanted = { said: [...Array(6).fill('ok'), 'failed EIO', 'ok', 'failed EIO'], seen: [8, 8, 3] };
    expect([await run('run-1'), await run('run-2')]).toEqual([wanted, wanted]);
    console2.close();
    await host.domain('two').destroy();
  });
  it('all that serve it stop for a second, and go on', async () => {
    await host.domain('served').create({ driver_domain: true, kernel: '', memory: 64 });
    await host.domain('two').create({ ramdisk, memory: 16, disk: [`${other},raw,xvda,w,backend=served`] });
    const console2 = await host.domain('two').console();
    await console2.waitFor('ready');
    const stop = '1s' as const;
    const stopped = await inject(host, [
      { name: 'one', part: 'process', domain: 'one', stop },
      { name: 'served', part: 'process', domain: 'served', stop },
      { name: 'xenstored', part: 'process', process: 'xenstored', stop, after: 100 },
      { name: 'dom0', part: 'process', process: 'dom0', stop, after: 200 },
    ]);
    console2.write('write 0 3\n');
    const answer = console2.waitFor('> ok <');
    expect(await ask('write 112 5')).toBe('ok');
    await answer;
    await stopped.happened();
    await stopped.remove();
    await host.domain('two').destroy();
    await host.domain('served').destroy();
  });
  it('a domain is killed as if it had crashed', async () => {
    await host.domain('two').create({ ramdisk, memory: 16 });
    const end = host.domain('two').wait('destroyed');
    await during({ part: 'process', domain: 'two', kill: true }, () => end);
    expect((await host.domains()).map(({ name }) => name)).not.toContain('two');
  });
});

describe('a step of the toolstack', () => {
  beforeAll(connectedAnew);

  it.each(toolstackSteps.create.map((step, i) => [i + 1, step] as const))(
    '%i of create, %s, may fail, and nothing is left',
    async step => {
      const before = await baseline(host);
      const fault: library.Fault = { part: 'toolstack', op: 'create', domain: 'two', step, error: 'EIO' };
      await during(fault, () =>
        expect(host.domain('two').create({ ramdisk, memory: 16, disk: [`${other},raw,xvda,w`] })).rejects.toThrow(
          'injected: create of two',
        ),
      );
      await expectInvariant(host, 'I5', before);
    },
  );
});

describe('the plan', () => {
  it('befalls the same occurrences again from the same seed, and others from another', async () => {
    const run = async (seed: number): Promise<string[]> => {
      const chance = await inject(
        host,
        { ...OF, name: `s${seed}`, part: 'disk', op: 'write', probability: '30%', error: 'EIO' },
        { seed },
      );
      const said: string[] = [];
      for (let i = 0; i < 20; i++) said.push(await ask(`write 80 ${i}`));
      await chance.remove();
      return said;
    };
    const first = await run(5);
    expect(first).toContain('failed EIO');
    expect(first).toContain('ok');
    expect(await run(5)).toEqual(first);
    expect(await run(6)).not.toEqual(first);
  });
  it('is begun, listed, and ended by xl, and in the log with seed and occurrence', async () => {
    const add = ['fault', 'add', '-p', 'shell', '-s', '9', 'part=disk', 'domain=one', 'op=write', 'nth=2', 'error=EIO'];
    expect(await xl.xl(...add)).toMatchObject({ exitCode: 0, stdout: 'shell:fault-1\n' });
    expect([await ask('write 88 1'), await ask('write 88 2')]).toEqual(['ok', 'failed EIO']);
    await eventually('it is listed', async () => {
      const [status] = JSON.parse((await xl.xl('fault', 'list', '--json')).stdout) as [{ injected: number }];
      return status.injected === 1;
    });
    const listed = (await xl.xl('fault', 'list')).stdout;
    expect(listed).toMatch(/shell:fault-1 +9 +2 +1 on +disk write of one: error EIO/);
    expect((await xl.xl('fault', 'remove', 'shell')).exitCode).toBe(0);
    expect((await xl.xl('fault', 'remove', 'shell')).exitCode).toBe(1);
    const events = (await xl.xl('events', '--json')).stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    const ours = events.filter(({ event, plan }) => plan === 'shell' && event !== 'reaction');
    expect(ours.map(({ event }) => event)).toEqual(['fault-began', 'fault-injected', 'fault-ended']);
    expect(ours[1]).toMatchObject({ seed: 9, occurrences: [2], total: 1, text: 'vbd 51712 of dom1' });
    expect((await xl.xl('events')).stdout).toContain(
      'fault shell:fault-1 injected at 2 of vbd 51712 of dom1 (seed 9, 1 so far)',
    );
  });
  it('xl fault run that is killed takes its plan with it', async () => {
    const file = join(dir, 'bound.yaml');
    writeFileSync(file, '[{ part: disk, domain: one, op: discard, error: EIO }]');
    const running = execa(dist('../bin/xl'), ['fault', 'run', file], {
      env: { XENOLITH_RUN_DIR: host.runDir },
      reject: false,
    });
    const plans = async () => JSON.parse((await xl.xl('fault', 'list', '--json')).stdout) as { plan: string }[];
    await eventually('it is on', async () => (await plans()).some(({ plan }) => plan === 'bound'));
    running.kill('SIGKILL');
    await running;
    await eventually('it is over', async () => !(await plans()).some(({ plan }) => plan === 'bound'));
  });
  it('runs for its duration, is reported, and is gone', async () => {
    const file = join(dir, 'plan.yaml');
    writeFileSync(file, 'duration: 1500ms\nfaults:\n  - { name: x, part: disk, op: write, nth: 1, error: EIO }\n');
    let over = false;
    const running = xl.xl('fault', 'run', '--json', file).finally(() => {
      over = true;
    });
    const said: string[] = [];
    while (!over) said.push(await ask('write 96 1'));
    expect(said.filter(one => one !== 'ok')).toEqual(['failed EIO']);
    const { exitCode, stdout } = await running;
    expect(exitCode).toBe(0);
    const lines = stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    const ours = lines.filter(({ event }) => event !== 'reaction');
    expect(ours.map(({ event }) => event)).toEqual(['fault-began', 'fault-injected', 'fault-ended', 'report']);
    expect(ours[3].faults).toMatchObject([{ fault: 'x', injected: 1 }]);
    expect((await xl.xl('fault', 'list', '--json')).stdout).toBe('[]\n');
  });
  it('has the reactions of a backend in the log', async () => {
    await host.domain('two').create({ ramdisk, memory: 16, disk: [`${other},raw,xvda,w`] });
    const two = await host.domain('two').domid();
    const watched = await inject(host, { part: 'disk', domain: 'two', op: 'flush', nth: 1, error: 'EIO' });
    await host.domain('two').destroy();
    await eventually('the end of the backend is in the log', async () => {
      const said = (await host.events()).flatMap(one => (one.event === 'fault' && one.domid === two ? [one.text] : []));
      return said.some(text => text.endsWith(`of dom${two}: its backend is gone`));
    });
    await watched.remove();
  });
  it('that is wrong says where', async () => {
    const file = join(dir, 'bad.yaml');
    writeFileSync(file, 'seed: 1\nfaults:\n  - part: disk\n    errror: EIO\n');
    const { exitCode, stderr } = await xl.xl('fault', 'add', file);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`${file}:4: faults[0].errror: there is no such key; do you mean error?`);
    expect((await xl.xl('fault', 'add', 'part=disk', 'nth=x', 'error=EIO')).stderr).toContain(
      'nth: expected the number',
    );
  });
  it('waits for its condition, and has told everything that it did', async () => {
    const waiting = await inject(host, { ...OF, part: 'disk', op: 'write', while: '/tool/bad=1', error: 'EIO' });
    expect(await ask('write 104 1')).toBe('ok');
    const xs = await xl.xl('store', 'write', '/tool/bad', '1');
    expect(xs.exitCode).toBe(0);
    await eventually('the condition holds', async () => (await ask('write 104 2')) === 'failed EIO');
    await waiting.happened();
    await expectInvariant(host, 'I9', {});
    await expectInvariant(host, 'I10', { trace: await faultTrace(host) });
    await waiting.remove();
    expect(await ask('write 104 3')).toBe('ok');
  });
  it('fault 21: of a topology is on before the first domain runs; a flush that failed is not made good by the next', async () => {
    await host.up({
      domains: { three: { kernel: guestKernel, ramdisk, memory: 16, disk: [`${other},raw,xvda,w`] } },
      faults: [{ name: 'first', part: 'disk', domain: 'three', op: 'flush', nth: 1, error: 'EIO' }],
    });
    const console3 = await host.domain('three').console();
    await console3.waitFor('ready');
    console3.write('flush\n');
    expect(await console3.waitFor(/> .* </)).toContain('failed EIO');
    // fault 21: what was lost is not there though the next flush finds nothing wrong.
    console3.write('flush\n');
    expect(await console3.waitFor(/> .* </)).toContain('failed EIO');
    await host.domain('three').destroy();
  });
});
