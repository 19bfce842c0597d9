// Changes of fault plans that meet, in the order that a test says: over a real xenstored, by a client whose requests wait
// where they are told to.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkPlan, type Domid, domid, type FaultPlan, plantedName, readPlanted, XenstoreClient } from '#pvbus';
import { addDevices, pathsOf } from '../../../../../dom0/toolstack/add-device.ts';
import { vbd } from '../../../../../dom0/toolstack/devices.ts';
import { FaultPlans } from '../../../../../dom0/toolstack/faults/fault-plans.ts';
import type { Ended } from '../../../../../dom0/toolstack/faults/running-fault.ts';
import { Ledger } from '../../../../../dom0/toolstack/ledger.ts';
import { MemoryDisk } from '../../../../support/memory-journal.ts';
import { ListLog, rigTransport, XenstoreRig } from '../../../../support/xenstore-rig.ts';
import { disk } from '../domain-config.ts';

/** Something stands still at a place until it is let go. */
class Gate {
  readonly reached: Promise<void>;
  reach: () => void = () => {};
  open: () => void = () => {};
  readonly #opened: Promise<void>;

  constructor() {
    this.reached = new Promise(resolve => {
      this.reach = resolve;
    });
    this.#opened = new Promise(resolve => {
      this.open = resolve;
    });
  }
  async pass(): Promise<void> {
    this.reach();
    await this.#opened;
  }
}

class HeldClient extends XenstoreClient {
  readonly #gates = new Map<string, Gate>();

  /** The next such request is not made before the gate is open. */
  hold(request: string): Gate {
    const gate = new Gate();
    this.#gates.set(request, gate);
    return gate;
  }
  #pass(request: string): Promise<void> | undefined {
    const gate = this.#gates.get(request);
    this.#gates.delete(request);
    return gate?.pass();
  }
  // order: what is not held is asked for at once, so that requests stay in their order.
  override write(path: string, value: string | Uint8Array, tx?: number): Promise<void> {
    const write = (): Promise<void> => super.write(path, value, tx);
    return this.#pass(`write ${path}`)?.then(write) ?? write();
  }
  override read(path: string, tx?: number): Promise<string> {
    const read = (): Promise<string> => super.read(path, tx);
    return this.#pass(`read ${path}`)?.then(read) ?? read();
  }
  override directory(path: string, tx?: number): Promise<string[]> {
    const directory = (): Promise<string[]> => super.directory(path, tx);
    return this.#pass(`directory ${path}`)?.then(directory) ?? directory();
  }
  /** Held is what it has answered. */
  override async control(...command: [string, ...string[]]): Promise<string> {
    const answer = await super.control(...command);
    await this.#pass(command.join(' '));
    return answer;
  }
}

const DOM = domid(5);
const ROOT = '/tool/xenolith/faults';
const device = vbd(disk(), domid(0));
const { backend } = pathsOf(DOM, device);
const PLANTED = `${backend}/faults/p@f`;
const DISK = { name: 'f', part: 'disk', error: 'EIO' };

let xs: HeldClient;
let other: XenstoreClient;
let plans: FaultPlans;
/** As in a process of dom0 that comes after another one. */
let begin: () => FaultPlans;
/** What the hypervisor has of faults of hypercalls, by domain. */
let hypercalls: Set<string>;
/** What events say, and what was done to processes. */
let told: string[];
/** As events are told, so is what is done of it. */
let noted: string[];
let domids: Domid[];
let domidOf: (name: string) => Promise<number>;
let strikeDomain: (domid: number) => void;
/** What backends do that are asked to act on every change. */
let settle: () => Promise<unknown>;
beforeEach(() => {
  const rig = new XenstoreRig();
  other = new XenstoreClient(rigTransport(rig));
  hypercalls = new Set();
  told = [];
  noted = [];
  domids = [DOM];
  domidOf = async () => DOM;
  settle = async () => {};
  strikeDomain = domid => noted.push(`dom${domid} struck`);
  const nothing = (): void => {};
  const ledger = Ledger.begin(new MemoryDisk(), new ListLog());
  begin = () => {
    xs = new HeldClient(rigTransport(rig));
    return new FaultPlans({
      ...{ xs, clock: rig.clock, log: rig.log, domids: () => domids, domidOf: name => domidOf(name) },
      strikes: {
        domain: domid => strikeDomain(domid),
        xenstored: nothing,
        exhaust: nothing,
        shiftClock: nothing,
        self: nothing,
      },
      hypercalls: {
        plant: (domid, planted) => {
          hypercalls.add(`dom${domid} ${plantedName(readPlanted(planted))}`);
          return true;
        },
        remove: (domid, name) => void hypercalls.delete(`dom${domid} ${name}`),
        injected: () => undefined,
      },
      tell: ({ what, fault }) => told.push(`${fault} ${what}`),
      settled: async backends => {
        noted.push(`${backends.length} told`);
        await settle();
      },
      answered: ledger.table('answered kills'),
    });
  };
  plans = begin();
});
afterEach(() => plans.stop());

