import { chmodSync, existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { type DomainConfig, domid, XenstoreClient } from '#pvbus';
import { addDevices, backendReady, pathsOf, removeDevice } from '../../../../dom0/toolstack/add-device.ts';
import { checkConfig } from '../../../../dom0/toolstack/check-config.ts';
import { vbd } from '../../../../dom0/toolstack/devices.ts';
import { DomainRecords } from '../../../../dom0/toolstack/domain-records.ts';
import {
  backendDomidOf,
  countersIn,
  driverDomainCounters,
  driverDomainsSettled,
  isOwnDriverDomain,
  mergedCounters,
  servedByUs,
} from '../../../../dom0/toolstack/driver-domains.ts';
import { Ledger } from '../../../../dom0/toolstack/ledger.ts';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { ListLog, rigTransport, XenstoreRig } from '../../../support/xenstore-rig.ts';
import { disk, domainConfig, net } from './domain-config.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-driver-domains-'));
afterAll(() => rmSync(dir, { recursive: true }));
const image = join(dir, 'disk.img');
const script = join(dir, 'script');
const kernel = join(dir, 'kernel.js');
writeFileSync(image, '');
truncateSync(image, 4096);
writeFileSync(script, '#!/bin/sh\n');
chmodSync(script, 0o755);
writeFileSync(kernel, 'exports.start = () => {};');

let records: DomainRecords;
const add = (id: number, config: DomainConfig, ended = false): void =>
  records.add({
    domid: domid(id),
    config,
    monitor: true,
    startedAt: 0,
    phase: 'there',
    paused: false,
    run: false,
    ended,
    acted: ended,
  });
const driver = (over: Partial<DomainConfig> = {}): DomainConfig =>
  domainConfig({ name: 'storage', driver_domain: true, kernel: '', vcpus: 3, maxvcpus: 3, ...over });
const user = (over: Partial<DomainConfig>): DomainConfig => domainConfig({ name: 'user', kernel, ...over });
const why = (config: DomainConfig): Promise<string> =>
  checkConfig(config, records).then(
    () => 'fine',
    error => `${error.code} ${error.message}`,
  );

beforeEach(() => {
  records = new DomainRecords(Ledger.begin(new MemoryDisk(), new ListLog()));
  add(1, driver());
  add(2, driver({ name: 'own-kernel', kernel }));
  add(3, domainConfig({ name: 'plain', kernel }));
});

describe('a driver domain without a kernel', () => {
  it('is one by its config', () => {
    expect([driver(), driver({ kernel }), domainConfig({ kernel: '' })].map(isOwnDriverDomain)).toEqual([
      true,
      false,
      false,
    ]);
  });
  it('has no program, no devices, and as many vCPUs as threads', async () => {
    expect(await why(driver({ name: 'other' }))).toBe('fine');
    expect(await why(driver({ ramdisk: '/a.ts' }))).toMatch(/^EINVAL ramdisk: /);
    expect(await why(driver({ disks: [disk()] }))).toMatch(/^EINVAL disk: /);
    expect(await why(driver({ vifs: [net()] }))).toMatch(/^EINVAL vif: /);
    expect(
      await why(
        driver({
          pvcalls: [{ devid: 0, backend: null, listen: [], connect: [], sockets: null, allow: [], resolver: null }],
        }),
      ),
    ).toMatch(/^EINVAL pvcalls: /);
    expect(await why(driver({ vcpus: 2 }))).toMatch(/^EINVAL vcpus: 3: /);
    expect(await why(driver({ vcpus: 4, maxvcpus: 4 }))).toMatch(/^EINVAL vcpus: 4: .* has 3$/);
  });
});

describe('backend=', () => {
  const disks = (over: Parameters<typeof disk>[0]) => user({ disks: [disk({ target: image, ...over })] });
  it('names a driver domain that is there, by its name or its number', async () => {
    for (const backend of ['storage', '1', 'own-kernel', '0', 'Domain-0', null])
      expect(await why(disks({ backend }))).toBe('fine');
    const { backendOf } = await checkConfig(disks({ backend: 'storage' }), records);
    expect([backendOf('storage'), backendOf(null)]).toEqual([1, 0]);
  });
  it('of one that is not there, is none, or has shut down is refused, with the key', async () => {
    expect(await why(disks({ backend: 'nobody' }))).toBe("ENOENT disk xvda: backend domain 'nobody' does not exist");
    expect(await why(user({ vifs: [net({ backend: '99' })] }))).toBe(
      "ENOENT vif 0: backend domain '99' does not exist",
    );
    expect(await why(disks({ backend: 'plain' }))).toBe(
      "EINVAL disk xvda: backend domain 'plain' was not created with driver_domain=1",
    );
    records.remove(domid(1));
    add(1, driver(), true);
    expect(await why(disks({ backend: 'storage' }))).toBe("ENODEV disk xvda: backend domain 'storage' has shut down");
  });
  it('looks at the image as for dom0 where our program opens it, and not where a guest does', async () => {
    const target = join(dir, 'nowhere.img');
    expect(await why(disks({ target, backend: 'storage' }))).toMatch(
      /^ENOENT disk xvda: .*nowhere\.img does not exist/,
    );
    expect(await why(disks({ target, backend: 'own-kernel' }))).toBe('fine');
    add(4, disks({ backend: 'storage' }));
    expect(await why(user({ name: 'second', disks: [disk({ target: image })] }))).toMatch(/^EBUSY .* in use: /);
  });
  it('goes with no script of a host, and with no pvcalls', async () => {
    expect(await why(disks({ backend: 'storage', script }))).toMatch(/^EOPNOTSUPP disk xvda: script .*runs no scripts/);
    expect(await why(user({ vifs: [net({ backend: 'storage', script })] }))).toMatch(/^EOPNOTSUPP vif 0: script /);
    expect(await why(user({ vifs: [net({ backend: 'storage', script: 'vif-bridge' })] }))).toBe('fine');
    const calls = { devid: 0, backend: 'storage', listen: [], connect: [], sockets: null, allow: [], resolver: null };
    expect(await why(user({ pvcalls: [calls] }))).toMatch(/^EOPNOTSUPP pvcalls 0: /);
    expect(await why(user({ pvcalls: [{ ...calls, backend: 'own-kernel' }] }))).toBe('fine');
  });
  it('is waited for where the backend is ours', () => {
    const served = (backendDomid: number): boolean =>
      servedByUs({ records }, { type: 'vbd', devid: 0, backendDomid: domid(backendDomid), frontend: {}, backend: {} });
    expect([0, 1, 2, 3, 9].map(served)).toEqual([true, true, false, false, false]);
    expect(backendDomidOf({ backend: '/local/domain/7/backend/vbd/1/51712' })).toBe(7);
  });
});

