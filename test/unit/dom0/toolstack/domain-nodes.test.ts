import { describe, expect, it } from 'vitest';
import { domid, gfn, port, XenstoreClient } from '#pvbus';
import { listDevices } from '../../../../dom0/toolstack/add-device.ts';
import { deviceNodes, devicesOf } from '../../../../dom0/toolstack/devices.ts';
import {
  domainNodes,
  NodeWriting,
  removeDomainNodes,
  ringNodes,
  startTimeText,
  writeNodes,
} from '../../../../dom0/toolstack/domain-nodes.ts';
import { rigTransport, XenstoreRig } from '../../../support/xenstore-rig.ts';
import { disk, domainConfig, net, UUID } from './domain-config.ts';

const DOM = domid(20);
const rings = { storeGfn: gfn(4402), storePort: port(1), consoleGfn: gfn(4403), consolePort: port(2) };
const config = domainConfig({
  name: 'pv1',
  vcpus: 2,
  kernel: '/srv/test-pv64-example',
  disks: [disk()],
  vifs: [net()],
});

async function store() {
  const xs = new XenstoreClient(rigTransport(new XenstoreRig()));
  await xs.write('/local/domain/0/backend', '');
  return xs;
}
/** A subtree as `xenstore-ls` prints it. */
async function ls(xs: XenstoreClient, path: string, depth = 0): Promise<string> {
  let text = '';
  for (const name of await xs.directory(path)) {
    text += `${' '.repeat(depth)}${name} = "${await xs.read(`${path}/${name}`)}"\n${await ls(xs, `${path}/${name}`, depth + 1)}`;
  }
  return text;
}
/** The same nodes in whatever order, each with its whole path. */
function flat(text: string): string[] {
  const above: string[] = [];
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const depth = line.search(/[^ ]/);
      above.length = depth;
      above.push(line.slice(depth, line.indexOf(' = ')));
      return `${above.join('/')}${line.slice(line.indexOf(' = '))}`;
    })
    .sort();
}
const everything = async (xs: XenstoreClient): Promise<string> =>
  (await ls(xs, '/local')) + (await ls(xs, '/vm').catch(() => '')) + (await ls(xs, '/libxl').catch(() => ''));

async function domain() {
  const xs = await store();
  const before = await ls(xs, '/local');
  await writeNodes(xs, domainNodes({ domid: DOM, config, startTime: 1795246756_890 }));
  await writeNodes(xs, ringNodes(DOM, rings));
  const devices = devicesOf(config, () => domid(0));
  for (const device of devices) await writeNodes(xs, deviceNodes(DOM, device));
  return { xs, before };
}

describe('the nodes of a domain', () => {
  it('are those of a domain that libxl made', async () => {
    const { xs } = await domain();
    expect(flat(await ls(xs, '/local/domain/20'))).toEqual(
      flat(`vm = "/vm/${UUID}"
name = "pv1"
domid = "20"
cpu = ""
 0 = ""
  availability = "online"
 1 = ""
  availability = "online"
memory = ""
 static-max = "65536"
 target = "65536"
 videoram = "0"
device = ""
 suspend = ""
  event-channel = ""
 vbd = ""
  51712 = ""
   backend = "/local/domain/0/backend/vbd/20/51712"
   backend-id = "0"
   state = "1"
   virtual-device = "51712"
   device-type = "disk"
   trusted = "1"
   protocol = "x86_64-abi"
 vif = ""
  0 = ""
   backend = "/local/domain/0/backend/vif/20/0"
   backend-id = "0"
   state = "1"
   handle = "0"
   mac = "00:16:3e:00:00:01"
   trusted = "1"
   mtu = "1500"
control = ""
 shutdown = ""
 feature-poweroff = ""
 feature-reboot = ""
 feature-suspend = ""
 sysrq = ""
 platform-feature-multiprocessor-suspend = "1"
 platform-feature-xs_reset_watches = "1"
data = ""
drivers = ""
feature = ""
attr = ""
error = ""
store = ""
 port = "1"
 ring-ref = "4402"
console = ""
 backend = "/local/domain/0/backend/console/20/0"
 backend-id = "0"
 limit = "1048576"
 type = "xenconsoled"
 output = "pty"
 port = "2"
 ring-ref = "4403"
`),
    );
    expect(flat(await ls(xs, '/local/domain/0/backend/vbd'))).toEqual(
      flat(`20 = ""
 51712 = ""
  frontend = "/local/domain/20/device/vbd/51712"
  frontend-id = "20"
  online = "1"
  state = "1"
  params = "/srv/disk.img"
  removable = "0"
  bootable = "1"
  dev = "xvda"
  type = "phy"
  mode = "w"
  device-type = "disk"
  discard-enable = "1"
  specification = "xen"
`),
    );
    expect(flat(await ls(xs, '/vm'))).toEqual(
      flat(`${UUID} = ""
 name = "pv1"
 uuid = "${UUID}"
 start_time = "1795246756.89"
 image = ""
  ostype = "linux"
  kernel = "/srv/test-pv64-example"
`),
    );
  });

  it.each([
    ['/local/domain/20', ['n0', 'r20']],
    ['/local/domain/20/name', ['n0', 'r20']],
    ['/local/domain/20/control', ['n0', 'r20']],
    ['/local/domain/20/control/shutdown', ['n20']],
    ['/local/domain/20/data', ['n20']],
    ['/local/domain/20/console/ring-ref', ['n0', 'r20']],
    ['/local/domain/20/device/vbd/51712', ['n20', 'r0']],
    ['/local/domain/20/device/vbd/51712/state', ['n20', 'r0']],
    ['/local/domain/20/device/vbd', ['n0', 'r20']],
    ['/local/domain/0/backend/vbd/20/51712', ['n0', 'r20']],
    ['/local/domain/0/backend/vbd/20/51712/params', ['n0', 'r20']],
    ['/libxl/20', ['n0']],
    ['/libxl/20/device/vbd/51712', ['n0']],
    [`/vm/${UUID}`, ['n0', 'r20']],
  ])('%s belongs to %j', async (path, perms) => {
    const { xs } = await domain();
    expect(await xs.getPerms(path)).toEqual(perms);
  });

  it('name every device that was added, for its removal', async () => {
    const { xs } = await domain();
    expect((await listDevices(xs, DOM)).map(device => device.backend).sort()).toEqual([
      '/local/domain/0/backend/vbd/20/51712',
      '/local/domain/0/backend/vif/20/0',
    ]);
  });

  it('are gone after removal, with the directories that are empty now; others stay', async () => {
    const { xs, before } = await domain();
    const devices = await listDevices(xs, DOM);
    await removeDomainNodes(
      xs,
      DOM,
      UUID,
      devices.map(device => device.backend),
    );
    const left = await everything(xs);
    expect(left.replaceAll(/^ *(vbd|vif|console) = ""\n/gm, '')).toBe(before);
    // Twice is no error.
    await removeDomainNodes(xs, DOM, UUID, []);
  });
});

