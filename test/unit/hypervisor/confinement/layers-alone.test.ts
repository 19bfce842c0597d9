// What each layer of confinement stops by itself: a domain has all of them, and of a call that two would refuse the outermost
// says so. SECURITY.md says what each is for.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { landlockVersion, whyNoSeccomp } from '#pvbus';
import { inNamespaces, probeNamespaces } from '../../../../hypervisor/confinement/launch-command.ts';
import { dist, root } from '../../../support/host-view.ts';
import { eventually } from '../../../support/processes.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-layers-'));
const abstract = `\0xenolith-test-${process.pid}`;
let tcp: Server;
let local: Server;
let heard = 0;
beforeAll(async () => {
  const serve = (to: number | string): Promise<Server> =>
    new Promise(resolve => {
      const server = createServer(socket => {
        heard++;
        socket.destroy();
      });
      server.listen(to as number, () => resolve(server));
    });
  tcp = await serve(0);
  local = await serve(abstract);
});
afterAll(() => {
  tcp?.close();
  local?.close();
  rmSync(dir, { recursive: true, force: true });
});
const port = (): number => (tcp.address() as { port: number }).port;

/** What they print, of which each line is `act: outcome`; this process goes on meanwhile, which serves. */
async function outcomes(file: string, args: readonly string[]): Promise<Map<string, string>> {
  const child = spawn(file, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      text += chunk;
    });
  const code = await new Promise(resolve => child.on('close', resolve));
  expect(code, text).toBe(0);
  return new Map([...text.matchAll(/^(.+?): (.+)$/gm)].map(([, act, outcome]) => [act!, outcome!]));
}
const underALayer = (...args: string[]): Promise<Map<string, string>> =>
  outcomes(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'under-a-layer.ts'), ...args]);

/** Tries to get at its host: the words are a folder, a port, an abstract socket without its NUL, a process. */
const PROGRAM = `
const fs = require('fs'), net = require('net');
const [folder, port, abstract, pid] = process.argv.slice(1);
const say = (act, outcome) => console.log(act + ': ' + outcome);
const attempt = (act, body) => { try { body(); say(act, 'done'); } catch (e) { say(act, e.code); } };
attempt('read', () => fs.readFileSync('/etc/passwd'));
attempt('read a file of the user', () => fs.readFileSync(folder + '/secret'));
attempt('write', () => fs.writeFileSync(folder + '/escaped', ''));
attempt('list', () => fs.readdirSync('/'));
attempt('run', () => { const { error } = require('child_process').spawnSync('/bin/true'); if (error) throw error; });
attempt('signal', () => process.kill(Number(pid), 0));
const connect = (act, to) => new Promise(resolve => net.connect(to)
  .on('error', e => resolve(say(act, e.code))).on('connect', function () { this.destroy(); resolve(say(act, 'done')); }));
const listen = () => new Promise(resolve => { const server = net.createServer();
  server.on('error', e => resolve(say('listen', e.code))).listen(0, '127.0.0.1', () => server.close(() => resolve(say('listen', 'done')))); });
(async () => {
  await connect('connect by TCP', { port: Number(port), host: '127.0.0.1' });
  await connect('connect to an abstract socket', { path: '\\0' + abstract });
  await listen();
  say('interfaces', Object.keys(require('os').networkInterfaces()).length);
  say('uid', process.getuid());
  say('capabilities', /^CapEff:\\t(.*)$/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1]);
})().catch(error => say('failed', error.message));
`;
const words = (): string[] => [dir, String(port()), abstract.slice(1), String(process.pid)];

it('without a layer all of it is done', async () => {
  writeFileSync(join(dir, 'secret'), 'x');
  const acts = await outcomes(process.execPath, ['-e', PROGRAM, '--', ...words()]);
  expect([...acts].filter(([, outcome]) => outcome === 'done')).toHaveLength(9);
  await eventually('both were heard', () => heard === 2);
  rmSync(join(dir, 'escaped'));
});

const version = landlockVersion();
it.skipIf(typeof version === 'string')('landlock alone: no file but its own, no TCP, nobody else', async () => {
  // Its own /proc/self/status is not to be read either: the last line is missing.
  const acts = await underALayer('landlock', dist('.'), PROGRAM, ...words());
  const files = ['read', 'read a file of the user', 'write', 'list', 'run'].map(act => acts.get(act));
  expect(files).toEqual(new Array(5).fill('EACCES'));
  expect(existsSync(join(dir, 'escaped'))).toBe(false);
  if ((version as number) >= 4) expect([acts.get('connect by TCP'), acts.get('listen')]).toEqual(['EACCES', 'EACCES']);
  if ((version as number) >= 6)
    expect([acts.get('signal'), acts.get('connect to an abstract socket')]).toEqual(['EPERM', 'EPERM']);
});

