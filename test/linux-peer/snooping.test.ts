// A bridge of Linux that snoops, between our stack and a neighbour: it forwards to us what it has heard that we listen to, and
// no neighbour finds us before.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROTOCOL_IGMP } from '../../domu-kernel/net/igmp.ts';
import { IpAddress } from '../../domu-kernel/net/ip-address.ts';
import { socketBytes } from '../../domu-kernel/net/socket-address.ts';
import { UdpDatagramSocket } from '../../domu-kernel/net/udp-datagram-socket.ts';
import { AGAIN } from '../../domu-kernel/wasi/socket.ts';
import { eventually } from '../support/processes.ts';
import { seededRandom } from '../support/random.ts';
import { TapLink, whyNoTap } from '../support/tap.ts';

const run = promisify(execFile);
const why = whyNoTap();
const { seed, random } = seededRandom();
const OURS = 'fe80::216:3eff:fe09:909';
const GROUP = 'ff02::1:ff09:909';
const NEIGHBOUR = `xl-snoop-${process.pid}`;

describe.skipIf(why !== undefined)(`a switch that snoops${why ? ` (skipped: ${why})` : ''}, seed ${seed}`, () => {
  let tap: TapLink;
  /** Types of the messages by which we have said so. */
  const said = new Set<number>();
  const ip = (...args: string[]): unknown => execFileSync('ip', args, { stdio: 'pipe' });
  /** Groups that the switch has for our port. */
  const groups = async (): Promise<string[]> => {
    const [command, args] = tap.inside('bridge', '-j', 'mdb', 'show', 'dev', 'br0');
    const [{ mdb }] = JSON.parse((await run(command, args)).stdout) as [
      { readonly mdb: readonly { readonly port: string; readonly grp: string }[] },
    ];
    return mdb.filter(({ port }) => port === tap.interface).map(({ grp }) => grp);
  };
  const heard = (): Promise<unknown> =>
    eventually('the switch knows our group', async () => (await groups()).includes(GROUP));
  const plugOut = (): unknown => ip('-n', tap.namespace, 'link', 'set', tap.interface, 'nomaster');
  const plugIn = (): unknown => ip('-n', tap.namespace, 'link', 'set', tap.interface, 'master', 'br0');

  beforeAll(async () => {
    tap = new TapLink(random);
    const send = tap.send.bind(tap);
    tap.send = (frame, length) => {
      // They alone have a hop-by-hop header.
      if (frame[12] === 0x86 && frame[20] === 0) said.add(frame[62]!);
      if (frame[12] === 0x08 && frame[23] === PROTOCOL_IGMP) said.add(frame[38]!);
      return send(frame, length);
    };
    if (!tap.hasIp6) return;
    const { namespace } = tap;
    ip('netns', 'add', NEIGHBOUR);
    const bridge = (...settings: string[]): unknown =>
      ip('-n', namespace, 'link', 'set', 'br0', 'type', 'bridge', ...settings);
    ip('-n', namespace, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '1');
    bridge('mcast_mld_version', '2', 'mcast_igmp_version', '3');
    for (const each of ['query', 'startup_query']) bridge(`mcast_${each}_interval`, '100');
    bridge('mcast_last_member_interval', '20', 'mcast_query_response_interval', '50');
    // order: it floods as long as answers may take by what it knows then.
    bridge('mcast_querier', '1');
    // Its queries need an address, which nobody else has.
    const [command, args] = tap.inside('sysctl', '-w', 'net.ipv6.conf.br0.accept_dad=0');
    execFileSync(command, args, { stdio: 'pipe' });
    ip('-n', namespace, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1', 'netns', NEIGHBOUR);
    ip('-n', namespace, 'link', 'set', 'v0', 'master', 'br0');
    for (const link of ['v0', 'br0']) ip('-n', namespace, 'link', 'set', link, 'up');
    ip('-n', NEIGHBOUR, 'link', 'set', 'v1', 'up');
    ip('-n', NEIGHBOUR, 'addr', 'add', '10.98.0.9/24', 'dev', 'v1');
    ip('-n', NEIGHBOUR, 'route', 'add', 'default', 'dev', 'v1');
    plugIn();
  });
  afterAll(() => {
    tap?.close();
    spawnSync('ip', ['netns', 'delete', NEIGHBOUR]);
  });

  it.each([
    { version: 2, joined: 143, left: 143 },
    { version: 1, joined: 131, left: 132 },
  ])('that speaks version $version hears of our groups, and when we leave one', async ({ version, joined, left }) => {
    if (!tap.hasIp6) return;
    const { listener, addresses } = tap.net.ip6.discovery;
    ip('-n', tap.namespace, 'link', 'set', 'br0', 'type', 'bridge', 'mcast_mld_version', String(version));
    // What it knew of this port it knows no more: it has to ask.
    plugOut();
    said.clear();
    plugIn();
    await heard();
    expect(said).toContain(joined);
    ip('-n', NEIGHBOUR, 'neigh', 'flush', 'dev', 'v1');
    const ping = ['ping', '-6', '-c', '1', '-W', '5', `${OURS}%v1`];
    await eventually('a neighbour finds us', () =>
      run('ip', ['netns', 'exec', NEIGHBOUR, ...ping]).then(
        () => true,
        () => false,
      ),
    );
    said.clear();
    listener.listenTo([]);
    expect(said).toContain(left);
    await eventually('the switch has forgotten our group', async () => !(await groups()).includes(GROUP));
    listener.listenTo(addresses.groups);
    await heard();
  });

  it.each([
    { family: 4, kind: 'igmp', version: 3, joined: 0x22, left: 0x22, group: '239.1.2.3' },
    { family: 4, kind: 'igmp', version: 2, joined: 0x16, left: 0x17, group: '239.1.2.4' },
    { family: 6, kind: 'mld', version: 1, joined: 131, left: 132, group: 'ff05::1:4' },
  ] as const)(
    'that speaks $kind version $version forwards what a socket has joined, and no more once it is closed',
    async given => {
      const { family, kind, version, joined, left, group } = given;
      if (!tap.hasIp6) return;
      ip('-n', tap.namespace, 'link', 'set', 'br0', 'type', 'bridge', `mcast_${kind}_version`, String(version));
      const socket = new UdpDatagramSocket(tap.net.udp, family);
      const bytes = socketBytes(IpAddress.from(group), family);
      socket.bind({ address: new Uint8Array(bytes.length), port: 5300 + version });
      // Whoever has heard no query of this version says it in the other one.
      const { stats } = family === 4 ? tap.net.eth0.v4.igmp : tap.net.ip6.discovery.listener;
      const { queries } = stats;
      await eventually('the switch asks', () => stats.queries > queries);
      said.clear();
      socket.groups.join(bytes, 0);
      await eventually('the switch knows the group', async () => (await groups()).includes(group));
      expect(said).toContain(joined);
      const neighbour = `
      const socket = require('dgram').createSocket('udp${family}');
      socket.bind(${5300 + version}, () => {
        socket.setMulticastInterface('${family === 4 ? '10.98.0.9' : '::%v1'}');
        socket.addMembership('${group}', '${family === 4 ? '10.98.0.9' : '::%v1'}');
        setInterval(() => socket.send('to you', ${5300 + version}, '${group}'), 50);
      });
      socket.on('message', (data, { address }) => { if (String(data) === 'to all') { console.log(address); process.exit(); } });`;
      const answer = run('ip', ['netns', 'exec', NEIGHBOUR, process.execPath, '-e', neighbour]);
      const received = (): string => {
        const next = socket.receive(false);
        return next === AGAIN || next === undefined ? '' : Buffer.from(next.data).toString();
      };
      await eventually('what a neighbour sends to the group is heard', () => received() === 'to you');
      // It has joined by now, and the switch may have missed it: it is told again.
      const to = { address: bytes, port: 5300 + version };
      const telling = setInterval(() => socket.send(Buffer.from('to all'), to), 50);
      const { stdout } = await answer.finally(() => clearInterval(telling));
      expect(stdout.trim()).toMatch(family === 4 ? /^10\.98\.0\.2$/ : /^fe80::216:3eff:fe09:909/);
      said.clear();
      socket.close();
      expect(said).toContain(left);
      await eventually('the switch has forgotten the group', async () => !(await groups()).includes(group));
    },
  );
});
