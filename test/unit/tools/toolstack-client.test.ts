import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeFrame, FrameDecoder, type ToolstackEvent, type ToolstackRequest } from '#pvbus';
import { rcOf, ToolstackClient } from '../../../tools/toolstack-client.ts';
import { dist as distFile } from '../../support/host-view.ts';
import { NOBODY, whyNotAsNobody } from '../../support/nobody.ts';

let dir: string;
let path: string;
let server: Server;
let sockets: Socket[];
/** What the other end does with each request. */
let answer: (request: ToolstackRequest, socket: Socket) => void;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'xl-client-'));
  path = join(dir, 'toolstack.sock');
  sockets = [];
  server = createServer(socket => {
    sockets.push(socket);
    const decoder = new FrameDecoder();
    socket.on('error', () => {});
    socket.on('end', () => socket.destroy());
    socket.on('data', bytes => {
      for (const message of decoder.push(bytes)) answer(message as ToolstackRequest, socket);
    });
  });
  await new Promise<void>(resolve => server.listen(path, resolve));
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise(resolve => server.close(resolve));
  rmSync(dir, { recursive: true });
});

describe('a client of the toolstack', () => {
  it('fails at once where nobody listens, also on a socket that was left behind', async () => {
    await expect(ToolstackClient.connect(join(dir, 'no.sock'))).rejects.toMatchObject({ code: 'ENOENT' });
    const left = join(dir, 'left.sock');
    const dead = createServer();
    await new Promise<void>(resolve => dead.listen(left, resolve));
    // Closed behind Node's back, so that the path stays.
    (dead as unknown as { _handle: { close(): void } })._handle.close();
    await expect(ToolstackClient.connect(left)).rejects.toMatchObject({
      message: `no xenolith host runs on ${dir} (\`xl up FILE' starts one)`,
    });
  });

  it('says why it cannot look, which is not that no host runs', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(ToolstackClient.connect(join(dir, 'file/toolstack.sock'))).rejects.toMatchObject({
      ...{ code: 'ENOTDIR', message: `the host on ${join(dir, 'file')} cannot be reached: it is no directory` },
    });
    symlinkSync('loop', join(dir, 'loop'));
    await expect(ToolstackClient.connect(join(dir, 'loop/toolstack.sock'))).rejects.toMatchObject({
      code: 'ELOOP',
      message: expect.stringContaining(`the host on ${join(dir, 'loop')} cannot be reached: ELOOP: `),
    });
  });
  it.skipIf(whyNotAsNobody())("another user's host is out of reach, not gone", () => {
    const { status, stderr } = spawnSync(process.execPath, [distFile('xl.js'), 'list'], {
      ...{ uid: NOBODY, gid: NOBODY, encoding: 'utf8', env: { XENOLITH_RUN_DIR: dir } },
    });
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(new RegExp(`^xl: the host on ${dir} cannot be reached: EACCES: .*\\n$`)),
    ]);
  });

  it('matches replies to requests in whatever order they come', async () => {
    const held: [ToolstackRequest, Socket][] = [];
    answer = (request, socket) => {
      held.push([request, socket]);
      if (held.length < 3) return;
      const replies = held.reverse().map(([{ id, args }]) => {
        const { name } = args as { name: string };
        return encodeFrame({ id, result: { domid: Number(name) } });
      });
      const bytes = Buffer.concat(replies);
      for (const byte of bytes) socket.write(Uint8Array.of(byte)); // cut as badly as can be
    };
    const client = await ToolstackClient.connect(path);
    const names = ['1', '2', '3'];
    expect(await Promise.all(names.map(name => client.call('domid', { name })))).toEqual([
      ...[{ domid: 1 }, { domid: 2 }, { domid: 3 }],
    ]);
    client.close();
  });

  it('carries bytes of every kind', async () => {
    const text = `${Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('')}€𝄞`;
    answer = ({ id }, socket) => socket.write(encodeFrame({ id, result: { text } }));
    const client = await ToolstackClient.connect(path);
    expect(await client.call('dmesg', { clear: false })).toEqual({ text });
    client.close();
  });

  it('gives events before the reply, and after it for a subscription', async () => {
    answer = ({ id }, socket) => {
      socket.write(encodeFrame({ id, event: { event: 'phase', phase: 'one', ms: 1 } }));
      socket.write(encodeFrame({ id, result: null }));
      socket.write(
        encodeFrame({
          id,
          event: { event: 'domain', at: 1, what: 'created', domid: 1, name: 'g', reason: null, exitCode: null },
        }),
      );
    };
    const client = await ToolstackClient.connect(path);
    const events: ToolstackEvent[] = [];
    await client.call('subscribe', {}, event => events.push(event));
    while (events.length < 2) await new Promise(resolve => setImmediate(resolve));
    expect(events.map(({ event }) => event)).toEqual(['phase', 'domain']);
    client.close();
  });

  it('turns an error into one with its code and libxl return code', async () => {
    answer = ({ id }, socket) =>
      socket.write(encodeFrame({ id, error: { code: 'ENOMEM', message: 'no room', rc: -5 } }));
    const client = await ToolstackClient.connect(path);
    const error = await client.call('info', {}).catch(caught => caught);
    expect(error).toMatchObject({ code: 'ENOMEM', message: 'no room' });
    expect(rcOf(error)).toBe(-5);
    expect(rcOf(new Error('x'))).toBe(-3);
    client.close();
  });

  it.each<[string, (id: number) => Uint8Array, string]>([
    ['another version', () => Uint8Array.of(7, 0, 0, 0), 'EPROTO'],
    ['an answer to nothing', id => encodeFrame({ id: id + 1, result: null }), 'EPROTO'],
    ['rubbish', () => encodeFrame('what?'), 'EINVAL'],
    ['a frame too long', () => Uint8Array.of(1, 0xff, 0xff, 0xff), 'EMSGSIZE'],
  ])('gives up on a toolstack that sends %s', async (_, reply, code) => {
    answer = ({ id }, socket) => socket.write(reply(id));
    const client = await ToolstackClient.connect(path);
    await expect(client.call('info', {})).rejects.toMatchObject({ code });
    await expect(client.call('info', {})).rejects.toMatchObject({ code });
    const why = await new Promise<{ code: string }>(resolve => client.onClose(resolve));
    expect(why.code).toBe(code);
  });

  it('a result of the wrong shape fails that request alone', async () => {
    answer = ({ id, op }, socket) =>
      socket.write(encodeFrame({ id, result: op === 'domid' ? { domid: 'x' } : { name: 'n' } }));
    const client = await ToolstackClient.connect(path);
    await expect(client.call('domid', { name: 'n' })).rejects.toThrow(/^domid\.domid: expected an integer/);
    expect(await client.call('domname', { domid: 1 })).toEqual({ name: 'n' });
    client.close();
  });

  it('a connection that breaks rejects what waits, and says so once', async () => {
    answer = (_, socket) => void socket.destroy();
    const client = await ToolstackClient.connect(path);
    const closed = new Promise<{ code: string }>(resolve => client.onClose(resolve));
    await expect(client.call('info', {})).rejects.toMatchObject({ code: 'EPIPE' });
    expect((await closed).code).toBe('EPIPE');
  });

  it('close rejects what waits and tells no listener', async () => {
    answer = () => {};
    const client = await ToolstackClient.connect(path);
    let told = false;
    client.onClose(() => {
      told = true;
    });
    const call = client.call('info', {});
    client.close();
    await expect(call).rejects.toMatchObject({ code: 'ECONNABORTED' });
    while (!sockets[0]!.destroyed) await new Promise(resolve => setImmediate(resolve)); // the other end saw it
    expect(told).toBe(false);
  });
});
