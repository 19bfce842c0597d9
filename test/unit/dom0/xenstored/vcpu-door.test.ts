// The daemon on the hypervisor's real core: grants, event channels and VIRQ_DOM_EXC, all in this thread.
import { describe, expect, test } from 'vitest';
import {
  type Domid,
  domid,
  type EvtchnPort,
  GNTTAB_RESERVED_XENSTORE,
  gfn,
  inherited,
  port,
  RingTransport,
  SCHEDOP_shutdown,
  SHUTDOWN_crash,
  type SharedPages,
  sched_shutdown,
  type Vcpu,
  XEN_DOMCTL_destroydomain,
  XenstoreClient,
} from '#pvbus';
import { Server } from '../../../../dom0/xenstored/server.ts';
import { VcpuDoor } from '../../../../dom0/xenstored/vcpu-door.ts';
import { CoreRig, type Guest } from '../../../support/core-rig.ts';
import { ListLog, rigTransport } from '../../../support/xenstore-rig.ts';

interface GuestEnd {
  readonly guest: Guest;
  readonly kernel: Vcpu;
  readonly store: SharedPages;
  readonly port: EvtchnPort;
  readonly transport: RingTransport;
  readonly xs: XenstoreClient;
  readonly domid: Domid;
}

class Host {
  readonly core = new CoreRig();
  readonly vcpu = this.core.dom0.kernel(1);
  readonly log = new ListLog();
  readonly server = new Server({
    door: new VcpuDoor(this.vcpu),
    clock: this.core.clock,
    log: this.log,
    onWork: () => {},
  });
  readonly toolstack = new XenstoreClient(rigTransport(this));
  guests: GuestEnd[] = [];

