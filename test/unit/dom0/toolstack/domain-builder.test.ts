// The domain builder against the real hypervisor core, in one thread.

import { describe, expect, it } from 'vitest';
import {
  DOMID_SELF,
  type Domid,
  domain_control,
  domid,
  GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE,
  getU64,
  PAGE_SIZE,
  StartInfo,
  start_info,
  start_info_console_domU,
  XEN_SCHEDULER_CREDIT2,
  XENOLITH_IMAGE_MAGIC,
} from '#pvbus';
import { checkImageFits, loadDomain, makeRings } from '../../../../dom0/toolstack/domain-builder.ts';
import { Xc } from '../../../../dom0/toolstack/xc.ts';
import { XcScheduling } from '../../../../dom0/toolstack/xc-scheduling.ts';
import { CoreRig } from '../../../support/core-rig.ts';
import { UUID } from './domain-config.ts';

const PAGES = 1024;
const kernel = Buffer.from('the kernel '.repeat(1000));
const ramdisk = Buffer.from('the program');

type Image = Parameters<typeof makeRings>[2];

/** A domain with rings, and nothing in its memory yet. */
function ringsOnly(image: Image) {
  const rig = new CoreRig();
  const vcpu = rig.dom0.kernel(0);
  const xc = new Xc(vcpu);
  const id = xc.createDomain({
    uuid: UUID,
    maxVcpus: 1,
    maxGrantFrames: null,
    maxMaptrackFrames: null,
    maxEvtchnPort: null,
  });
  xc.maxVcpus(id, 1);
  xc.maxMem(id, PAGES * 4);
  xc.populatePhysmap(id, PAGES);
  return { rig, vcpu, xc, id, built: makeRings(xc, id, image) };
}

function build(image: Image = { kernel, ramdisk, cmdline: 'root=/dev/xvda a=b' }) {
  const { rig, vcpu, xc, id, built } = ringsOnly(image);
  loadDomain(xc, id, PAGES, image, built);
  const domain = rig.hypervisor.domains.byId(id)!;
  const control = domain.layout.control * PAGE_SIZE;
  const entry = getU64(domain.memory.view, control + domain_control.at.entry);
  const info = getU64(domain.memory.view, control + domain_control.at.start_info);
  const cString = (at: number): string => {
    const { bytes } = domain.memory;
    return Buffer.from(bytes.subarray(at, bytes.indexOf(0, at))).toString();
  };
  return { rig, vcpu, xc, id: id as Domid, built, domain, entry, info, cString, view: domain.memory.view };
}

