// The class by which ganeti's node daemon drives Xen, hv_xen.py, driven as the daemon does.
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Consumed, ConsumerRig, guestFiles, whyNot } from '../../support/consumer-rig.ts';
import { eventually } from '../../support/processes.ts';

const PYTHON = '/usr/bin/python3';
const DRIVER = fileURLToPath(new URL('drive.py', import.meta.url));
const NAME = 'inst1.example.com';
const MIB = 1 << 20;
/** ganeti: HvInstanceState. */
const RUNNING = 0;
const SHUTDOWN = 1;

const reason = whyNot('ganeti-3.0', '/usr/share/ganeti/3.0/ganeti/hypervisor/hv_xen.py', PYTHON);

type Call = readonly [method: string, parameters?: Record<string, unknown>];

describe.skipIf(reason !== undefined)(`ganeti's hv_xen${reason ? ` (skipped: ${reason})` : ''}`, () => {
  let rig: ConsumerRig;
  beforeAll(async () => {
    rig = await ConsumerRig.start();
    for (const folder of ['/run/ganeti', '/var/log/ganeti']) mkdirSync(rig.at(folder));
    // ganeti moves files from the one to the other, which has to be within one mount.
    symlinkSync('/etc/xen', rig.at('/var/log/ganeti/xen'));
    writeFileSync(rig.path('disk'), new Uint8Array(MIB));
  });
  afterAll(() => rig?.stop());

  /** What each call returned; throws when one raised. */
  const drive = async (...calls: Call[]): Promise<unknown[]> => {
    const { exitCode, stdout, stderr } = await driver(...calls);
    if (exitCode !== 0) throw new Error(stderr);
    return stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
  };
  const driver = (...calls: Call[]): Promise<Consumed> => {
    const { kernel, program } = guestFiles();
    const instance = {
      name: NAME,
      hvparams: { kernel_path: kernel, initrd_path: program, root_path: '' },
      beparams: { maxmem: 64, minmem: 32, vcpus: 1 },
      nics: [{ mac: 'aa:00:00:12:34:56', bridge: 'xenbr0' }],
      disks: [rig.path('disk')],
    };
    const list = calls.map(([method, parameters = {}]) => [method, parameters]);
    return rig.run([PYTHON, '-B', DRIVER, JSON.stringify(list), JSON.stringify(instance)]);
  };
  const domidOf = async (): Promise<number | undefined> =>
    (await rig.host.domains()).find(domain => domain.name === NAME)?.domid;

  it('verifies the toolstack and reads what the node has', async () => {
    const info = (await rig.host.xl('info')).stdout;
    const field = (key: string): number => Number(new RegExp(`^${key} +: (\\d+)$`, 'm').exec(info)?.[1]);
    const [problem, node, instances] = await drive(['Verify'], ['GetNodeInfo'], ['ListInstances']);
    expect(problem).toBe(null);
    expect(node).toMatchObject({
      cpu_total: field('nr_cpus'),
      cpu_nodes: 1,
      cpu_sockets: expect.any(Number),
      memory_total: field('total_memory'),
      hv_version: [4, 17],
      memory_hv: 0,
    });
    expect(instances).toEqual([]);
  });

  it('starts an instance, with a disk and a NIC', async () => {
    const started = await drive(['StartInstance'], ['ListInstances'], ['GetInstanceInfo'], ['GetAllInstancesInfo']);
    const info = [NAME, 1, 64, 1, RUNNING, expect.any(Number)];
    expect(started).toEqual([null, [NAME], info, [info]]);
    await rig.up(NAME);
    expect((await rig.host.xl('block-list', NAME)).stdout.split('\n')[1]).toMatch(/^2048 +0 +1 +4 /); // sda, connected
    expect((await rig.host.xl('network-list', NAME)).stdout.split('\n')[1]).toMatch(/^0 +0 +aa:00:00:12:34:56 +0 +4 /);
  });

  it('balloons it, and reboots it into a new domain with that memory', async () => {
    expect(await drive(['BalloonInstanceMemory', { mem: 40 }])).toEqual([null]);
    await eventually('it has 40 MiB', async () => (await rig.host.domains()).some(domain => domain.memory === 40));
    expect(readFileSync(rig.at(`/etc/xen/${NAME}`), 'utf8')).toMatch(/^memory = 40$/m);
    const [, info] = await drive(['RebootInstance'], ['GetInstanceInfo']);
    expect(info).toEqual([NAME, 2, 40, 1, RUNNING, expect.any(Number)]);
    await rig.up(NAME, 2);
    expect(rig.host.consoleLog(NAME)).toContain('going down');
  });

  it('stops it: the guest shuts down, is kept as its config says, and is destroyed then', async () => {
    const downs = rig.host.consoleLog(NAME).split('going down').length;
    expect(await drive(['StopInstance', { timeout: 60 }], ['GetInstanceInfo'])).toEqual([null, null]);
    expect(rig.host.consoleLog(NAME).split('going down').length).toBe(downs + 1);
    expect(rig.host.log()).toContain(`domain '${NAME}' (dom2) has shut down; on_poweroff=preserve`);
    expect(existsSync(rig.at(`/etc/xen/${NAME}`))).toBe(false);
    expect((await driver(['StopInstance'])).stderr).toContain(`Failed to shutdown instance ${NAME}, not running`);
  });

  it('knows one that has shut down by itself from one that runs', async () => {
    await drive(['StartInstance']);
    await rig.up(NAME, 3);
    expect((await rig.host.xl('shutdown', '-w', NAME)).exitCode).toBe(0);
    expect(await drive(['ListInstances'], ['GetInstanceInfo'])).toEqual([
      [],
      [NAME, await domidOf(), 64, 1, SHUTDOWN, expect.any(Number)],
    ]);
    expect(await drive(['StopInstance', { force: true }], ['GetAllInstancesInfo'])).toEqual([null, []]);
  });

  it('says what xl says when an instance cannot be started', async () => {
    rmSync(rig.path('disk'));
    const { exitCode, stderr } = await driver(['StartInstance']);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /Failed to start instance inst1\.example\.com: exited with exit code 3 \(Parsing config from /,
    );
    expect(stderr).toContain(`${rig.path('disk')}`);
    expect(await rig.names()).toEqual([]);
  });

  it('leaves nothing outside its namespace', () => {
    expect(existsSync(`/etc/xen/${NAME}`)).toBe(false);
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(rig.dir);
  });
});