  /** A running guest that has granted its xenstore page and made a port for the daemon. */
  guest(): GuestEnd {
    const guest = this.core.guest();
    const kernel = guest.kernel();
    const store = kernel.grants.allocShared(domid(0), 1);
    guest.grant(GNTTAB_RESERVED_XENSTORE, 0, store.gfn);
    const local = kernel.events.allocUnbound(domid(0));
    kernel.events.on(local, () => {});
    const transport = new RingTransport(store.page(0), () => kernel.events.notify(local));
    const end = {
      guest,
      kernel,
      store,
      port: local,
      transport,
      xs: new XenstoreClient(transport),
      domid: domid(guest.domid),
    };
    this.guests.push(end);
    return end;
  }
  /** Step everybody until `promise` has settled. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const end = (): void => {
      done = true;
    };
    promise.then(end, end);
    while (!done) {
      this.turn();
      await new Promise(resolve => setImmediate(resolve));
    }
    return promise;
  }
  turn(): void {
    this.core.settle();
    for (const { kernel, transport } of this.guests) {
      kernel.events.poll();
      transport.step();
    }
    this.vcpu.events.poll();
    this.server.step();
  }
  destroy(end: GuestEnd): void {
    this.guests = this.guests.filter(guest => guest !== end);
    this.core.dom0.reset().domctl(XEN_DOMCTL_destroydomain, end.domid);
    this.core.settle();
  }
}

describe('xenstored on a hypervisor', () => {
  test('serves a guest through its granted page and its event channel', async () => {
    const host = new Host();
    const end = host.guest();
    const home = `/local/domain/${end.domid}`;
    await host.settle(host.toolstack.write(home, ''));
    await host.settle(host.toolstack.setPerms(home, [`n${end.domid}`]));
    await host.settle(host.toolstack.introduce(end.domid, end.store.gfn, end.port));
    expect(await host.settle(host.toolstack.isDomainIntroduced(end.domid))).toBe(true);
    const heard: string[] = [];
    await host.settle(host.toolstack.watch(home, 't', path => heard.push(path)));
    await host.settle(end.xs.write('hello', 'from a guest'));
    expect(await host.settle(host.toolstack.read(`${home}/hello`))).toBe('from a guest');
    expect(heard).toEqual([home, `${home}/hello`]);
    const seen: string[] = [];
    await host.settle(end.xs.watch('control', 't', path => seen.push(path)));
    await host.settle(host.toolstack.write(`${home}/control/shutdown`, 'poweroff'));
    await host.settle(end.xs.read('control/shutdown'));
    expect(seen).toEqual(['control', 'control/shutdown']);
  });

  test('refuses a domain that does not exist, grants no page, or has no such port, and keeps nothing of it', async () => {
    const host = new Host();
    const end = host.guest();
    const introduce = (id: Domid, p: EvtchnPort): Promise<void> =>
      host.settle(host.toolstack.introduce(id, end.store.gfn, p));
    await expect(introduce(domid(77), end.port)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(introduce(end.domid, port(99))).rejects.toMatchObject({ code: 'EINVAL' });
    // The page was mapped for that and is not any more: the guest can take its grant back.
    expect(end.guest.entryFlags(GNTTAB_RESERVED_XENSTORE)).toBe(1);
    const bare = host.core.guest();
    await expect(introduce(domid(bare.domid), end.port)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(await host.settle(host.toolstack.isDomainIntroduced(end.domid))).toBe(false);
    await introduce(end.domid, end.port);
    expect(host.core.internalErrors).toEqual([]);
  });

  test('tells of a shutdown once, then of the end, and lets go of page and port', async () => {
    const host = new Host();
    const [end, other] = [host.guest(), host.guest()];
    for (const { domid, store, port } of [end, other]) {
      await host.settle(host.toolstack.introduce(domid, store.gfn, port));
    }
    const events: string[] = [];
    await host.settle(host.toolstack.watch('@releaseDomain', 't', path => events.push(path), 1));
    events.length = 0;
    const at = end.guest.reset().put(sched_shutdown, { reason: SHUTDOWN_crash });
    end.guest.sched(SCHEDOP_shutdown, at);
    host.guests = [other]; // what has shut down runs no more
    await host.settle(host.toolstack.read('/'));
    await host.settle(host.toolstack.read('/'));
    expect(events.splice(0)).toEqual([`@releaseDomain/${end.domid}`]);
    expect(host.log.lines.some(line => line.includes(`dom${end.domid} has shut down, reason 3`))).toBe(true);
    expect(await host.settle(host.toolstack.isDomainIntroduced(end.domid))).toBe(true);
    host.destroy(end);
    await host.settle(host.toolstack.read('/'));
    await host.settle(host.toolstack.read('/'));
    expect(events).toEqual([`@releaseDomain/${end.domid}`]);
    expect(await host.settle(host.toolstack.isDomainIntroduced(end.domid))).toBe(false);
    // With the daemon's mapping gone nothing holds the domain any more: it is not even dying.
    expect(host.core.hypervisor.domains.byId(end.domid)).toBeUndefined();
    expect(await host.settle(other.xs.getDomainPath(other.domid))).toBe(`/local/domain/${other.domid}`);
    expect(host.log.lines.filter(line => line.startsWith('error'))).toEqual([]);
    expect(host.core.internalErrors).toEqual([]);
  });

  test('lets go of a domain that is released while it runs, which may then be introduced again', async () => {
    const host = new Host();
    const end = host.guest();
    await host.settle(host.toolstack.introduce(end.domid, end.store.gfn, end.port));
    await host.settle(end.xs.getDomainPath(end.domid));
    await host.settle(host.toolstack.release(end.domid));
    expect(end.guest.entryFlags(GNTTAB_RESERVED_XENSTORE)).toBe(1);
    await host.settle(host.toolstack.introduce(end.domid, end.store.gfn, end.port));
    expect(await host.settle(end.xs.getDomainPath(end.domid))).toBe(`/local/domain/${end.domid}`);
  });

  test("serves dom0's own ring, with dom0's rights, and tells nobody that dom0 has appeared", async () => {
    const host = new Host();
    const kernel = host.core.dom0.kernel(0);
    const frame = kernel.frames.alloc(1);
    const local = kernel.events.allocUnbound(domid(0));
    kernel.events.on(local, () => {});
    const transport = new RingTransport(kernel.memory.page(frame), () => kernel.events.notify(local));
    const xs = new XenstoreClient(transport);
    host.guests.push({ kernel, transport } as GuestEnd);
    const introduced: string[] = [];
    await host.settle(host.toolstack.watch('@introduceDomain', 't', path => introduced.push(path)));
    introduced.length = 0;
    await host.settle(host.toolstack.introduce(domid(0), frame, local));
    await host.settle(xs.write('/anywhere/at/all', 'yes'));
    expect(await host.settle(host.toolstack.read('/anywhere/at/all'))).toBe('yes');
    const end = host.guest();
    await host.settle(xs.introduce(end.domid, end.store.gfn, end.port));
    expect(await host.settle(end.xs.getDomainPath(end.domid))).toBe(`/local/domain/${end.domid}`);
    expect(introduced).toEqual(['@introduceDomain']);
    expect(host.core.internalErrors).toEqual([]);
  });

  test('refuses a ring for dom0 outside its memory, or asked for by a guest', async () => {
    const host = new Host();
    const local = host.core.dom0.kernel(0).events.allocUnbound(domid(0));
    const outside = gfn(host.vcpu.layout.maxPages);
    await expect(host.settle(host.toolstack.introduce(domid(0), outside, local))).rejects.toMatchObject({
      code: 'EINVAL',
    });
    const end = host.guest();
    await host.settle(host.toolstack.introduce(end.domid, end.store.gfn, end.port));
    await expect(host.settle(end.xs.introduce(domid(0), gfn(1), local))).rejects.toMatchObject({ code: 'EACCES' });
  });
});

describe('the daemon after one that was killed', () => {
  const NOTHING = { ports: [], mappings: [] };

  /** The thread is gone that was the daemon; the door of the next one. */
  function next(host: Host): { door: VcpuDoor; vcpu: Vcpu } {
    host.core.replaceThread(host.core.dom0.domain.vcpus[1]!);
    const vcpu = host.core.dom0.kernel(1);
    return { door: new VcpuDoor(vcpu), vcpu };
  }
  /** A guest that was introduced, with the port the daemon has for it. */
  async function introduced(host: Host): Promise<{ end: GuestEnd; local: EvtchnPort }> {
    const end = host.guest();
    await host.settle(host.toolstack.introduce(end.domid, end.store.gfn, end.port));
    return { end, local: portFor(host, end.domid) };
  }
  const portFor = (host: Host, id: Domid): EvtchnPort =>
    inherited(host.vcpu).ports.find(left => left.kind === 'interdomain' && left.remote === id)!.port;

