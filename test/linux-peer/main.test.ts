// Our TCP/IP against Linux's own, over a TAP in a network namespace. A hundred transfers: npm run fuzz -- --only linux
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '#pvbus';
import { httpApi } from '../../domu-kernel/guest-api/http/server.ts';
import { NetConnection, NetListener } from '../../domu-kernel/guest-api/tcp.ts';
import { IpAddress } from '../../domu-kernel/net/ip-address.ts';
import { Timers } from '../../domu-kernel/timers.ts';
import { eventually } from '../support/processes.ts';
import { seededRandom } from '../support/random.ts';
import { TapLink, whyNoTap } from '../support/tap.ts';
import { fillStream } from '../support/tcp-stream.ts';
import { FAULTS, ip6Address, LinuxPeer, transfers } from './transfers.ts';

const run = promisify(execFile);
const why = whyNoTap();
const { seed, random } = seededRandom();

/** Sends datagrams to port 7 and says how long those are that come back as they were. */
const ASK_FOR_ECHOES = `
import os, socket, sys
address = socket.getaddrinfo(sys.argv[1], 7, type=socket.SOCK_DGRAM)[0]
s = socket.socket(address[0], socket.SOCK_DGRAM)
s.settimeout(2)
for size in 20000, 65000, 1473:
    sent = os.urandom(size)
    for _ in range(20):
        s.sendto(sent, address[4])
        try:
            got = s.recv(65536)
            while len(got) != size:
                got = s.recv(65536) # of one that was sent twice
            print(size if got == sent else "wrong", end=" ")
            break
        except TimeoutError:
            pass
`;

