// A hypercall's argument can be changed by another thread of the guest while the call runs (XSA-155 and its
// kind): what was checked must be what is used, so no byte of it may be read twice.

import { afterEach, expect, it } from 'vitest';
import {
  __HYPERVISOR_console_io,
  __HYPERVISOR_domctl,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
  __HYPERVISOR_xenolith_op,
} from '#pvbus';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

const GETTERS = ['getUint8', 'getUint16', 'getUint32', 'getInt16', 'getInt32'] as const;
const WIDTH = { getUint8: 1, getUint16: 2, getUint32: 4, getInt16: 2, getInt32: 4 } as const;
const restore: (() => void)[] = [];
afterEach(() => {
  for (const undo of restore.splice(0)) undo();
});

/** Bytes of the guest's memory that were read through a view, with how often, while `body` ran. */
function readsOf(guest: Guest, body: () => void): Map<number, number> {
  const reads = new Map<number, number>();
  const { buffer } = guest.view;
  for (const name of GETTERS) {
    const real = DataView.prototype[name];
    DataView.prototype[name] = function (this: DataView, at: number, little?: boolean): number {
      if (this.buffer === buffer) for (let i = 0; i < WIDTH[name]; i++) reads.set(at + i, (reads.get(at + i) ?? 0) + 1);
      return real.call(this, at, little);
    };
    restore.push(() => {
      DataView.prototype[name] = real;
    });
  }
  try {
    body();
  } finally {
    for (const undo of restore.splice(0)) undo();
  }
  return reads;
}

const CALLS: readonly [name: string, nr: number, cmds: number, at: number, extra?: number][] = [
  ['event_channel_op', __HYPERVISOR_event_channel_op, 14, 1],
  ['grant_table_op', __HYPERVISOR_grant_table_op, 13, 1, 1],
  ['memory_op', __HYPERVISOR_memory_op, 29, 1],
  ['sched_op', __HYPERVISOR_sched_op, 8, 1],
  ['vcpu_op', __HYPERVISOR_vcpu_op, 16, 2],
  ['xen_version', __HYPERVISOR_xen_version, 15, 1],
  ['console_io', __HYPERVISOR_console_io, 2, 2],
  ['multicall', __HYPERVISOR_multicall, 1, 0],
  ['xenolith_op', __HYPERVISOR_xenolith_op, 3, 1],
  ['domctl', __HYPERVISOR_domctl, 90, 0],
  ['sysctl', __HYPERVISOR_sysctl, 30, 0],
];

for (const [name, nr, cmds, at, extra] of CALLS) {
  for (const fill of [0, 1, 2, 5]) {
    it(`${name} reads no byte of its argument twice, of a ${fill} in each word (act 50)`, () => {
      for (let cmd = 0; cmd < cmds; cmd++) {
        const rig = new CoreRig({ dom0Pages: 32, dom0Vcpus: 2, hostPages: 1000 });
        const peer = rig.guest({ pages: 8 });
        const guest = rig.dom0;
        peer.allocUnbound(0);
        guest.allocUnbound(peer.domid);
        guest.bindVirq(0);
        const arg = guest.reset().alloc(256);
        const list = guest.alloc(256);
        for (let i = 0; i < 32; i++) guest.view.setUint32(arg + 8 * i, fill, true);
        // A pointer where the structs of most calls have one.
        if (fill === 2) guest.view.setUint32(arg, list, true);
        if (nr === __HYPERVISOR_domctl || nr === __HYPERVISOR_sysctl) {
          guest.view.setUint32(arg, cmd, true);
          guest.view.setUint32(arg + 4, 0x15, true);
          guest.view.setUint32(arg + 8, fill, true);
        }
        const args =
          at === 0 ? [arg, 1] : at === 1 ? [cmd, arg, extra ?? 0] : [cmd, nr === __HYPERVISOR_vcpu_op ? 0 : 16, arg];
        const reads = readsOf(guest, () => {
          if (guest.trap(nr, ...args) === DEFERRED) guest.vcpu.finish(0);
        });
        const twice = [...reads].filter(([byte, n]) => n > 1 && byte >= arg && byte < list + 256);
        expect(twice, `${name} ${cmd} with ${fill}`).toEqual([]);
      }
    });
  }
}