  test('adopts page and port of each domain, and hears it', async () => {
    const host = new Host();
    const { end, local } = await introduced(host);
    const { door, vcpu } = next(host);
    const page = door.adopt(end.domid, end.store.gfn, local)!;
    end.store.bytes[17] = 99;
    expect(page.bytes[17]).toBe(99);
    let heard = 0;
    door.onEvent(local, () => heard++);
    vcpu.events.poll();
    heard = 0;
    end.kernel.events.notify(end.port);
    vcpu.events.poll();
    expect(heard).toBe(1);
    door.dropUnadopted();
    expect(inherited(vcpu).ports.map(({ port }) => port)).toContain(local);
    door.unbind(local);
    door.unmapStorePage(end.domid);
    expect(inherited(vcpu).mappings).toEqual([]);
  });

  test("adopts dom0's own ring", async () => {
    const host = new Host();
    const kernel = host.core.dom0.kernel(0);
    const frame = kernel.frames.alloc(1);
    const theirs = kernel.events.allocUnbound(domid(0));
    await host.settle(host.toolstack.introduce(domid(0), frame, theirs));
    const { door } = next(host);
    const page = door.adopt(domid(0), frame, portFor(host, domid(0)))!;
    kernel.memory.page(frame).bytes[5] = 55;
    expect(page.bytes[5]).toBe(55);
  });