const plan = (...faults: object[]): FaultPlan => {
  const checked = checkPlan(faults, 'p');
  if ('plan' in checked) return checked.plan;
  throw new Error(JSON.stringify(checked.problems));
};
/** Nothing moves but what is held. */
async function still(): Promise<void> {
  for (let turns = 0; turns < 5; turns = xs.outstanding + other.outstanding === 0 ? turns + 1 : 0)
    await new Promise(resolve => setImmediate(resolve));
}
const plug = (over: Partial<typeof device> = {}): Promise<void> =>
  addDevices({ xs, log: new ListLog(), runDir: '/nonexistent', faults: plans }, DOM, [{ ...device, ...over }]);
/** `first` gets as far as the gate, `second` as far as it can; then both to their end. */
async function meet(gate: Gate, first: Promise<unknown>, second: () => Promise<unknown>): Promise<void> {
  await gate.reached;
  const later = second();
  await still();
  gate.open();
  await Promise.all([first, later]);
  await still();
}

describe('a plan that is added twice at once', () => {
  it('is there once, and the other one hears so', async () => {
    const [first, second] = await Promise.allSettled([plans.add(plan(DISK)), plans.add(plan(DISK))]);
    expect([first.status, second]).toMatchObject(['fulfilled', { reason: { code: 'EEXIST' } }]);
    expect((await plans.list()).length).toBe(1);
    await plans.remove('p', null);
    expect(await xs.exists('/tool/xenolith')).toBe(false); // of the last plan nothing is left
  });
});

it('a fault that has befallen one device as often as it may is not over while it is planted at another', async () => {
  const second = vbd(disk({ vdev: 'xvdb', devid: 51728 }), domid(0));
  await plug();
  await plug(second);
  await plans.add(plan({ ...DISK, times: 1 }));
  const state = async (): Promise<unknown> => (await plans.list())[0]?.state;
  const befallen = async (of: string): Promise<void> => {
    await other.write(`${of}/injected/p@f`, JSON.stringify({ seen: 1, injected: 1, last: [1], where: 'here' }));
    await still();
  };
  await befallen(backend);
  expect(await state()).toBe('on');
  await befallen(pathsOf(DOM, second).backend);
  expect(await state()).toBe('over');
});