describe('untrusted: a driver domain', () => {
  const DRIVER = domid(1);
  const USER = domid(5);
  const device = vbd(disk({ target: image, backend: 'storage' }), DRIVER);
  const paths = pathsOf(USER, device);
  let xs: XenstoreClient;
  let theirs: XenstoreClient;
  const faults: Parameters<typeof addDevices>[0]['faults'] = { making: (_domid, _devices, write) => write([]) };
  const host = () => ({ xs, log: new ListLog(), runDir: dir, faults });
  beforeEach(async () => {
    const rig = new XenstoreRig();
    xs = new XenstoreClient(rigTransport(rig));
    theirs = new XenstoreClient(rigTransport(rig));
    add(USER, user({ disks: [disk({ target: image, backend: 'storage' })] }));
    await addDevices(host(), USER, [device]);
  });
  /** It answers whatever it is asked, after it has written what it likes. */
  const answers = (statistics: string): Promise<void> =>
    theirs.watch('/local/domain/1/data/asked', 'asked', async () => {
      await theirs.write(`${paths.backend}/statistics`, statistics);
      await theirs.write('/local/domain/1/data/answered', '4000000000');
    });
  const counted = async () => (await driverDomainCounters({ xs, records }))[0]?.vbds[0];

  it('that counts is believed what it counts', async () => {
    await answers('1 2 3 4 5');
    expect(await counted()).toEqual({ devid: 51712, oo_req: 1, rd_req: 2, wr_req: 3, rd_sect: 4, wr_sect: 5 });
  });
  it('that writes something else counts nothing', async () => {
    await answers('rm -rf /');
    expect(await counted()).toEqual({ devid: 51712, oo_req: 0, rd_req: 0, wr_req: 0, rd_sect: 0, wr_sect: 0 });
  });
  it('that does not answer is not waited for long', async () => {
    expect((await counted())?.wr_req).toBe(0);
  });
  it('that has gone meanwhile gets no node again by being asked', async () => {
    await xs.rm('/local/domain/1');
    await driverDomainsSettled({ xs, records }, [paths]);
    expect(await xs.exists('/local/domain/1')).toBe(false);
  });
  it('that names a script has none run', async () => {
    const trace = join(dir, 'it-ran');
    writeFileSync(script, `#!/bin/sh\ntouch ${trace}\n`);
    await theirs.write(`${paths.backend}/script`, script);
    await removeDevice(host(), paths);
    expect(existsSync(trace)).toBe(false);
    expect(await xs.exists(paths.backend)).toBe(false);
  });
  it('that refuses a device is quoted in a line of letters', async () => {
    await theirs.write('/local/domain/1/error/backend/vbd/5/51712/error', `EIO no\n\u001b[2J${'x'.repeat(3000)}`);
    await theirs.write(`${paths.backend}/state`, '5');
    const error = await backendReady({ xs, runDir: '/nonexistent', startedMs: 0 }, USER, device).catch(error => error);
    expect([error.code, error.message]).toEqual(['EIO', expect.stringMatching(/^no\?\?\[2Jx{380,400}$/)]);
  });
});

describe('the counters of a driver domain', () => {
  it.each([
    ['1 2 3 4 5', [1, 2, 3, 4, 5]],
    [undefined, []],
    ['', []],
    ['1 -2', []],
    ['1  2', []],
    ['1 2\n', []],
    ['0x10', []],
    ['1e3', []],
    ['9007199254740992', []],
    [`${'1 '.repeat(16)}1`, []],
    ['9'.repeat(4096), []],
  ])('untrusted: %j are %j', (text, numbers) => {
    expect(countersIn(text)).toEqual(numbers);
  });
  it('go with those of dom0, in order of domain and device', () => {
    const vbd = (devid: number) => ({ devid, oo_req: 0, rd_req: devid, wr_req: 0, rd_sect: 0, wr_sect: 0 });
    const of = (id: number, ...devids: number[]) => ({ domid: domid(id), vifs: [], vbds: devids.map(vbd) });
    expect(mergedCounters([of(7, 51728), of(2, 1), of(7, 51712), of(3)])).toEqual([
      of(2, 1),
      of(3),
      of(7, 51712, 51728),
    ]);
  });
});
