// The programs of docs/guest-programs.md and of the examples, run as they stand.
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { filesOn, formattedDisk, mounted } from '../../support/fatfs.ts';
import { dial, readAll, serveOn } from '../../support/host-peer.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import { type SimulatedGuest, SimulatedHost } from '../../support/simulated-host.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

let host: SimulatedHost;
beforeEach(async () => {
  host = await SimulatedHost.start();
});
afterEach(() => host.stop());

const cfg = (name: string, file: string, ...lines: string[]): string =>
  [`name = "${name}"`, 'memory = 16', `ramdisk = "${file}"`, ...lines].join('\n');
function fatImage(): string {
  const path = join(host.dir, 'disk.img');
  writeFileSync(path, formattedDisk(2 << 20).bytes);
  return path;
}
/** The port the host picked for guest port 80. */
async function hostPort(guest: SimulatedGuest): Promise<number> {
  const path = `/local/domain/0/backend/pvcalls/${guest.domid}/0/listening-80`;
  const wait = async (): Promise<string> => {
    while (!(await host.xs.exists(path)));
    return host.xs.read(path);
  };
  return Number(await host.run(wait()));
}
async function request(port: number, text: string): Promise<string> {
  const socket = await dial(port);
  socket.end(`${text.replaceAll('\n', '\r\n')}`);
  return (await host.run(readAll(socket))).toString();
}
const get = (port: number, path: string): Promise<string> =>
  request(port, `GET ${path} HTTP/1.1\nHost: h\nConnection: close\n\n`);

describe('docs/guest-programs.md', () => {
  it('shows the example programs as they are, none longer than 40 lines', () => {
    const doc = read('docs/guest-programs.md');
    for (const name of ['boot-counter', 'key-value', 'status-page']) {
      const source = read(`examples/programs/${name}.ts`);
      expect(doc).toContain(`\`\`\`ts\n${source}\`\`\`\n`);
      expect(source.trimEnd().split('\n').length).toBeLessThanOrEqual(40);
    }
  });

  it('begins with a program that runs', async () => {
    const [, source] = /```ts\n(\/\/ hello\.ts[\s\S]*?)```/.exec(read('docs/guest-programs.md')) ?? [];
    const file = host.program(source!, 'hello.ts');
    const guest = await host.create(cfg('hello', file, 'on_poweroff = "preserve"'));
    await guest.says("hello from domain 1, 'hello'");
    await host.pass(10_100);
    await host.until(() => guest.stopped);
  });
});

describe('examples/programs', () => {
  const example = (name: string): string => join(root, 'examples/programs', `${name}.ts`);

  it('boot-counter counts on from boot to boot', async () => {
    const disk = `disk = [ "${fatImage()},raw,xvda,w" ]`;
    const config = cfg('counter', example('boot-counter'), disk, 'cmdline = "root=/dev/xvda"');
    const type = async (guest: SimulatedGuest, line: string): Promise<void> => {
      await guest.says('boot again?');
      const terminal = connect(host.toolstackConsole(guest.domid));
      terminal.on('error', () => {});
      terminal.write(`${line}\r`);
      await host.until(() => guest.stopped);
      terminal.destroy();
    };
    const first = await host.create(config);
    await first.says('boot number 1');
    await type(first, 'yes');
    // on_reboot = "restart": the toolstack builds it again.
    await host.until(() => host.guests.has(2), 'the second boot');
    const second = host.guests.get(2)!;
    await second.says('boot number 2');
    await type(second, 'no');
    const image = mounted(new MemoryDisk(new Uint8Array(readFileSync(join(host.dir, 'disk.img')))));
    expect(Buffer.from(filesOn(image).readFile('boots.txt')).toString()).toBe('2');
  });

  it('key-value serves another domain', async () => {
    const server = await host.create(
      cfg('store', example('key-value'), 'vif = [ "" ]', 'cmdline = "ip=10.0.0.1:::255.255.255.0"'),
    );
    await server.says('store: serving 10.0.0.1:4000');
    const client = host.program(`
      import { net } from 'xenolith';
      export default async () => {
        const socket = net.udp();
        for (const words of ['get a', 'set a one two', 'get a', 'nonsense']) {
          socket.send(words, '10.0.0.1', 4000);
          console.log(new TextDecoder().decode((await socket.receive()).data));
        }
        await new Promise(() => {});
      }`);
    const other = await host.create(
      cfg('client', client, 'vif = [ "mac=00:16:3e:00:00:02" ]', 'cmdline = "ip=10.0.0.2:::255.255.255.0"'),
    );
    await other.says('(nothing)\nok\none two\nerror: get KEY | set KEY VALUE\n');
    await host.run(host.toolstack.shutdown(server.domid, 'poweroff'));
    await server.says('forgetting 1 keys');
  });

  it('status-page tells of itself and of a service of the host', async () => {
    const { port, server } = await serveOn(() => {});
    const pvcalls = `pvcalls = [ "listen=0:80,connect=${port}" ]`;
    const guest = await host.create(cfg('status', example('status-page'), pvcalls, `cmdline = "check=${port}"`));
    await guest.says('status: serving');
    const web = await hostPort(guest);
    expect(await get(web, '/health')).toMatch(/^HTTP\/1\.1 503/);
    await host.pass(1500);
    await host.rest();
    expect(await get(web, '/health')).toMatch(/^HTTP\/1\.1 200/);
    expect(await get(web, '/')).toContain(
      '"name":"status","memoryMiB":16,"uptimeSeconds":2,"disks":[],"service":"answers"',
    );
    server.close();
    await host.pass(1500);
    await host.rest();
    expect(await get(web, '/health')).toMatch(/ECONNREFUSED$/);
  });
});

