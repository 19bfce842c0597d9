import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  domid,
  XS_CONTROL,
  XS_ERROR,
  XS_READ,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WRITE,
} from '#pvbus';
import { XS_SET_QUOTA } from '../../../../dom0/xenstored/newer-wire.ts';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { type DomainClient, type RigClient, type SocketClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

let rig: XenstoreRig;
let dom0: SocketClient;
let dom3: DomainClient;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'xenstored-control-'));
  rig = new XenstoreRig();
  dom0 = rig.dom0();
  ask(dom0, XS_WRITE, '/local/domain/3\0');
  ask(dom0, XS_SET_PERMS, '/local/domain/3\0n3\0');
  dom3 = rig.domain(3);
});
afterEach(() => rmSync(folder, { recursive: true }));

function ask(client: RigClient, type: number, payload: string, tx = 0): string {
  const id = client.send(type, payload, tx);
  const reply = client.take().find(frame => frame.req_id === id);
  return `${reply?.type === XS_ERROR ? '!' : ''}${reply?.payload.toString('latin1').replace(/\0$/, '')}`;
}
const control = (...words: string[]): string => ask(dom0, XS_CONTROL, words.map(word => `${word}\0`).join(''));
/** The log since the last look, without what is always in it. */
function logged(): string[] {
  return rig.log.lines.splice(0).filter(line => !/introduced|refused/.test(line));
}
const value = (text: string, name: string): number => Number(new RegExp(`^${name} *: *([0-9]+)`, 'm').exec(text)?.[1]);

