import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connectTo } from '../../../../../dom0/backends/nbd/host-stream.ts';

it('two writes of 128 KiB to a server on a unix socket are with it before it reads', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'nbd-stream-'));
  const path = join(dir, 'sock');
  const server = createServer({ pauseOnConnect: true });
  try {
    const accepted = new Promise<Socket>(resolve => server.once('connection', resolve));
    await new Promise<void>(resolve => server.listen(path, resolve));
    const stream = await new Promise<ReturnType<typeof connectTo>>((resolve, reject) => {
      const made = connectTo(
        { path },
        { connected: () => resolve(made), data: () => {}, lost: why => reject(new Error(why)) },
      );
    });
    const socket = await accepted;
    for (let n = 0; n < 2; n++) {
      stream.cork();
      stream.write(new Uint8Array(28));
      stream.write(new Uint8Array(128 << 10));
      stream.uncork();
    }
    // What Linux has not taken by now goes with the connection.
    stream.destroy();
    let received = 0;
    socket.on('data', bytes => {
      received += bytes.length;
    });
    socket.resume();
    await new Promise<void>(resolve => socket.once('close', () => resolve()));
    expect(received).toBe(2 * (28 + (128 << 10)));
  } finally {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
