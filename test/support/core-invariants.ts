// What must hold in the hypervisor after every hypercall, whatever the guests did. Throws, naming what does not.
import {
  EVTCHN_2L_NR_CHANNELS,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
} from '#pvbus';
import type { Domain } from '../../hypervisor/domain.ts';
import type { Hypervisor } from '../../hypervisor/hypervisor.ts';
import { FRAME_POOL, FRAME_RAM } from '../../hypervisor/memory.ts';

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`invariant broken: ${what}`);
}

export function checkInvariants(hypervisor: Hypervisor): void {
  const domains = hypervisor.domains.list();
  for (const domain of domains) {
    checkPorts(domain);
    checkHears(domain);
    checkMemory(domain);
  }
  checkGrants(domains);
  checkPools(hypervisor, domains);
  const allocated = domains.reduce((n, domain) => n + domain.totPages, 0);
  must(
    hypervisor.host.freePages + allocated === hypervisor.host.totalPages,
    `${hypervisor.host.freePages} pages free and ${allocated} allocated of ${hypervisor.host.totalPages}`,
  );
}

function checkPorts(domain: Domain): void {
  let open = 0;
  let firstClosed = domain.ports.used;
  for (let port = 1; port < domain.ports.used; port++) {
    const here = domain.ports.at(port);
    if (here.state === EVTCHNSTAT_closed) {
      firstClosed = Math.min(firstClosed, port);
      must(
        here.pair === undefined && here.remote === undefined,
        `closed port ${port} of dom${domain.domid} has an end`,
      );
      continue;
    }
    open++;
    if (here.state !== EVTCHNSTAT_interdomain) {
      must(here.pair === undefined, `port ${port} of dom${domain.domid} has a slot and no peer`);
      continue;
    }
    const there = here.remote!.ports.at(here.remotePort);
    const name = `port ${port} of dom${domain.domid} and ${here.remotePort} of dom${here.remoteDomid}`;
    must(!here.remote!.gone, `${name}: the peer is gone`);
    must(there.remote === domain && there.remotePort === port, `${name} do not point at each other`);
    must(here.local === there.local, `${name}: only one end is local`);
    // Without a page the slot is what the last binding left.
    must(
      here.pair === there.pair && (here.pair === undefined || here.slot === there.slot),
      `${name} have different slots`,
    );
  }
  must(domain.ports.open === open, `dom${domain.domid} counts ${domain.ports.open} open ports and has ${open}`);
  // A port in a queue of the guest's is not free, whatever its state.
  if (domain.eventAbi.nrPorts !== EVTCHN_2L_NR_CHANNELS) return;
  const lowest = domain.ports.lowestFree();
  must(lowest === 0 || lowest === firstClosed, `dom${domain.domid}: lowest free port ${lowest}, not ${firstClosed}`);
}

function checkHears(domain: Domain): void {
  const slots = new Map<Domain, number>();
  const hears = domain.vcpus.map(() => new Map<Domain, number>());
  const local = domain.vcpus.map(() => 0);
  for (let port = 1; port < domain.ports.used; port++) {
    const here = domain.ports.at(port);
    if (here.local) local[here.notify_vcpu]!++;
    must(
      !here.local || (here.remote === domain && here.pair === undefined),
      `local port ${port} of dom${domain.domid}`,
    );
    if (here.pair === undefined) continue;
    const peer = here.remote!;
    slots.set(peer, (slots.get(peer) ?? 0) + 1);
    const heard = hears[here.notify_vcpu]!;
    heard.set(peer, (heard.get(peer) ?? 0) + 1);
  }
  for (const [peer, pair] of domain.doorbells)
    must(pair.usedSlots === (slots.get(peer) ?? 0), `slots of dom${domain.domid} and dom${peer.domid}`);
  domain.vcpus.forEach((vcpu, id) => {
    must(vcpu.localChannels === local[id]!, `dom${domain.domid} vcpu${id} hears ${vcpu.localChannels} local channels`);
    must(vcpu.hears.size === hears[id]!.size, `dom${domain.domid} vcpu${id} hears ${vcpu.hears.size} peers`);
    for (const [peer, n] of hears[id]!)
      must(vcpu.hears.get(peer) === n, `dom${domain.domid} vcpu${id} and dom${peer.domid}`);
  });
}

