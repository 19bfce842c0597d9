import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  domid,
  gfn,
  port,
  RingTransport,
  requestReconnect,
  socketTransport,
  XENSTORE_ERROR_PROTO,
  XenstoreClient,
  type XenstoreTransport,
  XS_ERROR,
  XS_READ,
  XS_WATCH_EVENT,
  XS_WRITE,
  xenstore_domain_interface,
  xenstoreFrame,
} from '#pvbus';
import { ListLog, rigTransport, XenstoreRig } from '../../support/xenstore-rig.ts';

const clientOf = (rig: XenstoreRig): XenstoreClient => new XenstoreClient(rigTransport(rig));

/** A daemon that says whatever the test says. */
class Puppet implements XenstoreTransport {
  readonly sent: Uint8Array[] = [];
  closed = false;
  #data: (bytes: Uint8Array) => void = () => {};
  #close: (reason: string) => void = () => {};
  send(bytes: Uint8Array): void {
    this.sent.push(bytes);
  }
  onData(cb: (bytes: Uint8Array) => void): void {
    this.#data = cb;
  }
  onClose(cb: (reason: string) => void): void {
    this.#close = cb;
  }
  close(): void {
    this.closed = true;
  }
  say(type: number, req_id: number, payload: string): void {
    this.#data(xenstoreFrame(type, req_id, 0, Buffer.from(payload, 'latin1')));
  }
  sayRaw(bytes: Uint8Array): void {
    this.#data(bytes);
  }
  hangUp(reason: string): void {
    this.#close(reason);
  }
}

