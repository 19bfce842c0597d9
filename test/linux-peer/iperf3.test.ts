// Debian's iperf3 in a network namespace measures a guest that runs examples/iperf3, over a TAP of the guest's bridge.
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostRig } from '../support/host-rig.ts';
import { eventually } from '../support/processes.ts';
import { whyNoTap } from '../support/tap.ts';
import { xl } from '../support/xl.ts';
import { KERNEL } from '../topology/lifecycle/host.ts';

const run = promisify(execFile);
const IPERF3 = fileURLToPath(new URL('../../examples/iperf3/iperf3.ts', import.meta.url));
const LINUX = '10.95.0.1';
const GUEST = '10.95.0.2';
const MIB = 1 << 20;
const why = whyNoTap() ?? (spawnSync('iperf3', ['-v']).status === 0 ? undefined : 'there is no iperf3');

/**
 * A client that takes what is sent, and says nothing between the end of its test and the end of its stream: it waits for the rest of a
 * block that may never come. Prints how many bytes it has had.
 */
const TAKES = `
import json, socket, sys
def connect():
    s = socket.create_connection((sys.argv[1], 5201), 60)
    s.sendall(b'a' * 36 + bytes(1))
    return s
def hear(*states):
    for state in states:
        assert control.recv(1)[0] == state
control = connect()
hear(9)
asked = json.dumps(dict(tcp=True, parallel=1, reverse=True, len=int(sys.argv[2]))).encode()
control.sendall(len(asked).to_bytes(4, 'big') + asked)
hear(10)
stream = connect()
hear(1, 2)
taken = len(stream.recv(1000))
control.sendall(bytes([4]))
hear(13)
while part := stream.recv(1 << 20):
    taken += len(part)
print(taken)
`;

/** What iperf3 -J prints, as far as it is looked at. */
interface Report {
  readonly error?: string;
  readonly start: { readonly connected: readonly unknown[] };
  readonly end: {
    readonly sum_sent: { readonly bytes: number };
    readonly sum_received: { readonly bytes: number };
    readonly sum: { readonly packets: number; readonly lost_packets: number };
    readonly sum_sent_bidir_reverse: { readonly bytes: number };
    readonly sum_received_bidir_reverse: { readonly bytes: number };
  };
}

describe.skipIf(why !== undefined)(`iperf3 of Linux, and a guest${why ? ` (skipped: ${why})` : ''}`, () => {
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-iperf3-'));
  const namespace = `xl-iperf-${process.pid}`;
  const tap = `xi${process.pid}`;
  let host: HostRig;
  const on = (...argv: string[]) => xl(argv, { dir: host.runDir, cwd: dir });
  const inside = (...command: string[]): string[] => ['ip', 'netns', 'exec', namespace, ...command];
  /** `iperf3 -c` there. It ends with 1 where its test failed, and says why. */
  const iperf3 = async (...args: string[]): Promise<Report> => {
    const [command, ...more] = inside('iperf3', '-c', GUEST, '-J', ...args);
    const { stdout } = await run(command!, more, { maxBuffer: 16 << 20 }).catch((error: { stdout: string }) => error);
    return JSON.parse(stdout) as Report;
  };

  async function create(name: string, cmdline: string): Promise<void> {
    const text = `name = "${name}"\nkernel = "${KERNEL}"\nramdisk = "${IPERF3}"\nmemory = 48\nvif = [ "bridge=inside" ]\n`;
    writeFileSync(join(dir, `${name}.cfg`), `${text}cmdline = "${cmdline}"\n`);
    expect(await on('create', `${name}.cfg`)).toMatchObject({ code: 0 });
  }
  beforeAll(async () => {
    host = await HostRig.start();
    await create('server', `ip=${GUEST}:::255.255.255.0`);
    // A bridge is there as long as a vif or a port of it is.
    await eventually('the guest serves', () => host.consoleLog('server').includes(`iperf3 -c ${GUEST}`));
    expect(await on('bridge-port', 'add', 'inside', `tap:${tap}`)).toEqual({ code: 0, stdout: '', stderr: '' });
    const ip = (...args: string[]): unknown => execFileSync('ip', args, { stdio: 'pipe' });
    ip('netns', 'add', namespace);
    ip('link', 'set', tap, 'netns', namespace);
    ip('-n', namespace, 'addr', 'add', `${LINUX}/24`, 'dev', tap);
    ip('-n', namespace, 'link', 'set', tap, 'up');
  });
  afterAll(async () => {
    spawnSync('ip', ['netns', 'delete', namespace]);
    await host?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('sends to four streams of it, and all of it arrives', async () => {
    const { error, start, end } = await iperf3('-P', '4', '-n', '8M');
    expect(error).toBeUndefined();
    expect(start.connected.length).toBe(4);
    expect(end.sum_sent.bytes).toBeGreaterThanOrEqual(8 * MIB);
    expect(end.sum_received.bytes).toBe(end.sum_sent.bytes);
  });
  it('takes what it sends', async () => {
    const { error, end } = await iperf3('-R', '-n', '8M');
    expect(error).toBeUndefined();
    expect([end.sum_sent.bytes, end.sum_received.bytes]).toEqual([8 * MIB, 8 * MIB]);
  });
  it('takes what it sends until its time is over', async () => {
    for (let i = 0; i < 2; i++) {
      const { error, end } = await iperf3('-R', '-t', '1');
      expect(error).toBeUndefined();
      expect(end.sum_received.bytes).toBeGreaterThan(0);
    }
  });
  it('ends a stream by itself when its time is over, behind a whole block', async () => {
    const LEN = 100_000;
    const [command, ...args] = inside('python3', '-c', TAKES, GUEST, String(LEN));
    const taken = Number((await run(command!, args)).stdout);
    expect(taken).toBeGreaterThan(0);
    expect(taken % LEN).toBe(0);
  });
  it('sends and takes at once', async () => {
    const { error, end } = await iperf3('--bidir', '-n', '2M');
    expect(error).toBeUndefined();
    expect(end.sum_received.bytes).toBe(end.sum_sent.bytes);
    const { sum_sent_bidir_reverse: sent, sum_received_bidir_reverse: received } = end;
    expect(received.bytes).toBeGreaterThan(0);
    expect(received.bytes).toBeLessThanOrEqual(sent.bytes);
  });
  it('counts datagrams either way', async () => {
    for (const way of [[], ['-R']]) {
      const { error, end } = await iperf3('-u', '-b', '20M', '-k', '50', '-P', '2', ...way);
      expect(error).toBeUndefined();
      // What was lost is counted, wherever that was: of those that came, the last one counts all before it.
      expect(end.sum.packets).toBeGreaterThan(0);
      expect(end.sum.packets).toBeLessThanOrEqual(50);
      expect(end.sum.lost_packets).toBeLessThan(end.sum.packets);
    }
  });
  it('hears why there is no test', async () => {
    expect((await iperf3('--sctp')).error).toContain('not implemented');
  });
  it('is measured by a guest, which says all that it has to before it powers off', async () => {
    const [command, ...args] = inside('iperf3', '-s', '--forceflush');
    const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', part => {
      said += part;
    });
    try {
      await eventually('it listens', () => said.includes('Server listening'));
      await create('client', `ip=10.95.0.3:::255.255.255.0 connect=${LINUX} time=0.2 parallel=2`);
      await eventually('it has measured', () => host.consoleLog('client').includes('MiB/s'));
      // Without the last byte it would wait.
      await eventually('the next one may come', () => said.includes('(test #2)'));
    } finally {
      child.kill('SIGKILL');
    }
  });
});
