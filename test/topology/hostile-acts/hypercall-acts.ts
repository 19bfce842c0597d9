// Acts of a guest against the hypervisor, numbered as in docs/hostile-acts.md.
import {
  __HYPERVISOR_domctl,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_platform_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_xenolith_op,
  DOMID_SELF,
  domid,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_status,
  EVTCHNSTAT_interdomain,
  errnoName,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_reset,
  evtchn_send,
  evtchn_status,
  GNTMAP_host_map,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  gntstName,
  gnttab_copy,
  gnttab_copy_ptr,
  gnttab_map_grant_ref,
  gnttab_unmap_grant_ref,
  gref,
  koffi,
  MEMOP_EXTENT_SHIFT,
  PAGE_SIZE,
  SCHEDOP_poll,
  SCHEDOP_yield,
  type Struct,
  sched_poll,
  shared_info,
  type Vcpu,
  VIRQ_DEBUG,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_SYSCTL_INTERFACE_VERSION,
  XENMEM_exchange,
  XENMEM_populate_physmap,
  XENOLITHOP_pool_populate,
  xen_domctl,
  xen_memory_exchange,
  xen_memory_reservation,
  xen_sysctl,
  xenolith_pool_populate,
} from '#pvbus';
import { sendDescriptors } from './descriptors.ts';
import { HandTrap } from './hand-trap.ts';
import type { Acts } from './performer.ts';

