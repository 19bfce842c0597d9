// Debian's init script that starts domains when the machine comes up and shuts them down when it goes down.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConsumerRig, whyNot } from '../../support/consumer-rig.ts';

const SCRIPT = '/etc/init.d/xendomains';
const DEFAULTS = '/etc/default/xendomains';
/** What keeps the script from running where there is no Xen. */
const GATE = 'if ! [ -e /proc/xen/privcmd ]; then\n\texit 0\nfi\n\n';

const reason = whyNot('xen-utils-common', SCRIPT, DEFAULTS, '/usr/bin/python3', '/lib/lsb/init-functions');

describe.skipIf(reason !== undefined)(`xendomains${reason ? ` (skipped: ${reason})` : ''}`, () => {
  let rig: ConsumerRig;
  beforeAll(async () => {
    rig = await ConsumerRig.start();
    rig.without(GATE, SCRIPT);
    // Saving domains instead is another thing.
    rig.over(DEFAULTS, readFileSync(DEFAULTS, 'utf8').replace(/^XENDOMAINS_SAVE=.*$/m, 'XENDOMAINS_SAVE='));
    mkdirSync(rig.at('/etc/xen/auto'));
    for (const name of ['db', 'web']) writeFileSync(rig.at(`/etc/xen/auto/${name}`), rig.config(name));
  });
  afterAll(() => rig?.stop());

  const script = (action: string) => rig.run([SCRIPT, action]);

  it('starts what is in /etc/xen/auto, once', async () => {
    expect(await script('start')).toEqual({
      exitCode: 0,
      stdout:
        'Starting Xen domain db (from /etc/xen/auto/db)...done.\n' +
        'Starting Xen domain web (from /etc/xen/auto/web)...done.\n',
      stderr: '',
    });
    await rig.up('db');
    await rig.up('web');
    expect(await rig.names()).toEqual(['db', 'web']);
    expect(await script('start')).toEqual({
      exitCode: 0,
      stdout: 'Xen domain db already running.\nXen domain web already running.\n',
      stderr: '',
    });
  });

  it('says what xl says of a domain that cannot be started, and starts the others', async () => {
    writeFileSync(rig.at('/etc/xen/auto/bad'), 'name = "bad"\nkernel = "/nonexistent/vmlinuz"\n');
    expect((await rig.host.xl('destroy', 'web')).exitCode).toBe(0);
    expect(await script('start')).toEqual({
      exitCode: 0,
      stdout:
        'Starting Xen domain bad (from /etc/xen/auto/bad)...failed.\n' +
        'libxl: error: /etc/xen/auto/bad:2: kernel: /nonexistent/vmlinuz does not exist\n' +
        'Xen domain db already running.\nStarting Xen domain web (from /etc/xen/auto/web)...done.\n',
      stderr: '',
    });
    await rig.up('web', 2);
  });

  it('shuts down all, each by itself, and waits for it', async () => {
    const ids = (await rig.host.domains()).filter(({ domid }) => domid !== 0).map(({ domid }) => domid);
    const { exitCode, stdout, stderr } = await script('stop');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const shuttingDown = (name: string, id: number): string =>
      `Shutting down Xen domain ${name} (${id})...Shutting down domain ${id}\ndone.\n`;
    expect(stdout.startsWith(shuttingDown('db', ids[0]!) + shuttingDown('web', ids[1]!))).toBe(true);
    expect(await rig.names()).toEqual([]);
    for (const name of ['db', 'web']) expect(rig.host.consoleLog(name)).toContain('going down');
  });

  it('leaves nothing outside its namespace', () => {
    expect(existsSync('/etc/xen/auto/web')).toBe(false);
    expect(readFileSync(SCRIPT, 'utf8')).toContain(GATE);
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(rig.dir);
  });
});
