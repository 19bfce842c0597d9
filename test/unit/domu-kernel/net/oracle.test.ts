// A dissector we did not write reads our frames: every checksum and length must please it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';
import { Stack } from '../../../support/stack.ts';
import { ManualClock, pcap, wire } from './wire.ts';

const haveTshark = spawnSync('tshark', ['--version']).status === 0;
const FIELDS = ['_ws.expert', '_ws.malformed', 'ip.checksum.status', 'udp.checksum.status', 'icmp.checksum.status'];

describe.skipIf(!haveTshark)('tshark (skipped where it is not installed)', () => {
  it('finds every checksum good and nothing malformed in pings, datagrams, ARP and ICMP errors', () => {
    const clock = new ManualClock();
    const ends = wire();
    const [a, b] = ends.map((device, i) => {
      const config = parseIpParameter(`10.0.0.${i + 1}::10.0.0.254:255.255.255.0`)!;
      return new Stack({ device, config, clock, random: () => 0.4 });
    }) as [Stack, Stack];
    const settle = (): void => {
      for (let i = 0; i < 100; i++) {
        clock.advanceMs(1);
        for (const end of ends) end.step();
        a.step();
        b.step();
      }
    };
    const client = a.udp.bind();
    b.udp.bind(40001).onMessage(() => {});
    for (const size of [0, 1, 2, 55, 1471, 1472]) {
      void a.ping('10.0.0.2', { size }).catch(() => {});
      client.sendTo(
        Uint8Array.from({ length: size }, (_, i) => i * 31),
        { address: '10.0.0.2', port: 40001 },
      );
      settle();
    }
    client.sendTo(new Uint8Array(100), { address: '10.0.0.2', port: 65000 });
    client.sendTo(new Uint8Array(10), { address: '10.0.0.255', port: 40001 });
    client.sendTo(new Uint8Array(10), { address: '224.0.0.251', port: 40001 });
    void a.ping('192.0.2.9').catch(() => {});
    settle();

    const frames = ends.flatMap(end => end.sent.map(f => f.bytes));
    expect(frames.length).toBeGreaterThan(25);
    const folder = mkdtempSync(join(tmpdir(), 'xenolith-pcap-'));
    try {
      const file = join(folder, 'frames.pcap');
      writeFileSync(file, pcap(frames));
      const checks = ['ip.check_checksum:TRUE', 'udp.check_checksum:TRUE'].flatMap(o => ['-o', o]);
      const fields = FIELDS.flatMap(f => ['-e', f]);
      const text = execFileSync('tshark', ['-r', file, ...checks, '-T', 'fields', '-E', 'separator=;', ...fields], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString();
      const rows = text.trimEnd().split('\n');
      expect(rows).toHaveLength(frames.length);
      const statuses = new Map<string, number>();
      for (const row of rows) {
        const [, malformed, ...checksums] = row.split(';');
        expect(malformed).toBe('');
        // 1 is good; an ICMP error also shows the checksums of what it quotes, cut and so unverified (2).
        for (const [i, field] of checksums.entries()) {
          for (const status of field.split(',')) {
            const key = `${FIELDS[i + 2]} ${status}`;
            statuses.set(key, (statuses.get(key) ?? 0) + 1);
          }
        }
      }
      expect([...statuses.keys()].filter(k => k.endsWith(' 0'))).toEqual([]);
      for (const field of FIELDS.slice(2)) expect(statuses.get(`${field} 1`)).toBeGreaterThan(5);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