const errno = (rc: number): string => (rc < 0 ? errnoName(-rc) : 'ok');
/** How often each of them came. */
function tally(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** A struct of scalars in argument memory. */
function put(vcpu: Vcpu, s: Struct, fields: Record<string, number>): number {
  const at = vcpu.scratch.alloc(s.size);
  const { view } = vcpu.scratch;
  for (const [field, value] of Object.entries(fields)) {
    const where = at + s.at[field]!;
    if (s.fields[field] === 'u64') view.setBigUint64(where, BigInt.asUintN(64, BigInt(value)), true);
    else if (s.fields[field] === 'u16') view.setUint16(where, value, true);
    else view.setUint32(where, value >>> 0, true);
  }
  return at;
}
const evtchn = (vcpu: Vcpu, cmd: number, s: Struct, fields: Record<string, number>): number => {
  vcpu.scratch.reset();
  return vcpu.hypercall(__HYPERVISOR_event_channel_op, cmd, put(vcpu, s, fields));
};
const libc = () => koffi.load('libc.so.6');
/** More than a domain's process has. */
const DESCRIPTORS = 256;
/** More than a socket's queue holds. */
const SENDS = 10_000;
/** A reset of so many has its slices. */
const MANY_PORTS = 3000;
const MOST_TRIES = 200;
/** Copies of one call, and how often that is made. */
const [COPIES, CALLS] = [500, 200];
/** So far beyond its page would such a copy write. */
const BEYOND = 64;
const DOMIDS = [0x7ff0, 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 65535, 4242];

export const hypercallActs: Acts = {
  42: ({ vcpu }) => {
    const ports: number[] = [];
    let rc = 0;
    for (;;) {
      vcpu.scratch.reset();
      const at = put(vcpu, evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: 0 });
      rc = vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, at);
      if (rc < 0 || ports.length > 5000) break;
      ports.push(vcpu.scratch.view.getUint32(at + evtchn_alloc_unbound.at.port, true));
    }
    const virq = evtchn(vcpu, EVTCHNOP_bind_virq, evtchn_bind_virq, { virq: VIRQ_DEBUG, vcpu: 0 });
    for (let i = 0; i < 100; i++) evtchn(vcpu, EVTCHNOP_bind_virq, evtchn_bind_virq, { virq: VIRQ_DEBUG, vcpu: 0 });
    for (const port of ports) evtchn(vcpu, EVTCHNOP_close, evtchn_close, { port });
    return { alloc: errno(rc), virq: errno(virq), all: ports.length > 4000 };
  },
  /**
   * Offers ports to another domain, which binds them all the while, and resets, by one vCPU and by two at once. Its console is gone
   * with them.
   */
  43: ({ vcpu, kernel, lastWords }, peer) => {
    const resets: string[] = [];
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 16; i++)
        evtchn(vcpu, EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: Number(peer) });
      vcpu.block(kernel.clock.now() + 1e6); // by no timer: its port is gone as well
      resets.push(errno(evtchn(vcpu, EVTCHNOP_reset, evtchn_reset, { dom: DOMID_SELF })));
    }
    const [first, second] = [new HandTrap(vcpu), new HandTrap(vcpu, 1)];
    /** What comes of a reset, and of what the other vCPU asks in the middle of it. */
    const beside = (cmd: number, s: Struct, fields: Record<string, number>): [string, string] => {
      for (let i = 0; i < MANY_PORTS; i++)
        evtchn(vcpu, EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: Number(peer) });
      vcpu.scratch.reset();
      const reset = put(vcpu, evtchn_reset, { dom: DOMID_SELF });
      const other = put(vcpu, s, fields);
      first.post(__HYPERVISOR_event_channel_op, EVTCHNOP_reset, reset);
      second.post(__HYPERVISOR_event_channel_op, cmd, other);
      return [errno(first.during(() => {})), errno(second.during(() => {}))];
    };
    const busy = new Set<string>();
    const late = new Set<string>();
    // The hypervisor may have been done with the one before it saw the other: again, then.
    for (let tries = 0; !busy.has('EBUSY') && tries < MOST_TRIES; tries++)
      busy.add(beside(EVTCHNOP_reset, evtchn_reset, { dom: DOMID_SELF })[1]);
    for (let tries = 0; !late.has('EAGAIN') && tries < MOST_TRIES; tries++)
      late.add(beside(EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: Number(peer) })[0]);
    return lastWords({ resets: tally(resets), second: busy.has('EBUSY'), late: late.has('EAGAIN') });
  },
  /** Binds whatever another domain offers, over and over, until that is gone; what is left of it then. */
  bind: async ({ vcpu, until }, other) => {
    const answers: string[] = [];
    const mine = new Set<number>();
    const bind = (port: number): number => {
      vcpu.scratch.reset();
      const at = put(vcpu, evtchn_bind_interdomain, { remote_dom: Number(other), remote_port: port });
      const rc = vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, at);
      if (rc === 0) mine.add(vcpu.scratch.view.getUint32(at + evtchn_bind_interdomain.at.local_port, true));
      return rc;
    };
    await until('the other one is gone', () => {
      const said = Array.from({ length: 32 }, (_, i) => errno(bind(i + 1)));
      answers.push(...said);
      return said.every(word => word === 'ESRCH');
    });
    const connected = [...mine].filter(port => {
      vcpu.scratch.reset();
      const at = put(vcpu, evtchn_status, { dom: DOMID_SELF, port });
      vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, at);
      return vcpu.scratch.view.getUint32(at + evtchn_status.at.status, true) === EVTCHNSTAT_interdomain;
    });
    for (const port of mine) evtchn(vcpu, EVTCHNOP_close, evtchn_close, { port });
    return { answers: tally(answers), bound: mine.size, connected: connected.length };
  },
  44: ({ vcpu }) => {
    const poll = (ports: readonly number[], timeout: number): string => {
      const { scratch } = vcpu;
      const list = scratch.reset().alloc(4 * Math.max(1, ports.length));
      for (const [i, port] of ports.entries()) scratch.view.setUint32(list + 4 * i, port, true);
      const at = put(vcpu, sched_poll, { ports: list, nr_ports: ports.length, timeout });
      return errno(vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, at));
    };
    const many = Array.from({ length: 129 }, () => 1);
    for (let i = 0; i < 100; i++) poll(many, 1);
    return { many: poll(many, 1), bad: poll([4096], 1), worst: poll([2 ** 32 - 1], 1), soon: poll([4000], 1) };
  },
  /** All of shared_info, the vcpu_info in it too: no word of this domain's events is right any more. */
  45: ({ vcpu, kernel, lastWords }) => {
    const { words } = vcpu.memory.page(vcpu.layout.sharedInfo);
    const answers: string[] = [];
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < shared_info.size / 4; i++) words[i] = Math.random() * 2 ** 32;
      vcpu.events.notify(kernel.info.console.port);
      answers.push(errno(vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield)));
    }
    return lastWords({ words: shared_info.size / 4, answers: tally(answers) });
  },
  48: ({ vcpu }) => {
    const { scratch } = vcpu;
    const handles = [0, 7, 2 ** 31, 2 ** 32 - 1];
    const ask = (): string[] => {
      const { size, at } = gnttab_unmap_grant_ref;
      const base = scratch.reset().alloc(size * handles.length);
      handles.forEach((handle, i) => {
        scratch.view.setBigUint64(base + i * size + at.host_addr, 4096n, true);
        scratch.view.setUint32(base + i * size + at.handle, handle, true);
      });
      vcpu.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, base, handles.length);
      return handles.map((_, i) => gntstName(scratch.view.getInt16(base + i * size + at.status, true)));
    };
    for (let i = 0; i < 50; i++) ask();
    return { statuses: tally(ask()) };
  },
  49: ({ vcpu }) => {
    const own = { gfn: 1, offset: 0 };
    const theirs = { domid: domid(0), ref: gref(600), offset: 0 };
    const ops = [
      { source: own, dest: { gfn: 2, offset: 0 }, length: 4097 },
      { source: own, dest: { gfn: 2, offset: 1 }, length: 4096 },
      { source: own, dest: { gfn: 2, offset: 0 }, length: 65535 },
      { source: theirs, dest: { gfn: 2, offset: 0 }, length: 64 },
      { source: { gfn: 2 ** 30, offset: 0 }, dest: { gfn: 2, offset: 0 }, length: 64 },
    ];
    for (let i = 0; i < 40; i++) vcpu.grants.copy(ops);
    return { statuses: vcpu.grants.copy(ops).map(gntstName) };
  },
  /** The destination of copies is in its page and reaches beyond it, by turns, while they are made. */
  50: async ({ vcpu, until }) => {
    const { memory, scratch, frames, grants } = vcpu;
    const { size, at } = gnttab_copy;
    const [from, to] = [frames.alloc(1), frames.alloc(2)];
    memory.page(from).bytes.fill(1);
    const [page, behind] = [memory.page(to).bytes, memory.page(to + 1).bytes];
    behind.fill(0);
    const offset = at.dest + gnttab_copy_ptr.at.offset;
    const trap = new HandTrap(vcpu);
    const statuses = new Set<string>();
    let calls = 0;
    await until('each is found, by turns', () => {
      const base = scratch.reset().alloc(size * COPIES);
      const { view } = scratch;
      for (let i = 0; i < COPIES; i++) {
        const arg = base + i * size;
        for (const [side, gfn] of [
          [at.source, from],
          [at.dest, to],
        ] as const) {
          view.setBigUint64(arg + side, BigInt(gfn), true);
          view.setUint16(arg + side + gnttab_copy_ptr.at.domid, DOMID_SELF, true);
        }
        view.setUint16(arg + at.len, PAGE_SIZE, true);
      }
      trap.post(__HYPERVISOR_grant_table_op, GNTTABOP_copy, base, COPIES);
      let turn = 0;
      trap.during(() => {
        turn ^= BEYOND;
        for (let arg = base + offset; arg < base + COPIES * size; arg += size) view.setUint16(arg, turn, true);
      });
      for (let i = 0; i < COPIES; i++) statuses.add(gntstName(view.getInt16(base + i * size + at.status, true)));
      return ++calls >= CALLS && statuses.size > 1;
    });
    const [honest] = grants.copy([
      { source: { gfn: from, offset: 0 }, dest: { gfn: to, offset: 0 }, length: PAGE_SIZE },
    ]);
    const beyond = behind.filter(byte => byte !== 0).length;
    const whole = page.every(byte => byte === 1);
    frames.free(from, 1);
    frames.free(to, 2);
    return { statuses: [...statuses].sort(), beyond, whole, honest: gntstName(honest!) };
  },
  51: ({ vcpu }) => {
    const { scratch } = vcpu;
    scratch.reset();
    const forged = put(vcpu, xen_memory_reservation, { nr_extents: 4, domid: DOMID_SELF });
    const start = vcpu.hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap + (9 << MEMOP_EXTENT_SHIFT), forged);
    scratch.reset();
    const exchange = scratch.alloc(xen_memory_exchange.size);
    for (const side of ['in', 'out'] as const) {
      scratch.view.setBigUint64(
        exchange + xen_memory_exchange.at[side] + xen_memory_reservation.at.nr_extents,
        1n,
        true,
      );
      scratch.view.setUint16(
        exchange + xen_memory_exchange.at[side] + xen_memory_reservation.at.domid,
        DOMID_SELF,
        true,
      );
    }
    scratch.view.setBigUint64(exchange + xen_memory_exchange.at.nr_exchanged, 2n ** 40n, true);
    const ask = (): number => vcpu.hypercall(__HYPERVISOR_memory_op, XENMEM_exchange, exchange);
    for (let i = 0; i < 100; i++) ask();
    return { start, exchange: errno(ask()) };
  },
  52: ({ vcpu }) => {
    const answers: string[] = [];
    for (let cmd = 0; cmd < 256; cmd++) {
      vcpu.scratch.reset();
      const version = { interface_version: XEN_DOMCTL_INTERFACE_VERSION, cmd };
      answers.push(errno(vcpu.hypercall(__HYPERVISOR_domctl, put(vcpu, xen_domctl, { ...version, domain: 0 }))));
      vcpu.scratch.reset();
      const asked = { interface_version: XEN_SYSCTL_INTERFACE_VERSION, cmd };
      answers.push(errno(vcpu.hypercall(__HYPERVISOR_sysctl, put(vcpu, xen_sysctl, asked))));
      answers.push(errno(vcpu.hypercall(__HYPERVISOR_platform_op, vcpu.scratch.reset().alloc(256))));
    }
    return { answers: tally(answers) };
  },
  53: ({ vcpu }) => {
    const answers: string[] = [];
    for (const id of DOMIDS) {
      const self = id === DOMID_SELF;
      const say = (rc: number): void => void answers.push(rc < 0 ? 'refused' : self ? 'itself' : `domid ${id}: ${rc}`);
      say(evtchn(vcpu, EVTCHNOP_status, evtchn_status, { dom: id, port: 1 }));
      say(evtchn(vcpu, EVTCHNOP_bind_interdomain, evtchn_bind_interdomain, { remote_dom: id, remote_port: 1 }));
      if (!self) say(evtchn(vcpu, EVTCHNOP_reset, evtchn_reset, { dom: id }));
      vcpu.scratch.reset();
      const memory = put(vcpu, xen_memory_reservation, { nr_extents: 1, domid: id });
      if (!self) say(vcpu.hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, memory) === 0 ? -1 : 1);
      vcpu.scratch.reset();
      const map = put(vcpu, gnttab_map_grant_ref, { host_addr: 4096, flags: GNTMAP_host_map, ref: 8, dom: id });
      vcpu.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, map, 1);
      say(vcpu.scratch.view.getInt16(map + gnttab_map_grant_ref.at.status, true));
      vcpu.scratch.reset();
      const pool = put(vcpu, xenolith_pool_populate, { domid: id, peer: id, gfn: 2 ** 31, nr_frames: 1 });
      say(vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_pool_populate, pool));
    }
    for (let i = 0; i < 100; i++) evtchn(vcpu, EVTCHNOP_send, evtchn_send, { port: 4095 });
    return { strange: answers.filter(answer => answer.startsWith('domid')), refused: answers.includes('refused') };
  },
  /** Bytes and descriptors at the hypervisor's end of the control socket, until it takes no more. */
  54: ({ vcpu, controlFd }) => {
    const send = (bytes: number, fds: number): number => sendDescriptors(controlFd, bytes, fds, controlFd);
    const sends = [0, 1, 7, 23, 24, 25, 4096, 65536].map(length => send(length, 0));
    for (const fds of [1, 2, 64, 253, 254]) sends.push(send(24, fds));
    while (sends.length < SENDS && sends.at(-1)! >= 0) sends.push(send(24, 0)); // the filter off, until its queue is full
    // The hypervisor reads none of it, and serves this vCPU as before.
    const rc = evtchn(vcpu, EVTCHNOP_status, evtchn_status, { dom: DOMID_SELF, port: 1 });
    return { tried: sends.length, last: errno(sends.at(-1)!), served: errno(rc) };
  },
  /** Whatever this process has open: smaller, and larger. */
  55: () => {
    const ftruncate = libc().func('int ftruncate(int, long)');
    const lseek = libc().func('long lseek(int, long, int)');
    let [tried, changed] = [0, 0];
    for (let fd = 0; fd < DESCRIPTORS; fd++) {
      const size = Number(lseek(fd, 0, 2));
      if (size <= 0) continue;
      tried++;
      for (const to of [0, 4096, size * 2]) if (ftruncate(fd, to) === 0) changed++;
    }
    return { some: tried > 0, changed };
  },
  /** The same anew, for writing. */
  56: () => {
    const open = libc().func('int open(const char *, int)');
    let [tried, opened] = [0, 0];
    for (let fd = 0; fd < DESCRIPTORS; fd++, tried++) if (open(`/proc/self/fd/${fd}`, 2) >= 0) opened++;
    return { tried, opened };
  },
  /** As many as the others make, and all of them allowed. */
  'honest guest': ({ vcpu }) => {
    const own = { gfn: 1, offset: 0 };
    let refused = 0;
    for (let i = 0; i < 2000; i++) {
      vcpu.scratch.reset();
      const at = put(vcpu, evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: 0 });
      if (vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, at) < 0) refused++;
      const port = vcpu.scratch.view.getUint32(at + evtchn_alloc_unbound.at.port, true);
      if (evtchn(vcpu, EVTCHNOP_close, evtchn_close, { port }) < 0) refused++;
    }
    for (let i = 0; i < 40; i++)
      for (const status of vcpu.grants.copy([{ source: own, dest: { gfn: 2, offset: 0 }, length: 4096 }]))
        if (status !== 0) refused++;
    return { refused };
  },
};