describe('a domain that was built', () => {
  it('has its kernel, header and text, where vCPU 0 starts', () => {
    const { view, domain, entry } = build();
    expect(entry % PAGE_SIZE).toBe(0);
    expect(entry).not.toBe(0);
    expect(view.getUint32(entry, true)).toBe(XENOLITH_IMAGE_MAGIC);
    expect(view.getUint32(entry + 4, true)).toBe(kernel.length);
    expect(Buffer.from(domain.memory.bytes.slice(entry + 8, entry + 8 + kernel.length))).toEqual(kernel);
  });

  it('has a start_info that says what Xen says to a PV guest', () => {
    const { view, info, built, domain, cString } = build();
    const at = start_info.at;
    expect(cString(info + at.magic)).toBe('xen-3.0-x86_64');
    expect(getU64(view, info + at.nr_pages)).toBe(PAGES);
    expect(getU64(view, info + at.shared_info)).toBe(domain.layout.sharedInfo * PAGE_SIZE);
    expect(new StartInfo(view, info).flags).toBe(0);
    expect(getU64(view, info + at.store_mfn)).toBe(built.storeGfn);
    expect(new StartInfo(view, info).store_evtchn).toBe(built.storePort);
    expect(getU64(view, info + at.console)).toBe(built.consoleGfn);
    expect(view.getUint32(info + at.console + start_info_console_domU.at.evtchn, true)).toBe(built.consolePort);
    expect(cString(info + at.cmd_line)).toBe('root=/dev/xvda a=b');
    const start = getU64(view, info + at.mod_start);
    const length = getU64(view, info + at.mod_len);
    expect(Buffer.from(domain.memory.bytes.slice(start, start + length))).toEqual(ramdisk);
  });

  it('has no module when its config names none', () => {
    const { view, info } = build({ kernel, ramdisk: null, cmdline: '' });
    expect(getU64(view, info + start_info.at.mod_start)).toBe(0);
    expect(getU64(view, info + start_info.at.mod_len)).toBe(0);
  });

  it('keeps its parts on frames of their own, above frame 0', () => {
    const { view, entry, info, built } = build();
    const ranges = [
      [0, 1],
      [entry, entry + 8 + kernel.length].map(n => n / PAGE_SIZE),
      [getU64(view, info + start_info.at.mod_start), getU64(view, info + start_info.at.mod_start) + ramdisk.length].map(
        n => n / PAGE_SIZE,
      ),
      [info / PAGE_SIZE, info / PAGE_SIZE + 1],
      [built.storeGfn, built.storeGfn + 1],
      [built.consoleGfn, built.consoleGfn + 1],
    ].map(([from, to]) => [Math.floor(from!), Math.ceil(to!)] as const);
    for (const [i, a] of ranges.entries()) {
      for (const b of ranges.slice(i + 1)) expect(a[1] <= b[0] || b[1] <= a[0]).toBe(true);
      expect(a[1]).toBeLessThanOrEqual(PAGES);
    }
  });

  it.each([
    ['xenstore', GNTTAB_RESERVED_XENSTORE, 'storeGfn'],
    ['console', GNTTAB_RESERVED_CONSOLE, 'consoleGfn'],
  ] as const)('grants its %s page to dom0, which sees what the guest writes there', (_what, ref, frame) => {
    const { vcpu, rig, id, built } = build();
    const [mapping] = vcpu.grants.map(id, [ref]);
    const guest = rig.hypervisor.domains.byId(id)!;
    guest.memory.view.setUint32(built[frame] * PAGE_SIZE + 100, 0xcafe, true);
    expect(mapping!.page.view.getUint32(100, true)).toBe(0xcafe);
    vcpu.grants.unmap([mapping!]);
  });

  it('is introduced to nobody too early: both pages can be mapped, and both ports bound, before it is loaded', () => {
    const { vcpu, id, built } = ringsOnly({ kernel, ramdisk, cmdline: '' });
    const mappings = vcpu.grants.map(id, [GNTTAB_RESERVED_XENSTORE, GNTTAB_RESERVED_CONSOLE]);
    expect(mappings.length).toBe(2);
    for (const port of [built.storePort, built.consolePort])
      expect(vcpu.events.bindInterdomain(id, port)).toBeGreaterThan(0);
    vcpu.grants.unmap(mappings);
  });

  it('has a port for each, which dom0 and nobody else may bind', () => {
    const { vcpu, rig, id, built } = build();
    expect(vcpu.events.bindInterdomain(id, built.storePort)).toBeGreaterThan(0);
    const stranger = rig.guest();
    expect(stranger.bindInterdomain(id, built.consolePort)).toBeLessThan(0);
    expect(vcpu.events.bindInterdomain(id, built.consolePort)).toBeGreaterThan(0);
  });

  it('leaves nothing of its building mapped in dom0, and goes when it is destroyed', () => {
    const { xc, rig, id } = build();
    xc.destroyDomain(id);
    rig.settle();
    expect(xc.domainInfo(id)).toBeUndefined();
    expect(rig.hypervisor.pools.size).toBe(0);
    expect(rig.internalErrors).toEqual([]);
  });
});

