// Debian's own xl and ours, given the same xl.conf, configs and arguments.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RealXl } from '../../support/real-xl.ts';
import { type XlRun, xl } from '../../support/xl.ts';

const real = RealXl.make();
const skipped = typeof real === 'string' ? ` (skipped: ${real})` : '';
/** Ours takes no notice of the hypervisor's command line; without this the real one asks for it. */
const CONF = 'autoballoon="off"\n';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'beside-xl-'));
});
afterAll(() => {
  rmSync(cwd, { recursive: true });
  if (typeof real !== 'string') real.remove();
});

async function both(conf: string, ...argv: string[]): Promise<{ theirs: XlRun; ours: XlRun }> {
  const xlConf = join(cwd, 'xl.conf');
  writeFileSync(xlConf, CONF + conf);
  const ours = await xl(argv, { cwd, xlConf });
  const theirs = (real as RealXl).run(argv, cwd, CONF + conf);
  return {
    theirs: clean(theirs),
    ours: clean({ ...ours, stderr: ours.stderr.replaceAll(xlConf, '/etc/xen/xl.conf') }),
  };
}

/** Without a uuid that was made up, and without the newline at the end, which the real one forgets for some warnings. */
const clean = ({ code, stdout, stderr }: XlRun): XlRun => ({
  ...{ code, stderr: stderr.trimEnd() },
  stdout: stdout.replace(/"uuid": "(?!86d0a9d9)[0-9a-f-]{36}"/, '"uuid": "made up"'),
});

const CONFIGS = [
  'memory=64\nvcpus=2',
  'uuid="86d0a9d9-ffcd-41f8-b7a1-f481a7959163"\nmaxmem=64',
  'memory=64\nmaxmem=128\nmaxvcpus=4',
  'vcpus=2\nmaxvcpus=4\npool="p"\nseclabel="l"',
  'ramdisk=""\ncmdline="a=b c"',
  'root="/dev/xvda ro"\nextra="single"',
  'extra="single"\nbootloader=""',
  'root="r"\ncmdline="c"',
  'ramdisk="./r"\nkernel="k"\ndisk=["a.img,raw,xvda,w"]',
  'cpu_weight=300\ncap=0\nperiod=1000\nextratime=1',
  'extratime=0\nrtc_timeoffset=5\nlocaltime=0',
  'nomigrate=1\nmax_grant_frames=5\nmax_maptrack_frames=6\nmax_event_channels=200',
  'nomigrate=0\nlocaltime=1\ndriver_domain=1',
  'driver_domain=0\nlocaltime="x"\nrtc_timeoffset="x"',
  'on_poweroff="rename-restart"\non_reboot="preserve"\non_crash="coredump-restart"\non_watchdog="coredump-destroy"',
  'on_soft_reset="destroy"\non_watchdog="soft-reset"',
  'on_crash="sulk"',
  'vif=["", "mac=00:16:3e:00:00:01,bridge=b,script=s,model=e1000,mtu=1400,vifname=foo,ip=1.2.3.4,backend=nd"]',
  'vif=["rate=10Mb/s,trusted", "rate=1MB/s@20ms,untrusted,gatewaydev=g", "type=vif", "type=ioemu"]',
  'vif=["bogus", "bridge"]',
  'vif="x"',
  'disk=["format=raw, vdev=xvda, access=ro, discard, direct-io-safe, target=/a", "/c,,hda,cdrom", ",raw,hdc,cdrom"]',
  'disk=["vdev=xvdb,backendtype=phy,backend=dd,target=/b", "tap:aio:/d,xvdd,w", "phy:/x,xvdf:cdrom,r"]',
  'disk=["/a,raw,xvda,rw,script=block-x", "vdev=xvde,no-discard,devtype=disk,removable,target=/e"]',
  'disk=["/a"]',
  'uuid="x"',
  'builder="generic"',
  'builder="linux"',
  'builder="pv"',
  'builder="hvm"\ntype="pv"',
  'type="x"',
  'vcpus=4\nmaxvcpus=2',
  'memory=512M',
  'cap=-1',
  'kernel=["a"]',
  'ramdisk=["a"]',
  'name=["a"]',
];

it.skipIf(skipped !== '').each(CONFIGS)(`create -n: %j${skipped}`, async config => {
  writeFileSync(join(cwd, 'a.cfg'), `name="a"\nkernel="/k"\n${config}\n`);
  const { theirs, ours } = await both('', 'create', '-n', 'a.cfg');
  expect(ours).toEqual(theirs);
});

it.skipIf(skipped !== '').each(CONFIGS)(`create -n as S-expressions: %j${skipped}`, async config => {
  writeFileSync(join(cwd, 'a.cfg'), `name="a"\nkernel="/k"\n${config}\n`);
  const { theirs, ours } = await both('output_format="sxp"\n', 'create', '-n', 'a.cfg');
  expect(ours).toEqual(theirs);
});

const CONFS = [
  'vif.default.bridge="b"\nvif.default.script="s"\nvif.default.backend="q"\nvif.default.gatewaydev="g"',
  'vifscript="a"\ndefaultbridge="b"\nvif.default.bridge="c"',
  'claim_mode=0\nrun_hotplug_scripts=0',
  'max_grant_frames=9\nmax_maptrack_frames=0x10',
  'autoballoon="perhaps"',
  'autoballoon=0',
  'domid_policy="mine"',
  'output_format="sxp"',
  'output_format="xml"',
  'claim_mode="x"',
  'output_format=["json"]',
  'vif.default.script=["a"]',
  'lockfile="/x"\nnobodys="key"',
  'vm.hvm.cpumask="0"',
  '[',
  '# a comment',
];
const vifs = 'vif=["", "bridge=own,script=own,backend=own,gatewaydev=own"]\nmax_maptrack_frames=3';

it.skipIf(skipped !== '').each(CONFS)(`with an xl.conf: %j${skipped}`, async conf => {
  writeFileSync(join(cwd, 'a.cfg'), `name="a"\nkernel="/k"\n${vifs}\n`);
  const { theirs, ours } = await both(`${conf}\n`, 'create', '-q', '-n', 'a.cfg');
  expect(ours).toEqual(theirs);
});

it.skipIf(skipped !== '')(`frames that are none end every call${skipped}`, async () => {
  for (const value of ['"-1"', '"x"', '0x80000000']) {
    const { theirs, ours } = await both(`max_grant_frames=${value}\n`, 'help', 'domid');
    // The real one says nothing.
    expect([ours.code, ours.stdout]).toEqual([theirs.code, theirs.stdout]);
  }
});

it
  .skipIf(skipped !== '')
  .each([
    [['domid', '-h']],
    [['help', 'domid']],
    [['xyzzy']],
    [['-N', 'domid', 'a']],
    [['domid']],
    [['domid', '-Q']],
    [['rename', 'a']],
    [['create', '-n']],
    [['create', '-n', '/dev/null']],
    [['create', '-n', 'nosuch.cfg']],
    [['create', 'a', 'b', 'c']],
  ])(`%j${skipped}`, async argv => {
  const { theirs, ours } = await both('', ...argv);
  const firstLine = (run: XlRun) => ({ ...run, stdout: run.stdout.split('\n')[0] }); // help texts are our own
  expect(firstLine(ours)).toEqual(firstLine(theirs));
});
