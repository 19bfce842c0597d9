// Xen: public/version.h, console_io and multicall of public/xen.h; the rows X1 to X8 and C1 to C4.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_set_timer_op,
  __HYPERVISOR_xen_version,
  CONSOLEIO_read,
  CONSOLEIO_write,
  EVTCHNOP_alloc_unbound,
  evtchn_alloc_unbound,
  getI64,
  multicall_entry,
  SCHEDOP_block,
  SCHEDOP_yield,
  VIRQ_TIMER,
  XEN_DOMCTL_setdomainhandle,
  XEN_E2BIG,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOBUFS,
  XEN_ENODATA,
  XEN_ENOSYS,
  XEN_EPERM,
  XENFEAT_auto_translated_physmap,
  XENFEAT_dom0,
  XENVER_build_id,
  XENVER_capabilities,
  XENVER_changeset,
  XENVER_commandline,
  XENVER_commandline2,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_extraversion2,
  XENVER_get_features,
  XENVER_guest_handle,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
  xen_build_id,
  xen_compile_info,
  xen_domctl_setdomainhandle,
  xen_feature_info,
  xen_platform_parameters,
} from '#pvbus';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

let rig: CoreRig;
let a: Guest;

beforeEach(() => {
  rig = new CoreRig({ build: { commandLine: 'dom0_mem=16M', changeset: 'abc', extraversion: '.9-x' } });
  a = rig.guest();
});

