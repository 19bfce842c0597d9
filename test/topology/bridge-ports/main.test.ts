// Bridges that end in the host: two hosts joined by a socket, one of which loses its dom0, and a TAP that Linux pings.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { commandLine, eventually } from '../../support/processes.ts';
import { xl } from '../../support/xl.ts';
import { KERNEL } from '../lifecycle/host.ts';

const run = (...args: string[]): string => execFileSync(args[0]!, args.slice(1), { encoding: 'utf8', stdio: 'pipe' });
function whyNot(...args: string[]): string | undefined {
  try {
    run(...args);
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n')[0];
  }
}
const skipped = (why: string | undefined): string => (why === undefined ? '' : ` (skipped: ${why})`);
const GUEST = fileURLToPath(new URL('answers.ts', import.meta.url));
const FETCHER = fileURLToPath(new URL('fetches.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'xenolith-ports-'));
const hosts: HostRig[] = [];

beforeAll(async () => {
  hosts.push(...(await Promise.all([HostRig.start(), HostRig.start()])));
});
afterAll(async () => {
  await Promise.all(hosts.map(host => host.stop()));
  rmSync(dir, { recursive: true, force: true });
});
const on = (host: number, ...argv: string[]) => xl(argv, { dir: hosts[host]!.runDir, cwd: dir });
const fine = { code: 0, stdout: '', stderr: '' };
async function guest(host: number, name: string, address: string, more = '', program = GUEST): Promise<void> {
  const text = `name = "${name}"\nkernel = "${KERNEL}"\nramdisk = "${program}"\nmemory = 16\nvif = [ "bridge=xenbr0" ]
cmdline = "ip=${address}:::255.255.255.0 ${more}"\n`;
  writeFileSync(join(dir, `${name}.cfg`), text);
  expect(await on(host, 'create', `${name}.cfg`)).toMatchObject({
    code: 0,
    stderr: `Parsing config from ${name}.cfg\n`,
  });
}
/** It answers from now on. */
const answers = async (host: number, name: string, address: string): Promise<void> => {
  const before = hosts[host]!.consoleLog(name).length;
  await eventually(`${address} answers ${name}`, () =>
    hosts[host]!.consoleLog(name).slice(before).includes(`${address} answers`),
  );
};
async function ports(host: number): Promise<{ port: string; up: boolean; reason: string | null }[]> {
  const { code, stdout, stderr } = await on(host, 'bridge-port', 'list', '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

describe('two hosts', () => {
  it('are one network when a socket joins their bridges', async () => {
    await Promise.all([
      guest(0, 'asks', '10.9.0.1', 'target=10.9.0.2 ip6=fd00:9::1/64'),
      guest(1, 'is-asked', '10.9.0.2'),
    ]);
    expect(await on(0, 'bridge-port', 'add', 'xenbr0', 'connect:link.sock')).toEqual(fine);
    expect(await ports(0)).toMatchObject([{ bridge: 'xenbr0', up: false, reason: `${dir}/link.sock: ENOENT` }]);
    expect(await on(1, 'bridge-port', 'add', 'xenbr0', 'listen:link.sock')).toEqual(fine);
    await answers(0, 'asks', '10.9.0.2');
    const { stdout } = await on(0, 'bridge-port', 'list', 'xenbr0');
    expect(stdout).toMatch(
      /^Bridge +State +Received +Sent +Dropped Port\nxenbr0 +up +\d+ +\d+ +\d+ connect:.*link\.sock\n$/,
    );
  });
  const tshark = whyNot('tshark', '--version');
  it.skipIf(tshark !== undefined)(`are seen by tshark in what xl captures${skipped(tshark)}`, async () => {
    const seen = (file: string): string[][] => {
      const fields = ['frame.time_epoch', 'frame.len', 'icmp.type', 'ip.src', 'icmp.checksum.status'];
      const args = ['-r', join(dir, file), '-Y', 'icmp', '-T', 'fields'];
      const text = run('tshark', ...args, ...fields.flatMap(field => ['-e', field]));
      return text
        .trimEnd()
        .split('\n')
        .map(line => line.split('\t'));
    };
    const from = Date.now();
    const [one, other] = await Promise.all([
      on(0, 'capture', '-c', '8', 'asks', 'guest.pcap'),
      on(1, 'capture', '--count=8', 'is-asked.0', 'there.pcap'),
    ]);
    await eventually('a capture of the bridge that has a request and an answer', async () => {
      const { stderr } = await on(0, 'capture', '-b', '-s', '0.3', 'xenbr0', 'bridge.pcap');
      expect(stderr).toMatch(/^[0-9]+ frames, 0 dropped: bridge.pcap\n$/);
      return new Set(seen('bridge.pcap').map(([, , type]) => type)).size === 2;
    });
    expect(one).toEqual({ code: 0, stdout: '', stderr: '8 frames, 0 dropped: guest.pcap\n' });
    expect(other).toEqual({ code: 0, stdout: '', stderr: '8 frames, 0 dropped: there.pcap\n' });
    for (const file of ['there.pcap', 'bridge.pcap']) {
      const frames = seen(file);
      // Requests and answers, each whole, in order of time, with the clock on the wall.
      expect(new Set(frames.map(([, , type, source, good]) => `${type} ${source} ${good}`))).toEqual(
        new Set(['8 10.9.0.1 1', '0 10.9.0.2 1']),
      );
      const times = frames.map(([time]) => Number(time) * 1000);
      expect(times).toEqual(times.toSorted((a, b) => a - b));
      expect(times[0]).toBeGreaterThan(from - 1000);
      expect(times.at(-1)).toBeLessThan(Date.now() + 1000);
    }
    expect(await on(0, 'capture', 'asks.3', 'none.pcap')).toMatchObject({ code: 1, stdout: '' });
    expect(await on(0, 'capture', 'asks', 'no/none.pcap')).toEqual({
      ...{ code: 1, stdout: '', stderr: `xl capture: ${dir}/no/none.pcap: ENOENT\n` },
    });
  });
  it('give a vif that is attached its VLAN, its rate and its MTU', async () => {
    const keys = ['bridge=xenbr0.10:20', 'rate=8Mb/s@20ms', 'mtu=1400', 'mac=00:16:3e:09:00:09'];
    expect(await on(0, 'network-attach', 'asks', ...keys)).toEqual(fine);
    const { stdout } = await on(0, 'domid', 'asks');
    const path = `/local/domain/0/backend/vif/${stdout.trim()}/1`;
    const read = async (key: string): Promise<string> => (await on(0, 'store', 'read', `${path}/${key}`)).stdout.trim();
    await eventually('it is connected', async () => (await read('state')) === '4');
    expect(await Promise.all(['bridge', 'rate', 'mtu'].map(read))).toEqual(['xenbr0.10:20', '20000,20000', '1400']);
    expect(await on(0, 'network-detach', 'asks', '1')).toEqual(fine);
    const { code, stderr } = await on(0, 'network-attach', 'asks', 'bridge=xenbr0.4095');
    expect(code).not.toBe(0);
    expect(stderr).toContain('there is no VLAN 4095');
  });
  it('are so again when the dom0 of one has died', async () => {
    const dom0 = hosts[1]!.processes().find(pid => commandLine(pid).includes('/dom0.js'))!;
    process.kill(dom0, 'SIGKILL');
    await eventually('the port is there again', async () => {
      const { stdout, code } = await on(1, 'bridge-port', 'list', '--json');
      return code === 0 && (JSON.parse(stdout) as { up: boolean }[])[0]?.up;
    });
    await answers(0, 'asks', '10.9.0.2');
  });
  it('are two again when the port is taken away, and a port that cannot be is an error in a line', async () => {
    expect(await on(1, 'bridge-port', 'remove', 'xenbr0', 'listen:link.sock')).toEqual(fine);
    await eventually('the other end has noticed', async () => (await ports(0))[0]?.up === false);
    const refused = async (...args: string[]): Promise<string> => {
      const { code, stderr } = await on(0, 'bridge-port', ...args);
      expect({ args, code: code !== 0 }).toEqual({ args, code: true });
      return stderr.replaceAll(dir, 'DIR');
    };
    expect(await refused('add', 'xenbr0', 'bridge:x')).toBe(
      "xl bridge port 'bridge:x': expected tap:NAME, listen:PATH or connect:PATH\n",
    );
    expect(await refused('add', 'nowhere', 'listen:a.sock')).toContain('there is no bridge nowhere\n');
    expect(await refused('add', 'xenbr0', 'listen:asks.cfg')).toContain('bridge port listen:DIR/asks.cfg: ');
    expect(await refused('remove', 'xenbr0', 'listen:a.sock')).toContain('bridge xenbr0 has no port listen:DIR/a.sock');
    expect(await on(0, 'bridge-port', 'remove', 'xenbr0', 'connect:link.sock')).toEqual(fine);
    expect(await ports(0)).toEqual([]);
  });
});

const noTap =
  process.getuid?.() !== 0
    ? 'not root'
    : (whyNot('unshare', '-n', 'ip', 'tuntap', 'add', 'xltap0', 'mode', 'tap') ?? whyNot('ping', '-V'));

describe.skipIf(noTap !== undefined)(`a TAP${skipped(noTap)}`, () => {
  it('lets the stack of Linux ping a guest', async () => {
    const tap = `xl${process.pid}`;
    run('ip', 'tuntap', 'add', tap, 'mode', 'tap');
    const other = spawn('unshare', ['-n', 'sleep', '600'], { stdio: 'ignore' });
    try {
      expect(await on(0, 'bridge-port', 'add', 'xenbr0', `tap:${tap}`)).toEqual(fine);
      const pid = String(other.pid);
      const there = (...args: string[]): string => run('nsenter', '-t', pid, '-n', ...args);
      // ping(8) waits for its last answer no longer than twice the longest of the others took.
      const pings = (...args: string[]): Promise<true> =>
        eventually(`all of ${args.join(' ')} is answered`, () => {
          try {
            return there('ping', '-c', '3', '-i', '0.05', '-W', '5', ...args).includes(' 3 received');
          } catch {
            return false; // none was
          }
        });
      await eventually(
        'a namespace of its own',
        () => run('readlink', `/proc/${pid}/ns/net`) !== run('readlink', '/proc/self/ns/net'),
      );
      run('ip', 'link', 'set', tap, 'netns', pid);
      there('ip', 'addr', 'add', '10.9.0.7/24', 'dev', tap);
      there('ip', 'link', 'set', tap, 'up');
      await pings('-s', '1400', '10.9.0.1');
      if (existsSync('/proc/net/if_inet6')) {
        there('ip', 'addr', 'add', 'fd00:9::7/64', 'dev', tap, 'nodad');
        await pings('-6', 'fd00:9::1');
      }
      expect((await ports(0))[0]).toMatchObject({ port: `tap:${tap}`, up: true });
    } finally {
      other.kill('SIGKILL');
    }
    await eventually('the port is down: its interface has gone', async () => (await ports(0))[0]?.up === false);
    expect(await on(0, 'bridge-port', 'remove', 'xenbr0', `tap:${tap}`)).toEqual(fine);
  });
});

const noPasst = whyNot('passt', '--version');

describe.skipIf(noPasst !== undefined)(`passt${skipped(noPasst)}`, () => {
  it('lets a guest fetch a page from a server on the host, over TCP', async () => {
    const page = 'x'.repeat(200_000);
    const server = createServer((_, response) => response.end(page));
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const socket = join(dir, 'passt.sock');
    // As root it would become nobody, who may not make a socket here.
    const asRoot = process.getuid?.() === 0 ? ['--runas', '0:0'] : [];
    const args = ['-f', '-e', ...asRoot, '-s', socket, '-a', '10.8.0.5', '-n', '24', '-g', '10.8.0.1'];
    const passt = spawn('passt', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    passt.stderr.on('data', chunk => {
      said += chunk;
    });
    const ended = once(passt, 'close');
    try {
      // passt has one guest: it answers whoever has sent it a frame last, and that one pings.
      await on(0, 'destroy', 'asks');
      expect(await on(0, 'bridge-port', 'add', 'xenbr0', 'connect:passt.sock')).toEqual(fine);
      await eventually('passt listens', async () => {
        if (passt.exitCode !== null) throw new Error(said);
        return (await ports(0))[0]?.up;
      });
      await guest(0, 'fetches', '10.8.0.5', `from=10.8.0.1:${port}`, FETCHER);
      await eventually('the page is there', () => {
        const log = hosts[0]!.consoleLog('fetches');
        if (log.includes('crash') || passt.exitCode !== null) throw new Error(`${log}\n${said}`);
        return log.includes('got 200');
      });
      expect(hosts[0]!.consoleLog('fetches')).toMatch(/got 200[0-9]{3} bytes: x{40}/);
    } finally {
      passt.kill('SIGKILL');
      server.close();
      await ended;
    }
  });
});
