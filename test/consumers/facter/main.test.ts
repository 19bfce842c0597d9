// facter, the inventory of Puppet: its facts xen and xendomains name the domains.
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConsumerRig, whyNot } from '../../support/consumer-rig.ts';

const FACTER = '/usr/bin/facter';
const RESOLVER = '/usr/lib/ruby/vendor_ruby/facter/resolvers/xen.rb';
/** What keeps it from asking xl where there is no Xen. */
const GATE = " if File.exist?('/dev/xen/evtchn')";

const reason = whyNot('facter', FACTER, RESOLVER);

describe.skipIf(reason !== undefined)(`facter${reason ? ` (skipped: ${reason})` : ''}`, () => {
  let rig: ConsumerRig;
  beforeAll(async () => {
    rig = await ConsumerRig.start();
    rig.without(GATE, RESOLVER);
    for (const name of ['web', 'db']) writeFileSync(rig.path(name), rig.config(name));
  });
  afterAll(() => rig?.stop());

  const facter = (...args: string[]) => rig.run([FACTER, ...args]);
  const xl = async (...args: string[]) => expect((await rig.host.xl(...args)).exitCode).toBe(0);

  it('has an empty list where no domain runs', async () => {
    const { stdout, ...rest } = await facter('--json', 'xen', 'xendomains');
    expect(rest).toEqual({ exitCode: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ xen: { domains: [] }, xendomains: '' });
  });

  it('names the domains in the order of their numbers', async () => {
    await xl('create', rig.path('web'));
    await xl('create', '-p', rig.path('db'));
    expect(await facter('xendomains')).toEqual({ exitCode: 0, stdout: 'web,db\n', stderr: '' });
    expect(JSON.parse((await facter('--json', 'xen')).stdout)).toEqual({ xen: { domains: ['web', 'db'] } });
    await xl('destroy', 'web');
    expect(await facter('xendomains')).toEqual({ exitCode: 0, stdout: 'db\n', stderr: '' });
  });

  it('leaves nothing outside its namespace', () => {
    expect(readFileSync(RESOLVER, 'utf8')).toContain(GATE);
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(rig.dir);
  });
});