describe('log', () => {
  test('tells of every request while it is on, and of each switch by itself', () => {
    logged();
    ask(dom3, XS_READ, 'nothing\0');
    expect(logged()).toEqual([]);
    expect(control('log', 'on')).toBe('OK');
    logged();
    ask(dom3, XS_READ, 'nothing\0');
    expect(logged()).toEqual(['dom3: XS_READ tx 0: ENOENT: /local/domain/3/nothing does not exist']);
    expect(control('log', '-io')).toBe('OK');
    logged();
    ask(dom3, XS_READ, 'nothing\0');
    expect(logged()).toEqual([]);
    ask(dom3, XS_WATCH, 'a\0t\0');
    const tx = Number(ask(dom3, XS_TRANSACTION_START, '\0'));
    ask(dom3, XS_TRANSACTION_END, 'F\0', tx);
    ask(dom3, XS_WRITE, `a\0${'x'.repeat(2049)}`);
    expect(logged()).toEqual([
      'dom3 watches /local/domain/3/a',
      'dom3 begins transaction 1',
      'dom3 gives up transaction 1',
      'dom3: XS_WRITE tx 0: ENOSPC: /local/domain/3/a would be larger than 2048 bytes',
    ]);
    control('log', '-obj');
    control('log', '-acc');
    ask(dom3, XS_WATCH, 'a\0u\0');
    ask(dom3, XS_WRITE, `a\0${'x'.repeat(2049)}`);
    expect(logged()).toEqual([]);
    control('log', '+io');
    expect(logged()).toEqual(['socket 1: XS_CONTROL tx 0: 3 bytes']);
    control('log', 'off');
    expect(logged()).toEqual([]);
  });

  test('names the path because of which a transaction could not be committed, and counts it', () => {
    control('log', 'on');
    const tx = Number(ask(dom3, XS_TRANSACTION_START, '\0'));
    ask(dom3, XS_READ, 'a\0', tx);
    ask(dom3, XS_WRITE, 'b\0', tx);
    ask(dom0, XS_WRITE, '/local/domain/3/a\0');
    logged();
    expect(ask(dom3, XS_TRANSACTION_END, 'T\0', tx)).toBe('!EAGAIN');
    expect(logged()).toContain(`dom3: XS_TRANSACTION_END tx ${tx}: EAGAIN: /local/domain/3/a was changed meanwhile`);
    control('memreport');
    expect(logged()).toContain('memreport: transactions that could not be committed: 1');
  });

  test('goes to a file of its own when one is named', () => {
    const path = join(folder, 'log');
    expect(control('logfile', path)).toBe('OK');
    control('log', 'on');
    logged();
    ask(dom3, XS_READ, 'nothing\0');
    expect(logged()).toEqual([]);
    expect(readFileSync(path, 'utf8')).toMatch(/dom3: XS_READ tx 0: ENOENT: .local.domain.3.nothing does not exist\n/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(control('logfile', join(folder, 'none', 'log'))).toBe('!EINVAL');
    expect(control('logfile', 'relative')).toBe('!EINVAL');
    ask(dom3, XS_READ, 'more\0');
    expect(readFileSync(path, 'utf8')).toContain('/local/domain/3/more');
  });
});

describe('fault', () => {
  const add = (fault: object): string =>
    control(
      'fault',
      'add',
      JSON.stringify({ plan: 'p', seed: 1, startedNs: 0, fault: { part: 'xenstore', ...fault } }),
    );

  test('is shown in one reply, however often it has befallen whatever a domain asked for', () => {
    expect(add({ name: 'reads', op: 'read', error: 'EIO' })).toBe('OK');
    expect(add({ name: 'writes', op: 'write', error: 'EIO' })).toBe('OK');
    const path = `a\x1b[2J\xff${'"'.repeat(3000)}`;
    for (let i = 0; i < 300; i++) expect(ask(dom3, XS_READ, `${path}\0`)).toBe('!EIO');
    const shown = JSON.parse(control('fault', 'show', 'p@reads')) as { last: number[]; where: string };
    expect(shown).toMatchObject({ seen: 300, injected: 300, domid: 3 });
    expect(shown.last.slice(-2)).toEqual([299, 300]);
    expect(shown.where).toMatch(/^read \/local\/domain\/3\/a\?\[2J\?"+ by dom3$/);
    expect(JSON.parse(control('fault', 'show', 'p@writes'))).toMatchObject({ seen: 0, injected: 0 });
    expect(control('fault', 'show', 'p@none')).toBe('!ENOENT');
  });
  test("of a domain's channel has xenstored not hear of it, or tell it late, by the domain or by the channel's number", () => {
    const shown = (name: string): object => JSON.parse(control('fault', 'show', name));
    ask(dom0, XS_WRITE, '/local/domain/3/store/port\x0017');
    const event = { part: 'event', type: 'xenstore' };
    expect(add({ ...event, name: 'deaf', op: 'receive', port: 17, nth: 1, drop: true })).toBe('OK');
    expect(add({ ...event, name: 'other', domain: 3, port: 18, drop: true })).toBe('OK');
    dom3.send(XS_READ, 'name\0');
    rig.run();
    expect(dom3.take()).toEqual([]);
    expect(shown('p@deaf')).toMatchObject({ seen: 1, injected: 1, domid: 3, where: 'receive from dom3' });
    ask(dom3, XS_READ, 'name\0'); // whose event has xenstored look at both
    expect([shown('p@deaf'), shown('p@other')]).toMatchObject([{ injected: 1 }, { seen: 0 }]);
    expect(control('fault', 'remove', 'p@deaf')).toBe('OK');
    expect(add({ ...event, name: 'late', op: 'send', domain: 3, delay: 50 })).toBe('OK');
    rig.passesTime = false;
    const notified = (): number => rig.door.domains.get(domid(3))!.notified;
    const sent = notified();
    const from = rig.clock.now();
    dom3.send(XS_READ, 'name\0');
    expect(notified()).toBe(sent);
    expect(rig.server.deadline).toBe(from + 50e6);
    rig.clock.advance(50e6);
    rig.run();
    expect(notified()).toBeGreaterThan(sent);
  });
});

describe('quota', () => {
  test('of a domain is what it has', () => {
    ask(dom3, XS_WRITE, 'a/b\0xyz');
    ask(dom3, XS_WATCH, 'a\0t\0');
    const before = control('quota', '3');
    expect(before).toMatch(/^Domain 3:\n/);
    const names = ['nodes', 'watches', 'transactions', 'outstanding'];
    expect(names.map(name => value(before, name))).toEqual([3, 1, 0, 0]);
    const tx = Number(ask(dom3, XS_TRANSACTION_START, '\0'));
    ask(dom3, XS_WRITE, `c\0${'x'.repeat(1000)}`, tx);
    const during = control('quota', '3');
    expect(value(during, 'transactions')).toBe(1);
    expect(value(during, 'memory') - value(before, 'memory')).toBeGreaterThan(1000);
    ask(dom3, XS_TRANSACTION_END, 'T\0', tx);
    const after = control('quota', '3');
    expect(value(after, 'memory') - value(before, 'memory')).toBeGreaterThan(1000);
    expect(value(after, 'memory')).toBeLessThan(value(during, 'memory'));
    // What it has not read counts as well.
    dom3.send(XS_READ, 'c\0');
    rig.run();
    ask(dom0, XS_WRITE, '/local/domain/3/a\0');
    expect(value(control('quota', '3'), 'memory')).toBeGreaterThan(value(after, 'memory'));
    expect(value(control('quota', '0'), 'nodes')).toBe(rig.server.store.tree.root.count + 1 - 4);
  });

  test('max is the most that any domain has had', () => {
    control('quota', 'max', '-r');
    ask(dom3, XS_WRITE, 'a/b/c\0');
    ask(dom3, XS_WATCH, 'a\0t\0');
    ask(dom3, XS_WATCH, 'a\0u\0');
    const dom5 = rig.domain(5);
    ask(dom5, XS_WATCH, 'a\0t\0');
    ask(dom0, XS_WATCH, '/\0t\0');
    const most = control('quota', 'max');
    expect(['nodes', 'watches'].map(name => value(most, name))).toEqual([4, 2]);
    expect(control('quota', 'max', '-r')).toBe(most);
    expect(value(control('quota', 'max'), 'watches')).toBe(0);
  });

  test('set is for domains that come later', () => {
    expect(control('quota', 'set', 'watches', '1')).toBe('OK');
    expect(value(control('quota'), 'watches')).toBe(1);
    ask(dom3, XS_WATCH, 'a\0t\0');
    expect(ask(dom3, XS_WATCH, 'a\0u\0')).toBe('OK');
    const dom5 = rig.domain(5);
    ask(dom5, XS_WATCH, 'a\0t\0');
    expect(ask(dom5, XS_WATCH, 'a\0u\0')).toBe('!ENOSPC');
    for (const wrong of [
      ['nodes', '0'],
      ['nodes', '-1'],
      ['nodes', 'x'],
      ['memory-soft', '5'],
      ['no', '5'],
      ['nodes'],
    ]) {
      expect(control('quota', 'set', ...wrong), wrong.join(' ')).toBe('!EINVAL');
    }
    expect(control('quota-soft', 'set', 'nodes', '5')).toBe('!EINVAL');
    expect(control('quota-soft', 'set', 'memory', '5000')).toBe('OK');
    expect(value(control('quota-soft'), 'memory')).toBe(5000);
    expect(control('quota', '55')).toBe('!ENOENT');
  });

  test('of memory, the soft one: who has more is named in the log, once for each time', () => {
    ask(dom0, XS_SET_QUOTA, '3\0memory-soft\x001000\0');
    logged();
    ask(dom3, XS_WRITE, `a\0${'x'.repeat(900)}`);
    ask(dom3, XS_WRITE, `b\0${'x'.repeat(900)}`);
    expect(logged()).toEqual([expect.stringMatching(/^warning: dom3 holds [0-9]+ bytes, more than .* 1000$/)]);
    ask(dom3, XS_WRITE, 'a\0');
    ask(dom3, XS_WRITE, 'b\0');
    expect(logged()).toEqual([]);
    ask(dom3, XS_WRITE, `a\0${'x'.repeat(1000)}`);
    expect(logged()).toHaveLength(1);
  });
});

describe('memreport', () => {
  test('tells what each domain has, to the log or to a file', () => {
    ask(dom3, XS_WATCH, 'a\0t\0');
    const path = join(folder, 'report');
    expect(control('memreport', path)).toBe('OK');
    expect(readFileSync(path, 'utf8')).toMatch(/^domain +nodes +watches .*\n0 .*\n3 +1 +1 +0 +0 +[0-9]+\n/);
    logged();
    expect(control('memreport')).toBe('OK');
    expect(logged()).toContainEqual(expect.stringMatching(/^memreport: 3 +1 +1 /));
    expect(control('memreport', join(folder, 'none', 'report'))).toBe('!EINVAL');
    expect(control('memreport', path, path)).toBe('!EINVAL');
  });

  test('is not made again by a daemon that repeats what another has done', () => {
    const disk = new MemoryDisk();
    rig = new XenstoreRig(disk);
    dom0 = rig.dom0();
    const path = join(folder, 'report');
    control('memreport', path);
    control('log', 'on');
    control('quota', 'set', 'nodes', '7');
    rmSync(path);
    rig.restart();
    dom0 = rig.dom0();
    expect(() => statSync(path)).toThrow();
    expect(rig.server.tracing.on).toBe(true);
    expect(value(control('quota'), 'nodes')).toBe(7);
  });
});

describe('whatever is no command, or has other arguments', () => {
  test.each([
    [''],
    ['nonsense'],
    ['toString'],
    ['check', 'x'],
    ['help', 'x'],
    ['print'],
    ['print', 'a', 'b'],
    ['log'],
    ['log', 'x'],
    ['log', '+x'],
    ['log', 'io'],
    ['log', 'on', 'off'],
    ['logfile'],
    ['quota', 'x'],
    ['quota', '3', '4'],
    ['quota', 'max', 'x'],
    ['quota', 'max', '-r', '-r'],
    ['quota-soft', '3'],
    ['live-update'],
    ['live-update', '-s'],
  ])('is refused: %s %s %s', (...words) =>
    expect(control(...words.filter(word => word !== undefined))).toBe('!EINVAL'),
  );

  test('and a payload without a NUL too', () => expect(ask(dom0, XS_CONTROL, 'help')).toBe('!EINVAL'));
});

test('help names every command', () => {
  const names = control('help')
    .split('\n')
    .map(line => line.split('\t')[0]);
  expect(names).toEqual([
    'check',
    'fault',
    'log',
    'live-update',
    'logfile',
    'memreport',
    'print',
    'quota',
    'quota-soft',
    'help',
    '',
  ]);
});