describe('a fault that is removed', () => {
  it.each([DISK, { ...DISK, while: '/c=1' }])('while it is planted is planted nowhere: %o', async fault => {
    await plug();
    await other.write('/c', '1');
    const gate = xs.hold('directory /libxl/5/device');
    await meet(gate, plans.add(plan(fault)), () => plans.remove('p', null));
    expect(await xs.exists(PLANTED)).toBe(false);
    expect(await plans.list()).toEqual([]);
    expect(told).toEqual(['f began', 'f ended']);
  });

  it('has done what its devices tell when they are asked for the last time', async () => {
    await plug();
    await plans.add(plan(DISK));
    const last = JSON.stringify({ seen: 3, injected: 2, last: [1, 3], where: 'here' });
    settle = () => other.write(`${backend}/injected/p@f`, last);
    expect(await plans.remove('p', null)).toMatchObject([{ fault: 'f', devices: 1, seen: 3, injected: 2 }]);
    expect(told).toEqual(['f began', 'f injected', 'f ended']);
  });

  it('while a step that it befalls is noted is kept nowhere', async () => {
    await plans.add(plan({ name: 'f', part: 'toolstack', op: 'create', error: 'EIO' }));
    const gate = xs.hold(`write ${ROOT}/p/f`);
    const step = plans.at('create', 'web', 'config')!.catch(error => told.push(error.code));
    await meet(gate, step, () => plans.remove('p', null));
    expect(await xs.exists(`${ROOT}/p`)).toBe(false);
    expect([...told].sort()).toEqual(['EIO', 'f began', 'f ended', 'f injected']);
  });

  it('while a step waits for another one befalls nothing', async () => {
    const slow = { name: 'slow', part: 'toolstack', op: 'create', delay: 1 };
    await plans.add(plan(slow, { name: 'f', part: 'toolstack', op: 'create', error: 'EIO' }));
    const gate = xs.hold(`write ${ROOT}/p/slow`);
    await meet(gate, plans.at('create', 'web', 'config')!, () => plans.remove('p', 'f'));
    expect(told).toEqual(['slow began', 'f began', 'slow injected', 'f ended']);
    expect(await xs.directory(`${ROOT}/p`)).toEqual(['slow']);
  });

  it('while it finds its domain is kept nowhere, and no timer of it goes on', async () => {
    const gate = new Gate();
    domidOf = async () => {
      await gate.pass();
      return DOM;
    };
    await plans.add(plan({ name: 'f', part: 'process', domain: 'web', stop: 5, every: '1ms' }));
    await meet(gate, Promise.resolve(), () => plans.remove('p', null));
    expect(await xs.exists(`${ROOT}/p`)).toBe(false);
    expect(told).toEqual(['f began', 'f injected', 'f ended']);
  });
});

describe('a fault whose condition ends', () => {
  it('while it is planted is planted nowhere, and is again when the condition holds', async () => {
    await plug();
    await other.write('/c', '1');
    const gate = xs.hold('directory /libxl/5/device');
    await meet(gate, plans.add(plan({ ...DISK, while: '/c=1' })), () => other.rm('/c'));
    expect(await xs.exists(PLANTED)).toBe(false);
    expect((await plans.list())[0]).toMatchObject({ state: 'waits' });
    await other.write('/c', '1');
    await still();
    expect(await xs.exists(PLANTED)).toBe(true);
  });
});

