// The daemon as a process of its own, as it is built, under many clients and bad ones.
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { XENSTORE_PAYLOAD_MAX, XS_READ, xenstoreFrame } from '#pvbus';
import { XenstoredProcess } from '../../../support/xenstored-process.ts';

const xenstored = new XenstoredProcess();
beforeAll(() => xenstored.start());
afterAll(() => xenstored.remove());

describe('the daemon as a process', () => {
  test('serves eight clients that all change one node in transactions', async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, () => xenstored.connect()));
    await clients[0]!.write('/counter', '0');
    await Promise.all(
      clients.map(async xs => {
        for (let i = 0; i < 20; i++) {
          await xs.transaction(async tx => xs.write('/counter', String(Number(await xs.read('/counter', tx)) + 1), tx));
        }
      }),
    );
    expect(await clients[0]!.read('/counter')).toBe('160');
    for (const xs of clients) xs.close();
  });

  test('answers a client that sends ten thousand requests before it reads', async () => {
    const xs = await xenstored.connect();
    await xs.write('/big', 'x'.repeat(2000));
    const replies = await Promise.all(Array.from({ length: 10_000 }, () => xs.read('/big')));
    expect(replies.every(reply => reply.length === 2000)).toBe(true);
    xs.close();
  });

  test('cuts off a client that claims a payload too long, and no other', async () => {
    const xs = await xenstored.connect();
    const socket = connect(xenstored.socket);
    const closed = once(socket, 'close');
    const bytes = xenstoreFrame(XS_READ, 1, 0, new Uint8Array(XENSTORE_PAYLOAD_MAX + 1));
    socket.on('error', () => {});
    socket.write(bytes);
    await closed;
    expect(await xs.read('/tool')).toBe('');
    xs.close();
  });

  test('forgets a client that hangs up: watches, transactions, half a message', async () => {
    const xs = await xenstored.connect();
    for (let i = 0; i < 50; i++) {
      const other = await xenstored.connect();
      await other.watch('/gone', 't', () => {});
      void other.transaction(() => new Promise(() => {})).catch(() => {});
      other.close();
      const half = connect(xenstored.socket);
      await once(half, 'connect');
      half.write(xenstoreFrame(XS_READ, 1, 0, Buffer.from('/tool\0')).subarray(0, 18));
      half.destroy();
    }
    await xs.write('/gone/x', '');
    expect(await xs.control('check')).toBe('OK');
    xs.close();
  });
});
