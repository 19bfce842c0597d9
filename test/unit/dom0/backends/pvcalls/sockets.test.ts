// Xen: io/pvcalls.h. Both ends on the real hypervisor core, with real sockets of this host.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { socketErrno, softLimit, XenError } from '#pvbus';
import { ControlCalls } from '../../../../../dom0/toolstack/control-calls.ts';
import { XcFaults } from '../../../../../dom0/toolstack/xc-faults.ts';
import type { HostConnection } from '../../../../../domu-kernel/drivers/pvcallsfront/connection.ts';
import { dial, freePort, noise, readAll, serveOn, sha } from '../../../../support/host-peer.ts';
import { PvcallsRig } from '../../../../support/pvcalls-rig.ts';

/** Two thousand sockets and more of one test. */
const fewFiles = softLimit(process.pid, 'nofile') < 4096n ? ': a process may have fewer than 4096 files open' : '';
const text = (bytes: Uint8Array | null): string | null => bytes && Buffer.from(bytes).toString();
async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}
async function drain(connection: HostConnection): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of connection) parts.push(part);
  return Buffer.concat(parts);
}

let rig: PvcallsRig;
afterEach(() => {
  rig.stop();
  expect(rig.core.internalErrors).toEqual([]);
});

/** A guest that answers guest port 80 at a port the host picks. */
async function listening(options?: { readonly pages: number }) {
  rig = new PvcallsRig();
  const guest = rig.guest(options);
  const front = guest.connect('0:80');
  const listener = await rig.run(front.listen(80));
  const event = rig.events.find(e => e.event === 'listening');
  if (event?.event !== 'listening') throw new Error('no port was announced');
  return { guest, front, listener, port: event.hostPort };
}

describe('a guest that resets', () => {
  it('has its peer hear of a failure, of an end else', async () => {
    rig = new PvcallsRig();
    const ends: string[] = [];
    const { port, server } = await serveOn(socket => {
      socket.on('error', error => ends.push((error as NodeJS.ErrnoException).code ?? ''));
      socket.on('end', () => ends.push('end'));
      socket.resume();
    });
    const front = rig.guest().connect('', String(port));
    const one = await rig.run(front.connect(port));
    await rig.run(one.write('what is on its way is lost'));
    await rig.run(one.reset());
    await rig.until(() => ends.length === 1);
    const other = await rig.run(front.connect(port));
    await rig.run(other.close());
    await rig.until(() => ends.length === 2);
    expect(ends).toEqual(['ECONNRESET', 'end']);
    expect(await codeOf(rig.run(one.read()))).toBe('ECANCELED');
    server.close();
  });

  it('has its peer hear of that also when bytes come between its reset and its release', async () => {
    rig = new PvcallsRig();
    const ends: string[] = [];
    let peer: Socket | undefined;
    const { port, server } = await serveOn(socket => {
      peer = socket;
      socket.on('error', error => ends.push((error as NodeJS.ErrnoException).code ?? ''));
      socket.on('end', () => ends.push('end'));
      socket.resume();
    });
    const one = await rig.run(rig.guest().connect('', String(port)).connect(port));
    await rig.until(() => peer !== undefined);
    const { ring } = one as unknown as { ring: { writer: { fail(errno: number): void } } };
    ring.writer.fail(socketErrno('ECONNRESET'));
    peer!.write('has its backend look');
    await rig.turns();
    await rig.run(one.close());
    await rig.until(() => ends.length === 1);
    expect(ends).toEqual(['ECONNRESET']);
    server.close();
  });
});