describe('examples/small-office', () => {
  const example = (name: string): string => join(root, 'examples/small-office', `${name}.ts`);

  it('web serves the files of its disk and answers for a note when it is on the medium', async () => {
    const image = fatImage();
    const disk = new MemoryDisk(new Uint8Array(readFileSync(image)));
    const volume = mounted(disk);
    filesOn(volume).writeFile('index.html', Buffer.from('<p>office'));
    filesOn(volume).mkdir('pictures');
    volume.sync();
    writeFileSync(image, disk.bytes);
    const lines = [`disk = [ "${image},raw,xvda,w" ]`, 'pvcalls = [ "listen=0:80" ]', 'cmdline = "root=/dev/xvda"'];
    const guest = await host.create(cfg('web', example('web'), ...lines, 'on_poweroff = "preserve"'));
    await guest.says('web: serving 2 files on port 80');
    const port = await hostPort(guest);
    expect(await get(port, '/')).toMatch(/^HTTP\/1\.1 200 OK.*text\/html.*<p>office$/s);
    expect(await get(port, '/none')).toMatch(/^HTTP\/1\.1 404/);
    expect(await get(port, '/pictures')).toMatch(/^HTTP\/1\.1 308.*Location: \/pictures\//s);
    expect(await get(port, '/../../etc/passwd')).toMatch(/^HTTP\/1\.1 404/);
    expect(await get(port, '/a:b')).toMatch(/^HTTP\/1\.1 404/);
    expect(await get(port, '/notes')).toMatch(/^HTTP\/1\.1 200.*Content-Length: 0/s);
    const post = (note: string): Promise<string> =>
      request(port, `POST /notes HTTP/1.1\nHost: h\nConnection: close\nContent-Length: ${note.length}\n\n${note}`);
    expect(await post('buy milk')).toMatch(/^HTTP\/1\.1 201 Created/);
    // At this very moment it is in the image.
    const now = mounted(new MemoryDisk(new Uint8Array(readFileSync(image))));
    expect(Buffer.from(filesOn(now).readFile('notes.txt')).toString()).toMatch(/^2026-11-21T.*Z buy milk\n$/);
    expect(await post('two\tlines')).toMatch(/^HTTP\/1\.1 201/);
    expect(await post('')).toMatch(/^HTTP\/1\.1 400/);
    expect(await post('x'.repeat(5000))).toMatch(/^HTTP\/1\.1 413/);
    expect(await get(port, '/notes')).toMatch(/buy milk\n.* two lines\n$/s);
    expect(await request(port, 'DELETE / HTTP/1.1\nHost: h\nConnection: close\n\n')).toMatch(
      /^HTTP\/1\.1 405.*Allow: GET/s,
    );
    await host.run(host.toolstack.shutdown(guest.domid, 'poweroff'));
    await host.until(() => guest.stopped);
    expect(guest.crash).toBe(undefined);
  });

  it('web says 507 when its disk is full, and serves on', async () => {
    const image = fatImage();
    const disk = new MemoryDisk(new Uint8Array(readFileSync(image)));
    const volume = mounted(disk);
    filesOn(volume).writeFile('fill', new Uint8Array(volume.space().free));
    volume.sync();
    writeFileSync(image, disk.bytes);
    const lines = [`disk = [ "${image},raw,xvda,w" ]`, 'pvcalls = [ "listen=0:80" ]', 'cmdline = "root=/dev/xvda"'];
    const guest = await host.create(cfg('web', example('web'), ...lines));
    const port = await hostPort(guest);
    expect(await request(port, 'POST /notes HTTP/1.1\nHost: h\nConnection: close\nContent-Length: 1\n\nx')).toMatch(
      /^HTTP\/1\.1 507/,
    );
    expect(await get(port, '/none')).toMatch(/^HTTP\/1\.1 404/);
  });

  it('pinger pings web, and says when nobody answers', async () => {
    const silent = host.program('setInterval(() => {}, 1000)');
    await host.create(
      cfg('web', silent, 'vif = [ "mac=00:16:3e:07:00:10" ]', 'cmdline = "ip=10.7.0.10:::255.255.255.0"'),
    );
    const pinger = await host.create(
      cfg(
        'pinger',
        example('pinger'),
        'vif = [ "mac=00:16:3e:07:00:11" ]',
        'cmdline = "ip=10.7.0.11:::255.255.255.0 target=10.7.0.10"',
      ),
    );
    await pinger.says('pinger: 10.7.0.11 pings 10.7.0.10 every second');
    await host.pass(2100);
    await pinger.says('10.7.0.10: seq=2 time=');
    await host.run(host.toolstack.destroy(host.guests.get(1)!.domid));
    await host.pass(20_000, 1000);
    await pinger.says(/no echo|cannot be reached/);
  });

  it('worker computes and spare wakes up', async () => {
    const spare = await host.create(cfg('spare', example('spare')));
    await spare.says('spare: awake');
  });
});

describe('programs of the kernel', () => {
  const program = (name: string): string => join(root, 'domu-kernel/programs', `${name}.ts`);

  it('dd reads, writes and copies disks', async () => {
    const a = join(host.dir, 'a.img');
    const b = join(host.dir, 'b.img');
    writeFileSync(a, Buffer.alloc(1 << 20, 'xenolith'));
    writeFileSync(b, Buffer.alloc(1 << 20));
    const disks = `disk = [ "${a},raw,xvda,r", "${b},raw,xvdb,w" ]`;
    const guest = await host.create(
      cfg('dd', program('dd'), disks, 'cmdline = "if=xvda of=xvdb bs=64k"', 'on_poweroff = "preserve"'),
    );
    await guest.says('16 blocks of 65536 bytes: 1 MiB');
    expect(Buffer.compare(readFileSync(a), readFileSync(b))).toBe(0);
  });

  it('dd refuses what makes no sense, with the reason', async () => {
    for (const [i, [words, reason]] of [
      ['', 'give it if=DISK'],
      ['if=xvdz', "no disk 'xvdz'"],
      ['if=xvda bs=100', 'not whole sectors'],
    ].entries()) {
      const disk = `disk = [ "${fatImage()},raw,xvda,r" ]`;
      const guest = await host.create(
        cfg(`dd${i}`, program('dd'), disk, `cmdline = "${words}"`, 'on_crash = "preserve"'),
      );
      await guest.says(reason!);
    }
  });

  it('ping counts what came back', async () => {
    const guest = await host.create(
      cfg(
        'p',
        program('ping'),
        'vif = [ "" ]',
        'cmdline = "ip=10.0.0.9:::255.255.255.0 ping=10.0.0.9 count=2 interval=10"',
      ),
    );
    await guest.says('10.0.0.9: seq=1 time=');
    await host.pass(100);
    await guest.says('2 sent, 2 received');
  });
});
