// Row 43 of the catalogue: the toolstack is killed before a step of what it does; with it dies dom0's process. What must
// be: the one that takes its place finishes or undoes it and says so, what is listed is what there is, nothing is left
// over, the next command about that name works, and a domain beside it goes on with its checked I/O.
//
// XENOLITH_ALL_STEPS=1 has it die before every step; else, a few are drawn from the seed.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DomainConfig, runPaths, TOOLSTACK_STEPS, type ToolstackOpName } from '#pvbus';
import { hostEvents } from '../../../tools/host-events.ts';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { type Inventory, inventoryAtRest, takeInventory } from '../../support/inventory.ts';
import { eventually, isShell } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';
import { disk, net } from '../../unit/dom0/toolstack/domain-config.ts';
import { BLOCK_BYTES, BLOCKS } from '../driver-domain/pattern.ts';

/** In the suite, of each operation. */
const DRAWN = 1;
const ALL = process.env.XENOLITH_ALL_STEPS === '1';

interface Case {
  readonly op: ToolstackOpName;
  readonly step: string;
  /** What is attached or detached. */
  readonly type: 'vbd' | 'vif';
}

const { seed, random } = seededRandom();
const all = (Object.keys(TOOLSTACK_STEPS) as ToolstackOpName[]).map(op => {
  const types = op === 'attach' || op === 'detach' ? (['vbd', 'vif'] as const) : (['vbd'] as const);
  return types.flatMap(type => TOOLSTACK_STEPS[op].map((step): Case => ({ op, step, type })));
});
const drawn = (cases: readonly Case[]): Case[] =>
  cases
    .map(one => ({ one, at: random() }))
    .sort((a, b) => a.at - b.at)
    .slice(0, DRAWN)
    .map(({ one }) => one);
const cases = ALL ? all.flat() : all.flatMap(drawn);