describe('nodes that are written while something else is done', () => {
  const nodes = [
    { path: '/local/domain/20', value: '', perms: ['n0', 'r20'] },
    { path: '/local/domain/20/name', value: 'pv1' },
  ];
  const clients = async () => {
    const rig = new XenstoreRig();
    const [xs, other] = [new XenstoreClient(rigTransport(rig)), new XenstoreClient(rigTransport(rig))];
    await xs.write('/local/domain', '');
    return { xs, other };
  };

  it('are there together, once they are all known', async () => {
    const { xs, other } = await clients();
    const writing = new NodeWriting(xs);
    writing.add(nodes.slice(0, 1));
    await other.read('/local/domain');
    writing.add(nodes.slice(1));
    expect(await other.exists('/local/domain/20')).toBe(false);
    writing.commit();
    await writing.done;
    expect(await other.getPerms('/local/domain/20/name')).toEqual(['n0', 'r20']);
  });

  it('are written again, all of them, when somebody else has come between', async () => {
    const { xs, other } = await clients();
    const writing = new NodeWriting(xs);
    await other.write('/local/domain/20', 'in the way');
    for (const node of nodes) writing.add([node]);
    await other.rm('/local/domain/20');
    writing.commit();
    await writing.done;
    expect(await other.directory('/local/domain/20')).toEqual(['name']);
  });

  it('fail with what one of them was refused for', async () => {
    const { xs } = await clients();
    const writing = new NodeWriting(xs);
    writing.add([...nodes, { path: '/no//path', value: '' }]);
    writing.commit();
    await expect(writing.done).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('never are when they are given up, and nothing of their transaction is left', async () => {
    const { xs, other } = await clients();
    for (let i = 0; i < 100; i++) {
      const writing = new NodeWriting(xs);
      writing.add(nodes);
      await writing.abandon(new Error('no memory'));
      await expect(writing.done).rejects.toThrow('no memory');
    }
    expect(await other.exists('/local/domain/20')).toBe(false);
    await writeNodes(xs, nodes);
  });

  it('stay when they are given up too late', async () => {
    const { xs, other } = await clients();
    const writing = new NodeWriting(xs);
    writing.add(nodes);
    writing.commit();
    await writing.done;
    await writing.abandon(new Error('too late'));
    expect(await other.exists('/local/domain/20/name')).toBe(true);
  });

  it('are not written where there is no xenstored', async () => {
    const { xs } = await clients();
    xs.close();
    const writing = new NodeWriting(xs);
    writing.add(nodes);
    writing.commit();
    await expect(writing.done).rejects.toMatchObject({ code: 'ECANCELED' });
  });
});

describe('a start time', () => {
  it.each([
    [0, '0.00'],
    [1795246756_890, '1795246756.89'],
    [1795240000_009, '1795240000.00'],
  ])('%d ms is %s', (ms, text) => expect(startTimeText(ms)).toBe(text));
});
