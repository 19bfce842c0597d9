// Pacemaker's agent for Xen domains, ocf:heartbeat:Xen, called as the cluster calls it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConsumerRig, whyNot } from '../../support/consumer-rig.ts';
import { eventually } from '../../support/processes.ts';

const OCF_ROOT = '/usr/lib/ocf';
const AGENT = `${OCF_ROOT}/resource.d/heartbeat/Xen`;
/** Xen: what an agent's exit codes mean to the cluster. */
const SUCCESS = 0;
const ERR_GENERIC = 1;
const ERR_ARGS = 2;
const ERR_INSTALLED = 5;
const ERR_CONFIGURED = 6;
const NOT_RUNNING = 7;

const reason = whyNot('resource-agents', AGENT);

describe.skipIf(reason !== undefined)(`ocf:heartbeat:Xen${reason ? ` (skipped: ${reason})` : ''}`, () => {
  let rig: ConsumerRig;
  beforeAll(async () => {
    rig = await ConsumerRig.start();
    for (const name of ['web', 'db']) writeFileSync(rig.at(`/etc/xen/${name}.cfg`), rig.config(name, 'maxmem = 128\n'));
  });
  afterAll(() => rig?.stop());

  const agent = async (action: string, name = 'web', parameters: Record<string, string> = {}) => {
    const env = { OCF_ROOT, OCF_RESOURCE_INSTANCE: `p_${name}`, OCF_RESOURCE_TYPE: 'Xen' };
    const run = await rig.run([AGENT, action], { ...env, OCF_RESKEY_xmfile: `/etc/xen/${name}.cfg`, ...parameters });
    return { ...run, stderr: run.stderr.replaceAll(/^\w{3} +\d+ [\d:]{8} /gm, '') };
  };
  const memoryOf = async (name: string) => (await rig.host.domains()).find(domain => domain.name === name)?.memory;

  it('meta-data, validate-all', async () => {
    const { exitCode, stdout } = await agent('meta-data');
    expect(exitCode).toBe(SUCCESS);
    expect(stdout).toMatch(/^<\?xml version="1\.0"\?>\n.*<resource-agent name="Xen".*<\/resource-agent>\n$/s);
    expect(await agent('validate-all')).toEqual({ exitCode: SUCCESS, stdout: '', stderr: '' });
    expect(await agent('validate-all', 'web', { OCF_RESKEY_shutdown_timeout: 'soon' })).toMatchObject({
      exitCode: ERR_CONFIGURED,
    });
    expect(await agent('nonsense')).toMatchObject({ exitCode: 3 });
    expect((await rig.run([AGENT], { OCF_ROOT })).exitCode).toBe(ERR_ARGS);
  });

  it('start, monitor, stop: the guest shuts down by itself', async () => {
    expect(await agent('monitor')).toEqual({ exitCode: NOT_RUNNING, stdout: '', stderr: '' });
    expect(await agent('start')).toEqual({
      exitCode: SUCCESS,
      stdout: '',
      stderr: 'Parsing config from /etc/xen/web.cfg\n',
    });
    await rig.up('web');
    expect(await agent('monitor')).toEqual({ exitCode: SUCCESS, stdout: '', stderr: '' });
    expect(await agent('start')).toMatchObject({
      exitCode: SUCCESS,
      stderr: expect.stringContaining('web already running'),
    });
    expect(await rig.names()).toEqual(['web']);
    const stop = await agent('stop');
    expect(stop).toMatchObject({ exitCode: SUCCESS, stdout: '' });
    expect(stop.stderr).toMatch(
      /^INFO: Xen domain web will be stopped \(timeout: 60s\)\nShutting down domain 1\n(DEBUG: .*\n)*INFO: Xen domain web stopped\.\n$/,
    );
    expect(rig.host.consoleLog('web')).toContain('going down');
    expect(await agent('monitor')).toMatchObject({ exitCode: NOT_RUNNING });
    expect(await rig.names()).toEqual([]);
  });

  it('stop without time for a shutdown destroys', async () => {
    await agent('start');
    await rig.up('web', 2);
    const downs = rig.host.consoleLog('web').split('going down').length;
    const stop = await agent('stop', 'web', { OCF_RESKEY_shutdown_timeout: '0' });
    expect(stop).toMatchObject({ exitCode: SUCCESS, stderr: expect.stringContaining('web will be destroyed!') });
    expect(await rig.names()).toEqual([]);
    expect(rig.host.consoleLog('web').split('going down').length).toBe(downs);
  });

  it('start of what cannot be started fails', async () => {
    writeFileSync(rig.at('/etc/xen/bad.cfg'), 'name = "bad"\nkernel = [\n');
    const run = await agent('start', 'bad');
    expect(run).toMatchObject({ exitCode: ERR_GENERIC, stdout: '' });
    expect(run.stderr).toContain("/etc/xen/bad.cfg:4: config parsing error near `name': syntax error");
    expect(await agent('start', 'nowhere')).toMatchObject({ exitCode: ERR_INSTALLED });
    expect(await rig.names()).toEqual([]);
  });

  it('shares memory among the domains it starts (allow_mem_management)', async () => {
    const [, total] = /^total_memory\s+: (\d+)$/m.exec((await rig.host.xl('info')).stdout) ?? [];
    // What the agent divides: 120 MiB.
    const managed = { OCF_RESKEY_allow_mem_management: '1', OCF_RESKEY_reserved_Dom0_memory: `${Number(total) - 120}` };
    expect(await agent('start', 'web', managed)).toMatchObject({ exitCode: SUCCESS });
    await eventually('web has 120 MiB', async () => (await memoryOf('web')) === 120);
    expect(await agent('start', 'db', managed)).toMatchObject({ exitCode: SUCCESS });
    await eventually('both have 60 MiB', async () => (await memoryOf('web')) === 60 && (await memoryOf('db')) === 60);
    expect(await agent('stop', 'db', managed)).toMatchObject({ exitCode: SUCCESS });
    await eventually('web has 120 MiB again', async () => (await memoryOf('web')) === 120);
    expect(await agent('stop', 'web')).toMatchObject({ exitCode: SUCCESS });
  });

  it('leaves nothing outside its namespace', () => {
    expect(existsSync('/etc/xen/web.cfg')).toBe(false);
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(' /usr/sbin/xl ');
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(rig.dir);
  });
});
