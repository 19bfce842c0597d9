// xl.conf: what it says, what is wrong in it in xl's words, and what each command makes of it.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_XL_CONF, readXlConf } from '../../../../tools/config/xl-conf.ts';
import { FakeToolstack } from '../../../support/fake-toolstack.ts';
import { xl } from '../../../support/xl.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'xl-conf-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const read = async (text: string) => {
  const path = join(dir, 'xl.conf');
  writeFileSync(path, text);
  const said: string[] = [];
  const conf = await readXlConf(path, line => said.push(line.replaceAll(path, 'xl.conf')));
  return { conf, said };
};
const defaults = (over: object = {}) => ({ conf: { ...DEFAULT_XL_CONF, ...over }, said: [] });

describe('the file', () => {
  it('need not be there, and says nothing where it has only comments', async () => {
    expect(await readXlConf(join(dir, 'none'), line => expect.fail(line))).toEqual(DEFAULT_XL_CONF);
    expect(await read('')).toEqual(defaults());
    expect(await read('## Global XL config file ##\n\n \t#lockfile="/x"\n#autoballoon="off"\n')).toEqual(defaults());
    // libxlutil's lexer knows comments by their newline.
    await expect(read('# the last line')).rejects.toThrow("config parsing error near `#': lexical error");
  });

  it.skipIf(process.getuid?.() === 0)('that may not be read is one that is not there, with a warning', async () => {
    await read('');
    chmodSync(join(dir, 'xl.conf'), 0);
    const said: string[] = [];
    expect(await readXlConf(join(dir, 'xl.conf'), line => said.push(line))).toEqual(DEFAULT_XL_CONF);
    expect(said).toHaveLength(1);
  });

  it('is read key by key; keys without meaning here are taken in silence', async () => {
    const text = `autoballoon="off"
lockfile="/run/xl.lock"
output_format="sxp"
blkdev_start="xvdb"
claim_mode=0
domid_policy="random"
run_hotplug_scripts=0
max_grant_version=1
vif.default.script="vif-route"
vif.default.bridge="br1"
vif.default.gatewaydev="eth1"
vif.default.backend="netdom"
max_grant_frames=0x40
max_maptrack_frames=1024
vm.cpumask="0-7"
vm.pv.cpumask="2,3"
vm.hvm.cpumask="4"
nobodys="key"
`;
    expect(await read(text)).toEqual(
      defaults({
        ...{ claim_mode: false, run_hotplug_scripts: false, output_format: 'sxp' },
        vif: { script: 'vif-route', bridge: 'br1', gatewaydev: 'eth1', backend: 'netdom' },
        ...{ max_grant_frames: 64, max_maptrack_frames: 1024, cpumasks: ['0-7', '2,3'] },
      }),
    );
  });

  it.each(['on', 'off', 'auto', '1', '0'])('autoballoon="%s" is taken in silence', async value => {
    expect(await read(`autoballoon="${value}"\n`)).toEqual(defaults());
  });

  it.each([
    ['autoballoon="perhaps"', 'invalid autoballoon option'],
    ['domid_policy="mine"', 'invalid domid_policy option'],
    ['output_format="xml"', 'invalid default output format "xml"'],
    ['vm.cpumask="some"', 'Invalid pcpu range: some.'],
    ['\nclaim_mode="x"', "xl.conf:2: warning: parameter `claim_mode' is not a valid number"],
    [
      'lockfile="/x"\noutput_format=["json"]',
      "xl.conf:2: warning: parameter `output_format' is a list but should be a single value",
    ],
  ])('%s is warned of and has no effect', async (text, warning) => {
    expect(await read(text)).toEqual({ conf: DEFAULT_XL_CONF, said: [warning] });
  });

  it('takes the old names of two keys, with a warning each; the new ones win', async () => {
    const { conf, said } = await read('vifscript="a"\ndefaultbridge="b"\nvif.default.bridge="c"\n');
    expect(conf.vif).toEqual({ script: 'a', bridge: 'c' });
    expect(said).toEqual([
      'the global config option vifscript is deprecated, please switch to vif.default.script',
      'the global config option defaultbridge is deprecated, please switch to vif.default.bridge',
    ]);
  });

  it.each([
    ['max_grant_frames="-1"', /xl\.conf:1: max_grant_frames=-1 is not between 0 and 2147483647$/],
    ['max_maptrack_frames=0x80000000', /xl\.conf:1: max_maptrack_frames=2147483648 is not between/],
    ['max_grant_frames="many"', /xl\.conf:1: parameter `max_grant_frames' is not a valid number$/],
    ['claim_mode=[', /^.*xl\.conf:\d+: config parsing error near .*\nFailed to parse config file: Invalid argument$/],
  ])('%s ends every call', async (text, message) => {
    await expect(read(`${text}\n`)).rejects.toThrow(message);
  });
});

describe('xl', () => {
  let host: FakeToolstack;
  beforeEach(async () => {
    host = await FakeToolstack.start();
    writeFileSync(join(dir, 'a.cfg'), 'name="a"\nkernel="/k"\nvif=["mac=00:16:3e:00:00:01"]\nvcpus=2\n');
  });
  afterEach(() => host.stop());
  const withConf = (conf: string, ...argv: string[]) => {
    const path = join(dir, 'xl.conf');
    writeFileSync(path, conf);
    return xl(argv, { dir: host.dir, cwd: dir, xlConf: path });
  };
  const created = () => {
    const request = host.requests.find(({ op }) => op === 'create');
    if (request?.op !== 'create') throw new Error('nothing was created');
    return request.args.config;
  };

  it('says what is wrong at every call, and ends where it cannot go on', async () => {
    expect(await withConf('autoballoon="x"\n', 'domid', 'Domain-0')).toEqual({
      ...{ code: 0, stdout: '0\n', stderr: 'invalid autoballoon option\n' },
    });
    expect(await withConf('max_grant_frames="-1"\n', 'domid', 'Domain-0')).toMatchObject({ code: 1, stdout: '' });
    expect(await withConf('[\n', 'help')).toMatchObject({
      ...{ code: 1, stdout: '', stderr: expect.stringContaining('config parsing error') },
    });
  });

  it('create fills in what the config leaves open, and only that', async () => {
    const conf = 'vif.default.bridge="br1"\nvif.default.backend="net"\nmax_grant_frames=40\nmax_maptrack_frames=50\n';
    expect((await withConf(conf, 'create', 'a.cfg')).code).toBe(0);
    expect(created()).toMatchObject({
      vifs: [{ bridge: 'br1', backend: 'net', script: null }],
      ...{ max_grant_frames: 40, max_maptrack_frames: 50 },
    });
    host.requests.length = 0;
    const more = ['name="b"', 'vif=["bridge=own"]', 'max_grant_frames=7'];
    expect((await withConf(conf, 'create', 'a.cfg', ...more)).code).toBe(0);
    expect(created()).toMatchObject({ vifs: [{ bridge: 'own', backend: 'net' }], max_grant_frames: 7 });
  });

  it('network-attach has the same defaults', async () => {
    host.add({ domid: 1, name: 'a' });
    expect((await withConf('vif.default.bridge="br1"\n', 'network-attach', 'a')).code).toBe(0);
    expect(host.requests.at(-1)).toMatchObject({ op: 'attachVif', args: { vif: { bridge: 'br1' } } });
  });

  it('create keeps every vCPU within the masks, unless told not to', async () => {
    const masks = 'vm.cpumask="1-63"\nvm.pv.cpumask="all,^2"\n'; // of four pCPUs, 1 and 3 are left
    expect((await withConf(masks, 'create', 'a.cfg')).code).toBe(0);
    expect(created().cpus).toEqual(['1,3', '1,3']);
    host.requests.length = 0;
    expect((await withConf(masks, 'create', 'a.cfg', 'name="b"', 'cpus=["0-1"]')).code).toBe(0);
    expect(created().cpus).toEqual(['1', '1,3']);
    host.requests.length = 0;
    expect((await withConf(masks, 'create', '-i', 'a.cfg', 'name="c"', 'cpus="2"')).code).toBe(0);
    expect(created().cpus).toBe('2');
    host.requests.length = 0;
    expect(await withConf(masks, 'create', '-q', 'a.cfg', 'name="d"', 'cpus="2"')).toEqual({
      ...{ code: 1, stdout: '', stderr: 'vcpu hard affinity map is empty\n' },
    });
    expect(host.requests.map(({ op }) => op)).not.toContain('create');
  });

  it('vcpu-pin keeps the hard affinity within the masks, unless told not to', async () => {
    host.add({ domid: 1, name: 'a' });
    const pinned = async (...argv: string[]) => {
      const { code, stderr } = await withConf('vm.cpumask="1,3"\n', 'vcpu-pin', ...argv);
      const last = host.requests.at(-1);
      return [code, stderr, last?.op === 'pinVcpu' ? [last.args.hard, last.args.soft] : null];
    };
    expect(await pinned('a', '0', 'all', '0')).toEqual([0, '', [[1, 3], [0]]]);
    expect(await pinned('a', '0', '-', '2')).toEqual([0, '', [null, [2]]]);
    expect(await pinned('-i', 'a', '0', '0')).toEqual([0, '', [[0], null]]);
    expect(await pinned('a', '0', '0')).toEqual([1, 'vcpu hard affinity map is empty\n', null]);
  });

  it('list -l prints S-expressions where output_format says so', async () => {
    expect((await withConf('', 'create', 'a.cfg', 'disk=["/d,raw,xvda,w"]', 'memory=64')).code).toBe(0);
    const credit = { weight: 256, cap: 0 };
    host.processors.shares = [{ domid: 1, name: 'x', pool: 'Pool-0', scheduler: 'credit2', credit, rtds: null }];
    const { stdout } = await withConf('output_format="sxp"\n', 'list', '-l');
    const { uuid, domid } = host.domains.get(1)!;
    expect(stdout).toMatch(new RegExp(`^\\(domain\n\t\\(domid ${domid}\\)\n`));
    expect(stdout).toContain(`\t(uuid ${uuid})\n`);
    expect(stdout).toContain('\t(device\n\t\t(tap\n\t\t\t(backend_domid 0)\n\t\t\t(frontend_domid 1)\n');
    expect(stdout).toMatch(/\n\)\n$/);
  });

  it('claims says when there are none', async () => {
    expect(await withConf('claim_mode=0\n', 'claims')).toMatchObject({
      ...{ code: 0, stdout: expect.stringMatching(/Claimed\n/), stderr: 'claim_mode not enabled (see man xl.conf).\n' },
    });
    expect(await withConf('claim_mode=1\n', 'claims')).toMatchObject({ code: 0, stderr: '' });
  });
});
