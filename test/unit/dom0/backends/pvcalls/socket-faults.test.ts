// pvcalls with faults: the real worker and frontend, real sockets of this host.
import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkPlan, type Injected, XenError } from '#pvbus';
import type { PvcallsFront } from '../../../../../domu-kernel/drivers/pvcallsfront/worker.ts';
import { dial, noise, readAll, serveOn, sha } from '../../../../support/host-peer.ts';
import { eventually } from '../../../../support/processes.ts';
import { type PvcallsGuest, PvcallsRig } from '../../../../support/pvcalls-rig.ts';

let rig: PvcallsRig;
let guest: PvcallsGuest;
let front: PvcallsFront;
let server: Server;
let port: number;
/** The host's ends of connections of the guest. */
let peers: Socket[];

beforeEach(async () => {
  rig = new PvcallsRig();
  peers = [];
  ({ port, server } = await serveOn(socket => peers.push(socket)));
  guest = rig.guest();
  front = guest.connect('0:80', String(port));
});
afterEach(() => {
  rig.stop();
  server.close();
  for (const peer of peers) peer.destroy();
  expect(rig.core.internalErrors).toEqual([]);
});

function plant(...faults: object[]): void {
  const checked = checkPlan(faults, 'p');
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  const planted = checked.plan.faults.map(fault => ({ plan: 'p', seed: 1, startedNs: 0, fault }));
  rig.worker.handle({ op: 'faults', device: guest.device, label: `pvcalls 0 of dom${guest.guest.domid}`, planted });
}
const injected = (): Injected[] => rig.events.flatMap(event => (event.event === 'injected' ? [event.injected] : []));
const occurrences = (): number[] => injected().flatMap(one => one.occurrences);
async function codeOf(work: Promise<unknown>): Promise<string> {
  return rig.run(work).then(
    () => 'none',
    error => (error instanceof XenError ? error.code : String(error)),
  );
}
async function connected() {
  const connection = await rig.run(front.connect(port));
  await rig.until(() => peers.length > 0);
  return { connection, peer: peers.at(-1)! };
}
const later = (ms: number): void => rig.core.clock.advance(ms * 1e6);
const of = (op: string) => ({ part: 'pvcalls', op });

it('a connect fails as it is told to, and nothing of it reaches the host; the next one is made', async () => {
  plant({ ...of('connect'), nth: [1, 2], error: 'ECONNREFUSED' }, { ...of('connect'), nth: 3, error: 'ETIMEDOUT' });
  const codes: string[] = [];
  for (let i = 0; i < 3; i++) codes.push(await codeOf(front.connect(port)));
  expect(codes).toEqual(['ECONNREFUSED', 'ECONNREFUSED', 'ETIMEDOUT']);
  expect(peers.length).toBe(0);
  await connected();
  expect(occurrences()).toEqual([1, 2, 3]);
  expect(injected()[0]).toMatchObject({ where: `pvcalls 0 of dom${guest.guest.domid}` });
});

it('a connect that is delayed is made later, one that stalls when the fault goes', async () => {
  plant({ ...of('connect'), nth: 1, delay: 50 }, { ...of('connect'), name: 'stall', nth: 2, stall: true });
  const late = front.connect(port);
  expect(await rig.isOver(late)).toBe(false);
  const stalled = front.connect(port);
  later(50);
  await rig.run(late);
  expect(await rig.isOver(stalled)).toBe(false);
  await rig.until(() => peers.length === 1);
  plant();
  await rig.run(stalled);
  await rig.until(() => peers.length === 2);
});

it('a listen fails, and an accept, and both can be tried again', async () => {
  plant({ ...of('listen'), nth: 1, error: 'EADDRINUSE' }, { ...of('accept'), nth: 1, error: 'ECONNABORTED' });
  expect(await codeOf(front.listen(80))).toBe('EADDRINUSE');
  const listener = await rig.run(front.listen(80));
  const event = rig.events.find(one => one.event === 'listening');
  const socket = await dial(event?.event === 'listening' ? event.hostPort : 0);
  expect(await codeOf(listener.accept())).toBe('ECONNABORTED');
  const connection = await rig.run(listener.accept());
  socket.end('hello');
  expect(Buffer.from((await rig.run(connection.read()))!).toString()).toBe('hello');
});

