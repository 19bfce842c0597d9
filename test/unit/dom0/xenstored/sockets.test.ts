// The daemon's socket clients over real sockets, both ends in this thread.
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  closeFd,
  connectSocket,
  Epoll,
  ERRNO,
  mapPrivate,
  receiveBytes,
  sendBytes,
  streamSocket,
  viewOf,
  XENSTORE_PAYLOAD_MAX,
  XenstoreFrameReader,
  XS_READ,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  xenstoreFrame,
} from '#pvbus';
import { listenAt } from '../../../../dom0/listening-socket.ts';
import { Daemon } from '../../../../dom0/xenstored/daemon.ts';
import { EpollSleep } from '../../../../dom0/xenstored/sleep.ts';
import { Sockets } from '../../../../dom0/xenstored/sockets.ts';
import { TurnClock } from '../../../../dom0/xenstored/turn-clock.ts';
import { XenstoreRig } from '../../../support/xenstore-rig.ts';

const BYTES = 256 * 1024;

/** A client of the daemon in this thread. */
class Client {
  readonly fd = streamSocket();
  readonly #address = mapPrivate(BYTES);
  readonly #bytes = new Uint8Array(viewOf(this.#address, BYTES));
  readonly #reader = new XenstoreFrameReader();
  /** The daemon has hung up. */
  over = false;