/** Does what xenstored does in its folder, and what it does not; elsewhere as well. The words: its folder, another one. */
const PROGRAM_WITH_A_FOLDER = `
const fs = require('fs'), net = require('net');
const [own, other] = process.argv.slice(1);
const attempt = (act, body) => { try { body(); console.log(act + ': done'); } catch (e) { console.log(act + ': ' + e.code); } };
for (const [where, folder] of [['own', own], ['other', other]]) {
  attempt(where + ' write', () => fs.writeFileSync(folder + '/new', 'x'));
  attempt(where + ' rename', () => fs.renameSync(folder + '/new', folder + '/journal'));
  attempt(where + ' read', () => fs.readFileSync(folder + '/journal'));
  attempt(where + ' shorten', () => fs.truncateSync(folder + '/journal', 0));
  attempt(where + ' list', () => fs.readdirSync(folder));
  attempt(where + ' remove', () => fs.rmSync(folder + '/journal'));
  attempt(where + ' link', () => fs.symlinkSync('/etc/passwd', folder + '/link'));
  attempt(where + ' run', () => { const { error } = require('child_process').spawnSync(folder + '/program'); if (error) throw error; });
}
attempt('move out', () => { fs.writeFileSync(own + '/new', ''); fs.renameSync(own + '/new', other + '/moved'); });
net.createServer().on('error', e => console.log('own socket: ' + e.code))
  .listen(own + '/socket', function () { console.log('own socket: done'); this.close(); });
`;
it.skipIf(typeof version === 'string')(
  'landlock with a folder: files and sockets of its own, nothing else',
  async () => {
    const [own, other] = ['own', 'other'].map(name => join(dir, name));
    for (const folder of [own!, other!]) {
      mkdirSync(folder);
      writeFileSync(join(folder, 'program'), '#!/bin/sh\n', { mode: 0o755 });
    }
    writeFileSync(join(other!, 'journal'), 'x');
    const acts = await underALayer('own-folder', own!, PROGRAM_WITH_A_FOLDER, other!);
    const done = ['write', 'rename', 'read', 'shorten', 'list', 'remove'].map(act => [`own ${act}`, 'done']);
    const denied = ['write', 'read', 'shorten', 'list', 'remove', 'link', 'run'].map(act => [`other ${act}`, 'EACCES']);
    if ((version as number) < 3) denied.splice(2, 1); // nobody is kept from that
    expect(Object.fromEntries(acts)).toMatchObject({
      ...Object.fromEntries([...done, ...denied]),
      ...{ 'own socket': 'done', 'own link': 'EACCES', 'own run': 'EACCES' },
    });
    expect(acts.get('move out')).toMatch(/^(EACCES|EXDEV)$/);
    expect(readdirSync(other!).sort()).toEqual(['journal', 'program']);
  },
);

const tools = probeNamespaces();
it.skipIf(typeof tools === 'string')('namespaces alone: no network, nobody else, no user, no capability', async () => {
  const { file, args } = inNamespaces(tools as Exclude<typeof tools, string>, {
    file: process.execPath,
    args: ['-e', PROGRAM, '--', ...words()],
  });
  const before = heard;
  const acts = await outcomes(file, args);
  expect(acts.get('signal')).toBe('ESRCH');
  expect(acts.get('connect by TCP')).toMatch(/^E/);
  expect(acts.get('connect to an abstract socket')).toBe('ECONNREFUSED'); // there is none of that name in its network
  expect(heard).toBe(before);
  expect([acts.get('interfaces'), acts.get('uid')]).toEqual(['0', '65534']);
  expect(acts.get('capabilities')).toMatch(/^0{16}$/);
});

/** An i386 program that ends with 42: exit(2) by int 0x80. */
function program32(): string {
  const [base, at] = [0x08048000, 84];
  const code = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
  const elf = new DataView(new ArrayBuffer(at + code.length));
  const bytes = new Uint8Array(elf.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]); // ELF, 32 bits, little-endian
  const words16: readonly [number, number][] = [
    [16, 2],
    [18, 3],
    [40, 52],
    [42, 32],
    [44, 1],
  ];
  for (const [where, value] of words16) elf.setUint16(where, value, true);
  const file: readonly [number, number][] = [
    [20, 1],
    [24, base + at],
    [28, 52],
  ]; // version, entry, program headers
  const segment = [1, 0, base, base, bytes.length, bytes.length, 5, 0x1000]; // all of it, to be read and run
  for (const [where, value] of file) elf.setUint32(where, value, true);
  segment.forEach((value, i) => {
    elf.setUint32(52 + 4 * i, value, true);
  });
  bytes.set(code, at);
  const path = join(dir, 'program32');
  writeFileSync(path, bytes);
  chmodSync(path, 0o755);
  return path;
}

it.skipIf(whyNoSeccomp() !== undefined)(
  'the filter of the whole host: what nobody needs is denied, 32-bit programs end',
  async () => {
    const program = program32();
    const acts = await underALayer('host', program);
    const runs32 = spawnSync(program).status === 42; // Linux may have been built without
    if (runs32) expect(acts.get('32-bit')).toBe('SIGSYS');
    acts.delete('32-bit');
    const granted = [...acts].filter(([, errno]) => errno !== '1');
    expect(Object.fromEntries(granted)).toEqual({ io_uring_setup: '38', clone3: '38' });
    expect(acts.size).toBeGreaterThan(40);
  },
);
