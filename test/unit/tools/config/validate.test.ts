import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { checkDomainConfig, type DomainConfig, isNbdTarget } from '#pvbus';
import { parseConfig } from '../../../../tools/config/parse.ts';
import { ConfigError, parseNumber } from '../../../../tools/config/settings.ts';
import { validateConfig } from '../../../../tools/config/validate.ts';
import { vdevNumber } from '../../../../tools/config/vdev.ts';
import { parseVifRate } from '../../../../tools/config/vif-spec.ts';
import { libxlConfig } from '../../../../tools/libxl-json.ts';

function read(text: string): { config: DomainConfig; warnings: string[] } {
  const warnings: string[] = [];
  let next = 0xa0;
  const random = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, () => next++);
  const warn = (line: string): unknown => warnings.push(line);
  const config = validateConfig(parseConfig(text, 'g.cfg'), { cwd: '/home/me', random, warn });
  // What a tool makes of a config is what the toolstack takes.
  expect(checkDomainConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
  return { config, warnings };
}
const with_ = (text: string) => read(`name="g"\nkernel="k.js"\n${text}\n`);
const refusal = (body: () => unknown): [string, number] => {
  try {
    body();
  } catch (error) {
    if (error instanceof ConfigError) return [error.message, error.exitCode];
    throw error;
  }
  throw new Error('it was taken');
};