describe('a client', () => {
  test('reads, writes, lists and removes', async () => {
    const xs = clientOf(new XenstoreRig());
    await xs.write('/a/b', 'héllo');
    expect(await xs.read('/a/b')).toBe('héllo');
    await xs.write('/a/raw', Uint8Array.of(0, 255));
    expect([...(await xs.readBytes('/a/raw'))]).toEqual([0, 255]);
    await xs.mkdir('/a/c');
    expect(await xs.directory('/a')).toEqual(['b', 'c', 'raw']);
    expect(await xs.directory('/a/c')).toEqual([]);
    await xs.setPerms('/a', ['n0', 'r3']);
    expect(await xs.getPerms('/a')).toEqual(['n0', 'r3']);
    expect(await xs.exists('/a/b')).toBe(true);
    await xs.rm('/a/b');
    expect(await xs.exists('/a/b')).toBe(false);
    expect(await xs.getDomainPath(domid(7))).toBe('/local/domain/7');
    expect(await xs.isDomainIntroduced(domid(7))).toBe(false);
    expect(await xs.control('check')).toBe('OK');
  });

  test('reports a failure with its code and what was attempted', async () => {
    const xs = clientOf(new XenstoreRig());
    await expect(xs.read('/nothing')).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('/nothing'),
    });
    await expect(xs.introduce(domid(3), gfn(1), port(1))).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('refuses by itself what would break the connection', async () => {
    const xs = clientOf(new XenstoreRig());
    await expect(xs.write('/a', new Uint8Array(4096))).rejects.toMatchObject({ code: 'E2BIG' });
    await expect(xs.read('/a\0/b')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(xs.read('/tool')).resolves.toBe('');
  });

  test('lists a directory of any size, also one that changes meanwhile', async () => {
    const rig = new XenstoreRig();
    const xs = clientOf(rig);
    const names = Array.from({ length: 500 }, (_, i) => `node-number-${i}`);
    await xs.transaction(tx => Promise.all(names.map(name => xs.write(`/d/${name}`, '', tx))));
    expect((await xs.directory('/d')).sort()).toEqual(names.sort());
    const [listed] = await Promise.all([xs.directory('/d'), clientOf(rig).write('/d/one-more', '')]);
    expect(listed).toContain('one-more');
    expect(new Set(listed).size).toBe(501);
  });

  test('hands each watch its own events, once at once, and none after unwatch', async () => {
    const rig = new XenstoreRig();
    const [xs, other] = [clientOf(rig), clientOf(rig)];
    const heard: string[] = [];
    await xs.watch('/a', 'one', (path, token) => heard.push(`${token} ${path}`));
    await xs.watch('/b', 'two', path => heard.push(`b ${path}`));
    await xs.watch('/a/x', 'one', path => heard.push(`x ${path}`));
    await xs.read('/tool');
    expect(heard.splice(0)).toEqual(['one /a', 'b /b', 'one /a/x', 'x /a/x']);
    await other.write('/a/y', '');
    await xs.read('/tool');
    expect(heard.splice(0)).toEqual(['one /a/y']);
    await xs.unwatch('/a', 'one');
    await other.write('/a/x', '');
    await xs.read('/tool');
    expect(heard.splice(0)).toEqual(['x /a/x']);
    await expect(xs.unwatch('/a', 'one')).rejects.toMatchObject({ code: 'ENOENT' });
    await xs.resetWatches();
    await other.write('/b', '');
    await xs.read('/tool');
    expect(heard).toEqual([]);
  });

  test('keeps serving the other watches when one of them throws', async () => {
    const rig = new XenstoreRig();
    const log = new ListLog();
    const xs = new XenstoreClient(rigTransport(rig), log);
    const heard: string[] = [];
    await xs.watch('/a', 'bad', () => {
      throw new Error('mine');
    });
    await xs.watch('/a', 'good', path => heard.push(path));
    await xs.write('/a', '');
    expect(heard).toEqual(['/a', '/a']);
    expect(log.lines.join()).toContain('mine');
  });

  test('runs a transaction again until it commits, and gives up after a bounded number of conflicts', async () => {
    const rig = new XenstoreRig();
    const [xs, other] = [clientOf(rig), clientOf(rig)];
    await xs.write('/n', '0');
    let attempts = 0;
    const result = await xs.transaction(async tx => {
      attempts++;
      const n = Number(await xs.read('/n', tx));
      if (attempts < 4) await other.write('/n', String(10 * attempts));
      await xs.write('/n', String(n + 1), tx);
      return n;
    });
    expect([attempts, result, await xs.read('/n')]).toEqual([4, 30, '31']);
    const always = xs.transaction(async tx => {
      await xs.read('/n', tx);
      await other.write('/n', String(Math.random()));
      await xs.write('/m', '', tx);
    });
    await expect(always).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(await xs.exists('/m')).toBe(false);
  });

  test('drops a transaction whose body throws, and says why', async () => {
    const xs = clientOf(new XenstoreRig());
    const failed = xs.transaction(async tx => {
      await xs.write('/x', '', tx);
      throw new Error('changed my mind');
    });
    await expect(failed).rejects.toThrow('changed my mind');
    expect(await xs.exists('/x')).toBe(false);
  });
});

describe('replies that are wrong', () => {
  function pair(): { puppet: Puppet; xs: XenstoreClient; log: ListLog } {
    const puppet = new Puppet();
    const log = new ListLog();
    return { puppet, log, xs: new XenstoreClient(puppet, log) };
  }

  test('in order of arrival are matched by their id', async () => {
    const { puppet, xs } = pair();
    const [one, two] = [xs.read('/one'), xs.read('/two')];
    puppet.say(XS_READ, 2, '2');
    puppet.say(XS_READ, 1, '1');
    expect(await Promise.all([one, two])).toEqual(['1', '2']);
  });

  test('to a request that was never made are logged and left out', async () => {
    const { puppet, xs, log } = pair();
    const read = xs.read('/a');
    puppet.say(XS_READ, 99, 'x');
    puppet.say(XS_READ, 1, 'y');
    expect(await read).toBe('y');
    expect(log.lines).toHaveLength(1);
  });

  test('with an error name that is not in the list count as EINVAL', async () => {
    const { puppet, xs } = pair();
    const read = xs.read('/a');
    puppet.say(XS_ERROR, 1, 'EQUOTA\0');
    await expect(read).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test.each([
    ['of another type', (p: Puppet) => p.say(XS_WRITE, 1, 'OK\0')],
    ['that claim too many bytes', (p: Puppet) => p.sayRaw(Buffer.alloc(16, 0x7f))],
    ['that are events without a token', (p: Puppet) => p.say(XS_WATCH_EVENT, 0, '/a\0')],
  ])('%s end the connection, and every request with it', async (_, speak) => {
    const { puppet, xs } = pair();
    const ended = vi.fn();
    xs.onClose(ended);
    const reads = [xs.read('/a'), xs.read('/b')];
    speak(puppet);
    for (const read of reads) await expect(read).rejects.toMatchObject({ code: 'EIO' });
    expect(puppet.closed).toBe(true);
    expect(ended).toHaveBeenCalledTimes(1);
    await expect(xs.read('/c')).rejects.toMatchObject({ code: 'EIO' });
  });

  test('that never come because the daemon is gone are failures with that reason', async () => {
    const { puppet, xs } = pair();
    const read = xs.read('/a');
    puppet.hangUp('the daemon closed the connection');
    const closed = (what: string) => ({
      code: 'ECONNRESET',
      message: `xenstore: ${what}: the daemon closed the connection`,
    });
    await expect(read).rejects.toMatchObject(closed('read /a'));
    await expect(xs.read('/b')).rejects.toMatchObject(closed('read /b'));
    const late = vi.fn();
    xs.onClose(late);
    expect(late).toHaveBeenCalledTimes(1);
  });

  test('that never come because the client was closed are failures too', async () => {
    const { puppet, xs } = pair();
    const read = xs.read('/a');
    xs.close();
    await expect(read).rejects.toMatchObject({ code: 'ECANCELED' });
    expect(puppet.closed).toBe(true);
  });
});

describe('over a socket', () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });
  const socketPath = (): string => {
    const folder = mkdtempSync(join(tmpdir(), 'xs-'));
    folders.push(folder);
    return join(folder, 's');
  };

  test('a client fails at once when nobody listens', async () => {
    const path = socketPath();
    await expect(socketTransport(path)).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining(path),
    });
  });

  test('a client learns that the daemon has hung up', async () => {
    const path = socketPath();
    const sockets: Socket[] = [];
    const server = createServer(socket => void sockets.push(socket)).listen(path);
    const xs = new XenstoreClient(await socketTransport(path));
    const read = xs.read('/a');
    for (;;) {
      if (sockets.length > 0) break;
      await new Promise(resolve => setImmediate(resolve));
    }
    sockets[0]?.destroy();
    await expect(read).rejects.toMatchObject({ code: 'ECONNRESET' });
    server.close();
  });
});

