// What cannot be created says why in one line, with xl's exit code, and leaves nothing: whatever had been
// made for it by then is taken back.
import { constants } from 'node:buffer';
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dist, HostRig, type XlResult } from '../../support/host-rig.ts';
import { type Inventory, inventoryAtRest, settled } from '../../support/inventory.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-bad-'));
const at = (name: string): string => join(dir, name);
let host: HostRig;
let before: Inventory;
beforeAll(async () => {
  writeFileSync(at('guest.ts'), "import { clock } from 'xenolith';\nexport default () => clock.sleep(3_600_000);\n");
  writeFileSync(at('empty.ts'), '');
  writeFileSync(at('large.cjs'), `// ${'x'.repeat(1 << 20)}`);
  writeFileSync(at('disk.img'), '');
  truncateSync(at('disk.img'), 1 << 20);
  host = await HostRig.start();
  before = await inventoryAtRest(host);
});
afterEach(async () => {
  for (const { domid } of await host.domains()) if (domid !== 0) await host.xl('destroy', String(domid));
  expect(await settled(host, before)).toEqual(before);
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** An xl.cfg that can be created, but for what `keys` make of it. */
function cfg(name: string, keys: Record<string, string> = {}): string {
  const all = {
    name: `"${name}"`,
    kernel: `"${dist('domu-kernel.js')}"`,
    ramdisk: '"guest.ts"',
    memory: '16',
    ...keys,
  };
  const file = at(`${name}.cfg`);
  writeFileSync(
    file,
    Object.entries(all)
      .map(([key, value]) => `${key} = ${value}\n`)
      .join(''),
  );
  return file;
}
/** What `xl create` says beside naming the file it reads. */
async function create(file: string): Promise<XlResult & { readonly complaint: string }> {
  const result = await host.xlIn(dir, 'create', file);
  const said = ['', `Parsing config from ${file}`, NO_MEMORY];
  const lines = result.stderr.split('\n').filter(line => !said.includes(line));
  return { ...result, complaint: lines.join('\n') };
}

const LIBXL_FAILED = 3;
/** What xl says beside libxl's reason. */
const NO_MEMORY = 'failed to free memory for the domain';
const LIBXL_INVALID = 6;
const BAD_CONFIG = 1;

describe('xl create of a config', () => {
  it.each<[what: string, keys: Record<string, string>, exitCode: number, complaint: RegExp]>([
    [
      'whose kernel is missing',
      { kernel: '"no-kernel.js"' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:2: kernel: \S+\/no-kernel\.js does not exist$/,
    ],
    [
      'whose kernel is a directory',
      { kernel: '"."' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:2: kernel: \S+ is not a file$/,
    ],
    [
      'whose program is missing',
      { ramdisk: '"no.ts"' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:3: ramdisk: \S+\/no\.ts does not exist$/,
    ],
    [
      'whose program is empty',
      { ramdisk: '"empty.ts"' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:3: ramdisk: \S+\/empty\.ts is empty$/,
    ],
    [
      'fault 45: whose disk is missing',
      { disk: '["no.img,raw,xvda,w"]' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:5: disk xvda: \S+\/no\.img does not exist$/,
    ],
    [
      'whose disk is a directory',
      { disk: '["/tmp,raw,xvda,w"]' },
      LIBXL_INVALID,
      /^libxl: error: \S+\/bad\.cfg:5: disk xvda: \/tmp is neither a file nor/,
    ],
    [
      'with two disks at one place',
      { disk: '["disk.img,raw,xvda,w", "disk.img,raw,xvda,r"]' },
      BAD_CONFIG,
      /^\S+\/bad\.cfg:5: disk xvda is configured twice$/,
    ],
    [
      'with an unknown vdev',
      { disk: '["disk.img,raw,floppy,w"]' },
      BAD_CONFIG,
      /Invalid or unsupported virtual disk identifier floppy/,
    ],
    [
      'with an unknown backend',
      { vif: '["bridge=xenbr0,backend=nobody"]' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:5: vif 0: backend domain 'nobody' does not exist$/,
    ],
    [
      'with an unknown backend of a disk',
      { disk: '["format=raw,vdev=xvda,access=rw,backend=nobody,target=disk.img"]' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:5: disk xvda: backend domain 'nobody' does not exist$/,
    ],
    ['with no memory', { memory: '0' }, BAD_CONFIG, /^\S+\/bad\.cfg:4: invalid memory size: memory=0$/],
    [
      'with senseless memory',
      { memory: '"plenty"' },
      BAD_CONFIG,
      /^\S+\/bad\.cfg:4: parameter `memory' is not a valid number$/,
    ],
    [
      'with more memory than there is',
      { memory: '99999999' },
      LIBXL_FAILED,
      // Node 20's buffers end at 4 GiB.
      constants.MAX_LENGTH > 2 ** 32
        ? /^libxl: error: \S+\/bad\.cfg:4: memory: 99999999 MiB asked for, \d+ MiB of this host are free$/
        : /^libxl: error: \S+\/bad\.cfg:4: memory: 99999999 MiB, a domain has at most 409\d with Node 20\.\S+$/,
    ],
    [
      'with less memory than its program takes',
      { memory: '1', ramdisk: '"large.cjs"' },
      LIBXL_FAILED,
      /^libxl: error: \S+\/bad\.cfg:4: memory: 1 MiB do not hold kernel and ramdisk, \d MiB would$/,
    ],
    ['without a name', { name: '""' }, BAD_CONFIG, /^Domain name must be specified\.$/],
  ])('%s', async (_what, keys, exitCode, complaint) => {
    const result = await create(cfg('bad', keys));
    expect(result.complaint).toMatch(complaint);
    expect(result.complaint).not.toContain('\n');
    expect({ exitCode: result.exitCode, stdout: result.stdout }).toEqual({ exitCode, stdout: '' });
  });

  it('with a maxmem that no buffer holds is made; it has not all of that', async () => {
    const { exitCode, complaint } = await create(cfg('wide', { maxmem: '8192' }));
    expect({ exitCode, complaint }).toEqual({ exitCode: 0, complaint: '' });
    expect(await host.xl('destroy', 'wide')).toMatchObject({ exitCode: 0 });
  });

  it('that is no config names the line; xl adds a line of its own', async () => {
    writeFileSync(at('syntax.cfg'), 'name = "a"\nmemory = [ 16\nkernel = "k"\n');
    const { complaint, exitCode } = await create(at('syntax.cfg'));
    expect(complaint).toMatch(
      /^\S+syntax\.cfg:\d+: config parsing error near .*\nFailed to parse config: Invalid argument$/,
    );
    expect(exitCode).toBe(BAD_CONFIG);
  });

  it('that is not there, or cannot be read', async () => {
    expect(await create(at('none.cfg'))).toMatchObject({
      exitCode: LIBXL_FAILED,
      complaint: `Failed to read config file: ${at('none.cfg')}: No such file or directory`,
    });
    expect(await create(dir)).toMatchObject({
      exitCode: LIBXL_FAILED,
      complaint: `Failed to read config file: ${dir}: Is a directory`,
    });
  });

  it('whose name is taken; who has it does not notice', async () => {
    expect(await create(cfg('good'))).toMatchObject({ exitCode: 0, complaint: '' });
    const second = await create(cfg('good'));
    expect(second.complaint).toMatch(/domain 'good'.*exists|'good' is.*(taken|in use)|name.*good/);
    expect(second.complaint).not.toContain('\n');
    expect(second.exitCode).toBe(LIBXL_INVALID);
    expect((await host.xl('list', 'good')).exitCode).toBe(0);
  });

  it('fault 45: whose disk another domain writes', async () => {
    expect(await create(cfg('good', { disk: '["disk.img,raw,xvda,w"]' }))).toMatchObject({ exitCode: 0 });
    const second = await create(cfg('bad', { disk: '["disk.img,raw,xvda,r"]' }));
    expect(second.complaint).toMatch(/disk xvda: \S+\/disk\.img is in use: domain 'good' writes it as xvda$/);
    expect(second.exitCode).toBe(LIBXL_FAILED);
  });

  it('whose disk is in another config, and both are created at once', async () => {
    const files = ['one', 'two'].map(name => cfg(name, { disk: '["disk.img,raw,xvda,w"]' }));
    const results = await Promise.all(files.map(create));
    expect(results.map(({ exitCode }) => exitCode).sort()).toEqual([0, LIBXL_FAILED]);
  });

  it('whose port of the host another domain has, or another program', async () => {
    const other = createServer();
    await new Promise<void>(resolve => other.listen({ port: 0, host: '127.0.0.1' }, resolve));
    const { port } = other.address() as { port: number };
    try {
      const taken = await create(cfg('bad', { pvcalls: `["listen=${port}:80"]` }));
      expect(taken.complaint).toMatch(new RegExp(`pvcalls.* port ${port} .*in use`));
      expect(taken.complaint).not.toContain('\n');
      expect(taken.exitCode).toBe(LIBXL_FAILED);
    } finally {
      await new Promise(resolve => other.close(resolve));
    }
    expect(await create(cfg('good', { pvcalls: `["listen=${port}:80"]` }))).toMatchObject({ exitCode: 0 });
    const second = await create(cfg('bad', { pvcalls: `["listen=${port}:80"]` }));
    expect(second.complaint).toMatch(new RegExp(`pvcalls.* port ${port} .*in use: domain 'good'`));
    expect(second.exitCode).toBe(LIBXL_FAILED);
  });
});

describe('xl up of a topology', () => {
  const domain = (keys = ''): string => `{ kernel: ${dist('domu-kernel.js')}, ramdisk: guest.ts, memory: 16${keys} }`;
  const topology = (text: string): string => {
    writeFileSync(at('topology.yaml'), text);
    return at('topology.yaml');
  };

  it.each<[what: string, text: string, complaint: RegExp]>([
    ['that is no YAML', 'name: a\n  domains: [', /topology\.yaml:\d+: /],
    [
      'with a key that has no meaning',
      `name: a\ndomainz: {}\ndomains: { one: ${domain()} }\n`,
      /topology\.yaml:\d+: .*domainz/,
    ],
    [
      'that names an xl.cfg which is not there',
      'name: a\ndomains: { one: { config: none.cfg } }\n',
      /domains\.one: .*none\.cfg/,
    ],
    [
      'whose domains wait for each other',
      `name: a\ndomains:\n  one: ${domain(', after: two')}\n  two: ${domain(', after: one')}\n`,
      /one.*two|two.*one/,
    ],
    [
      'with a disk that is there for nobody',
      `name: a\ndomains: { one: ${domain(', disk: ["no.img,raw,xvda,w"]')} }\n`,
      /disk xvda: \S+\/no\.img does not exist/,
    ],
  ])('%s', async (_what, text, complaint) => {
    const result = await host.xlIn(dir, 'up', topology(text));
    const last = result.stderr.trimEnd().split('\n').at(-1)!;
    expect(last).toMatch(complaint);
    expect(result.exitCode).toBe(1);
  });

  it('that fails half way: what came first goes again, the images too', async () => {
    const text = `name: half
bridges: [ attic ]
images: [ { path: new.img, size: 1m } ]
domains:
  first: ${domain(', disk: ["new.img,raw,xvda,w"], vif: ["bridge=attic"]')}
  second: ${domain(', after: first, disk: ["no.img,raw,xvda,w"]')}
`;
    const result = await host.xlIn(dir, 'up', topology(text));
    expect(result.stdout).toMatch(/first/);
    expect(result.stderr).toMatch(
      /second.*disk xvda: \S+\/no\.img does not exist|disk xvda: \S+\/no\.img does not exist/,
    );
    expect(result.exitCode).toBe(1);
    expect(existsSync(at('new.img'))).toBe(false);
  });
});