describe('a config', () => {
  it('of name and kernel has defaults for the rest', () => {
    expect(with_('')).toEqual({
      warnings: [],
      config: {
        ...{ name: 'g', uuid: 'a0a1a2a3-a4a5-46a7-a8a9-aaabacadaeaf', type: 'pv', memory: 32, maxmem: 32 },
        ...{ vcpus: 1, maxvcpus: 1, kernel: '/home/me/k.js', ramdisk: null, cmdline: '', disks: [], vifs: [] },
        ...{
          pvcalls: [],
          p9: [],
          on_poweroff: 'destroy',
          on_reboot: 'restart',
          on_crash: 'destroy',
          on_watchdog: 'destroy',
        },
        ...{
          on_soft_reset: 'soft-reset',
          driver_domain: false,
          cpu_weight: null,
          cap: null,
          cpus: null,
          cpus_soft: null,
          period: null,
          budget: null,
          extratime: null,
          pool: null,
        },
        ...{ seclabel: null, max_grant_frames: null, max_maptrack_frames: null, max_event_channels: null },
        ...{ rtc_timeoffset: null, localtime: null, confine: null },
        ...{ extra: {}, source: 'g.cfg' },
      },
    });
  });

  it('keeps its paths absolute, and targets of scripts as they are', () => {
    const { config } = with_('ramdisk="a/b.ts"\ndisk=["x.img,raw,xvda,r","script=block-nbd,vdev=xvdb,target=host:1"]');
    expect(config.ramdisk).toBe('/home/me/a/b.ts');
    expect(config.disks.map(({ target, script, readwrite }) => [target, script, readwrite])).toEqual([
      ['/home/me/x.img', null, false],
      ['host:1', 'block-nbd', true],
    ]);
  });

  it('has every disk that docs/disks.md names', () => {
    const doc = readFileSync(new URL('../../../../docs/disks.md', import.meta.url), 'utf8').replaceAll(
      'HOST:PORT',
      'h:1',
    );
    const entries = [...doc.matchAll(/\["([^"]+)"\]/g)].map(([, entry]) => entry!);
    const targets = [...doc.matchAll(/`(?:… )?(target=[^`]+)`/g)].map(([, target]) => `vdev=xvda,${target}`);
    expect(entries.length).toBeGreaterThan(3);
    expect(targets.length).toBeGreaterThan(2);
    for (const entry of [...entries, ...targets]) {
      const [disk] = with_(`disk=["${entry}"]`).config.disks;
      expect(disk?.script, entry).toBe(null);
      expect(isNbdTarget(disk!.target), entry).toBe(entry.includes('nbd'));
    }
  });

  it('makes the command line of root and extra, unless it has one', () => {
    expect(with_('root="/dev/xvda"\nextra="quiet ip=1"').config.cmdline).toBe('root=/dev/xvda quiet ip=1');
    expect(with_('extra="x"\ncmdline="y"')).toMatchObject({
      config: { cmdline: 'y' },
      warnings: ['Warning: ignoring root= and extra= in favour of cmdline='],
    });
  });

  it('has vifs with a mac of their own when none is given', () => {
    const { config } = with_(
      'uuid="00000000-0000-0000-0000-000000000001"\nvif=["", "mac=0:16:3E:1:2:3, bridge=b,ip=1.2.3.4,mtu=9000", "type=ioemu,trusted,rate=10Mb/s@20ms"]',
    );
    expect(config.vifs.map(({ devid, mac, bridge, mtu }) => [devid, mac, bridge, mtu])).toEqual([
      [0, '00:16:3e:20:a1:a2', null, null],
      [1, '00:16:3e:01:02:03', 'b', 9000],
      [2, '00:16:3e:26:a7:a8', null, null],
    ]);
    expect(config.vifs[2]).toMatchObject({
      ...{ nictype: 'vif_ioemu', trusted: true, rate: { bytes_per_interval: 25_000, interval_usecs: 20_000 } },
    });
  });

  it('goes on after a word in a vif that nobody knows, as xl does', () => {
    expect(with_('vif=["vlan=3,bridge=b,what"]')).toMatchObject({
      config: { vifs: [{ bridge: 'b' }] },
      warnings: ["unrecognized argument `vlan=3'", "unrecognized argument `what'"],
    });
  });

  it('may leave the kernel to the host in a driver domain, which then has a vCPU for each of its threads', () => {
    expect(with_('kernel=""\ndriver_domain=1').config).toMatchObject({
      ...{ driver_domain: true, kernel: '', vcpus: 3, maxvcpus: 3 },
    });
    expect(with_('driver_domain=1').config).toMatchObject({ kernel: expect.stringMatching(/^\//), vcpus: 1 });
  });

  it('has pvcalls with the ports it may use', () => {
    expect(with_('pvcalls=["backend=d, listen=8080:80,listen=9000, connect=5432", ""]').config.pvcalls).toEqual([
      {
        devid: 0,
        backend: 'd',
        listen: [
          { host: 8080, guest: 80 },
          { host: 9000, guest: 9000 },
        ],
        connect: [5432],
        sockets: null,
        allow: [],
        resolver: null,
      },
      { devid: 1, backend: null, listen: [], connect: [], sockets: null, allow: [], resolver: null },
    ]);
  });

  it('has pvcalls with the addresses it may reach', () => {
    const spec = '"allow=10.0.0.0/8:443,allow=192.0.2.7, resolver=53,allow=0.0.0.0/0:1024-2048"';
    expect(with_(`pvcalls=[${spec}]`).config.pvcalls[0]).toMatchObject({
      allow: ['10.0.0.0/8:443', '192.0.2.7', '0.0.0.0/0:1024-2048'],
      resolver: 53,
    });
  });

  it('keeps keys that nobody reads, and says once which mean nothing here', () => {
    const { config, warnings } = with_('my_key=["a",["b"]]\nbios="x"\nvnc=1\nbios+="y"');
    expect(config.extra).toEqual({ my_key: ['a', ['b']], bios: 'xy', vnc: '1' });
    expect(warnings).toEqual(['g.cfg: warning: without meaning here: bios, vnc']);
  });

  it('reads numbers as strtol does, and complains of what it cannot use', () => {
    expect(with_('memory=010\nvcpus=0x2\ncpu_weight="100"').config).toMatchObject({
      memory: 8,
      vcpus: 2,
      cpu_weight: 100,
    });
    expect(with_('cap="many"\nramdisk=["a"]').warnings).toEqual([
      "g.cfg:4: warning: parameter `ramdisk' is a list but should be a single value",
      "g.cfg:3: warning: parameter `cap' is not a valid number",
    ]);
  });

  it.each<[string, string]>([
    ['name=""', 'Domain name must be specified.'],
    ['kernel=""', 'Neither kernel nor bootloader specified'],
    ['type="xyz"', 'Invalid domain type xyz.'],
    ['type="hvm"', 'g.cfg:3: domain type hvm is not supported here, pv is'],
    ['builder="hvm"', 'g.cfg:3: domain type hvm is not supported here, pv is'],
    ['builder="hvm"\ntype="pv"', 'Contradicting "builder" and "type" options specified.'],
    ['uuid="123"', 'Failed to parse UUID: 123'],
    ['memory="much"', "g.cfg:3: parameter `memory' is not a valid number"],
    ['memory=64\nmemory+=1', "g.cfg:4: can't use += with numbers for parameter `memory'"],
    [
      'memory=99999999999999999999',
      "g.cfg:3: parameter `memory' could not be parsed as a number: Numerical result out of range",
    ],
    ['memory=[1]', "g.cfg:3: parameter `memory' is a list but should be a single value"],
    ['memory=0', 'g.cfg:3: invalid memory size: memory=0'],
    ['memory=64\nmaxmem=32', 'g.cfg:4: invalid memory size: maxmem=32 is less than memory=64'],
    ['vcpus=2\nmaxvcpus=1', 'xl: maxvcpus < vcpus'],
    ['vcpus=0', 'g.cfg:3: invalid number of vcpus: vcpus=0'],
    ['cap=70000', 'g.cfg:3: cap=70000 is not between 0 and 65535'],
    ...['poweroff', 'reboot', 'watchdog', 'crash', 'soft_reset'].map((event): [string, string] => [
      `on_${event}="sulk"`,
      `Unknown on_${event} action "sulk" specified`,
    ]),
    ['vif=["mac=00:16:3e:0:1"]', "Invalid parameter `mac'."],
    ['vif=["type=vlan"]', "Invalid parameter `type'."],
    ['vif=["mtu=big"]', 'xl: failed to convert "big" to number'],
    ['vif=["rate=fast"]', "command line: config parsing error in vif: invalid rate in `fast'"],
    ['vif=[["a"]]', "g.cfg:3: entry of `vif' is a list but should be a single value"],
    ['pvcalls=["listen=x"]', "Unknown string `listen=x' in pvcalls spec"],
    ['pvcalls=["listen=80:70000"]', "Invalid port in `listen=80:70000' of pvcalls spec"],
    [
      'pvcalls=["allow=10.0.0.1/8"]',
      'Invalid `allow=10.0.0.1/8\' in pvcalls spec: "10.0.0.1/8": 10.0.0.1 has bits beyond its prefix',
    ],
    ['pvcalls=["resolver=0"]', "Invalid port in `resolver=0' of pvcalls spec"],
    ['pvcalls=["resolver=1:2"]', "Unknown string `resolver=1:2' in pvcalls spec"],
    ['pvcalls=["connect=1:2"]', "Unknown string `connect=1:2' in pvcalls spec"],
    ['disk=["/x,raw,floppy"]', "g.cfg: Invalid or unsupported virtual disk identifier floppy in `/x,raw,floppy'"],
    ['disk=[",raw,xvda"]', "g.cfg: no target specified in `,raw,xvda'"],
    ['disk=["/x,raw,xvda","/y,raw,d0"]', 'g.cfg:3: disk d0 is configured twice'],
    [
      'bootloader="pygrub"\nkernel=""',
      "g.cfg:3: bootloader= is not supported here: give the guest's kernel as kernel=",
    ],
    ['disk=["/x,raw,xvda"]\nmemory=0\nvcpus=0', 'g.cfg:4: invalid memory size: memory=0'],
  ])('%j is refused', (text, message) => {
    expect(refusal(() => with_(text))).toEqual([message, 1]);
  });

  it('that does not parse is refused with every error', () => {
    expect(refusal(() => with_('a=\nb=-1'))).toEqual([
      'g.cfg:2: config parsing error near <newline>: syntax error, unexpected NEWLINE, expecting STRING or NUMBER or ' +
        "'['\ng.cfg:4: config parsing error near `-1': lexical error\n" +
        'warning: Config file looks like it contains Python code.\n' +
        'warning:  Arbitrary Python is no longer supported.\n' +
        'warning:  See https://wiki.xen.org/wiki/PythonInXlConfig\n' +
        'Failed to parse config: Invalid argument',
      1,
    ]);
  });
});

describe('names of virtual disks, as vbd-interface(7) numbers them', () => {
  const table = `xvda 51712, xvda1 51713, xvdb 51728, xvdp15 51967, xvdq 268439552, xvdz 268441856, xvdaa 268442112,
    xvda16 268435472, hda 768, hdb1 833, hdc 5632, hdd63 5759, hde none, sda 2048, sdp15 2303, sdq none, d0 51712,
    d0p1 51713, d536 268572672, 0x301 769, 51712 51712, fda none, xvd none, xvda01 none, xvdA none, -1 none`;
  it.each(table.split(/,\s+/))('%s', entry => {
    const [vdev, number] = entry.split(' ');
    expect(vdevNumber(vdev!)).toBe(number === 'none' ? null : Number(number));
  });
});

describe('rates of vifs, as libxlutil computes them', () => {
  const table = `10Mb/s 62500 50000, 10Kb/s 62 50000, 250KB/s 12500 50000, 1MB/s@20 20000000 20000000, 1MB/s@20us 20 20,
    1MB/s@1s 1000000 1000000, 1MB/s@5m 5000 5000, 7b/s@1s 0 1000000, 368934GB/s 18446700000000 50000,
    1MB/s@4294967295u 4294967295 4294967295`;
  it.each(table.split(/,\s+/))('%s', entry => {
    const [text, bytes, usecs] = entry.split(' ');
    expect(parseVifRate(text!)).toEqual({ bytes_per_interval: Number(bytes), interval_usecs: Number(usecs) });
  });
  it.each([
    ['10', 'invalid rate in `10'],
    ['', 'no rate specified in `'],
    ['0MB/s', 'rate overflow in `0MB/s'],
    ['1MB/s@', 'invalid replenishment interval in `'],
    ['368935GB/s', 'rate overflow in `368935GB/s'],
    ['1MB/s@0ms', 'replenishment interval overflow in `0ms'],
    ['1MB/s@1@2', 'invalid replenishment interval in `1@2'],
    ['4294967296b/s', 'rate overflow in `4294967296b/s'],
  ])('%j is refused', (text, message) => {
    expect(refusal(() => parseVifRate(text))[0]).toBe(`command line: config parsing error in vif: ${message}'`);
  });
});

it('numbers are what strtol with base 0 takes whole', () => {
  const all = ['0', '10', '010', '0x1F', '-7', ' 5', '08', '1f', '', '0x', '5 ', '1e3'];
  expect(all.map(parseNumber)).toEqual([
    0,
    10,
    8,
    31,
    -7,
    5,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

it('the JSON of a config names what differs from the defaults', () => {
  const { config } = with_(
    'disk=[",empty,hdc:cdrom,r","backend=stor,vdev=xvda,format=raw,discard,target=/d"]\npvcalls=["listen=1:2"]\nramdisk="r"\ncmdline="c"\ndriver_domain=1',
  );
  expect(libxlConfig(config, null)).toMatchObject({
    c_info: { driver_domain: 'True' },
    b_info: { cmdline: 'c', ramdisk: '/home/me/r', sched_params: {} },
    disks: [
      { pdev_path: '', vdev: 'hdc', format: 'empty', removable: 1, is_cdrom: 1 },
      { backend_domname: 'stor', pdev_path: '/d', vdev: 'xvda', format: 'raw', readwrite: 1, discard_enable: 'True' },
    ],
    pvcallsifs: [{ devid: 0, listen: [{ host: 1, guest: 2 }] }],
    ...{ on_reboot: 'restart', on_soft_reset: 'soft_reset' },
  });
});