describe.skipIf(why !== undefined)(
  `Linux's stack at the other end of a TAP${why ? ` (skipped: ${why})` : ''}, seed ${seed}`,
  () => {
    let tap: TapLink;
    const folder = mkdtempSync(join(tmpdir(), 'xenolith-tap-'));
    beforeAll(() => {
      tap = new TapLink(random);
    });
    afterAll(() => {
      tap.close();
      rmSync(folder, { recursive: true, force: true });
    });

    // ping(8) waits for its last answer no longer than twice the longest of the others took.
    const pings = (...args: string[]): Promise<true> =>
      eventually(`all of ${args.join(' ')} is answered`, () =>
        run(...tap.inside('ping', '-c', '3', '-i', '0.05', '-W', '5', ...args)).then(
          ({ stdout }) => stdout.includes('3 received, 0% packet loss'),
          () => false,
        ),
      );

    it('pings us, and is pinged', async () => {
      await pings('-s', '1400', tap.ours);
      expect((await tap.net.ping(tap.linux, { timeoutMs: 5000 })).seq).toBe(1);
    });
    it('sends and gets bytes that arrive as they were, while a twentieth of all frames is lost, doubled or late', async () => {
      const peer = await LinuxPeer.start(tap);
      tap.faults = FAULTS;
      try {
        expect(await transfers(tap, peer, 10, random)).toEqual([]);
        expect(tap.stats.lost).toBeGreaterThan(0);
      } finally {
        tap.faults = { loss: 0, duplicate: 0, reorder: 0, delayNs: 0, lateNs: 0 };
        await peer.stop();
      }
    });
    it('has curl get and put megabytes from a server of ours', async () => {
      const body = new Uint8Array(4 << 20);
      fillStream(body, 5, 0);
      const timers = new Timers(systemClock, () => {});
      const log = { debug() {}, info() {}, warn() {}, error() {} };
      const api = httpApi({
        clock: systemClock,
        timers,
        log,
        listen: async port => new NetListener(tap.net.tcp.listen(port)),
      });
      const server = await api.serve(
        80,
        request => (request.method === 'GET' ? body : String(Buffer.compare(request.body, body))),
        {
          maxBody: 8 << 20,
        },
      );
      const [got, sent] = [join(folder, 'got'), join(folder, 'sent')];
      writeFileSync(sent, body);
      const url = `http://${tap.ours}/`;
      const curl = (...args: string[]) => run(...tap.inside('curl', '-sS', '--fail', '-m', '60', ...args, url));
      await curl('-o', got);
      expect((await run('cmp', [got, sent])).stdout).toBe('');
      expect((await curl('-H', 'Expect:', '--data-binary', `@${sent}`)).stdout).toBe('0');
      await server.close();
    });
    it('gives us a prefix, a name server and a path; finds us by our neighbour discovery, and we find it', async context => {
      const ours = await ip6Address(tap);
      if (ours === undefined) return context.skip();
      const { discovery } = tap.net.ip6;
      expect(ours).toBe('fd98::216:3eff:fe09:909');
      expect([discovery.nameservers.map(String), discovery.mtu]).toEqual([['fd98::53'], 1400]);
      await pings('-6', '-s', '1200', ours);
      expect((await tap.net.ping(tap.linux6, { timeoutMs: 5000 })).seq).toBe(2); // behind the one of IPv4
      await expect(tap.net.ping('fd98::77', { timeoutMs: 20_000 })).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
      // Nobody has the port, and we hear of it.
      const socket = tap.net.udp.bind();
      let refused: string | undefined;
      socket.onError(error => {
        refused = error.code;
      });
      const heard = (): string | undefined => {
        // Linux says so only so often in a second.
        if (refused === undefined) socket.sendTo(new Uint8Array(10), { address: tap.linux6, port: 9 });
        return refused;
      };
      expect(await eventually('an error', heard)).toBe('ECONNREFUSED');
      socket.close();
      const peer = await LinuxPeer.start(tap);
      tap.faults = FAULTS;
      try {
        expect(await transfers(tap, peer, 4, random, 4, [[tap.linux6, ours]])).toEqual([]);
      } finally {
        tap.faults = { loss: 0, duplicate: 0, reorder: 0, delayNs: 0, lateNs: 0 };
        await peer.stop();
      }
    });
    it('sends and gets datagrams in parts, of either family', async context => {
      const ours6 = tap.hasIp6 ? await ip6Address(tap) : undefined;
      const echo = tap.net.udp.bind(7);
      echo.onMessage((data, from) => echo.sendTo(data, from));
      const pairs =
        ours6 === undefined
          ? [[tap.linux, tap.ours]]
          : [
              [tap.linux, tap.ours],
              [tap.linux6, ours6],
            ];
      for (const [linux, ours] of pairs as [string, string][]) {
        // A datagram may be lost where there is other work: what comes is what counts.
        const comes = (what: string, act: () => Promise<unknown>): Promise<unknown> =>
          eventually(what, () =>
            act().then(
              () => true,
              () => undefined,
            ),
          );
        for (const size of [8000, 65_000]) {
          const ping = tap.inside('ping', '-c', '1', '-W', '2', '-s', String(size), ours);
          await comes(`an echo of ${size} bytes from ${ours}`, () => run(...ping));
          await comes(`one from ${linux}`, () => tap.net.ping(linux, { timeoutMs: 2000, size }));
        }
        const [command, args] = tap.inside('python3', '-c', ASK_FOR_ECHOES, ours);
        expect((await run(command, args)).stdout).toBe('20000 65000 1473 ');
      }
      echo.close();
      if (ours6 === undefined) context.skip('Linux here has no IPv6');
    });
    it("has python's server give us a file", async () => {
      const file = new Uint8Array(3_000_001);
      fillStream(file, 9, 0);
      writeFileSync(join(folder, 'file'), file);
      const [command, args] = tap.inside('python3', '-m', 'http.server', '-d', folder, '-b', tap.linux, '8000');
      const child = spawn(command, args, { stdio: 'ignore' });
      try {
        const connection = await eventually('a connection', async () =>
          NetConnection.open(tap.net.tcp.connect(IpAddress.from(tap.linux), 8000)).catch(() => undefined),
        );
        await connection.write('GET /file HTTP/1.0\r\n\r\n');
        const parts: Uint8Array[] = [];
        for await (const part of connection) parts.push(part);
        const all = Buffer.concat(parts);
        expect(Buffer.compare(all.subarray(all.indexOf('\r\n\r\n') + 4), file)).toBe(0);
        await connection.close();
      } finally {
        child.kill('SIGKILL');
      }
    });
  },
);
