// xentop: its lines byte for byte, in batch mode and on a terminal.
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VcpuRecord } from '#pvbus';
import { xentopOptions } from '../../../tools/xentop/options.ts';
import { runXentop } from '../../../tools/xentop/run.ts';
import { Screen } from '../../../tools/xentop/screen.ts';
import { FakeToolstack, HOST_INFO } from '../../support/fake-toolstack.ts';
import { type XlCall, xl, xlIo } from '../../support/xl.ts';

const HEADER =
  '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   ' +
  'VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID';
const DOM0 =
  '  Domain-0 -----r          1    0.0     524288    6.2     524288       6.2     2    0        0        0    0        ' +
  '0        0        0          0          0    0';
const WEB =
  'web-server --b---         53    0.0      65536    0.8   no limit       n/a     1    2        5     2048    1        ' +
  '3      400       50       6400        800    0';

const vcpu = (over: Partial<VcpuRecord>): VcpuRecord => ({
  ...{ vcpu: 0, online: true, cpu: 0, running: false, blocked: true, cpu_time: 53.7e9, hard: [0], soft: [0], ...over },
});
const vif = (devid: number, rx_bytes: number, tx_bytes: number) => ({
  ...{ devid, rx_bytes, rx_packets: 7, rx_errors: 1, rx_dropped: 0, tx_bytes, tx_packets: 8, tx_errors: 0 },
  tx_dropped: 9,
});

let host: FakeToolstack;
beforeEach(async () => {
  host = await FakeToolstack.start();
  host.add({
    ...{ domid: 3, name: 'web-server-1', current_kb: 65_536, max_kb: 0xffff_ffff * 4, blocked: true, cpu_time: 53.9e9 },
  });
  host.counters = [
    {
      domid: 3,
      vifs: [vif(0, 1_048_576, 4000), vif(1, 1_048_576, 2000)],
      vbds: [{ devid: 51712, oo_req: 3, rd_req: 400, wr_req: 50, rd_sect: 6400, wr_sect: 800 }],
    },
  ];
});
afterEach(() => host.stop());

async function xentop(argv: readonly string[], call: XlCall = {}, onSleep: (ms: number) => void = () => {}) {
  return xlIo({ dir: host.dir, ...call }, io => runXentop('xentop', argv, io, async ms => onSleep(ms)));
}
const rows = ({ stdout }: { stdout: string }): string[] => stdout.split('\n').slice(0, -1);

