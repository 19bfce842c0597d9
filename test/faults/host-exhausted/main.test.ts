// What breaks: a process of the host has ever fewer descriptors left, or no memory, because a plan says so (fault 3). What
// must be: what needs them works, or fails with its reason, or its domain has crashed for that reason; nobody else notices,
// and with the end of the fault all is as it was.
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Fault } from '#pvbus';
import { hostEvents } from '../../../tools/host-events.ts';
import { commandLine, eventually, openFiles } from '../../support/processes.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';

let host: LifecycleHost;
let bystander: number;
/** What xenstored has open of a host with the bystander alone. */
let xenstoredHas: string[];
const ofXenstored = (): string[] =>
  openFiles(host.rig.processes().find(pid => commandLine(pid).includes('/xenstored.js '))!);
beforeAll(async () => {
  host = await LifecycleHost.start();
  bystander = await host.create(host.config('bystander', 'echo'));
  await host.up('bystander');
  xenstoredHas = ofXenstored();
});
afterAll(() => host?.stop());

/** Without it for as long as `body` takes. */
async function without<T>(fault: Omit<Fault, 'name' | 'part'>, body: () => Promise<T>): Promise<T> {
  const plan = { name: 'test', seed: 0, faults: [{ ...fault, name: 'exhausted', part: 'process' } as const] };
  await host.toolstack.call('addFaults', { plan });
  await eventually('it is so', async () => (await host.toolstack.call('faults', {}))[0]?.injected === 1);
  try {
    return await body();
  } finally {
    await host.toolstack.call('removeFaults', { plan: 'test', fault: null });
  }
}
/** Of a domain: what it shares, is, and is reached by. An heir may come to wait at any time, or not yet. */
function ofDomains(): string[] {
  const heirs = host.rig.processes().filter(pid => commandLine(pid).includes('/heir.js '));
  const names = openFiles(host.rig.hypervisorPid).filter(name => /memfd:xenolith-(dom|pool|doorbell)|pidfd/.test(name));
  for (const _ of heirs)
    names.splice(
      names.findIndex(name => name.includes('pidfd')),
      1,
    );
  return names;
}
const othersAreWell = async (): Promise<void> => expect((await host.info(bystander))?.shutdown).toBe(false);
async function aDomainAsAnyOther(name: string): Promise<void> {
  const domid = await host.create(host.config(name, 'echo'));
  await host.up(name);
  await host.destroy(domid);
}

it('fault 3: without descriptors a creation fails alone, wherever it is', async () => {
  const before = await eventually('a shell waits', () => {
    const now = ofDomains();
    return now.filter(name => name.includes('pidfd')).length === 4 && now;
  });
  const outcomes: string[] = [];
  for (let spare = 0; spare < 16; spare++) {
    const name = `dom-of-${spare}`;
    const make = (): Promise<string> =>
      host
        .create(host.config(name, 'echo'), { monitor: false })
        .then(() => 'created')
        .catch((error: Error) => error.message);
    const said = await without({ process: 'hypervisor', exhaust: 'descriptors', left: spare }, async () => {
      const made = await make();
      if (made !== 'created') return made;
      const { domid } = (await host.list()).find(info => info.name === name)!;
      await eventually('it is up, or has crashed', async () => {
        if ((await host.info(domid))?.shutdown_reason === 3) return host.logged(`dom${domid}`, 'cannot be started');
        return host.rig.consoleLog(name).includes(`${name} is up as dom`);
      });
      await host.destroy(domid);
      return made;
    });
    outcomes.push(said);
    if (said !== 'created') expect(said).toMatch(/^dom-of-\d+\.cfg: .*: ENOMEM$/);
  }
  expect(outcomes[0]).toContain('ENOMEM');
  expect(outcomes.at(-1)).toBe('created');
  await othersAreWell();

  await aDomainAsAnyOther('next');
  await eventually('as much is open as before', () => String(ofDomains()) === String(before)).catch(() =>
    expect(ofDomains()).toEqual(before),
  );
});

it('fault 3: a hypervisor without memory refuses a domain that does not fit into what is left', async () => {
  const large = host.config('large', 'echo', { memory: 1500 });
  const make = (): Promise<number> => host.create(large, { paused: true, monitor: false });
  const little = { process: 'hypervisor', exhaust: 'memory', left: 64 << 20 } as const;
  await expect(without(little, make)).rejects.toThrow(/^large\.cfg: .*: ENOMEM$/);
  await othersAreWell();
  await host.destroy(await make());
});

it.each([
  ['dom0', /^new\.cfg: no descriptor was left for the memory of dom\d+$/],
  ['xenstored', /^new\.cfg: xenstore: introduce dom\d+$/],
] as const)('fault 3: %s without descriptors: that creation fails and leaves nothing', async (process, why) => {
  const domains = await host.list();
  // Of domains before it lets go a moment after they are gone: that would be room.
  await eventually('xenstored has nothing of others', () => String(ofXenstored()) === String(xenstoredHas));
  const fault = { process, exhaust: 'descriptors' } as const;
  await expect(without(fault, () => host.create(host.config('new', 'echo')))).rejects.toThrow(why);
  await eventually('it is gone', async () => (await host.list()).length === domains.length);
  await othersAreWell();
  await aDomainAsAnyOther('new');
});

it('fault 3: a guest that gets no memory from Linux crashes and says so', async () => {
  const hungry = await host.create(host.config('hungry', 'hoard'));
  await host.up('hungry');
  const { path } = await host.toolstack.call('console', { domid: hungry });
  const console = connect(path).on('error', () => {}); // its domain is gone
  await without({ domain: 'hungry', process: 'domain', exhaust: 'memory', left: 32 << 20 }, async () => {
    // What its engine has only just given back is left to it as well: it takes until there is no more.
    const more = setInterval(() => console.write('more\n'), 100);
    await host.logged(`dom${hungry}`, 'crashed').finally(() => clearInterval(more));
  });
  console.destroy();
  await eventually('it is gone, as on_crash says', async () => (await host.info(hungry)) === undefined);
  await othersAreWell();
});

it('is told: when it begins, and when all is as before, also by the end of its time', async () => {
  const fault = { name: 'brief', part: 'process', process: 'dom0', exhaust: 'descriptors', left: 1, for: 300 } as const;
  await host.toolstack.call('addFaults', { plan: { name: 'test', seed: 0, faults: [fault] } });
  const texts = async (): Promise<string[]> =>
    (await hostEvents(host.toolstack)).flatMap(event =>
      event.event === 'fault' && event.text.startsWith('process of') ? [event.text] : [],
    );
  await eventually(
    'its time is over',
    async () => (await texts()).at(-1) === 'process of dom0 may have descriptors again',
  );
  expect((await texts()).slice(-3, -1)).toEqual(['process of dom0: exhaust descriptors, 1 left', 'process of dom0']);
  await aDomainAsAnyOther('afterwards');
  await host.toolstack.call('removeFaults', { plan: 'test', fault: null });
  expect((await texts()).at(-1)).toBe('process of dom0: exhaust descriptors, 1 left');
});