describe('a guest that listens', () => {
  it('gets what the host sends and answers, on several connections at once', async () => {
    const { listener, port } = await listening();
    const sockets = await Promise.all(Array.from({ length: 5 }, () => dial(port)));
    const accepted: HostConnection[] = [];
    for (const _ of sockets) accepted.push(await rig.run(listener.accept()));
    sockets.forEach((socket, i) => void socket.write(`hello ${i}`));
    const heard = await rig.run(Promise.all(accepted.map(async c => text(await c.read()))));
    expect(heard.sort()).toEqual(sockets.map((_, i) => `hello ${i}`));
    const answers = Promise.all(sockets.map(async socket => text((await once(socket, 'data'))[0])));
    await rig.run(Promise.all(accepted.map((c, i) => c.write(`answer to ${heard[i]}`))));
    expect((await rig.run(answers)).sort()).toEqual(heard.map(h => `answer to ${h}`).sort());
    await rig.run(Promise.all(accepted.map(c => c.close())));
  });

  it('carries megabytes both ways at once without a changed byte', async () => {
    const { listener, port } = await listening();
    const socket = await dial(port);
    const connection = await rig.run(listener.accept());
    const up = noise(3_000_000, 7);
    const down = noise(2_000_000, 8);
    socket.end(up);
    const work = Promise.all([
      drain(connection),
      readAll(socket),
      (async () => {
        for (let at = 0; at < down.length; at += 77_777) await connection.write(down.subarray(at, at + 77_777));
        await connection.end();
      })(),
    ]);
    const [gotUp, gotDown] = await rig.run(work);
    expect(sha(gotUp)).toBe(sha(up));
    expect(sha(gotDown)).toBe(sha(down));
    expect(rig.worker.stats.bytesIn).toBe(up.length);
    expect(rig.worker.stats.bytesOut).toBe(down.length);
  });

  it('still reads after it has ended its side, and still writes after the host has', async () => {
    const { listener, port } = await listening();
    const first = await dial(port);
    const one = await rig.run(listener.accept());
    const ended = once(first.resume(), 'end');
    await rig.run(one.end());
    await rig.run(ended);
    first.write('after your end');
    expect(text(await rig.run(one.read()))).toBe('after your end');
    expect(await codeOf(one.write('x'))).toBe('EPIPE');

    const second = await dial(port);
    second.end();
    const two = await rig.run(listener.accept());
    expect(await rig.run(two.read())).toBe(null);
    const got = readAll(second);
    await rig.run(two.write('after your end'));
    await rig.run(two.close());
    expect(text(await rig.run(got))).toBe('after your end');
  });

  it('ends its side also when the backend sees that together with the last bytes', async () => {
    const { listener, port } = await listening();
    const socket = await dial(port);
    const connection = await rig.run(listener.accept());
    const heard = readAll(socket);
    // order: the rig runs nothing between the two.
    connection.give(Buffer.from('last words'));
    await connection.end();
    expect(text(await rig.run(heard))).toBe('last words');
    await rig.run(connection.close());
  });

  it('delivers what it wrote before it closed', async () => {
    const { listener, port } = await listening();
    const socket = await dial(port);
    const connection = await rig.run(listener.accept());
    const last = noise(16_000);
    await rig.run(connection.write(last));
    await rig.run(connection.close());
    expect(sha(await rig.run(readAll(socket)))).toBe(sha(last));
    expect(await codeOf(connection.read())).toBe('ECANCELED');
  });

  it('is slowed down by a host that does not read, and nothing piles up', async () => {
    const { listener, port } = await listening();
    const socket = await dial(port);
    socket.pause();
    const connection = await rig.run(listener.accept());
    const before = process.memoryUsage().arrayBuffers;
    let written = 0;
    void (async () => {
      for (;;) {
        await connection.write(new Uint8Array(65536));
        written += 65536;
      }
    })().catch(() => {});
    let stalled = -1;
    while (written !== stalled) {
      stalled = written;
      await rig.turns(300);
    }
    // The kernel's socket buffers are what they are; of ours, there are a few hundred KiB at most, and what is not collected yet.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20);
    const reading = readAll(socket);
    await rig.until(() => written > stalled);
    socket.destroy();
    await reading.catch(() => {});
  });

  it('slows down a host that sends what it does not read', async () => {
    const { listener, port } = await listening();
    const socket = await dial(port);
    await rig.run(listener.accept());
    const chunk = new Uint8Array(1 << 20);
    let sent = 0;
    while (sent < 64 && socket.write(chunk)) {
      sent++;
      await rig.turns(5);
    }
    await rig.turns(200);
    expect(socket.writableLength).toBeGreaterThan(0);
    expect(rig.worker.stats.bytesIn).toBeLessThanOrEqual(16384);
    socket.destroy();
  });

  it('learns of a reset as ECONNRESET, in reads and in writes', async () => {
    const { listener, port } = await listening();
    const socket = await dial(port);
    const connection = await rig.run(listener.accept());
    socket.resetAndDestroy();
    expect(await codeOf(rig.run(connection.read()))).toBe('ECONNRESET');
    expect(await codeOf(rig.run(connection.write('x')))).toBe('EPIPE');
    await rig.run(connection.close());
  });

  it('answers 300 that come at once, more than it can have, each in its turn and with what it sent', async () => {
    const { front, listener, port } = await listening({ pages: 4096 });
    const echoes = Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const socket = await dial(port);
        socket.end(`client ${i}`);
        return text(await readAll(socket));
      }),
    );
    const held: HostConnection[] = [];
    while (held.length < 256) held.push(await rig.run(listener.accept()));
    expect(await codeOf(rig.run(front.connect(1)))).toBe('EMFILE');
    let more = false;
    const next = listener.accept().finally(() => {
      more = true;
    });
    await rig.turns();
    expect(more).toBe(false);
    const echo = async (connection: HostConnection): Promise<void> => {
      await connection.write(await drain(connection));
      await connection.close();
    };
    await rig.run(Promise.all(held.map(echo)));
    await rig.run(next.then(echo));
    for (let left = 43; left > 0; left--) await rig.run(listener.accept().then(echo));
    expect(await rig.run(echoes)).toEqual(Array.from({ length: 300 }, (_, i) => `client ${i}`));
  });

  it('accepts no more than its memory has rings for, and goes on when one is free', async () => {
    const { listener, port } = await listening({ pages: 200 });
    const sockets = await Promise.all(Array.from({ length: 40 }, () => dial(port)));
    let accepted = 0;
    let first: HostConnection | undefined;
    void (async () => {
      for await (const connection of listener) {
        first ??= connection;
        accepted++;
      }
    })();
    await rig.until(() => accepted > 4);
    await rig.turns(100);
    const full = accepted;
    expect(full).toBeLessThan(40);
    await rig.run(first!.close());
    await rig.until(() => accepted === full + 1);
    for (const socket of sockets) socket.destroy();
  });

  it('tries again, a second later, what is refused for a moment, and says in the end what stays so', async () => {
    const { guest, front, listener, port } = await listening();
    const faults = new XcFaults({ calls: new ControlCalls(rig.core.dom0.kernel()) });
    const refuse = (when: object): void => {
      const fault = { name: 'full', part: 'hypercall', op: 'EVTCHNOP_alloc_unbound', error: 'ENOSPC', ...when };
      faults.plant(guest.guest.domid, JSON.stringify({ plan: 'p', seed: 1, startedNs: 0, fault }));
    };
    const second = async (): Promise<void> => {
      await rig.turns(5);
      front.look();
    };
    refuse({ nth: [1, 2] });
    const next = listener.accept();
    expect(await rig.isOver(next)).toBe(false);
    expect(front.waits).toBe(true);
    await second();
    await second();
    const socket = await dial(port);
    const connection = await rig.run(next);
    socket.end('came while there was no room');
    expect(text(await rig.run(drain(connection)))).toBe('came while there was no room');
    faults.remove(guest.guest.domid, 'p@full');
    refuse({});
    // With a connection that may end, however long it takes.
    const last = codeOf(listener.accept());
    for (let i = 0; i < 20; i++) await second();
    expect(await rig.isOver(last)).toBe(false);
    await rig.run(connection.close());
    for (let i = 0; i < 5; i++) await second();
    expect(await rig.run(last)).toBe('ENOSPC');
  });

  it('is told when its listener or its device ends while it has no room to accept', async () => {
    const { front, listener, port } = await listening({ pages: 4096 });
    const sockets = await Promise.all(Array.from({ length: 257 }, () => dial(port)));
    const held: HostConnection[] = [];
    while (held.length < 256) held.push(await rig.run(listener.accept()));
    const over = codeOf(listener.accept());
    await rig.turns();
    await rig.run(listener.close());
    expect(await rig.run(over)).toBe('ECANCELED');
    await rig.run(held.pop()!.close());
    const again = await rig.run(front.listen(80));
    const event = rig.events.at(-1)!;
    sockets.push(await dial(event.event === 'listening' ? event.hostPort : 0));
    held.push(await rig.run(again.accept()));
    const gone = codeOf(again.accept());
    await rig.turns();
    rig.guests[0]!.detach();
    front.end(new XenError('ECONNRESET', 'the backend is gone'));
    expect(await rig.run(gone)).toBe('ECONNRESET');
    for (const socket of sockets) socket.destroy();
  });

  it.skipIf(fewFiles)(`has 1024 wait for it at the host at most${fewFiles}`, async () => {
    const { listener, port } = await listening();
    let ended = 0;
    const sockets: Socket[] = [];
    for (let i = 0; i < 1040; i++) {
      const socket = await dial(port);
      socket.resume().on('close', () => ended++);
      socket.on('end', () => socket.end());
      sockets.push(socket);
    }
    await rig.until(() => ended === 16);
    await rig.turns();
    expect(ended).toBe(16);
    await rig.run(listener.close());
    await rig.until(() => ended === 1040);
  });

  it('accepts no more once closed, keeps what it accepted, and can listen again', async () => {
    const { front, listener, port } = await listening();
    const socket = await dial(port);
    const connection = await rig.run(listener.accept());
    const waiting = codeOf(listener.accept());
    await rig.run(listener.close());
    expect(await rig.run(waiting)).toBe('ECANCELED');
    socket.write('still here');
    expect(text(await rig.run(connection.read()))).toBe('still here');
    const again = await rig.run(front.listen(80));
    await rig.run(again.close());
    socket.destroy();
  });

  it('uses the same pages again for thousands of connections', async () => {
    const { guest, listener, port } = await listening();
    const once_ = async (): Promise<void> => {
      const socket = await dial(port);
      const connection = await rig.run(listener.accept());
      socket.end('x');
      await rig.run(connection.read());
      await rig.run(connection.close());
      socket.destroy();
    };
    for (let i = 0; i < 5; i++) await once_();
    const frames = guest.vcpu.frames.available;
    const ports = guest.guest.domain.ports.used;
    for (let i = 0; i < 60; i++) await once_();
    expect(guest.vcpu.frames.available).toBe(frames);
    expect(guest.guest.domain.ports.used).toBe(ports);
    expect(rig.mapped).toBe(1);
    expect(guest.stats.quarantined).toBe(0);
  });
});

