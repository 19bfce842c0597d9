// Random sequences of hypercalls, sensible and senseless: the invariants hold after each, and nothing is left.

import { expect, it } from 'vitest';
import {
  __HYPERVISOR_xenolith_op,
  DOMID_SELF,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_set_priority,
  EVTCHNOP_unmask,
  evtchn_bind_ipi,
  evtchn_bind_vcpu,
  evtchn_expand_array,
  evtchn_init_control,
  evtchn_reset,
  evtchn_set_priority,
  evtchn_unmask,
  GNTTABOP_copy,
  GNTTABOP_swap_grant_ref,
  gnttab_copy,
  gnttab_swap_grant_ref,
  type Struct,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_resumedomain,
  XEN_DOMCTL_unpausedomain,
  XENMEM_decrease_reservation,
  XENMEM_populate_physmap,
  XENOLITH_INHERITED_mappings,
  XENOLITH_INHERITED_ports,
  XENOLITHOP_inherited,
  XENOLITHOP_pool_release,
  xen_memory_reservation,
  xenolith_inherited,
  xenolith_mapping,
  xenolith_pool_populate,
  xenolith_port,
} from '#pvbus';
import type { Domain } from '../../../hypervisor/domain.ts';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, type Guest } from '../../support/core-rig.ts';
import fc from '../../support/properties.ts';

const GUESTS = 3;
const PAGES = 16;
/** Small numbers, so that guests get in each other's way. */
interface Step {
  readonly what: number;
  readonly who: number;
  readonly peer: number;
  readonly x: number;
  readonly y: number;
  readonly z: number;
}
const step: fc.Arbitrary<Step> = fc.record({
  what: fc.nat(21),
  who: fc.nat(GUESTS),
  peer: fc.nat(GUESTS),
  x: fc.nat(PAGES),
  y: fc.nat(7),
  z: fc.nat(7),
});

class World {
  readonly rig = new CoreRig({ dom0Pages: 32, dom0Vcpus: 3 });
  readonly guests: Guest[] = [];
  bound = 0;
  mapped = 0;
  replaced = 0;
  switched = 0;
  constructor() {
    for (let i = 0; i < GUESTS; i++) this.guests.push(this.make());
  }
  /** The calls of the FIFO ABI, with frames that may be anything by now. */
  private fifo(a: Guest, x: number, y: number, z: number): number {
    const control = { control_gfn: x, offset: 72 * (z & 1), vcpu: z & 1 };
    if (z < 3) return a.evtchn(EVTCHNOP_init_control, a.reset().put(evtchn_init_control, control));
    if (z < 6) a.evtchn(EVTCHNOP_expand_array, a.reset().put(evtchn_expand_array, { array_gfn: x }));
    else a.evtchn(EVTCHNOP_set_priority, a.reset().put(evtchn_set_priority, { port: y, priority: x }));
    return -1;
  }
  private make(): Guest {
    return this.rig.guest({ pages: PAGES, vcpus: 2, maxMaptrackFrames: 1 });
  }
  /** dom0 is one of them. */
  pick(n: number): Guest {
    return n === GUESTS ? this.rig.dom0 : this.guests[n]!;
  }
  /** A thread of dom0 is gone and another one there; each of them finds its own and the others', all of them everything. */
  private replace(id: number): void {
    const { domain } = this.rig.dom0;
    this.rig.replaceThread(domain.vcpus[id]!);
    const all = (what: number, entry: Struct): number[] =>
      [0, 1, 2].flatMap(vcpu => this.listed(id, vcpu, what, entry)).sort((a, b) => a - b);
    const ports = all(XENOLITH_INHERITED_ports, xenolith_port);
    const handles = all(XENOLITH_INHERITED_mappings, xenolith_mapping);
    if (String(ports) !== String(openPorts(domain))) throw new Error(`ports ${ports}, not ${openPorts(domain)}`);
    if (String(handles) !== String(liveHandles(domain))) throw new Error(`handles ${handles}`);
    this.replaced++;
  }
  /** The first field of every entry: a port, or a handle. */
  private listed(asking: number, vcpu: number, what: number, entry: Struct): number[] {
    const { dom0 } = this.rig;
    dom0.vcpuId = asking;
    const room = 5;
    const found: number[] = [];
    for (let from = 0, first = true; first || from !== 0; first = false) {
      const list = dom0.reset().alloc(room * entry.size);
      const arg = dom0.put(xenolith_inherited, { what, from, nr: room, vcpu, list });
      if (dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_inherited, arg) !== 0) throw new Error('inherited');
      const n = dom0.get(xenolith_inherited, arg, 'nr');
      for (let i = 0; i < n; i++) found.push(dom0.view.getUint32(list + i * entry.size, true));
      from = dom0.get(xenolith_inherited, arg, 'from');
    }
    return found;
  }
  do({ what, who, peer, x, y, z }: Step): void {
    const a = this.pick(who);
    const b = this.pick(peer);
    if (a.domain.dying || b.domain.dying) return;
    this.rig.dom0.vcpuId = x % 3;
    switch (what) {
      case 0:
        a.allocUnbound(b.domid);
        break;
      case 1:
        if (a.bindInterdomain(b.domid, y) > 0) this.bound++;
        break;
      case 2:
        if (a.bindInterdomain(b.domid, b.allocUnbound(a.domid)) > 0) this.bound++;
        break;
      case 3:
        a.close(y);
        break;
      case 4:
        a.send(y);
        break;
      case 5:
        a.bindVirq(y, z & 1);
        break;
      case 6:
        a.evtchn(EVTCHNOP_bind_ipi, a.reset().put(evtchn_bind_ipi, { vcpu: z }));
        break;
      case 7:
        a.evtchn(EVTCHNOP_bind_vcpu, a.reset().put(evtchn_bind_vcpu, { port: y, vcpu: z & 1 }));
        break;
      case 8:
        a.evtchn(EVTCHNOP_unmask, a.reset().put(evtchn_unmask, { port: y }));
        break;
      case 9:
        a.poolPopulate(b.domid, x, 1 + (z & 3), y & 1);
        break;
      case 10:
        a.call(
          __HYPERVISOR_xenolith_op,
          XENOLITHOP_pool_release,
          a.reset().put(xenolith_pool_populate, {
            domid: DOMID_SELF,
            peer: b.domid,
            flags: y & 1,
            gfn: x,
            nr_frames: 1 + (z & 3),
          }),
        );
        break;
      case 11:
        a.grant(y, b.domid, x, z & 4);
        break;
      case 12:
        b.poolPopulate(a.domid, x, 1, z & 1);
        b.grant(y, a.domid, x, z & 4);
        if (a.map(b.domid, y, 2 | (z & 4)).status === 0) this.mapped++;
        break;
      case 13:
        // dom0 outlives the others, and can give back by host address only what it mapped by one.
        if (a.map(b.domid, y, who === GUESTS ? 2 | (z & 4) : z).status === 0) this.mapped++;
        break;
      case 14:
        a.unmap(y, z & 1 ? 4096 : 0, 0);
        break;
      case 15: {
        const side = (guest: Guest, gref: boolean) =>
          gref ? { u: { ref: y }, domid: guest.domid, offset: x } : { u: { gmfn: x }, domid: DOMID_SELF, offset: y };
        const fields = { source: side(b, (z & 1) !== 0), dest: side(b, (z & 2) !== 0), len: 100 * z, flags: z & 3 };
        a.gnttab(GNTTABOP_copy, a.reset().put(gnttab_copy, fields), 1);
        break;
      }
      case 16: {
        const list = a.reset().putU64s([x, y]);
        const op = z & 1 ? XENMEM_decrease_reservation : XENMEM_populate_physmap;
        const arg = a.put(xen_memory_reservation, { extent_start: list, nr_extents: 2, domid: DOMID_SELF });
        a.memory(op, arg);
        break;
      }
      case 17:
        a.gnttab(GNTTABOP_swap_grant_ref, a.reset().put(gnttab_swap_grant_ref, { ref_a: y, ref_b: z }), 1);
        break;
      case 18:
        if (z === 0) a.evtchn(EVTCHNOP_reset, a.reset().put(evtchn_reset, { dom: DOMID_SELF }));
        else if (z === 1) this.rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, a.domid);
        else if (z === 2) this.rig.dom0.reset().domctl(XEN_DOMCTL_unpausedomain, a.domid);
        else if (z === 3) this.rig.dom0.reset().domctl(XEN_DOMCTL_resumedomain, a.domid);
        else if (z === 4 && who < GUESTS) this.rig.hypervisor.domainExited(a.domid, { code: 1 });
        break;
      case 19:
        this.replace(z % 3);
        break;
      case 20:
        if (this.fifo(a, x, y, z) === 0) this.switched++;
        break;
      default:
        if (who === GUESTS || z > 2) break;
        this.rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, a.domid);
        // Sometimes another takes its place at once, while it is still dying.
        if (z === 0) this.rig.settle();
        this.guests[who] = this.make();
    }
  }
}