it('what is sent is held back for its time, in order, also when the guest has closed', async () => {
  const { connection, peer } = await connected();
  plant({ ...of('send'), nth: 1, delay: 20 });
  const got = readAll(peer);
  await rig.run(connection.write('one '));
  await rig.run(connection.write('two'));
  await rig.run(connection.close());
  await rig.turns();
  expect(peer.bytesRead).toBe(0);
  later(20);
  expect((await rig.run(got)).toString()).toBe('one two');
});

it('what is received is held back until the fault goes, and is whole then', async () => {
  const { connection, peer } = await connected();
  plant({ ...of('receive'), nth: 1, stall: true });
  peer.write('held');
  const read = connection.read();
  expect(await rig.isOver(read)).toBe(false);
  peer.end(' back');
  await rig.turns();
  plant();
  const parts: Uint8Array[] = [];
  for (let part = await rig.run(read); part !== null; part = await rig.run(connection.read())) parts.push(part);
  expect(Buffer.concat(parts).toString()).toBe('held back');
});

it('bytes that go a few at a time, both ways, are all there', async () => {
  plant({ ...of('send'), name: 'send', short: 100 }, { ...of('receive'), name: 'receive', short: 70 });
  const { connection, peer } = await connected();
  peer.pipe(peer);
  const sent = noise(20_000);
  const parts: Uint8Array[] = [];
  const work = Promise.all([
    connection.write(sent).then(() => connection.end()),
    (async () => {
      for await (const part of connection) parts.push(part);
    })(),
  ]);
  await rig.run(work);
  expect(sha(Buffer.concat(parts))).toBe(sha(sent));
  const last = new Map(injected().map(one => [one.fault, one.counts.injected]));
  expect(last.get('send')).toBeGreaterThanOrEqual(200);
  expect(last.get('receive')).toBeGreaterThanOrEqual(286);
});

it.each(['send', 'receive'])('a %s that fails is a reset for both ends, and other connections go on', async op => {
  const first = await connected();
  const second = await rig.run(front.connect(port));
  await rig.until(() => peers.length === 2);
  const error = once(first.peer, 'error').then(([{ code }]) => code as string);
  plant({ ...of(op), nth: 1, error: 'ECONNRESET' });
  const read = codeOf(first.connection.read());
  if (op === 'send') await rig.run(first.connection.write('lost'));
  else first.peer.write('lost');
  expect(await read).toBe('ECONNRESET');
  expect(await rig.run(error)).toBe('ECONNRESET');
  expect(await codeOf(first.connection.write('more'))).toBe('EPIPE');
  peers[1]!.write('here');
  expect(Buffer.from((await rig.run(second.read()))!).toString()).toBe('here');
});

it('a connection that was made before the plan goes on by the host’s own socket after it', async () => {
  const { connection, peer } = await connected();
  plant({ ...of('send'), nth: 1, stall: true });
  await rig.run(connection.write('a'));
  await rig.turns();
  expect(peer.bytesRead).toBe(0);
  plant();
  await rig.run(connection.write('b'));
  await rig.run(connection.close());
  expect((await rig.run(readAll(peer))).toString()).toBe('ab');
});

it('of what goes a few bytes at a time the rest is sent when the plan ends, before what comes after it', async () => {
  const { connection, peer } = await connected();
  plant({ ...of('send'), short: 1 });
  const sent = noise(100);
  const got = readAll(peer);
  const writing = connection.write(sent);
  await eventually('a piece is sent', () => {
    guest.step();
    rig.vcpu.events.poll();
    rig.worker.step();
    return occurrences().length > 0;
  });
  plant();
  await rig.run(writing);
  await rig.run(connection.write('and more'));
  await rig.run(connection.close());
  expect((await rig.run(got)).toString('latin1')).toBe(`${Buffer.from(sent).toString('latin1')}and more`);
  expect(occurrences().length).toBeLessThan(sent.length);
});

