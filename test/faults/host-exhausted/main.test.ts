// What breaks: the hypervisor has ever fewer descriptors left while domains are created (fault 3). What must be: each
// creation works, or fails with its reason, or its domain has crashed for that reason; nobody else notices, and with
// descriptors again the next domain is as any other.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, openFiles } from '../../support/processes.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';

let host: LifecycleHost;
/** Descriptors of the hypervisor, as it was started. */
let allowed: string;
beforeAll(async () => {
  host = await LifecycleHost.start();
  const limits = readFileSync(`/proc/${host.rig.hypervisorPid}/limits`, 'latin1');
  allowed = /^Max open files +(\d+)/m.exec(limits)![1]!;
});
afterAll(() => host?.stop());

const limit = (soft: number | string): void =>
  void execFileSync('prlimit', ['--pid', String(host.rig.hypervisorPid), `--nofile=${soft}:`]);
/** The hypervisor can open so many more, wherever the gaps between its descriptors are. */
function leave(spare: number): void {
  const used = new Set(readdirSync(`/proc/${host.rig.hypervisorPid}/fd`).map(Number));
  let end = 0;
  for (let free = 0; used.has(end) || free++ < spare; ) end++;
  limit(end);
}
/** Of a domain: what it shares, is, and is reached by. */
const ofDomains = (): string[] =>
  openFiles(host.rig.hypervisorPid).filter(name => /memfd:xenolith-(dom|pool|doorbell)|pidfd/.test(name));

it('fault 3: without descriptors a creation fails alone, wherever it is', async () => {
  const bystander = await host.create(host.config('bystander', 'echo'));
  await host.up('bystander');
  await eventually('a shell waits', () => ofDomains().filter(name => name.includes('pidfd')).length === 4);
  const before = ofDomains();
  const outcomes: string[] = [];
  for (let spare = 0; spare < 16; spare++) {
    leave(spare);
    const name = `dom-of-${spare}`;
    const said = await host
      .create(host.config(name, 'echo'), { monitor: false })
      .then(() => 'created')
      .catch((error: Error) => error.message);
    outcomes.push(said);
    if (said !== 'created') {
      expect(said).toMatch(/^dom-of-\d+\.cfg: .*: ENOMEM$/);
      continue;
    }
    const { domid } = (await host.list()).find(info => info.name === name)!;
    await eventually('it is up, or has crashed', async () => {
      if ((await host.info(domid))?.shutdown_reason === 3) return host.logged(`dom${domid}`, 'cannot be started');
      return host.rig.consoleLog(name).includes(`${name} is up as dom`);
    });
    await host.destroy(domid);
  }
  expect(outcomes[0]).toContain('ENOMEM');
  expect(outcomes.at(-1)).toBe('created');
  expect((await host.info(bystander))?.shutdown).toBe(false);

  limit(allowed);
  const next = await host.create(host.config('next', 'echo'));
  await host.up('next');
  await host.destroy(next);
  await eventually('as much is open as before', () => String(ofDomains()) === String(before)).catch(() =>
    expect(ofDomains()).toEqual(before),
  );
});