/** Open ports and live handles: what the vCPUs of dom0 list between them must be all there is. */
function openPorts({ ports }: Domain): number[] {
  return Array.from({ length: ports.used }, (_, port) => port).filter(port => ports.opened(port) !== undefined);
}
function liveHandles({ grants }: Domain): number[] {
  return Array.from({ length: grants.handleEnd }, (_, i) => i).filter(i => grants.granterOf(i) !== undefined);
}

it('invariants hold after every step of any sequence, and everything is given back at the end', () => {
  let bound = 0;
  let mapped = 0;
  let replaced = 0;
  let switched = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), steps => {
      const world = new World();
      const { rig } = world;
      const { hypervisor } = rig;
      for (const s of steps) {
        world.do(s);
        checkInvariants(hypervisor);
      }
      for (const guest of world.guests) rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
      rig.settle();
      for (let handle = 0; handle < rig.dom0.domain.grants.handleEnd; handle++) rig.dom0.unmap(handle);
      rig.dom0.evtchn(EVTCHNOP_reset, rig.dom0.reset().put(evtchn_reset, { dom: DOMID_SELF }));
      rig.settle();
      checkInvariants(hypervisor);
      expect(hypervisor.domains.list()).toEqual([rig.dom0.domain]);
      expect(hypervisor.doorbells.size).toBe(0);
      for (const pool of hypervisor.pools.list()) expect(pool.granter).toBe(rig.dom0.domain);
      expect(hypervisor.timersPending).toBe(0);
      bound += world.bound;
      mapped += world.mapped;
      replaced += world.replaced;
      switched += world.switched;
      expect(rig.dom0.domain.ports.open).toBe(0);
      expect(rig.internalErrors).toEqual([]);
    }),
    { numRuns: 60 },
  );
  // The sequences did what they are about.
  expect(bound).toBeGreaterThan(10);
  expect(mapped).toBeGreaterThan(10);
  expect(replaced).toBeGreaterThan(10);
  expect(switched).toBeGreaterThan(10);
});