  constructor(path: string) {
    expect(connectSocket(this.fd, path)).toBe(0);
  }
  /** Send as much as the socket takes; returns how many bytes. */
  send(bytes: Uint8Array): number {
    this.#bytes.set(bytes);
    return Math.max(0, sendBytes(this.fd, this.#address, bytes.length));
  }
  request(type: number, payload: string, id = 1): void {
    this.send(xenstoreFrame(type, id, 0, Buffer.from(payload, 'latin1')));
  }
  /** What has come, as `type req_id payload`. */
  replies(): string[] {
    const found: string[] = [];
    for (;;) {
      const n = receiveBytes(this.fd, this.#address, BYTES);
      if (n <= 0) {
        this.over = n !== -ERRNO.EAGAIN;
        return found;
      }
      for (let at = 0; at < n; ) {
        at += this.#reader.take(this.#bytes.subarray(0, n), at);
        if (!this.#reader.complete) continue;
        const { type, req_id, payload } = this.#reader.frame;
        found.push(`${type} ${req_id} ${Buffer.from(payload).toString('latin1').replaceAll('\0', '|')}`);
      }
    }
  }
}

let folder: string;
let path: string;
let rig: XenstoreRig;
let epoll: Epoll;
let sockets: Sockets;
let daemon: Daemon;
let clients: Client[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'xs-'));
  path = join(folder, 'socket');
  rig = new XenstoreRig();
  epoll = new Epoll();
  sockets = new Sockets(rig.server, epoll, listenAt(path));
  daemon = new Daemon({
    server: rig.server,
    sockets,
    pollEvents: () => false,
    sleep: new EpollSleep(epoll),
    clock: new TurnClock(rig.clock),
  });
  clients = [];
});
afterEach(() => {
  for (const { fd } of [...sockets.clients(), ...clients]) closeFd(fd);
  closeFd(sockets.listener);
  closeFd(epoll.fd);
  rmSync(folder, { recursive: true, force: true });
});

const connected = (): Client => {
  const client = new Client(path);
  clients.push(client);
  return client;
};
const run = (): void => {
  for (let i = 0; i < 10_000; i++) if (daemon.step() === 'idle') return;
  throw new Error('the daemon finds no rest');
};
const WRITTEN = `${XS_WRITE} 1 OK|`;

describe('a client', () => {
  test('is answered, and leaves nothing to do', () => {
    const client = connected();
    client.request(XS_WRITE, '/a\0one');
    client.request(XS_READ, '/a\0', 2);
    run();
    expect(client.replies()).toEqual([WRITTEN, `${XS_READ} 2 one`]);
    expect(daemon.step()).toBe('idle');
  });

  test('that sends a request byte by byte is answered once it is whole', () => {
    const client = connected();
    for (const byte of xenstoreFrame(XS_WRITE, 1, 0, Buffer.from('/a\0one'))) {
      expect(client.replies()).toEqual([]);
      client.send(Uint8Array.of(byte));
      run();
    }
    expect(client.replies()).toEqual([WRITTEN]);
  });

  test('that asks much at once leaves others their turn', () => {
    const [greedy, modest] = [connected(), connected()];
    const request = xenstoreFrame(XS_READ, 1, 0, Buffer.from('/\0'));
    const many = Buffer.concat(Array.from({ length: 1000 }, () => request));
    greedy.send(many);
    run();
    greedy.replies();
    greedy.send(many);
    modest.request(XS_WRITE, '/a\0one');
    daemon.step();
    const before = greedy.replies().length;
    expect(modest.replies()).toEqual([WRITTEN]);
    expect(before).toBeLessThan(100);
    run();
    expect(before + greedy.replies().length).toBe(1000);
  });

  test('that sends no more has its answers, and is hung up on', async () => {
    const request = xenstoreFrame(XS_READ, 1, 0, Buffer.from('/tool\0'));
    const socket = connect({ path, allowHalfOpen: true });
    socket.end(Buffer.concat(Array.from({ length: 200 }, () => request)));
    await once(socket, 'finish');
    run();
    expect([...sockets.clients()]).toEqual([]);
    const chunks: Buffer[] = await socket.toArray();
    expect(Buffer.concat(chunks)).toHaveLength(200 * 16); // the value is empty
  });

  test('that is gone leaves no connection, and what it asked for is done', () => {
    const client = connected();
    const watcher = connected();
    watcher.request(XS_WATCH, '/a\0t\0');
    run();
    watcher.replies();
    client.request(XS_WRITE, '/a\0one');
    closeFd(clients.shift()!.fd);
    run();
    expect([...sockets.clients()]).toHaveLength(1);
    expect(watcher.replies()).toEqual([`${XS_WATCH_EVENT} 0 /a|t|`]);
  });

  test('that claims more than a payload may have is hung up on once what came before is answered', () => {
    const [hostile, other] = [connected(), connected()];
    const bad = xenstoreFrame(XS_READ, 2, 0, new Uint8Array(0));
    new DataView(bad.buffer).setUint32(12, XENSTORE_PAYLOAD_MAX + 1, true);
    hostile.request(XS_WRITE, '/a\0one');
    hostile.send(bad);
    other.request(XS_READ, '/tool\0');
    run();
    expect(hostile.replies()).toEqual([WRITTEN]);
    expect(hostile.over).toBe(true);
    expect(other.replies()).toEqual([`${XS_READ} 1 `]);
    expect(rig.log.lines.filter(line => line.includes('4096'))).toHaveLength(1);
  });
});

describe('a client that does not read', () => {
  /** Ask until the daemon takes no more; how many requests went out. */
  function stuff(client: Client): number {
    const request = xenstoreFrame(XS_READ, 1, 0, Buffer.from('/big\0'));
    let sent = 0;
    for (let still = 0; still < 3; still++) {
      while (client.send(request) === request.length) {
        sent++;
        still = 0;
      }
      run();
    }
    return sent;
  }

  test('is not served further, costs no others, and has every answer once it reads', () => {
    const [deaf, other] = [connected(), connected()];
    other.request(XS_WRITE, `/big\0${'x'.repeat(4000)}`);
    run();
    expect(other.replies()).toEqual([WRITTEN]);
    const sent = stuff(deaf);
    expect([...sockets.clients()][0]!.connection.output.bytes).toBeLessThan(300 * 1024);
    other.request(XS_READ, '/tool\0');
    run();
    expect(other.replies()).toEqual([`${XS_READ} 1 `]);
    let answers = 0;
    for (let got = deaf.replies(); got.length > 0; got = deaf.replies()) {
      answers += got.length;
      run();
    }
    expect(answers).toBe(sent);
  });

  test('and is gone at last leaves nothing', () => {
    const deaf = connected();
    deaf.request(XS_WRITE, `/big\0${'x'.repeat(4000)}`);
    run();
    stuff(deaf);
    closeFd(clients.pop()!.fd);
    run();
    expect([...sockets.clients()]).toEqual([]);
  });

  test('is hung up on after 20 seconds, with a reason in the log', () => {
    const deaf = connected();
    deaf.request(XS_WRITE, `/big\0${'x'.repeat(4000)}`);
    run();
    stuff(deaf);
    rig.clock.advance(21e9);
    run();
    expect([...sockets.clients()]).toEqual([]);
    expect(rig.log.lines.filter(line => line.includes('20 s'))).toHaveLength(1);
  });
});

describe('a client of a daemon before this one', () => {
  test('goes on with what it had sent already', () => {
    const client = connected();
    run();
    const [before] = [...sockets.clients()];
    const bytes = Buffer.concat(
      Array.from({ length: 100 }, (_, i) => xenstoreFrame(XS_READ, i, 0, Buffer.from('/tool\0'))),
    );
    const successor = new Sockets(rig.server, new Epoll(), sockets.listener);
    epoll.remove(before!.fd);
    successor.adopt(before!.fd, bytes);
    for (let i = 0; i < 10; i++) {
      successor.take();
      successor.send();
    }
    expect(client.replies()).toHaveLength(100);
  });
});

describe('the socket', () => {
  test('is for its user alone', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });
  test('is not taken from a daemon that lives', () => {
    expect(() => listenAt(path)).toThrow(`somebody serves ${path} already`);
    const client = connected();
    client.request(XS_WRITE, '/a\0one');
    run();
    expect(client.replies()).toEqual([WRITTEN]);
  });
  test('fault 55: of a daemon that was killed is replaced', () => {
    const other = join(folder, 'other');
    closeFd(listenAt(other));
    expect(existsSync(other)).toBe(true);
    closeFd(listenAt(other));
  });
  test('does not replace what is no socket', () => {
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    expect(() => listenAt(file)).toThrow(`${file} is no socket`);
    expect(existsSync(file)).toBe(true);
  });
  test('has a path that fits, in a folder that is there', () => {
    expect(() => listenAt(join(folder, 'x'.repeat(108)))).toThrow('ENAMETOOLONG');
    expect(() => listenAt(join(folder, 'none', 'socket'))).toThrow('ENOENT');
  });
});