function checkMemory(domain: Domain): void {
  if (!domain.hasMemory || domain.dying) return;
  let pages = 0;
  for (let gfn = 0; gfn < domain.layout.maxPages; gfn++) {
    const kind = domain.physmap.kind(gfn);
    if (kind === FRAME_RAM || kind === FRAME_POOL) pages++;
    must(
      (kind === FRAME_POOL) === (domain.physmap.poolAt(gfn) !== undefined),
      `dom${domain.domid}: kind of gfn ${gfn}`,
    );
  }
  must(pages === domain.totPages, `dom${domain.domid} counts ${domain.totPages} pages and has ${pages}`);
}

function checkGrants(domains: readonly Domain[]): void {
  // Pins, counted from the mappers' side: four counters of 8 bits, as in an active entry.
  const pins = new Map<Domain, Map<number, number>>();
  for (const mapper of domains) {
    let live = 0;
    for (let handle = 0; handle < mapper.grants.handleEnd; handle++) {
      const granter = mapper.grants.granterOf(handle);
      if (granter === undefined) continue;
      live++;
      must(!granter.gone, `dom${mapper.domid} has a mapping of dom${granter.domid}, which is gone`);
      const kind = mapper.grants.kindOf(handle);
      const write = (kind & GNTMAP_readonly) === 0 ? 8 : 0;
      let pin = 0;
      if ((kind & GNTMAP_device_map) !== 0) pin += 2 ** write;
      if ((kind & GNTMAP_host_map) !== 0) pin += 2 ** (16 + write);
      must(pin !== 0, `handle ${handle} of dom${mapper.domid} maps nothing`);
      const refs = pins.get(granter) ?? new Map<number, number>();
      pins.set(granter, refs);
      const ref = mapper.grants.refOf(handle);
      refs.set(ref, (refs.get(ref) ?? 0) + pin);
      must(granter.grants.mapperOf(ref) === mapper, `gref ${ref} of dom${granter.domid} is another's`);
    }
    must(
      live === mapper.grants.mappings,
      `dom${mapper.domid} counts ${mapper.grants.mappings} mappings and has ${live}`,
    );
  }
  for (const granter of domains) {
    const refs = pins.get(granter) ?? new Map<number, number>();
    must(
      granter.grants.pinned === refs.size,
      `dom${granter.domid}: ${granter.grants.pinned} entries pinned, not ${refs.size}`,
    );
    for (const [ref, n] of refs) must(granter.grants.pinsOf(ref) === n, `pins of gref ${ref} of dom${granter.domid}`);
  }
}

function checkPools(hypervisor: Hypervisor, domains: readonly Domain[]): void {
  for (const pool of hypervisor.pools.list()) {
    const { granter } = pool;
    if (granter.dying) continue;
    const pages = new Set<number>();
    for (let gfn = 0; gfn < granter.layout.maxPages; gfn++)
      if (granter.physmap.poolAt(gfn) === pool) pages.add(granter.physmap.poolPageAt(gfn));
    must(pages.size === pool.usedPages, `pool ${pool.id} counts ${pool.usedPages} pages and has ${pages.size}`);
    must(domains.includes(granter), `pool ${pool.id} of a domain that is gone`);
    const pinned = new Set<number>();
    for (let ref = 0; ref < granter.grants.entries; ref++)
      if (granter.grants.pinsOf(ref) !== 0 && granter.grants.poolOf(ref) === pool)
        pinned.add(granter.physmap.poolPageAt(granter.grants.gfnOf(ref)));
    must(pinned.size === pool.pinnedPages, `pool ${pool.id}: ${pool.pinnedPages} pages in use, not ${pinned.size}`);
    for (const page of pinned) must(pages.has(page) && pool.pinnedAt(page), `pool ${pool.id}: page ${page}`);
  }
}