describe('xentop -b', () => {
  it('prints a header and a row for each domain, in order of their names', async () => {
    const run = await xentop(['-b', '-i', '1']);
    expect(run).toEqual({ code: 0, stdout: `${[HEADER, DOM0, WEB].join('\n')}\n`, stderr: '' });
  });
  it('prints whole names with -f, and the header before each domain with -r', async () => {
    const lines = rows(await xentop(['-bfri1']));
    expect(lines).toEqual([HEADER, DOM0, HEADER, WEB.replace('web-server', 'web-server-1')]);
  });
  it('adds the lines of vcpus, networks and vbds', async () => {
    host.processors.vcpus = [
      {
        domid: 3,
        name: 'web-server-1',
        vcpus: Array.from({ length: 7 }, (_, i) => vcpu({ vcpu: i, online: i !== 1, cpu_time: (i + 1) * 1.5e9 })),
      },
    ];
    const lines = rows(await xentop(['-b', '-n', '-v', '-x', '--iter', '1']));
    expect(lines).toEqual([
      ...[HEADER, DOM0, 'VCPUs(sec): ', WEB],
      'VCPUs(sec):   0:          1s  2:          4s  3:          6s  4:          7s',
      '          5:          9s  6:         10s',
      'Net0 RX:  1048576bytes        7pkts        1err        0drop  TX:     4000bytes        8pkts        0err        9drop',
      'Net1 RX:  1048576bytes        7pkts        1err        0drop  TX:     2000bytes        8pkts        0err        9drop',
      'VBD BlkBack 51712 [ca: 0]  OO:        3   RD:      400   WR:       50   RSECT:       6400   WSECT:        800',
    ]);
  });
  it('shows what a domain used of a CPU since the time before, 0.0 at first', async () => {
    const run = await xentop(['-b', '-i2', '-d', '7'], {}, ms => {
      expect(ms).toBe(7000);
      host.domains.get(3)!.cpu_time += 3600e9;
    });
    const percents = rows(run)
      .filter(line => line.includes('web'))
      .map(line => Number(line.slice(29, 36)));
    expect(percents).toHaveLength(2);
    expect(percents[0]).toBe(0);
    expect(percents[1]).toBeGreaterThan(0);
  });
  it('shows each state in its place, a crash as c alone, and no domain without a name', async () => {
    host.add({ domid: 4, name: 'crashed', shutdown: true, shutdown_reason: 3 });
    host.add({ domid: 5, name: 'off', shutdown: true, shutdown_reason: 0, paused: true });
    host.add({ domid: 6, name: null, dying: true });
    const states = rows(await xentop(['-bi1'])).map(line => line.slice(0, 17));
    expect(states).toEqual([
      '      NAME  STATE',
      '   crashed ---c--',
      '  Domain-0 -----r',
      '       off -s--p-',
      'web-server --b---',
    ]);
  });
  it('ends with the signal after what it prints', async () => {
    const abort = new AbortController();
    const run = await xentop(['-b'], { interrupted: () => abort.signal }, () => abort.abort());
    expect([run.code, rows(run).length]).toEqual([0, 3]);
  });
  it('says that there is no host, and what the real one says', async () => {
    const { code, stdout, stderr } = await xentop(['-b'], { dir: '/nonexistent' });
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/no xenolith host.*\nFailed to initialize xenstat library\n$/);
  });
});

describe('the options of xentop', () => {
  it.each([['-h'], ['--help'], ['-b', '-h', '-Q']])('%s prints the help', async (...argv) => {
    const { code, stdout, stderr } = await xentop(argv);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(
      /^Usage: xentop \[OPTION\]\nDisplays ongoing information about xen vm resources \n\n-h, --help {2}/,
    );
  });
  it('has the help and exit code 0 of the real one for an option that is none', async () => {
    const { code, stdout, stderr } = await xentop(['-Q']);
    expect([code, stderr]).toEqual([0, "xentop: invalid option -- 'Q'\n"]);
    expect(stdout).toMatch(/^Usage/);
  });
  it('may come after arguments, which mean nothing', () => {
    expect(xentopOptions(['x', '-b', 'y', '--delay=0x5', '-i', '12abc'])).toMatchObject({
      ...{ batch: true, delaySeconds: 0, iterations: 12 },
    });
  });
  it('without -b needs a terminal', async () => {
    const { code, stderr } = await xentop([]);
    expect([code, stderr]).toEqual([1, 'xentop: standard output is no terminal; xentop -b prints plain lines\n']);
  });
});