it('a device that is gone is none of the faults’ any more, whatever they held back', async () => {
  const { connection, peer } = await connected();
  plant({ part: 'pvcalls', stall: true });
  connection.write('held').catch(() => {});
  void front.connect(port).catch(() => {});
  await rig.turns();
  peer.resume();
  guest.detach();
  await rig.until(() => peer.readableEnded || peer.destroyed);
  plant();
  await rig.turns();
  expect(peers.length).toBe(1);
  expect(rig.mapped).toBe(0);
});

it('is killed before a connect, which is not made, or after it, and the guest hears nothing of either', async () => {
  for (const [kill, made] of [
    ['before', 0],
    ['after', 1],
  ] as const) {
    peers.length = 0;
    plant(
      { ...of('connect'), name: kill, nth: 1, kill },
      { ...of('accept'), name: `other-${kill}`, error: 'ECONNABORTED' },
    );
    const connecting = front.connect(port);
    expect(await rig.isOver(connecting)).toBe(false);
    await rig.until(() => peers.length === made);
    await rig.until(() => injected().at(-1)?.process !== undefined);
    const told = injected().at(-1);
    expect(told).toMatchObject({ fault: kill, process: { kill: true }, counts: { seen: 1 } });
    // What comes now is none of its occurrences, and waits for whoever serves next.
    const next = front.connect(port);
    expect(await rig.isOver(next)).toBe(false);
    expect([peers.length, injected().at(-1)]).toEqual([made, told]);
    plant();
    await rig.run(Promise.all([connecting, next]));
    await rig.until(() => peers.length === 2);
  }
});

it('is killed after bytes were moved, or before, and what follows them waits', async () => {
  for (const [kill, sent] of [
    ['before', ''],
    ['after', 'one'],
  ] as const) {
    const { connection, peer } = await connected();
    let got = '';
    peer.on('data', chunk => {
      got += chunk;
    });
    plant({ ...of('send'), name: kill, nth: 1, kill });
    await rig.run(connection.write('one'));
    await rig.until(() => injected().at(-1)?.fault === kill && got === sent);
    expect(injected().at(-1)).toMatchObject({ process: { kill: true }, counts: { seen: 1 } });
    connection.write('two').catch(() => {});
    peer.write('back');
    const read = connection.read();
    expect(await rig.isOver(read)).toBe(false);
    expect(got).toBe(sent);
    plant();
    expect(Buffer.from((await rig.run(read))!).toString()).toBe('back');
    await rig.until(() => got === 'onetwo');
  }
});

it('is stopped at what is received, which comes when it goes on', async () => {
  const { connection, peer } = await connected();
  plant({ ...of('receive'), nth: 1, stop: 100 });
  peer.write('x');
  const read = connection.read();
  expect(await rig.isOver(read)).toBe(false);
  expect(injected()).toMatchObject([{ occurrences: [1], process: { stop: 100 } }]);
  later(100);
  expect(Buffer.from((await rig.run(read))!).toString()).toBe('x');
});

it('its channels lose what is heard, that of its commands and those of its connections, until the plan ends', async () => {
  const { connection, peer } = await connected();
  plant({ part: 'event', type: 'pvcalls', op: 'receive', drop: true });
  const connecting = front.connect(port);
  expect(await rig.isOver(connecting)).toBe(false);
  connection.write('unheard').catch(() => {});
  await rig.turns();
  expect(peer.bytesRead).toBe(0);
  expect(occurrences().length).toBeGreaterThanOrEqual(2);
  plant(); // it looks by itself then
  await rig.run(connecting);
  await rig.until(() => peer.read() !== null);
});