describe('xen_version', () => {
  const version = (guest: Guest, cmd: number, arg = 0) => guest.call(__HYPERVISOR_xen_version, cmd, arg);
  const text = (guest: Guest, cmd: number, size: number) => {
    const at = guest.reset().alloc(size + 8);
    guest.bytes.fill(0xee, at, at + size + 8);
    expect(version(guest, cmd, at)).toBe(0);
    const bytes = guest.bytes.slice(at, at + size + 8);
    const end = bytes.indexOf(0);
    expect(bytes.subarray(end, size).every(byte => byte === 0)).toBe(true);
    expect(bytes.subarray(size).every(byte => byte === 0xee)).toBe(true);
    return Buffer.from(bytes.subarray(0, end)).toString();
  };
  it('X1 the version is major << 16 | minor of the interface', () => {
    expect(version(a, XENVER_version)).toBe((4 << 16) | 17);
  });
  it('X2 extraversion, capabilities and changeset are texts, padded with NULs', () => {
    expect(text(a, XENVER_extraversion, 16)).toBe('.9-x');
    expect(text(a, XENVER_capabilities, 1024)).toBe('xen-3.0-x86_64');
    expect(text(a, XENVER_changeset, 64)).toBe('abc');
    const at = a.reset().put(xen_compile_info);
    expect(version(a, XENVER_compile_info, at)).toBe(0);
    expect(Buffer.from(a.bytes.slice(at, at + 7)).toString()).toBe('Node.js');
    const parameters = a.put(xen_platform_parameters, { virt_start: 1 });
    expect(version(a, XENVER_platform_parameters, parameters)).toBe(0);
    expect(a.get(xen_platform_parameters, parameters, 'virt_start')).toBe(0);
  });
  it('X3 get_features has submap 0 only', () => {
    const ask = (guest: Guest, submap_idx: number) => {
      const at = guest.reset().put(xen_feature_info, { submap_idx });
      const rc = version(guest, XENVER_get_features, at);
      return rc < 0 ? rc : guest.get(xen_feature_info, at, 'submap');
    };
    expect(ask(a, 0) & (1 << XENFEAT_auto_translated_physmap)).not.toBe(0);
    expect(ask(a, 0) & (1 << XENFEAT_dom0)).toBe(0);
    expect(ask(rig.dom0, 0) & (1 << XENFEAT_dom0)).not.toBe(0);
    expect(ask(a, 1)).toBe(-XEN_EINVAL);
    expect(ask(a, 0xffffffff)).toBe(-XEN_EINVAL);
  });
  it('X4 pagesize is 4096, with an argument EINVAL', () => {
    expect(version(a, XENVER_pagesize)).toBe(4096);
    expect(version(a, XENVER_pagesize, 8)).toBe(-XEN_EINVAL);
  });
  it('X5 guest_handle is the uuid the toolstack gave', () => {
    const handle = Array.from({ length: 16 }, (_, i) => i * 3);
    rig.dom0.reset().domctl(XEN_DOMCTL_setdomainhandle, a.domid, xen_domctl_setdomainhandle, { handle });
    const at = a.reset().alloc(16);
    expect(version(a, XENVER_guest_handle, at)).toBe(0);
    expect([...a.bytes.slice(at, at + 16)]).toEqual(handle);
  });
  it('X6 the command line is denied to the unprivileged', () => {
    expect(text(a, XENVER_commandline, 1024)).toBe('<denied>');
    expect(text(rig.dom0, XENVER_commandline, 1024)).toBe('dom0_mem=16M');
  });
  it('X7 the buffers of variable length', () => {
    const ask = (guest: Guest, cmd: number, len: number) => {
      const at = guest.reset().put(xen_build_id, { len });
      guest.alloc(64);
      const rc = version(guest, cmd, at);
      return rc < 0 ? rc : Buffer.from(guest.bytes.slice(at + 4, at + 4 + rc)).toString();
    };
    expect(version(a, XENVER_extraversion2)).toBe(4);
    expect(ask(a, XENVER_extraversion2, 3)).toBe(-XEN_ENOBUFS);
    expect(ask(a, XENVER_extraversion2, 4)).toBe('.9-x');
    expect(ask(a, XENVER_extraversion2, 64)).toBe('.9-x');
    expect(ask(a, XENVER_commandline2, 64)).toBe(-XEN_EPERM);
    expect(ask(rig.dom0, XENVER_commandline2, 64)).toBe('dom0_mem=16M');
    expect(version(a, XENVER_build_id)).toBe(-XEN_EPERM);
    expect(version(rig.dom0, XENVER_build_id)).toBe(-XEN_ENODATA);
    const known = new CoreRig({ build: { buildId: new Uint8Array([1, 2, 3]) } });
    expect(version(known.dom0, XENVER_build_id)).toBe(3);
  });
  it('X8 a bad pointer is EFAULT, another command ENOSYS', () => {
    for (const cmd of [
      XENVER_extraversion,
      XENVER_compile_info,
      XENVER_capabilities,
      XENVER_changeset,
      XENVER_platform_parameters,
      XENVER_get_features,
      XENVER_guest_handle,
      XENVER_commandline,
      XENVER_extraversion2,
    ])
      expect(version(a, cmd, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(version(a, 15)).toBe(-XEN_ENOSYS);
    expect(version(a, -1)).toBe(-XEN_ENOSYS);
  });
});

describe('console_io', () => {
  const write = (guest: Guest, text: string) => {
    const at = guest.reset().alloc(Math.max(1, text.length));
    guest.bytes.set(Buffer.from(text, 'latin1'), at);
    return guest.consoleIo(CONSOLEIO_write, text.length, at);
  };
  it('C1 is EPERM for the unprivileged', () => {
    expect(write(a, 'hello\n')).toBe(-XEN_EPERM);
    expect(a.consoleIo(CONSOLEIO_read, 1, 0)).toBe(-XEN_EPERM);
    expect(a.consoleIo(99, 0, 0)).toBe(-XEN_EPERM);
  });
  it('C2 gathers lines, drops what is not printable, and flushes a full line', () => {
    expect(write(rig.dom0, 'half ')).toBe(0);
    expect(rig.log.lines).toEqual([]);
    expect(write(rig.dom0, 'a line\x1b[31m\x00\x07\x80\nnext')).toBe(0);
    expect(rig.log.lines).toEqual(['(d0) half a line[31m']);
    expect(write(rig.dom0, 'x'.repeat(2000))).toBe(0);
    expect(rig.log.lines[1]).toBe(`(d0) next${'x'.repeat(1018)}`);
  });
  it('C2 any count is safe', () => {
    for (const count of [0x80000000, 0xffffffff, 0x7fffffff, -1])
      expect(rig.dom0.consoleIo(CONSOLEIO_write, count, 0)).toBe(-XEN_EFAULT);
    expect(rig.dom0.consoleIo(CONSOLEIO_write, 5, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(rig.dom0.consoleIo(CONSOLEIO_write, 0, 2 ** 40)).toBe(0);
  });
  it('C3 read of more than INT_MAX is E2BIG, else what there is: nothing', () => {
    expect(rig.dom0.consoleIo(CONSOLEIO_read, 0x80000000, 0)).toBe(-XEN_E2BIG);
    expect(rig.dom0.consoleIo(CONSOLEIO_read, 100, 0)).toBe(0);
  });
  it('C4 other commands are ENOSYS', () => {
    expect(rig.dom0.consoleIo(2, 0, 0)).toBe(-XEN_ENOSYS);
  });
});

describe('multicall', () => {
  type Call = [op: number, ...args: number[]];
  const list = (guest: Guest, calls: readonly Call[]) =>
    guest.putMany(
      multicall_entry,
      calls.map(([op, ...args]) => ({ op, result: 0xdead, args })),
    );
  const resultOf = (guest: Guest, at: number, i: number) =>
    getI64(guest.view, at + i * multicall_entry.size + multicall_entry.at.result);

  it('each element has its own result, and the call is 0 although some failed', () => {
    const arg = a.reset().put(evtchn_alloc_unbound, { dom: 0x7ff0, remote_dom: 0 });
    const at = list(a, [
      [__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, arg],
      [__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, 2 ** 40],
      [99],
      [__HYPERVISOR_xen_version, XENVER_version],
      [__HYPERVISOR_multicall, 0, 0],
    ]);
    expect(a.call(__HYPERVISOR_multicall, at, 5)).toBe(0);
    expect([0, 1, 2, 3, 4].map(i => resultOf(a, at, i))).toEqual([
      0,
      -XEN_EFAULT,
      -XEN_ENOSYS,
      (4 << 16) | 17,
      -XEN_EINVAL,
    ]);
    expect(a.get(evtchn_alloc_unbound, arg, 'port')).toBe(1);
  });
  it('a list that cannot be read is EFAULT, an empty one 0', () => {
    expect(a.call(__HYPERVISOR_multicall, 2 ** 40, 1)).toBe(-XEN_EFAULT);
    expect(a.call(__HYPERVISOR_multicall, 0, 0xffffffff)).toBe(-XEN_EFAULT);
    expect(a.call(__HYPERVISOR_multicall, 2 ** 40, 0)).toBe(0);
  });
  it('an element that waits makes the call wait; the rest follows when it has its result', () => {
    const port = a.bindVirq(VIRQ_TIMER);
    const at = list(a.reset(), [
      [__HYPERVISOR_set_timer_op, rig.clock.now() + 100],
      [__HYPERVISOR_sched_op, SCHEDOP_block],
      [__HYPERVISOR_sched_op, SCHEDOP_yield],
      [99],
    ]);
    const results: number[] = [];
    a.vcpu.complete = result => results.push(result);
    expect(a.trap(__HYPERVISOR_multicall, at, 4)).toBe(DEFERRED);
    expect(resultOf(a, at, 1)).toBe(0xdead);
    rig.clock.advance(100);
    rig.settle();
    expect(a.pending(port)).toBe(true);
    expect(results).toEqual([0]);
    expect([1, 2, 3].map(i => resultOf(a, at, i))).toEqual([0, 0, -XEN_ENOSYS]);
  });
  it('a long list is done in slices', () => {
    const at = 0; // in the guest's own RAM
    for (let i = 0; i < 1000; i++) a.view.setBigUint64(at + i * 64, BigInt(99), true);
    expect(a.call(__HYPERVISOR_multicall, at, 1000)).toBe(0);
    expect([0, 127, 128, 999].map(i => resultOf(a, at, i))).toEqual(new Array(4).fill(-XEN_ENOSYS));
  });
});
