// What `xl run` makes of its command line.
import { expect, test } from 'vitest';
import { DEFAULT_XL_CONF } from '../../../tools/config/xl-conf.ts';
import { type ProgramOptions, programDomain } from '../../../tools/program-domain.ts';

const NOTHING: ProgramOptions = {
  ...{ file: 'hello.wasm', args: [], name: undefined, memory: undefined, vcpus: undefined, disks: [], mounts: [] },
  ...{ volumes: [], env: [], cwd: undefined, publish: [], nets: [], bare: false, terminal: undefined },
};
const made = (asked: Partial<ProgramOptions>) =>
  programDomain(
    { ...NOTHING, ...asked },
    { cwd: '/home/me', random: bytes => new Uint8Array(bytes).fill(0xab), warn: () => {}, conf: DEFAULT_XL_CONF },
  );

test('a program alone: its own name first, a domain of 256 MiB, a name nobody else has', () => {
  const { config, program } = made({ args: ['-v', 'two words'] });
  expect(config).toMatchObject({ name: 'run-abababababab', memory: 256, vcpus: 1, ramdisk: '/home/me/hello.wasm' });
  expect(config.on_crash).toBe('destroy');
  expect(program).toEqual({
    argv: ['hello', '-v', 'two words'],
    env: { PATH: '/bin:/usr/bin', HOME: '/' },
    cwd: null,
    mounts: [],
    directories: null,
    listen: null,
    stdio: null,
  });
});

test('of an archive the first argument is the program, or else a shell', () => {
  expect(made({ file: 'root.tgz', args: ['/bin/x', '1'] }).program.argv).toEqual(['/bin/x', '1']);
  expect(made({ file: 'root.tgz' }).program.argv).toEqual(['sh']);
});

test('disks are mounted at /mnt, /mnt2 and so on, or where --mount says', () => {
  const { config, program } = made({ disks: ['a.img', '/b.qcow2,qcow2'], mounts: ['/data'] });
  expect(config.disks.map(({ target, vdev, format }) => [target, vdev, format])).toEqual([
    ['/home/me/a.img', 'xvda', 'raw'],
    ['/b.qcow2', 'xvdb', 'qcow2'],
  ]);
  expect(program.mounts).toEqual([
    { disk: 'xvda', path: '/data', type: null, readOnly: false },
    { disk: 'xvdb', path: '/mnt2', type: null, readOnly: false },
  ]);
});

test('a directory to start in has a name', () => {
  expect(made({ cwd: '/srv' }).program.cwd).toBe('/srv');
  expect(() => made({ cwd: '' })).toThrow("--workdir '': no directory");
});

test('a port is one that the program may listen on, or one that it has a descriptor of', () => {
  const { config, program } = made({ publish: ['8080:80', '8443:fd', '9000:fd'] });
  expect(config.pvcalls[0]?.listen).toEqual([
    { host: 8080, guest: 80 },
    { host: 8443, guest: 8443 },
    { host: 9000, guest: 9000 },
  ]);
  expect(program.listen).toEqual([8443, 9000]);
  for (const text of ['8080', 'fd:80', '0:fd']) expect(() => made({ publish: [text] })).toThrow(`--publish ${text}`);
});

test('volumes are shared folders, mounted after the disks', () => {
  const { config, program } = made({ disks: ['a.img'], volumes: ['in, here:/in:ro', '/a:b:/out', '..:/w/x:rw'] });
  expect(config.p9.map(({ devid, tag, path }) => [devid, tag, path])).toEqual([
    [0, 'volume0', '/home/me/in, here'],
    [1, 'volume1', '/a:b'],
    [2, 'volume2', '/home'],
  ]);
  expect(program.mounts?.slice(1)).toEqual([
    { disk: 'volume0', path: '/in', type: '9p', readOnly: true },
    { disk: 'volume1', path: '/out', type: '9p', readOnly: false },
    { disk: 'volume2', path: '/w/x', type: '9p', readOnly: false },
  ]);
});

test('variables and ports', () => {
  const { config, program } = made({ env: ['A=b=c', 'HOME=/x'], publish: ['8080:80', '0:81'] });
  expect(program.env).toEqual({ PATH: '/bin:/usr/bin', HOME: '/x', A: 'b=c' });
  expect(config.pvcalls).toMatchObject([
    {
      listen: [
        { host: 8080, guest: 80 },
        { host: 0, guest: 81 },
      ],
    },
  ]);
});

test('an interface', () => {
  const { config } = made({ nets: ['inside.10', 'back'] });
  expect(config.vifs).toMatchObject([{ bridge: 'inside.10' }, { bridge: 'back' }]);
  expect([config.cmdline, config.pvcalls]).toEqual(['ip=dhcp', []]);
  expect(made({}).config).toMatchObject({ cmdline: '', vifs: [] });
});

test('at a terminal its kind and size', () => {
  const { program } = made({ terminal: { kind: 'xterm', columns: 132, rows: 43 } });
  expect(program.env).toMatchObject({ TERM: 'xterm', COLUMNS: '132', LINES: '43' });
  expect(made({ terminal: { kind: undefined } }).program.env).toEqual({ PATH: '/bin:/usr/bin', HOME: '/' });
});

test('a bare program has no environment but its own, and of directories the volumes by name', () => {
  const { program } = made({
    ...{ bare: true, env: ['A=1'], volumes: ['.:fs.dir', '/srv:/:ro'], terminal: { kind: 'xterm', columns: 80 } },
  });
  expect(program.env).toEqual({ A: '1' });
  expect(program.directories).toEqual([
    { name: 'fs.dir', path: '/volume0' },
    { name: '/', path: '/volume1' },
  ]);
  expect(program.mounts?.map(({ path, readOnly }) => [path, readOnly])).toEqual([
    ['/volume0', false],
    ['/volume1', true],
  ]);
});

test.each([
  [{ memory: 'much' }, '--memory much: expected a whole number from 1 on'],
  [{ vcpus: '0' }, '--vcpus 0: expected a whole number from 1 on'],
  [{ disks: [',raw'] }, '--disk ,raw: no file'],
  [{ disks: ['a.img,vmdk'] }, '--disk a.img,vmdk: the format is none of'],
  [{ disks: ['a.img'], mounts: ['data'] }, '--mount data: no absolute path'],
  [{ volumes: ['data'] }, '--volume data: not HOST:GUEST'],
  [{ volumes: ['data:mnt'] }, '--volume data:mnt: not HOST:GUEST'],
  [{ volumes: [':/mnt'] }, '--volume :/mnt: not HOST:GUEST'],
  [{ volumes: ['data:/mnt:rx'] }, '--volume data:/mnt:rx: not HOST:GUEST'],
  [{ volumes: ['data://.'] }, "--volume data://.: the root is the program's"],
  [{ volumes: Array(17).fill('data:/mnt') }, '--volume: at most 16'],
  [{ env: ['=x'] }, '--env =x: not NAME=VALUE'],
  [{ nets: ['a,b'] }, '--net a,b: no bridge has this name'],
  [{ nets: [''] }, '--net : no bridge has this name'],
  [{ nets: ['br0'], publish: ['80:80'] }, '--net and --publish'],
  [{ publish: ['80'] }, '--publish 80: neither HOST:GUEST nor HOST:fd'],
  [{ file: 'a"b.wasm' }, 'no quotes'],
] as const)('%j is refused', (asked, why) => {
  expect(() => made(asked)).toThrow(why);
});