describe('xentop on a terminal', () => {
  const options = () => {
    const found = xentopOptions(['-f']);
    if (typeof found === 'string' || 'wrong' in found) throw new Error('options');
    return found;
  };
  const screen = () => new Screen(options(), () => new Date(2026, 10, 21, 7, 8, 9));
  const sample = (names: readonly string[]) => ({
    ...{ at: 0, host: HOST_INFO },
    domains: names.map((name, i) => ({
      ...{ name, vcpus: [vcpu({})], vifs: [vif(0, 1, 2)], vbds: host.counters[0]!.vbds, cpuPercent: i },
      info: { ...host.domains.get(3)!, domid: i + 1, cpu_time: i * 1e9 },
    })),
  });
  const plain = (lines: readonly string[]): string[] =>
    lines.map(line =>
      line
        .split('\x1b[')
        .map((part, i) => (i === 0 ? part : part.replace(/^[0-9]*m/, '')))
        .join(''),
    );
  const names = (lines: readonly string[]): string[] =>
    plain(lines).flatMap(line => /^ +([a-z]) +--b/.exec(line)?.[1] ?? []);

  it('fills it: a summary, the table, the keys', () => {
    const lines = plain(screen().lines(sample(['b', 'a']), 10, 60));
    expect(lines).toEqual([
      'xentop - 07:08:09   Xen 4.17.x',
      '2 domains: 0 running, 2 blocked, 0 paused, 0 crashed, 0 dyin',
      'Mem: 8388608k total, 1220608k used, 7168000k free    CPUs: 2',
      HEADER.slice(0, 60),
      '         a --b---          1    1.0      65536    0.8   no l',
      '         b --b---          0    0.0      65536    0.8   no l',
      ...['', '', ''],
      'Delay  Networks  vBds  VCPUs  Repeat header  Sort order  Quit',
    ]);
  });
  it('shows more with n, v and b, and a header before each domain with r', () => {
    const of = screen();
    of.type('nvb');
    const beside = plain(of.lines(sample(['a']), 12, 40)).slice(4, 8);
    expect(beside.map(line => line.slice(0, 6))).toEqual(['      ', 'VCPUs(', 'Net0 R', 'VBD Bl']);
    of.type('NVxR');
    expect(plain(of.lines(sample(['a', 'b']), 12, 10)).slice(3, 7)).toEqual([
      '      NAME',
      '         a',
      '      NAME',
      '         b',
    ]);
  });
  it('sorts by the next column with s', () => {
    const of = screen();
    expect(names(of.lines(sample(['c', 'a', 'b']), 20, 100))).toEqual(['a', 'b', 'c']);
    of.type('ss'); // CPU(sec)
    const lines = of.lines(sample(['c', 'a', 'b']), 20, 100);
    expect(names(lines)).toEqual(['b', 'a', 'c']);
    expect(lines[3]).toContain('\x1b[1m  CPU(sec)\x1b[m');
  });
  it('scrolls with the arrows and not beyond the last', () => {
    const of = screen();
    of.type('\x1b[B');
    expect(names(of.lines(sample(['a', 'b', 'c']), 20, 100))).toEqual(['b', 'c']);
    of.type('\x1b[6~\x1b[B');
    expect(names(of.lines(sample(['a', 'b', 'c']), 20, 100))).toEqual(['c']);
    of.type('\x1b[A\x1b[5~');
    expect(names(of.lines(sample(['a', 'b', 'c']), 20, 100))).toEqual(['a', 'b', 'c']);
  });
  it('asks for a delay with d; what is no number changes nothing', () => {
    const of = screen();
    of.type('d1q5');
    expect(of.lines(sample([]), 8, 80).at(-1)).toBe('Delay(sec): 1q5');
    expect(of.quit).toBe(false);
    of.type('\x7f\x7f2\r');
    expect(of.delaySeconds).toBe(12);
    of.type('dabc\r');
    expect(of.delaySeconds).toBe(12);
    of.type('d9\x1b');
    expect(of.delaySeconds).toBe(12);
  });
  it.each(['q', 'Q', '\x03', '\x1b'])('ends with %j', key => {
    const of = screen();
    of.type(key);
    expect(of.quit).toBe(true);
  });
  it('leaves the terminal as it found it; xl top runs it', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true, raw: [] as boolean[] });
    const tty = Object.assign(stdin, { setRawMode: (raw: boolean) => stdin.raw.push(raw) });
    const run = xl(['top'], {
      ...{ dir: host.dir, stdin: tty, columns: 100 },
      onOutput: all => all.includes('Domain-0') && !stdin.writableEnded && stdin.end('q'),
    });
    const { code, stdout } = await Promise.race([run, sleep(60_000, { code: -1, stdout: '' }, { ref: false })]);
    expect(code).toBe(0);
    expect(stdout.startsWith('\x1b[?1049h')).toBe(true);
    expect(stdout.endsWith('\x1b[?25h\x1b[?1049l')).toBe(true);
    expect(tty.raw).toEqual([true, false]);
  });
});