describe('a device that is made', () => {
  it('while a fault begins has it', async () => {
    await meet(xs.hold(`write ${backend}/state`), plug(), () => plans.add(plan(DISK)));
    expect(await xs.exists(PLANTED)).toBe(true);
    await plans.remove('p', null);
    expect(await xs.exists(PLANTED)).toBe(false);
  });

  it('while a fault ends has it no more', async () => {
    await plans.add(plan(DISK));
    await meet(xs.hold(`write ${backend}/state`), plug(), () => plans.remove('p', null));
    expect(await xs.exists(`${backend}/state`)).toBe(true);
    expect(await xs.exists(PLANTED)).toBe(false);
  });

  it('and whose script runs while a fault begins has it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'xenolith-fault-plans-'));
    const script = join(dir, 'script');
    writeFileSync(script, '#!/bin/sh\n');
    chmodSync(script, 0o755);
    try {
      const plugging = plug({ backend: { ...device.backend, script } });
      await meet(xs.hold(`write ${backend}/state`), plugging, () => plans.add(plan(DISK)));
      expect(await xs.exists(PLANTED)).toBe(true);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe('a fault of hypercalls', () => {
  const REFUSED = { name: 'f', part: 'hypercall', error: 'EAGAIN' };

  it('that ends while a domain is made is not in that domain', async () => {
    await plans.add(plan(REFUSED));
    expect([...hypercalls]).toEqual(['dom5 p@f']);
    const gate = xs.hold(`read ${ROOT}/p/f/6`);
    await meet(gate, plans.domainMade(6), () => plans.remove('p', null));
    expect([...hypercalls]).toEqual([]);
  });
  it('goes with a domain whose end had begun before this process, and has taken its name', async () => {
    await other.write('/local/domain/5/name', 'web');
    await plans.add(plan({ ...REFUSED, domain: 'web' }));
    expect([...hypercalls]).toEqual(['dom5 p@f']);
    await other.rm('/local/domain/5');
    await comesBack();
    await plans.domainGone(5);
    expect([...hypercalls]).toEqual([]);
  });
  it('goes with a domain that is gone before this process knows what faults there are', async () => {
    await plans.add(plan(REFUSED));
    expect([...hypercalls]).toEqual(['dom5 p@f']);
    await other.rm('/local/domain/5').catch(() => {});
    plans.stop();
    xs.close();
    domids = [];
    plans = begin();
    await meet(xs.hold('directory /tool/xenolith/faults'), plans.start(), () => plans.domainGone(5));
    expect([...hypercalls]).toEqual([]);
  });
});

it("a fault of xenstore's requests has told what it has done when it ends, also where a look had begun before", async () => {
  await plans.add(plan({ name: 'f', part: 'xenstore', op: 'read', path: '/c', domain: 0, error: 'EIO' }));
  const gate = xs.hold('fault show p@f');
  const looking = plans.list();
  await gate.reached;
  await expect(other.read('/c')).rejects.toMatchObject({ code: 'EIO' });
  await meet(gate, looking, () => plans.remove('p', null));
  expect(told).toEqual(['f began', 'f injected', 'f ended']);
});

const cause = (end: Ended): string | undefined => plans.causeOfEnd(end)?.name;
async function comesBack(): Promise<void> {
  plans.stop();
  xs.close();
  plans = begin();
  await plans.start();
}

describe('a kill by time', () => {
  const KILL = { name: 'f', part: 'process', domain: 'web', kill: true };
  const web = (domid: number) => ({ domid, vcpu: 0 });
  const saidOf = (what: string): Promise<unknown> =>
    expect.poll(() => told.filter(line => line === what).length, { timeout: 60_000 }).toBeGreaterThan(0);

  it('has ended the domain that it has hit, once, and none that has its name later', async () => {
    await plans.add(plan(KILL));
    await saidOf('f injected');
    await still();
    expect([cause(web(6)), cause(web(5)), cause(web(5))]).toEqual([undefined, 'p@f', undefined]);
  });
  it('has ended it also for who comes after this process, and once for both', async () => {
    await plans.add(plan(KILL));
    await saidOf('f injected');
    await still();
    await comesBack();
    expect([cause(web(6)), cause(web(5))]).toEqual([undefined, 'p@f']);
    await comesBack();
    expect(cause(web(5))).toBeUndefined();
  });
  it('has ended nothing where it has hit nothing, also for who comes after', async () => {
    strikeDomain = () => {
      throw new Error('it has no process');
    };
    await plans.add(plan(KILL));
    await saidOf('f missed');
    await still();
    expect(cause(web(5))).toBeUndefined();
    await comesBack();
    expect(cause(web(5))).toBeUndefined();
  });
  it("has not ended xenstored when it is dom0's process that it has hit", async () => {
    await plans.add(plan({ name: 'f', part: 'process', process: 'dom0', kill: true }));
    await saidOf('f injected');
    await still();
    const DOM0 = { domid: 0, vcpu: 0 };
    expect([cause({ ...DOM0, vcpu: 1 }), cause(DOM0), cause(DOM0)]).toEqual([undefined, 'p@f', undefined]);
  });
});

describe('a kill at a device', () => {
  const DOM0 = { domid: 0, vcpu: 0 };
  /** As the backend tells of it. */
  async function happens(times: number): Promise<void> {
    const node = { seen: times, injected: times, last: [times], where: 'a write' };
    await other.write(`${backend}/injected/p@f`, JSON.stringify(node));
    await still();
  }

  it('has ended one process of dom0 for each time, also for those that come after', async () => {
    await plug();
    await plans.add(plan({ name: 'f', part: 'disk', kill: 'before' }));
    await happens(1);
    await comesBack();
    expect(cause(DOM0)).toBe('p@f');
    await comesBack();
    expect(cause(DOM0)).toBeUndefined(); // somebody else's
    await happens(2);
    expect([cause(DOM0), cause(DOM0)]).toEqual(['p@f', undefined]);
    await plans.remove('p', null);
    await plans.add(plan({ name: 'f', part: 'disk', kill: 'before' }));
    await happens(1);
    expect(cause(DOM0)).toBe('p@f');
  });
  it('is carried out when every backend of that process has told what it has counted', async () => {
    const second = pathsOf(DOM, vbd(disk({ vdev: 'xvdb', devid: 51728 }), domid(0))).backend;
    await plug();
    await plug(vbd(disk({ vdev: 'xvdb', devid: 51728 }), domid(0)));
    await plans.add(
      plan({ ...DISK, device: 'xvdb', nth: 100 }, { name: 'g', part: 'disk', device: 'xvda', kill: 'after' }),
    );
    noted.length = 0;
    await other.watch(`${second}/faults/p@f`, 'test', () => noted.push('asked'));
    await still();
    noted.length = 0;
    const node = { seen: 1, injected: 1, last: [1], where: 'a write', process: { kill: true, injection: 1 } };
    await other.write(`${backend}/injected/p@g`, JSON.stringify(node));
    await still();
    expect(noted).toEqual(['asked', '2 told', 'dom0 struck']);
  });
  it('leaves who comes after it with the faults in their order', async () => {
    await plans.add(plan({ ...DISK, name: 'z' }, { ...DISK, name: 'a' }));
    await comesBack();
    expect((await plans.list()).map(({ fault }) => fault)).toEqual(['z', 'a']);
  });
  it('leaves who comes after it with what each fault of the device has seen, also of several', async () => {
    await plug();
    await plans.add(plan({ ...DISK, nth: 100 }, { ...DISK, name: 'g', nth: 100 }));
    for (const [name, seen] of [
      ['f', 4],
      ['g', 7],
    ] as const)
      await other.write(`${backend}/injected/p@${name}`, JSON.stringify({ seen, injected: 0, last: [], where: '' }));
    await still();
    const seen = async () => (await plans.list()).map(one => one.seen);
    expect(await seen()).toEqual([4, 7]);
    await comesBack();
    expect(await seen()).toEqual([4, 7]);
  });
  it("has ended the guest's process where that is what it kills, and no other", async () => {
    await other.write('/local/domain/5/name', 'web');
    await plug();
    await plans.add(plan({ name: 'f', part: 'disk', domain: 'web', kill: 'before', process: 'guest' }));
    await happens(1);
    expect(cause(DOM0)).toBeUndefined();
    const ended = { domid: 5, vcpu: 0 };
    expect([cause({ ...ended, domid: 6 }), cause(ended), cause(ended)]).toEqual([undefined, 'p@f', undefined]);
  });
  it('has ended a guest also when its devices are gone before anybody asks', async () => {
    await other.write('/local/domain/5/name', 'web');
    await plug();
    await plans.add(plan({ name: 'f', part: 'disk', domain: 'web', kill: 'before', process: 'guest' }));
    await happens(1);
    await other.rm(backend);
    await still();
    const ended = { domid: 5, vcpu: 0 };
    expect([cause({ ...ended, domid: 6 }), cause(ended), cause(ended)]).toEqual([undefined, 'p@f', undefined]);
  });
  it('has ended each of several guests whose devices are gone before anybody asks', async () => {
    const both = [DOM, domid(6)];
    await plans.add(plan({ name: 'f', part: 'disk', kill: 'before', process: 'guest' }));
    for (const dom of both) {
      await addDevices({ xs, log: new ListLog(), runDir: '/nonexistent', faults: plans }, dom, [device]);
      const own = pathsOf(dom, device).backend;
      await other.write(`${own}/injected/p@f`, JSON.stringify({ seen: 1, injected: 1, last: [1], where: 'a write' }));
      await still();
      await other.rm(own);
      await still();
    }
    const causes = () => both.map(dom => cause({ domid: dom, vcpu: 0 }));
    expect([causes(), causes()]).toEqual([
      ['p@f', 'p@f'],
      [undefined, undefined],
    ]);
  });
});
