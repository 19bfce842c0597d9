import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { ConsoleClients } from '../../../../../dom0/backends/consoled/console-clients.ts';
import { SCROLLBACK_BYTES } from '../../../../../dom0/backends/consoled/scrollback.ts';
import { ConsoleStats } from '../../../../../dom0/backends/consoled/stats.ts';
import { eventually } from '../../../../support/processes.ts';
import { ListLog } from '../../../../support/xenstore-rig.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-console-'));
const path = join(dir, '7.sock');
const open: { clients?: ConsoleClients; sockets: Socket[] } = { sockets: [] };
afterEach(async () => {
  for (const socket of open.sockets.splice(0)) socket.destroy();
  await open.clients?.close();
});
afterAll(() => rmSync(dir, { recursive: true }));

async function serve(room = { bytes: 1 << 20 }) {
  const log = new ListLog();
  const stats = new ConsoleStats();
  const typed: Buffer[] = [];
  open.clients = await ConsoleClients.open({
    past: new Uint8Array(0),
    path,
    label: 'console of dom7',
    log,
    stats,
    type: bytes => {
      const n = Math.min(bytes.length, room.bytes);
      typed.push(Buffer.from(bytes.subarray(0, n)));
      room.bytes -= n;
      return n;
    },
  });
  return { clients: open.clients, log, stats, typed: () => Buffer.concat(typed).toString() };
}
/** A client that collects what it reads. */
async function attach() {
  const socket = connect(path);
  open.sockets.push(socket);
  const got: Buffer[] = [];
  socket.on('data', bytes => got.push(bytes));
  await once(socket, 'connect');
  return { socket, got: () => Buffer.concat(got).toString() };
}

describe('the clients of a console', () => {
  it('see what was written before they came, then what is written', async () => {
    const { clients } = await serve();
    clients.write(Buffer.from('before '));
    const a = await attach();
    await eventually('the scrollback', () => a.got() === 'before ');
    clients.write(Buffer.from('after'));
    await eventually('the rest', () => a.got() === 'before after');
  });

  it('all see everything, and each may leave', async () => {
    const { clients } = await serve();
    const a = await attach();
    const b = await attach();
    await eventually('both are attached', () => clients.count === 2);
    clients.write(Buffer.from('1'));
    await eventually('both have read', () => a.got() === '1' && b.got() === '1');
    a.socket.destroy();
    await eventually('one has left', () => clients.count === 1);
    clients.write(Buffer.from('2'));
    await eventually('the other reads on', () => b.got() === '12');
  });

  it('are not waited for when they read nothing: the console ends all the same', async () => {
    const { clients } = await serve();
    const socket = connect(path); // nobody reads from it, as of a tool that was stopped
    open.sockets.push(socket);
    await once(socket, 'connect');
    await eventually('it is attached', () => clients.count === 1);
    clients.write(Buffer.alloc(SCROLLBACK_BYTES));
    await clients.close();
    expect(clients.count).toBe(0);
  });

  it('type to the guest; what it does not take waits in order', async () => {
    const room = { bytes: 5 };
    const { clients, typed } = await serve(room);
    const a = await attach();
    a.socket.write('hello world');
    await eventually('five bytes were taken', () => typed() === 'hello');
    a.socket.write(' and more');
    room.bytes = 3;
    clients.resume();
    await eventually('three more', () => typed() === 'hello wo');
    room.bytes = 1000;
    clients.resume();
    await eventually('all of it', () => typed() === 'hello world and more');
  });

  it('fault 32: are cut off when they do not read, and the guest never waits for them', async () => {
    const { clients, log, stats } = await serve();
    const a = await attach();
    await eventually('attached', () => clients.count === 1);
    a.socket.pause();
    for (let i = 0; i < 200 && clients.count === 1; i++) clients.write(Buffer.alloc(SCROLLBACK_BYTES));
    expect(clients.count).toBe(0);
    expect(stats.slowClients).toBe(1);
    expect(log.lines).toEqual(['warning: console of dom7: a client does not read, cut off']);
  });

  it('are at most sixteen', async () => {
    const { clients } = await serve();
    const all: Awaited<ReturnType<typeof attach>>[] = [];
    for (let i = 0; i < 17; i++) all.push(await attach());
    await eventually('the last was turned away', () => all[16]!.socket.destroyed || all[16]!.socket.readableEnded);
    expect(clients.count).toBe(16);
  });

  it('reach a socket whose path another host left behind', async () => {
    writeFileSync(path, '');
    const { clients } = await serve();
    clients.write(Buffer.from('x'));
    const a = await attach();
    await eventually('it is served', () => a.got() === 'x');
  });

  it('read all that was written before the end of the domain, then the end; its socket is gone', async () => {
    const { clients } = await serve();
    const a = await attach();
    await eventually('attached', () => clients.count === 1);
    clients.write(Buffer.from('last words'));
    await clients.close();
    await eventually('the end', () => a.socket.readableEnded);
    expect(a.got()).toBe('last words');
    expect(existsSync(path)).toBe(false);
  });
});