  test('is told what is lost: another port, no page, another domain', async () => {
    const host = new Host();
    const [one, two] = [await introduced(host), await introduced(host)];
    const { door, vcpu } = next(host);
    expect(door.adopt(one.end.domid, one.end.store.gfn, two.local)).toBeUndefined();
    expect(door.adopt(domid(77), one.end.store.gfn, one.local)).toBeUndefined();
    expect(door.adopt(one.end.domid, one.end.store.gfn, port(999))).toBeUndefined();
    expect(door.adopt(one.end.domid, one.end.store.gfn, one.local)).toBeDefined();
    expect(door.adopt(one.end.domid, one.end.store.gfn, one.local)).toBeUndefined();
    vcpu.grants.unmap(
      inherited(vcpu)
        .mappings.filter(({ granter }) => granter === two.end.domid)
        .map(left => vcpu.grants.adopt(left)),
    );
    const { door: third } = next(host);
    expect(third.adopt(two.end.domid, two.end.store.gfn, two.local)).toBeUndefined();
  });

  test('uses what the dead one made and did not record, when it makes it again', async () => {
    const host = new Host();
    const end = host.guest();
    const before = new VcpuDoor(host.vcpu);
    before.mapStorePage(end.domid, end.store.gfn);
    const bound = before.bind(end.domid, end.port);
    const { door, vcpu } = next(host);
    const page = door.mapStorePage(end.domid, end.store.gfn);
    expect(door.bind(end.domid, end.port)).toBe(bound);
    end.store.bytes[3] = 33;
    expect(page.bytes[3]).toBe(33);
    expect(inherited(vcpu).mappings).toHaveLength(1);
    // Taken up once: the next one of the same is refused, as ever.
    expect(() => door.bind(end.domid, end.port)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    door.dropUnadopted();
    expect(inherited(vcpu).ports.map(({ port }) => port)).toContain(bound);
  });

  test('lets go of what nobody has adopted, and binds and maps it again when it is introduced', async () => {
    const host = new Host();
    const { end } = await introduced(host);
    const { door, vcpu } = next(host);
    door.dropUnadopted();
    expect(inherited(vcpu)).toEqual(NOTHING);
    expect(end.guest.entryFlags(GNTTAB_RESERVED_XENSTORE)).toBe(1);
    door.mapStorePage(end.domid, end.store.gfn);
    door.bind(end.domid, end.port);
  });

  test('hears of the ends of domains by the port that is bound to that already', async () => {
    const host = new Host();
    const { end } = await introduced(host);
    const { door, vcpu } = next(host);
    let heard = 0;
    door.onDomExc(() => heard++);
    // Something may have ended while nobody listened.
    vcpu.events.poll();
    expect(heard).toBe(1);
    host.destroy(end);
    vcpu.events.poll();
    expect(heard).toBe(2);
    expect(inherited(vcpu).ports.filter(({ kind }) => kind === 'virq')).toHaveLength(1);
  });

  test('adopts a domain that has died meanwhile, and lets its last page go', async () => {
    const host = new Host();
    const { end, local } = await introduced(host);
    host.core.dom0.reset().domctl(XEN_DOMCTL_destroydomain, end.domid);
    host.core.settle();
    const { door } = next(host);
    expect(door.adopt(end.domid, end.store.gfn, local)).toBeDefined();
    expect(door.domainInfo(end.domid)).toMatchObject({ dying: true });
    door.unbind(local);
    door.unmapStorePage(end.domid);
    host.core.settle();
    expect(host.core.hypervisor.domains.byId(end.domid)).toBeUndefined();
  });
});
