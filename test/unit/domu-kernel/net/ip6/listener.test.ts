// RFC 9777 and RFC 2710: what a host says of the groups it listens to, and to whose questions.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MAX_SOURCES } from '../../../../../domu-kernel/net/group-reports.ts';
import { IpAddress } from '../../../../../domu-kernel/net/ip-address.ts';
import { advertisement, bytesOf, icmp6, type MadePacket, prefixOption } from '../../../../support/ip6-frames.ts';
import { pcap } from '../wire.ts';
import { Alone, auto, GROUP, OURS, ROUTER, ready, told } from './alone.ts';

/** The link-local address and fd00::1 end in the same 24 bits. */
const SHARED = 'ff02::1:ff00:1';
const GIVEN = 'ff02::1:ff00:77';
const NAMES: Readonly<Record<number, string>> = { 1: 'is in', 2: 'is ex', 3: 'to in', 4: 'to ex' };

const two = (): Alone => ready({ address: IpAddress.from('fd00::77'), prefixLength: 64 });
/** What was said since this was asked: from, to, and each record or the group of MLDv1. */
function reports(alone: Alone): string[] {
  return alone.listening.splice(0).map(frame => {
    const view = new DataView(frame.buffer, frame.byteOffset);
    const address = (at: number): string => String(new IpAddress().read(view, at));
    const head = `${address(22) === '::' ? '::' : 'own'} > ${address(38)}`;
    const type = frame[62];
    if (type !== 143) return `${head}: ${type} ${address(70)}`;
    const records: string[] = [];
    let at = 70;
    for (let i = 0; i < view.getUint16(68); i++) {
      const start = at + 20;
      const sources = Array.from({ length: view.getUint16(at + 2) }, (_, each) => ` ${address(start + each * 16)}`);
      records.push(`${NAMES[frame[at]!]} ${address(at + 4)}${sources.join('')}`);
      at += 20 + sources.length * 16;
    }
    expect(at).toBe(frame.length);
    return `${head}: ${records.join(', ')}`;
  });
}
/** Where reports of MLDv2 go. */
const TO = 'own > ff02::16:';

const ALERT: readonly (readonly [number, readonly number[]])[] = [[0, [0, 0, 5, 2, 0, 0, 1, 0]]];
const message = (payload: readonly number[], more: Partial<MadePacket> = {}): MadePacket =>
  icmp6(ROUTER, 'ff02::1', payload, { hopLimit: 1, extensions: ALERT, ...more });
const v1 = (type: number, delayMs: number, group = '::', more: Partial<MadePacket> = {}): MadePacket =>
  message([type, 0, 0, 0, delayMs >> 8, delayMs & 255, 0, 0, ...bytesOf(group)], more);
interface Asked {
  readonly sources?: readonly string[];
  readonly robustness?: number;
  /** As many as it says. */
  readonly count?: number;
  readonly more?: Partial<MadePacket>;
}
const query = (
  code: number,
  group = '::',
  { sources = [], robustness = 2, count, more = {} }: Asked = {},
): MadePacket =>
  message(
    [
      ...[130, 0, 0, 0, code >> 8, code & 255, 0, 0, ...bytesOf(group)],
      ...[robustness, 125, 0, count ?? sources.length, ...sources.flatMap(bytesOf)],
    ],
    more,
  );