describe('a guest that connects', () => {
  it('reaches a port its configuration names, and no other', async () => {
    rig = new PvcallsRig();
    const { port, server } = await serveOn(socket => socket.pipe(socket));
    const closed = await freePort();
    const front = rig.guest().connect('', `${port} ${closed}`);
    const connection = await rig.run(front.connect(port));
    await rig.run(connection.write('echo'));
    expect(text(await rig.run(connection.read()))).toBe('echo');
    await rig.run(connection.end());
    expect(await rig.run(connection.read())).toBe(null);
    await rig.run(connection.close());
    expect(await codeOf(rig.run(front.connect(closed)))).toBe('ECONNREFUSED');
    expect(await codeOf(rig.run(front.connect(22)))).toBe('EACCES');
    expect(await codeOf(rig.run(front.listen(8080)))).toBe('EACCES');
    expect(rig.log.lines.filter(line => line.includes('not allowed'))).toHaveLength(2);
    expect(await codeOf(front.connect(0))).toBe('EINVAL');
    server.close();
  });

  it('is told when the host port it is to listen on is taken', async () => {
    rig = new PvcallsRig();
    const { port, server } = await serveOn(() => {});
    const front = rig.guest().connect(`${port}:80`);
    expect(await codeOf(rig.run(front.listen(80)))).toBe('EADDRINUSE');
    server.close();
    await once(server, 'close');
    const listener = await rig.run(front.listen(80));
    await rig.run(listener.close());
  });
});

