// Listings that read xenstore: a real xenstored with the nodes of the recorded host.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeToolstack } from '../../support/fake-toolstack.ts';
import { LoneXenstored } from '../../support/lone-xenstored.ts';
import { xl } from '../../support/xl.ts';

const GOLDEN = readFileSync(join(import.meta.dirname, '../../vectors/xl-output/cmds2.txt'), 'utf8');
function golden(command: string): string {
  const from = GOLDEN.indexOf('\n', GOLDEN.indexOf(`$ ${command} -> rc 0\n`)) + 1;
  return GOLDEN.slice(from, GOLDEN.indexOf('\n$ ', from));
}

/** `xenstore-ls DIRECTORY` as recorded: path and value of each node. */
function recordedNodes(directory: string): [path: string, value: string][] {
  const above: string[] = [];
  return golden(`xenstore-ls ${directory}`)
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const [, indent, name, value] = /^( *)(\S+) = "(.*)"$/.exec(line)!;
      above.length = indent!.length;
      above.push(name!);
      return [`${directory}/${above.join('/')}`, value!];
    });
}

let host: FakeToolstack;
let xenstored: LoneXenstored;
beforeEach(async () => {
  host = await FakeToolstack.start();
  xenstored = await LoneXenstored.start();
  const store = await xenstored.client();
  for (const directory of ['/local/domain/20', '/local/domain/0/backend', '/libxl/20', '/vm'])
    for (const [path, value] of recordedNodes(directory)) await store.write(path, value);
  const uuid = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;
  host.add({ domid: 1, name: 'web1', uuid: uuid(1) });
  host.add({ domid: 2, name: 'db1', uuid: uuid(2) });
  host.add({ domid: 7, name: 'crashed-one', uuid: uuid(7) });
  host.add({ domid: 20, name: 'pv1', uuid: '86d0a9d9-ffcd-41f8-b7a1-f481a7959163' });
});
afterEach(async () => {
  await host.stop();
  await xenstored.stop();
});
const on = (...argv: string[]) => xl(argv, { dir: host.dir, env: { XENSTORED_PATH: xenstored.socket } });

describe('listings of the recorded host, byte for byte', () => {
  it.each(['xl network-list pv1', 'xl block-list pv1', 'xl vm-list'])('%s', async command => {
    expect(await on(...command.split(' ').slice(1))).toEqual({ code: 0, stdout: golden(command), stderr: '' });
  });
});

describe('xl network-list', () => {
  it('prints the header, then that a name is nobody’s, and fails', async () => {
    const { stdout, stderr, code } = await on('network-list', 'nosuch');
    expect(stdout).toBe(
      'Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n',
    );
    expect(stderr).toBe('nosuch is an invalid domain identifier (rc=-6)\n');
    expect(code).toBe(1);
  });

  it('shows what a connected frontend has written', async () => {
    const store = await xenstored.client();
    const frontend = '/local/domain/20/device/vif/0';
    const said = { 'event-channel': '17', 'tx-ring-ref': '8', 'rx-ring-ref': '9', state: '4' };
    for (const [key, value] of Object.entries(said)) await store.write(`${frontend}/${key}`, value);
    expect((await on('network-list', '20')).stdout.split('\n')[1]).toBe(
      '0   0  00:16:3e:00:00:01     0     4     17     8/9           /local/domain/0/backend/vif/20/0',
    );
  });
});

describe('xl block-list', () => {
  it('says that a name is nobody’s, lists the others, and does not fail', async () => {
    const { stdout, stderr, code } = await on('block-list', 'nosuch', 'pv1');
    expect(stdout).toBe(golden('xl block-list pv1'));
    expect(stderr).toBe('nosuch is an invalid domain identifier\n');
    expect(code).toBe(0);
  });
});

describe('xl uptime', () => {
  it('counts from the noted start, and says of whom there is none', async () => {
    const store = await xenstored.client();
    const start = (ago: number): string => (Date.now() / 1000 - ago).toFixed(2);
    await store.write('/vm/00000000-0000-4000-8000-000000000001/start_time', start(6757.2));
    await store.write('/vm/00000000-0000-4000-8000-000000000002/start_time', start(86_400 * 2 + 3723.2));
    const { stdout, stderr, code } = await on('uptime');
    const lines = stdout.split('\n');
    expect(lines[0]).toBe('Name                                ID Uptime');
    expect(lines[1]).toMatch(/^Domain-0 {29}0 ( *\d+ days?, )?[ \d]\d:\d\d:\d\d$/);
    expect(lines[2]).toMatch(/^web1 {33}1 {2}1:52:\d\d$/);
    expect(lines[3]).toMatch(/^db1 {34}2 2 days, {2}1:02:\d\d$/);
    expect(stderr).toBe("libxl: error: Domain 7:Can't get start time of domain\n");
    expect(code).toBe(0);
    expect((await on('uptime', '-s', 'web1')).stdout).toMatch(/^ \d\d:\d\d:\d\d up {2}1:52, web1 \(1\)\n$/);
  });
  it('of nobody fails', async () => {
    const { stderr, code } = await on('uptime', 'nosuch');
    expect([stderr, code]).toEqual(['nosuch is an invalid domain identifier (rc=-6)\n', 1]);
  });
});

describe('xl sysrq, trigger, rename', () => {
  it('sysrq writes the letter', async () => {
    expect(await on('sysrq', 'pv1', 'h')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await (await xenstored.client()).read('/local/domain/20/control/sysrq')).toBe('h');
    const bad = await on('sysrq', 'pv1', 'ss');
    expect(bad.stderr).toBe('Invalid sysrq.\n\n');
    expect(bad.stdout).toContain('Usage: xl [-vtTf] sysrq <Domain> <letter>');
    expect(bad.code).toBe(1);
  });
  it('trigger knows the names, and that a PV guest has no such hardware', async () => {
    expect(await on('trigger', 'pv1', 'bogus')).toEqual({ code: 1, stdout: '', stderr: 'Invalid trigger "bogus"\n' });
    const { stderr, code } = await on('trigger', 'pv1', 'nmi');
    expect([stderr, code]).toEqual([expect.stringContaining('Function not implemented'), 0]);
  });
  it('rename', async () => {
    expect(await on('rename', 'pv1', 'pv2')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await on('domid', 'pv2')).stdout).toBe('20\n');
    const { stderr, code } = await on('rename', 'pv2', 'web1');
    expect([stderr.split('\n').at(-2), code]).toEqual(["Can't rename domain 'pv2'.", 1]);
  });
});