describe('over a ring', () => {
  const AT = xenstore_domain_interface.at;

  /** A guest's client; `settle` steps both ends until a promise has settled. */
  function guest(id = 3) {
    const rig = new XenstoreRig();
    const dom0 = clientOf(rig);
    const { page } = rig.domain(id);
    const notify = (): void => rig.door.fromDomain(id);
    const transport = new RingTransport(page, notify);
    const xs = new XenstoreClient(transport);
    const settle = async <T>(promise: Promise<T>): Promise<T> => {
      let done = false;
      const end = (): void => {
        done = true;
      };
      promise.then(end, end);
      while (!done) {
        transport.step();
        rig.run();
        await new Promise(resolve => setImmediate(resolve));
      }
      return promise;
    };
    return { rig, dom0, page, notify, transport, xs, settle };
  }

  test('requests larger than the ring, many at once, and watches work', async () => {
    const { dom0, xs, settle } = guest();
    await dom0.write('/local/domain/3', '');
    await dom0.setPerms('/local/domain/3', ['n3']);
    const heard: string[] = [];
    await settle(xs.watch('k', 't', path => heard.push(path)));
    const values = Array.from({ length: 40 }, (_, i) => String(i).repeat(900));
    await settle(Promise.all(values.map((value, i) => xs.write(`k/${i}`, value))));
    expect(await settle(Promise.all(values.map((_, i) => xs.read(`k/${i}`))))).toEqual(values);
    expect(new Set(heard)).toEqual(new Set(['k', ...values.map((_, i) => `k/${i}`)]));
  });

  test('a step with nothing to do is idle and notifies nobody', async () => {
    const { rig, transport, xs, settle } = guest();
    await settle(xs.getDomainPath(domid(3)));
    const before = rig.door.domains.get(domid(3))?.notified;
    expect(transport.step()).toBe('idle');
    expect(rig.server.step()).toBe('idle');
    expect(rig.door.domains.get(domid(3))?.notified).toBe(before);
  });

  test.each(['rsp_prod', 'req_cons'] as const)('a daemon that leaves an impossible %s is left alone', async index => {
    const { page, transport, xs } = guest();
    const read = xs.read('k');
    page.view.setUint32(AT[index], 5000, true);
    transport.step();
    await expect(read).rejects.toMatchObject({ code: 'ECONNRESET', message: expect.stringContaining('impossible') });
    expect(transport.step()).toBe('idle');
  });

  test('an error the daemon reports ends the client; after a reconnection a new one works', async () => {
    const { rig, page, notify, transport, xs } = guest();
    const read = xs.read('k');
    transport.send(Buffer.alloc(16, 0xff));
    while (page.view.getUint32(AT.error, true) === 0) {
      transport.step();
      rig.run();
    }
    expect(page.view.getUint32(AT.error, true)).toBe(XENSTORE_ERROR_PROTO);
    transport.step();
    await expect(read).rejects.toMatchObject({ code: 'ECONNRESET', message: expect.stringContaining('error 3') });
    requestReconnect(page, notify);
    const again = new RingTransport(page, notify);
    const client = new XenstoreClient(again);
    const path = client.getDomainPath(domid(3));
    expect(again.step()).toBe('idle'); // the daemon has not answered yet
    rig.run();
    again.step();
    rig.run();
    again.step();
    expect(await path).toBe('/local/domain/3');
  });
});