describe('the groups of its addresses', () => {
  it('are told before it is asked who has them, from no address until there is one, and each time twice', () => {
    const alone = new Alone();
    expect(reports(alone)).toEqual([`:: > ff02::16: to ex ${SHARED}`]);
    alone.pass(1);
    expect(reports(alone)).toEqual([`:: > ff02::16: to ex ${SHARED}`, `${TO} to ex ${SHARED}`]);
    alone.pass(20);
    expect(reports(alone)).toEqual([`${TO} to ex ${SHARED}`]);
  });
  it('are left when the last address of one has ended, and one that a neighbour has is', () => {
    const alone = new Alone({ address: IpAddress.from('fd00::77'), prefixLength: 64 });
    expect(reports(alone)).toEqual([
      `:: > ff02::16: to ex ${SHARED}`,
      `:: > ff02::16: to ex ${SHARED}, to ex ${GIVEN}`,
    ]);
    alone.hear(icmp6('fd00::77', 'ff02::1', advertisement('fd00::77', 0x20)), GROUP);
    expect(reports(alone)).toEqual([`:: > ff02::16: to in ${GIVEN}`]);
  });
  it('are no more when an address of the same group ends', () => {
    const alone = auto();
    alone.pass(1);
    alone.hear(told(prefixOption('fd00::', { valid: 5, preferred: 5 })), GROUP);
    alone.pass(3);
    expect(alone.states).toEqual([`${OURS} preferred`, 'fd00::216:3eff:fe00:1 preferred']);
    reports(alone);
    alone.pass(10);
    expect(alone.states).toEqual([`${OURS} preferred`]);
    expect(reports(alone)).toEqual([]);
  });
  it('are said as tshark understands it, in both versions', context => {
    if (spawnSync('tshark', ['--version']).status !== 0) return context.skip('tshark is not installed');
    const alone = new Alone({ address: IpAddress.from('fd00::77'), prefixLength: 64 });
    alone.pass(5);
    alone.hear(query(1, GIVEN, { sources: ['fd00::1', 'fd00::2'] }), GROUP);
    alone.pass(1);
    alone.hear(v1(130, 1), GROUP);
    alone.pass(1);
    const folder = mkdtempSync(join(tmpdir(), 'xenolith-mld-'));
    try {
      const file = join(folder, 'frames.pcap');
      writeFileSync(file, pcap(alone.listening));
      const fields = [
        ...['_ws.malformed', '_ws.expert.message', 'icmpv6.checksum.status', 'ipv6.opt.router_alert', 'ipv6.hlim'],
        ...['ipv6.dst', 'eth.dst', 'icmpv6.type', 'icmpv6.mldr.mar.record_type', 'icmpv6.mldr.mar.multicast_address'],
        ...['icmpv6.mldr.mar.source_address', 'icmpv6.mld.multicast_address'],
      ].flatMap(field => ['-e', field]);
      const text = execFileSync('tshark', ['-r', file, '-T', 'fields', '-E', 'separator=;', ...fields], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString();
      const rows = text.trimEnd().split('\n');
      expect(rows).toHaveLength(alone.listening.length);
      for (const row of rows) expect(row).toMatch(/^;;1;0;1;/);
      const distinct = [...new Set(rows.map(row => row.slice(';;1;0;1;'.length)))];
      expect(distinct).toEqual([
        `ff02::16;33:33:00:00:00:16;143;4;${SHARED};;`,
        `ff02::16;33:33:00:00:00:16;143;4,4;${SHARED},${GIVEN};;`,
        `ff02::16;33:33:00:00:00:16;143;4;${GIVEN};;`,
        `ff02::16;33:33:00:00:00:16;143;1;${GIVEN};fd00::1,fd00::2;`,
        `${SHARED};33:33:ff:00:00:01;131;;;;${SHARED}`,
        `${GIVEN};33:33:ff:00:00:77;131;;;;${GIVEN}`,
      ]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a query', () => {
  it('for all is answered once, in one report, within the time it gives', () => {
    const alone = two();
    alone.hear(query(10_000), GROUP);
    alone.hear(query(10_000), GROUP);
    expect(reports(alone)).toEqual([]);
    alone.pass(10);
    expect(reports(alone)).toEqual([`${TO} is ex ${SHARED}, is ex ${GIVEN}`]);
    alone.pass(300);
    expect(reports(alone)).toEqual([]);
  });
  it('has its time from 0x8000 on as a mantissa and an exponent: 0x8000 is 32.768 s', () => {
    const times = [0x7fff, 0x8000, 0xffff].map(code => {
      const alone = two();
      const before = alone.clock.ns;
      alone.hear(query(code), GROUP);
      return (alone.v6.discovery.listener.deadline()! - before) / 1e6;
    });
    const random = times[0]! / 0x7fff;
    expect(times[1]! / random).toBeCloseTo(32_768, 3);
    expect(times[2]! / random).toBeCloseTo(8_387_584, 0);
  });
  it('for one group is answered for that, one for another group not at all', () => {
    const alone = two();
    alone.hear(query(1000, GIVEN), GROUP);
    alone.hear(query(1000, 'ff02::1:ff00:99'), GROUP);
    alone.hear(query(1000, 'ff02::1'), GROUP);
    alone.pass(1);
    expect(reports(alone)).toEqual([`${TO} is ex ${GIVEN}`]);
  });
  it('for sources of a group is answered for these, all that were asked for by then', () => {
    const alone = two();
    alone.hear(query(1000, GIVEN, { sources: ['fd00::1', 'fd00::2'] }), GROUP);
    alone.hear(query(1000, GIVEN, { sources: ['fd00::2', 'fd00::3'] }), GROUP);
    alone.pass(1);
    expect(reports(alone)).toEqual([`${TO} is in ${GIVEN} fd00::1 fd00::2 fd00::3`]);
  });
  it.each<[string, readonly (readonly string[])[]]>([
    ['and for any', [['fd00::1'], []]],
    ['after one for any', [[], ['fd00::1']]],
    [
      'of which there are too many',
      [Array.from({ length: MAX_SOURCES + 1 }, (_, i) => `fd00::${(i + 1).toString(16)}`)],
    ],
    [
      'of which there come too many',
      [1, 2].map(net => Array.from({ length: MAX_SOURCES }, (_, i) => `fd0${net}::${(i + 1).toString(16)}`)),
    ],
  ])('for sources of a group %s is answered for the group', (_, all) => {
    const alone = two();
    for (const sources of all) alone.hear(query(1000, GIVEN, { sources }), GROUP);
    alone.pass(1);
    expect(reports(alone)).toEqual([`${TO} is ex ${GIVEN}`]);
  });
  it('for one group is no more to be answered when one for all is, sooner', () => {
    const alone = two();
    alone.hear(query(1), GROUP);
    alone.hear(query(30_000, GIVEN), GROUP);
    alone.pass(40);
    expect(reports(alone)).toEqual([`${TO} is ex ${SHARED}, is ex ${GIVEN}`]);
  });
  it('at whose sender is said how often what matters is to be said is heeded', () => {
    const alone = auto();
    alone.pass(20);
    alone.hear(query(1, '::', { robustness: 7 }), GROUP);
    alone.pass(1);
    reports(alone);
    // The group is the one of the link-local address: another one is needed.
    alone.v6.discovery.listener.listenTo([IpAddress.from(GIVEN)]);
    alone.pass(20);
    const said = reports(alone);
    expect(said).toEqual(Array(7).fill(`${TO} to in ${SHARED}, to ex ${GIVEN}`));
  });
  it('that wants its answer at once is answered a hundred times a second at most', () => {
    const alone = two();
    for (let ms = 0; ms < 1000; ms++) {
      alone.hear(query(0), GROUP);
      alone.pass(0.001);
    }
    const said = reports(alone);
    expect(said.length).toBeGreaterThan(50);
    expect(said.length).toBeLessThanOrEqual(100);
  });
  it.each<[string, MadePacket]>([
    ['that was routed', query(1, '::', { more: { hopLimit: 2 } })],
    ['from no link-local address', query(1, '::', { more: { source: 'fd00::9' } })],
    ['without a router alert', query(1, '::', { more: { extensions: [] } })],
    ['with an alert in the wrong header', query(1, '::', { more: { extensions: [[60, ALERT[0]![1]]] } })],
    ['that is cut', message([130, 0, 0, 0, 0, 1, 0, 0, ...bytesOf('::').slice(1)])],
    ['of no version', message([130, 0, 0, 0, 0, 1, 0, 0, ...bytesOf('::'), 2, 125])],
    ['with more sources than it has', query(1, GIVEN, { sources: ['fd00::1'], count: 2 })],
    ['for sources of all groups', query(1, '::', { sources: ['fd00::1'] })],
    ['for what is no group', query(1, 'fd00::77')],
    ['whose checksum is wrong', query(1, '::', { more: { checksumAt: undefined as never } })],
    ['in parts', query(1, '::', { more: { extensions: [...ALERT, [44, [0, 0, 0, 0, 0, 0, 0, 1]]] } })],
  ])('%s is not answered', (_, packet) => {
    const alone = two();
    alone.hear(packet, GROUP);
    alone.pass(60);
    expect(reports(alone)).toEqual([]);
  });
});

describe('a querier of MLDv1', () => {
  it('is answered in its version, for each group by itself, and so is one of MLDv2 beside it; until it has gone', () => {
    const alone = two();
    alone.hear(v1(130, 1000), GROUP);
    alone.hear(query(1000), GROUP);
    alone.pass(1);
    expect(reports(alone).sort()).toEqual([`own > ${SHARED}: 131 ${SHARED}`, `own > ${GIVEN}: 131 ${GIVEN}`].sort());
    alone.pass(249);
    alone.hear(query(1000, GIVEN), GROUP);
    alone.pass(1);
    expect(reports(alone)).toEqual([`own > ${GIVEN}: 131 ${GIVEN}`]);
    alone.pass(1);
    alone.hear(query(1000), GROUP);
    alone.pass(1);
    expect(reports(alone)).toEqual([`${TO} is ex ${SHARED}, is ex ${GIVEN}`]);
  });
  it('gets one answer for a group: who hears that of another host says nothing', () => {
    const alone = two();
    alone.hear(v1(130, 1000), GROUP);
    alone.hear(v1(131, 0, GIVEN, { source: 'fe80::99', destination: GIVEN }), GROUP);
    alone.pass(5);
    expect(reports(alone)).toEqual([`own > ${SHARED}: 131 ${SHARED}`]);
  });
  it('hears of a group that is joined twice, and of one that is left once', () => {
    const alone = two();
    alone.hear(v1(130, 0), GROUP);
    alone.pass(1);
    reports(alone);
    const other = 'ff02::1:ff00:99';
    alone.v6.discovery.listener.listenTo([SHARED, other].map(IpAddress.from));
    expect(reports(alone)).toEqual([`own > ff02::2: 132 ${GIVEN}`, `own > ${other}: 131 ${other}`]);
    alone.pass(10);
    expect(reports(alone)).toEqual([`own > ${other}: 131 ${other}`]);
    alone.pass(60);
    expect(reports(alone)).toEqual([]);
  });
  it('that comes has nothing said in the other version that was to be said', () => {
    const alone = two();
    alone.hear(query(1000), GROUP);
    alone.hear(query(1000, GIVEN), GROUP);
    alone.v6.discovery.listener.listenTo([]);
    reports(alone);
    alone.hear(v1(130, 1000), GROUP);
    alone.pass(600);
    expect(reports(alone)).toEqual([]);
  });
  it("that is not there leaves another host's report of MLDv1 without effect", () => {
    const alone = two();
    alone.hear(query(1000, GIVEN), GROUP);
    alone.hear(v1(131, 0, GIVEN, { source: 'fe80::99', destination: GIVEN }), GROUP);
    alone.pass(1);
    expect(reports(alone)).toEqual([`${TO} is ex ${GIVEN}`]);
  });
});