describe('a device that ends', () => {
  it('leaves nothing mapped, bound or listening, and every waiting call is over', async () => {
    const { guest, front, listener, port } = await listening();
    const socket = await dial(port);
    const connection = await rig.run(listener.accept());
    const reading = codeOf(connection.read());
    const accepting = codeOf(listener.accept());
    await rig.turns();
    guest.detach();
    expect(rig.mapped).toBe(0);
    await rig.turns();
    front.end(new XenError('ECONNRESET', 'the backend is gone'));
    expect(await rig.run(reading)).toBe('ECONNRESET');
    expect(await rig.run(accepting)).toBe('ECONNRESET');
    expect(await codeOf(front.connect(1))).toBe('ECONNRESET');
    expect(guest.stats.quarantined).toBe(0);
    expect(guest.guest.domain.grants.pinned).toBe(0);
    await expect(dial(port)).rejects.toThrow(/ECONNREFUSED/);
    socket.destroy();
    await rig.run(connection.close());
  });

  it('serves another guest as if nothing had been', async () => {
    const { guest, port } = await listening();
    const other = rig.guest();
    const front = other.connect('0:80');
    const listener = await rig.run(front.listen(80));
    guest.detach();
    const event = rig.events.at(-1)!;
    const socket = await dial(event.event === 'listening' ? event.hostPort : port);
    const connection = await rig.run(listener.accept());
    socket.write('hello');
    expect(text(await rig.run(connection.read()))).toBe('hello');
    socket.destroy();
  });
});