describe(`fault 43: the toolstack is killed before a step (seed ${seed})`, () => {
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-toolstack-killed-'));
  const images = { by: join(dir, 'by.img'), two: join(dir, 'two.img'), more: join(dir, 'more.img') };
  let host: LifecycleHost;
  let toolstack: ToolstackClient;
  /** Of a host without domains. */
  let empty: Inventory;
  /** Beside the bystander. */
  let alone: Inventory;
  let bystander: number;

  function configOf(name: string): DomainConfig {
    if (name === 'two') return host.config('two', 'spin', { disks: [disk({ target: images.two })], vifs: [net()] });
    return host.config('by', '', {
      ramdisk: fileURLToPath(new URL('guest.ts', import.meta.url)),
      disks: [disk({ target: images.by })],
      vifs: [net({ mac: '00:16:3e:00:08:01', bridge: 'theirs' })],
    });
  }
  const create = async (name: string): Promise<number> =>
    (await toolstack.call('create', { config: configOf(name), paused: false, monitor: true })).domid;
  const names = async (): Promise<(string | null)[]> =>
    (await toolstack.call('list', { domid: null })).map(({ name }) => name);
  const domidOfTwo = async (): Promise<number> =>
    (await toolstack.call('list', { domid: null })).find(({ name }) => name === 'two')!.domid;
  const up = (domid: number): Promise<true> =>
    eventually(`dom${domid} is up`, () => new RegExp(`two is up as dom${domid}\\b`).test(host.rig.consoleLog('two')));
  const rounds = (): number => Number(/.*\n(\d+) rounds/s.exec(host.rig.consoleLog('by'))?.[1] ?? 0);
  const MORE = {
    vbd: { disk: disk({ target: images.more, vdev: 'xvdb', devid: 51728 }), devid: 51728 },
    vif: { vif: net({ mac: '00:16:3e:00:08:02', bridge: 'theirs', devid: 1 }), devid: 1 },
  };
  async function attach(domid: number, type: Case['type']): Promise<void> {
    if (type === 'vbd') await toolstack.call('attachDisk', { domid, disk: MORE.vbd.disk });
    else await toolstack.call('attachVif', { domid, vif: MORE.vif.vif, anyDevid: false });
  }
  const detach = async (domid: number, type: Case['type']): Promise<void> =>
    void (await toolstack.call('detach', { domid, type, devid: MORE[type].devid, force: false }));
  /** What its config says that it has, and what xenstore has of it, which are the same. */
  async function hasMore(domid: number, type: Case['type']): Promise<boolean> {
    const config = await toolstack.call('config', { domid });
    const list: readonly { devid: number }[] = (type === 'vbd' ? config?.disks : config?.vifs) ?? [];
    const { devid } = MORE[type];
    const noted = list.some(one => one.devid === devid);
    const nodes = (await host.nodes()).filter(path => path.includes(`/${type}/`) && path.includes(`/${devid}/`));
    const ofTwo = nodes.filter(path => path.includes(`/${domid}/`));
    expect(ofTwo.length > 0).toBe(noted);
    return noted;
  }
  async function countEvents(what: string, domid: number): Promise<number> {
    const events = await hostEvents(toolstack);
    return events.filter(event => event.event === 'domain' && event.what === what && event.domid === domid).length;
  }

  /** The operation, in the middle of which its toolstack dies; then there is another. Returns what the log has since. */
  async function killedIn({ op, step }: Case, body: () => Promise<unknown>): Promise<() => string> {
    const fault = { name: 'k', part: 'toolstack', op, domain: 'two', step, kill: 'before', times: 1 } as const;
    await toolstack.call('addFaults', { plan: { name: 'kill', seed: 0, faults: [fault] } });
    const before = host.rig.log().length;
    await expect(body()).rejects.toMatchObject({ code: expect.stringMatching(/EPIPE|ECONNRESET/) });
    toolstack.close();
    toolstack = await eventually('another one serves', async () => {
      const next = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket).catch(() => undefined);
      return next?.call('list', { domid: null }).then(
        () => next,
        () => undefined,
      );
    });
    const [status] = await toolstack.call('faults', {});
    expect(status).toMatchObject({ injected: 1, state: 'over' });
    await toolstack.call('removeFaults', { plan: 'kill', fault: null });
    return () => host.rig.log().slice(before);
  }

  const CHECKS: Readonly<Record<ToolstackOpName, (one: Case) => Promise<void>>> = {
    async create(one) {
      const log = await killedIn(one, () => create('two'));
      if (one.step === 'unpause' || one.step === 'created') {
        expect(await names()).toContain('two');
        const domid = await domidOfTwo();
        expect(log()).toMatch(`dom${domid}, 'two', was all but created when dom0's process ended: finished`);
        expect(await countEvents('created', domid)).toBe(1);
        await up(domid);
      } else {
        await eventually('the half of it is undone', async () => (await names()).length === 2);
        if (one.step !== 'config' && one.step !== 'domain')
          expect(log()).toMatch(/'two', was being created .*: undone/);
        await up(await create('two'));
      }
      await toolstack.call('destroy', { domid: await domidOfTwo(), force: false });
    },
    async destroy(one) {
      const domid = await create('two');
      await up(domid);
      const log = await killedIn(one, () => toolstack.call('destroy', { domid, force: false }));
      await eventually('its end is done', async () => (await names()).length === 2);
      expect(log()).toMatch(`dom${domid}, 'two', was being destroyed, or ended meanwhile: cleared away`);
      await eventually('its end was told', async () => (await countEvents('destroyed', domid)) > 0);
      expect(await countEvents('destroyed', domid)).toBe(1);
      const next = await create('two');
      await toolstack.call('destroy', { domid: next, force: false });
    },
    async attach(one) {
      const domid = await create('two');
      await up(domid);
      const log = await killedIn(one, () => attach(domid, one.type));
      expect(await hasMore(domid, one.type)).toBe(false);
      if (one.step === 'backend' || one.step === 'record') expect(log()).toMatch(/was being attached .*: taken away/);
      await attach(domid, one.type);
      expect(await hasMore(domid, one.type)).toBe(true);
      await detach(domid, one.type);
      await toolstack.call('destroy', { domid, force: false });
    },
    async detach(one) {
      const domid = await create('two');
      await up(domid);
      await attach(domid, one.type);
      const log = await killedIn(one, () => detach(domid, one.type));
      const still = one.step === 'unplug';
      expect(await hasMore(domid, one.type)).toBe(still);
      if (!still) {
        expect(log()).toMatch(/was being (attached or )?detached when dom0's process ended: (taken away|it has gone)/);
        await attach(domid, one.type);
      }
      await detach(domid, one.type);
      await toolstack.call('destroy', { domid, force: false });
    },
  };
  beforeAll(async () => {
    for (const path of Object.values(images)) {
      writeFileSync(path, '');
      truncateSync(path, BLOCKS * BLOCK_BYTES);
    }
    host = await LifecycleHost.start();
    host.ending(); // its connection is dom0's, and goes with it
    toolstack = host.toolstack;
    // What a host is like that has had a plan.
    const never = { name: 'never', part: 'toolstack', domain: 'nobody', error: 'EIO' } as const;
    await toolstack.call('addFaults', { plan: { name: 'none', seed: 0, faults: [never] } });
    await toolstack.call('removeFaults', { plan: 'none', fault: null });
    empty = await inventoryAtRest(host.rig);
    await toolstack.call('createBridge', { name: 'theirs', mtu: 1500 });
    bystander = await create('by');
    await eventually('it works', () => rounds() > 0);
    await eventually('a shell waits', () => host.rig.processes().filter(isShell).length === 2);
    alone = await takeInventory(host.rig);
  });
  afterAll(async () => {
    toolstack?.close();
    await host?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it.each(cases.map(one => [one.op, one.step, one.op === 'attach' || one.op === 'detach' ? one.type : 'domain', one]))(
    'fault 43: %s, %s, of a %s',
    async (_op, _step, _what, one) => {
      const then = rounds();
      await CHECKS[one.op](one);
      expect(await names()).toEqual(['Domain-0', 'by']);
      // Nothing runs, lies about or is in xenstore that was not there before.
      let difference = ['?'];
      await eventually('all is as it was', async () => {
        difference = differences(alone, await takeInventory(host.rig));
        return difference.length === 0;
      }).catch(() => {});
      expect(difference).toEqual([]);
      await eventually('the bystander goes on', () => rounds() > then);
    },
  );

  // Before these there is half a domain, which has to go before it can come.
  const HALF_MADE = ['memory', 'xenstore', 'introduce', 'devices'] as const;
  it.each(ALL ? TOOLSTACK_STEPS.create : [HALF_MADE[Math.floor(random() * HALF_MADE.length)]!])(
    'fault 43: create, %s, of a domain that was restarted',
    async step => {
      const { domid } = await toolstack.call('create', {
        config: { ...configOf('two'), cmdline: '' },
        paused: false,
        monitor: true,
      });
      await up(domid);
      await killedIn({ op: 'create', step, type: 'vbd' }, async () => {
        await toolstack.call('reboot', { domid });
        await toolstack.call('wait', { domid: bystander, until: 'destroyed' });
      });
      await eventually('it has come again', async () => {
        const list = await toolstack.call('list', { domid: null });
        const two = list.find(({ name }) => name === 'two');
        return two !== undefined && two.domid !== domid && list.length === 3;
      });
      const next = await domidOfTwo();
      await up(next);
      await eventually('it has been told', async () => (await countEvents('created', next)) > 0);
      await toolstack.call('destroy', { domid: next, force: false });
      expect(await names()).toEqual(['Domain-0', 'by']);
    },
  );

  it('fault 43: and nothing is left', async () => {
    await toolstack.call('destroy', { domid: bystander, force: false });
    await toolstack.call('deleteBridge', { name: 'theirs' });
    let rest = comparable(await takeInventory(host.rig));
    await eventually('all is as it was', async () => {
      rest = comparable(await takeInventory(host.rig));
      return JSON.stringify(rest) === JSON.stringify(comparable(empty));
    }).catch(() => {});
    expect(rest).toEqual(comparable(empty));
  });
});

function differences(before: Inventory, after: Inventory): string[] {
  const lines = ({ processes, nodes, files }: Inventory): string[] => [
    ...processes.map((name, i, all) => `${name} ${all.slice(0, i).filter(other => other === name).length}`),
    ...nodes,
    ...files,
  ];
  const [was, is] = [new Set(lines(before)), new Set(lines(after))];
  return [
    ...[...was].filter(line => !is.has(line)).map(line => `-${line}`),
    ...[...is].filter(line => !was.has(line)).map(line => `+${line}`),
  ];
}
/** libuv keeps a /dev/null open for each event loop that has ever had a socket. */
const comparable = (inventory: Inventory): Inventory => ({
  ...inventory,
  descriptors: inventory.descriptors.filter(line => !line.endsWith('/dev/null')),
});
