// The gateway of examples/gateway: two guests that have nothing but a vif reach servers of the host through it.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formattedDisk } from '../../support/fatfs.ts';
import { noise } from '../../support/host-peer.ts';
import { HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';
import { netcat } from '../../support/programs/netcat.ts';
import { orSkip } from '../../support/programs/unavailable.ts';
import { XlRun, xlRun } from '../../support/programs/xl-run.ts';
import { compileWasi, whyNoWasi } from '../../support/wasi-cc.ts';
import { xl } from '../../support/xl.ts';
import { KERNEL } from '../lifecycle/host.ts';

const GATEWAY = fileURLToPath(new URL('../../../examples/gateway/gateway.ts', import.meta.url));
const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const OWN = '10.77.0.1';
const dir = mkdtempSync(join(tmpdir(), 'xenolith-gateway-'));
const closers: (() => void)[] = [];
let host: HostRig;

/** A server of the host's, on its loopback unless said. */
async function listening(server: Server, address = '127.0.0.1'): Promise<number> {
  server.listen(0, address);
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}
const serve = (handler: (socket: Socket) => void): Promise<number> =>
  listening(
    createServer({ allowHalfOpen: true }, socket => {
      closers.push(() => socket.destroy());
      socket.on('error', () => {});
      handler(socket);
    }),
  );

/** A guest of the test's, as long as it is connected. */
class Orders {
  private readonly socket: Socket;
  private readonly waiting = new Map<number, (answer: { result?: unknown; code?: string }) => void>();
  private next = 1;
  constructor(socket: Socket) {
    this.socket = socket;
  }
  heard(line: string): void {
    const { id, ...answer } = JSON.parse(line) as { id: number };
    this.waiting.get(id)?.(answer);
  }
  async ask(op: string, more: { host?: string; port?: number; count?: number } = {}): Promise<unknown> {
    const id = this.next++;
    const answer = new Promise<{ result?: unknown; code?: string }>(resolve => this.waiting.set(id, resolve));
    this.socket.write(`${JSON.stringify({ id, op, ...more })}\n`);
    const { result, code } = await answer;
    return code ?? result;
  }
}
const guests = new Map<string, Orders>();
const page = (i: number): Buffer => noise(150_000 + i, i + 1);
const sumOf = (bytes: Uint8Array): string =>
  `${bytes.length} ${bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0)}`;
/** How connections to a server of the test's have ended. */
const ends: string[] = [];
let ports: Record<'control' | 'http' | 'dns' | 'upper' | 'resets' | 'sink' | 'closed' | 'secret', number>;

/** A name server that knows one name, over TCP. */
function answerNames(socket: Socket): void {
  let bytes = Buffer.alloc(0);
  socket.on('data', (part: Buffer) => {
    bytes = Buffer.concat([bytes, part]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE()) {
      const question = bytes.subarray(2, 2 + bytes.readUInt16BE());
      bytes = bytes.subarray(2 + question.length);
      const name = question.subarray(12).toString('latin1');
      const known = name.startsWith('\x03www\x07example\0');
      const header = Buffer.from(question.subarray(0, 12));
      header.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
      header.writeUInt16BE(known ? 1 : 0, 6);
      const asked = question.subarray(12, question.indexOf(0, 12) + 5);
      const record = Buffer.from('c00c00010001000000050004c6336407', 'hex'); // 198.51.100.7
      if (known) record.set(OWN.split('.').map(Number), 12);
      const answer = Buffer.concat([header, asked, ...(known ? [record] : [])]);
      const framed = Buffer.alloc(2);
      framed.writeUInt16BE(answer.length);
      socket.write(Buffer.concat([framed, answer]));
    }
  });
  socket.on('end', () => socket.end());
}

async function create(name: string, program: string, ...lines: string[]): Promise<void> {
  const text = [`name = "${name}"`, `kernel = "${KERNEL}"`, `ramdisk = "${program}"`, 'memory = 32', ...lines];
  writeFileSync(join(dir, `${name}.cfg`), text.join('\n'));
  const made = await xl(['create', `${name}.cfg`], { dir: host.runDir, cwd: dir });
  expect(made).toMatchObject({ code: 0 });
}
const gateway = (): Promise<void> => {
  const { control, http, dns, upper, resets, sink, closed } = ports;
  const reached = [control, http, dns, upper, resets, sink, closed].map(port => `connect=${port}`).join(',');
  const beyond = outside === undefined ? '' : `,allow=${outside.address}:${outside.port}`;
  return create(
    'gateway',
    GATEWAY,
    'vif = [ "mac=00:16:3e:77:00:01,bridge=inside" ]',
    `disk = [ "${join(dir, 'leases.img')},raw,xvda,w" ]`,
    `pvcalls = [ "${reached}${beyond}" ]`,
    // Enough that nobody has the address of one before: for a second the gateway may take it for that one's.
    `cmdline = "root=/dev/xvda ip=${OWN}:::255.255.255.0 pool=10.77.0.100-10.77.0.115 dns=127.0.0.1:${dns}"`,
  );
};
const guest = (name: string, mac: string): Promise<void> =>
  create(name, GUEST, `vif = [ "mac=${mac},bridge=inside" ]`, `cmdline = "ip=dhcp control=${ports.control}"`);
/** An address of this machine that is not its loopback, where it has one. */
let outside: { address: string; port: number } | undefined;

beforeAll(async () => {
  const pages = createHttpServer((request, response) => response.end(page(Number(request.url!.slice(1)))));
  const beyond = Object.values(networkInterfaces())
    .flatMap(list => list ?? [])
    .find(({ family, internal, address }) => family === 'IPv4' && !internal && !address.startsWith('10.77.0.'));
  const elsewhere = createHttpServer((_request, response) => response.end(page(7)));
  if (beyond) outside = { address: beyond.address, port: await listening(elsewhere, beyond.address) };
  const control = await serve(socket => {
    const lines = createInterface({ input: socket });
    lines.once('line', name => {
      const orders = new Orders(socket);
      guests.set(name, orders);
      lines.on('line', line => line !== '' && orders.heard(line));
      socket.on('close', () => guests.get(name) === orders && guests.delete(name));
      socket.on('end', () => socket.end());
    });
    lines.on('error', () => {});
  });
  const closed = createServer();
  ports = {
    control,
    http: await listening(pages),
    dns: await serve(answerNames),
    upper: await serve(socket => {
      let text = '';
      socket.on('data', part => {
        text += part;
      });
      socket.on('end', () => socket.end(text.toUpperCase()));
    }),
    resets: await serve(socket => socket.once('data', () => socket.resetAndDestroy())),
    sink: await serve(socket => {
      socket.on('data', () => socket.write('more'));
      socket.on('end', () => ends.push('end'));
      socket.on('error', error => ends.push((error as NodeJS.ErrnoException).code!));
    }),
    closed: await listening(closed),
    secret: await serve(socket => ends.push(`reached: ${socket.remoteAddress}`)),
  };
  closed.close();
  writeFileSync(join(dir, 'leases.img'), formattedDisk(1 << 20).bytes);
  host = await HostRig.start();
  // The guests first: they ask until there is a gateway.
  await Promise.all([gateway(), guest('one', '00:16:3e:77:00:02'), guest('two', '00:16:3e:77:00:03')]);
});
afterAll(async () => {
  await host?.stop();
  for (const close of closers) close();
  rmSync(dir, { recursive: true, force: true });
});
const there = (name: string): Promise<unknown> => eventually(`${name} is there`, () => guests.has(name));
const ask = (name: string, op: string, more?: Parameters<Orders['ask']>[1]): Promise<unknown> =>
  guests.get(name)!.ask(op, more);

describe('guests with a gateway', () => {
  it('have addresses of its pool, one each', async () => {
    await Promise.all(['one', 'two'].map(there));
    const own = await Promise.all(['one', 'two'].map(name => ask(name, 'address')));
    expect(own.toSorted()).toEqual(['10.77.0.100', '10.77.0.101']);
  });
  it('resolve names by the name server of the host, and hear which there are not', async () => {
    expect(await ask('one', 'resolve', { host: 'www.example' })).toEqual([OWN]);
    expect(await ask('two', 'resolve', { host: 'ftp.example' })).toBe('ENOENT');
  });
  it('fetch from a server of the host, many pages at once, byte for byte', async () => {
    const pages = Array.from({ length: 12 }, (_, i) => sumOf(page(i)));
    const fetched = await Promise.all(
      ['one', 'two'].map(name => ask(name, 'fetch', { host: 'www.example', port: ports.http, count: 12 })),
    );
    expect(fetched).toEqual([pages, pages]);
  });
  it('may end their side and go on reading', async () => {
    expect(await ask('one', 'exchange', { host: OWN, port: ports.upper })).toBe('OVER AND OUT');
  });
  it('hear of a reset as one, and are heard', async () => {
    expect(await ask('one', 'read', { host: OWN, port: ports.resets })).toBe('ECONNRESET');
    ends.length = 0;
    expect(await ask('two', 'reset', { host: OWN, port: ports.sink })).toBe('connected');
    await eventually('the server has heard', () => ends.length > 0);
    expect(ends).toEqual(['ECONNRESET']);
  });
  it('are refused by a port that nobody has, and by all that the gateway may not reach', async () => {
    ends.length = 0;
    const [refused, prohibited] = await Promise.all([
      ask('one', 'connect', { host: OWN, port: ports.closed }),
      ask('two', 'connect', { host: OWN, port: ports.secret }),
    ]);
    expect([refused, prohibited]).toEqual(['ECONNREFUSED', 'EHOSTUNREACH']);
    expect(await ask('one', 'connect', { host: '198.51.100.7', port: 80 })).toBe('EHOSTUNREACH');
    expect(await ask('one', 'connect', { host: '169.254.169.254', port: 80 })).toBe('EHOSTUNREACH');
    expect(ends).toEqual([]);
    await eventually('the host has said so', () =>
      host.log().includes('connect to 198.51.100.7:80: not allowed by its configuration'),
    );
    await eventually('so has the gateway', () =>
      host.consoleLog('gateway').includes('wants 198.51.100.7 port 80: not allowed by pvcalls='),
    );
  });
  it('ping the gateway, and nobody else', async () => {
    expect(await ask('one', 'ping', { host: OWN })).toBe('answered');
    expect(await ask('one', 'ping', { host: '198.51.100.7' })).toBe('EHOSTUNREACH');
  });
  it('may have another interface before, on a bridge where nobody gives addresses', async () => {
    const vifs = 'vif = [ "bridge=silent", "mac=00:16:3e:77:00:04,bridge=inside" ]';
    await create('three', GUEST, vifs, `cmdline = "ip=dhcp control=${ports.control}"`);
    await there('three');
    expect(await ask('three', 'address')).toMatch(/^10[.]77[.]0[.]10[0-3]$/);
    expect(await xl(['destroy', 'three'], { dir: host.runDir, cwd: dir })).toMatchObject({ code: 0 });
  });
  it('reach an address beyond the loopback that is allowed, and it hears from this machine', async ({ skip }) => {
    if (outside === undefined) return skip('this machine has no address but its loopback');
    const { address, port } = outside;
    expect(await ask('one', 'fetch', { host: address, port, count: 3 })).toEqual(Array(3).fill(sumOf(page(7))));
    expect(await ask('one', 'connect', { host: address, port: port === 1 ? 2 : port - 1 })).toBe('EHOSTUNREACH');
  });
  const noWasi = whyNoWasi();
  it.skipIf(noWasi !== undefined)(`may be of xl run --net${noWasi ? ` (skipped: ${noWasi})` : ''}`, async () => {
    const program = await compileWasi(fileURLToPath(new URL('exchange.c', import.meta.url)));
    const exchange = (to: string, port: number, text: string, bridge = 'inside') =>
      xlRun(host.runDir, [`--net=${bridge}`, program, to, String(port)], text);
    // A VLAN that nobody else is in.
    const alone = exchange('www.example', ports.upper, '', 'inside.7');
    expect(await exchange('www.example', ports.upper, '', 'insid')).toEqual({
      ...{ code: 125, stdout: '', stderr: 'xl run: --net insid: the host has no bridge of this name\n' },
    });
    expect(await exchange('www.example', ports.upper, 'over and out')).toEqual({
      ...{ code: 0, stdout: 'OVER AND OUT', stderr: '' },
    });
    expect(await exchange('ftp.example', ports.upper, '')).toEqual({
      ...{ code: 2, stdout: '', stderr: 'resolve: No such file or directory\n' },
    });
    const { code, stderr } = await alone;
    expect([code, stderr.split('\n')[0]]).toEqual([
      2,
      'init: no DHCP server or router has answered within 20 s; starting without an address, they are asked on',
    ]);
  });
  it('may be netcat, as Debian has its source: over TCP by a name, and over UDP', {
    timeout: 240_000,
  }, async context => {
    const program = await orSkip(context, netcat);
    const page = await xlRun(
      host.runDir,
      ['--net=inside', program, '-v', 'www.example', String(ports.http)],
      'GET /0 HTTP/1.0\r\n\r\n',
    );
    expect([page.code, page.stdout.split('\r\n')[0]]).toEqual([0, 'HTTP/1.1 200 OK']);
    expect(page.stderr).toContain(`www.example [${OWN}] ${ports.http} (?) open\n`);
    // RFC 1035: what is the address of www.example?
    const question = Buffer.from('\x6e\x63\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01', 'latin1');
    const asking = new XlRun(host.runDir, ['--net=inside', program, '-u', '-n', OWN, '53'], question);
    await eventually('the answer is there', () => asking.stdout.length > question.length);
    asking.kill('SIGTERM');
    const { stdout, stderr, code } = await asking.ended;
    expect([stdout[0], stdout[1], ...stdout.subarray(-4)]).toEqual([0x6e, 0x63, ...OWN.split('.').map(Number)]);
    expect([stderr, code]).toEqual(['', 143]);
  });
  it('go on with another gateway when theirs was destroyed, and keep their addresses', async () => {
    const before = await Promise.all(['one', 'two'].map(name => ask(name, 'address')));
    expect(await xl(['destroy', 'gateway'], { dir: host.runDir, cwd: dir })).toMatchObject({ code: 0 });
    await eventually('nobody is there', () => guests.size === 0);
    await gateway();
    await Promise.all(['one', 'two'].map(there));
    expect(await Promise.all(['one', 'two'].map(name => ask(name, 'address')))).toEqual(before);
    expect(await ask('two', 'fetch', { host: 'www.example', port: ports.http, count: 2 })).toEqual(
      [0, 1].map(i => sumOf(page(i))),
    );
    // One that asks anew gets what it had: the leases are on the gateway's disk.
    const last = guests.get('one');
    expect(await xl(['destroy', 'one'], { dir: host.runDir, cwd: dir })).toMatchObject({ code: 0 });
    await guest('one', '00:16:3e:77:00:02');
    await eventually('another one is there', () => guests.has('one') && guests.get('one') !== last);
    expect(await ask('one', 'address')).toBe(before[0]);
  });
  it('are asked for on each interface still when a start waits no longer', async () => {
    expect(await xl(['destroy', 'gateway'], { dir: host.runDir, cwd: dir })).toMatchObject({ code: 0 });
    const vifs = 'vif = [ "bridge=silent", "mac=00:16:3e:77:00:04,bridge=inside" ]';
    await create('four', GUEST, vifs, `cmdline = "ip=dhcp control=${ports.control}"`);
    await eventually('it has started without an address', () => host.consoleLog('four').includes('they are asked on'));
    expect(guests.has('four')).toBe(false);
    await gateway();
    await there('four');
    expect(await ask('four', 'address')).toMatch(/^10[.]77[.]0[.]10[0-3]$/);
  });
});