describe('an image', () => {
  const refuses = (pages: number, over: Partial<Parameters<typeof checkImageFits>[0]>): string => {
    try {
      checkImageFits({ kernel, ramdisk, cmdline: '', ...over }, pages);
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  it('that leaves the guest too little memory is refused, saying how much would do', () => {
    expect(refuses(PAGES, {})).toBe('');
    expect(refuses(60, {})).toBe('memory: 1 MiB do not hold kernel and ramdisk, 1 MiB would');
    expect(refuses(256, { ramdisk: new Uint8Array(3 << 20) })).toBe(
      'memory: 1 MiB do not hold kernel and ramdisk, 4 MiB would',
    );
  });
  it('with a command line that start_info cannot hold is refused', () => {
    expect(refuses(PAGES, { cmdline: 'x'.repeat(1023) })).toBe('');
    expect(refuses(PAGES, { cmdline: 'x'.repeat(1024) })).toBe('cmdline: 1024 bytes, at most 1023 fit');
    expect(refuses(PAGES, { cmdline: 'é'.repeat(512) })).toBe('cmdline: 1024 bytes, at most 1023 fit');
    expect(refuses(PAGES, { cmdline: 'a\0b' })).toBe('cmdline: it holds a NUL byte');
  });
});

describe("libxc's calls", () => {
  it('list every domain, however many, in order', () => {
    const rig = new CoreRig();
    const xc = new Xc(rig.dom0.kernel(0));
    const made = Array.from({ length: 150 }, () => rig.createDomain());
    expect(xc.domainInfoList().map(info => info.domid)).toEqual([0, ...made]);
  });
  it('say what a domain is: uuid, memory, states, the reason of its end', () => {
    const { xc, id } = build();
    expect(xc.domainInfo(id)).toMatchObject({
      domid: id,
      uuid: UUID,
      paused: true,
      shutdown: false,
      dying: false,
      totPages: PAGES,
      maxPages: PAGES,
      onlineVcpus: 1,
      maxVcpuId: 0,
    });
    xc.unpauseDomain(id);
    expect(xc.domainInfo(id)).toMatchObject({ paused: false });
    xc.remoteShutdown(id, 4);
    expect(xc.domainInfo(id)).toMatchObject({ shutdown: true, shutdownReason: 4 });
    xc.setHandle(id, '11111111-2222-3333-4444-555555555555');
    expect(xc.domainInfo(id)!.uuid).toBe('11111111-2222-3333-4444-555555555555');
  });
  it('set weight and cap, each by itself', () => {
    const { xc, id } = build();
    const scheduling = new XcScheduling(xc.calls);
    scheduling.setCredit(id, XEN_SCHEDULER_CREDIT2, 512, null);
    expect(scheduling.credit(id, XEN_SCHEDULER_CREDIT2)).toEqual({ weight: 512, cap: 0 });
    scheduling.setCredit(id, XEN_SCHEDULER_CREDIT2, null, 50);
    expect(scheduling.credit(id, XEN_SCHEDULER_CREDIT2)).toEqual({ weight: 512, cap: 50 });
  });
  it('know of no domain that is not there', () => {
    const xc = new Xc(new CoreRig().dom0.kernel(0));
    expect(xc.domainInfo(domid(77))).toBeUndefined();
    expect(() => xc.pauseDomain(domid(77))).toThrow('the hypervisor refused to pause dom77: ESRCH');
    expect(() => xc.pauseDomain(domid(DOMID_SELF))).toThrow();
  });
  it('populate what the limit allows, and say how much that was when it is less', () => {
    const rig = new CoreRig();
    const xc = new Xc(rig.dom0.kernel(0));
    const id = domid(rig.createDomain());
    xc.maxVcpus(id, 1);
    xc.maxMem(id, 3000 * 4);
    expect(() => xc.populatePhysmap(id, 4000)).toThrow(`dom${id}: 15 MiB asked for, 11 MiB are there`);
    expect(xc.domainInfo(id)!.totPages).toBe(3000);
  });
  it("read all of the hypervisor's console, and empty it", () => {
    const rig = new CoreRig();
    const xc = new Xc(rig.dom0.kernel(0));
    for (let i = 0; i < 200; i++) rig.hypervisor.console.append(`(XEN) line ${i} ${'x'.repeat(100)}\n`);
    const text = xc.readConsole(true);
    expect(text.split('\n').filter(line => line.includes('line')).length).toBeGreaterThan(100);
    expect(text.endsWith(`line 199 ${'x'.repeat(100)}\n`)).toBe(true);
    expect(xc.readConsole(false)).toBe('');
  });
  it('describe host and version', () => {
    const xc = new Xc(new CoreRig().dom0.kernel(0));
    expect(xc.physinfo()).toMatchObject({ nr_cpus: 4, total_pages: 100_000, cpu_khz: 2_000_000 });
    expect(xc.version()).toMatchObject({ major: 4, minor: 17, pagesize: 4096 });
    expect(xc.version().extraversion).toMatch(/^\.\d/);
  });
});
