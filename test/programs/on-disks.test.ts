// Programs nobody here wrote, each in a domain of its own by `xl run` on a disk of each kind: what they leave there the host's
// own tools find in order, and is what the host's own programs read.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installExt4 } from '../../tools/ext4/build.ts';
import { e2fsck, LAYOUTS, madeExt4, whyNoExt4 } from '../support/ext4.ts';
import { dist, HostRig } from '../support/host-rig.ts';
import { eventually } from '../support/processes.ts';
import { buildFirst } from '../support/programs/build-first.ts';
import { ext4Wasm } from '../support/programs/ext4.ts';
import { lua } from '../support/programs/lua.ts';
import { python } from '../support/programs/python.ts';
import { quickjs } from '../support/programs/quickjs.ts';
import { sqlite } from '../support/programs/sqlite.ts';
import { orSkip } from '../support/programs/unavailable.ts';
import { PROGRAM_CACHE, xlRun } from '../support/programs/xl-run.ts';

const MIB = 1 << 20;
/** Where a program is run for the first time, and made ready for that. */
const FIRST = { timeout: 240_000 };

let dir: string;
let host: HostRig;
buildFirst(sqlite, quickjs, lua);
beforeAll(async () => {
  process.env.XDG_CACHE_HOME = PROGRAM_CACHE;
  dir = mkdtempSync(join(tmpdir(), 'xenolith-on-disks-'));
  // order: a host says when it starts what its domains' shells may read.
  if (whyNoExt4 === undefined) installExt4(await ext4Wasm());
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  if (dir) rmSync(dir, { recursive: true, force: true });
});

/** A kind of disk, by the host's tools. */
interface Disk {
  readonly kind: string;
  readonly missing: string | undefined;
  /** With `files` in its root directory. */
  make(image: string, mib: number, files?: readonly string[]): void;
  check(image: string): void;
  /** A file of it, put into `to`. */
  get(image: string, path: string, to: string): void;
}
const FAT: Disk = {
  kind: 'FAT',
  missing: undefined,
  make(image, mib, files = []) {
    writeFileSync(image, '');
    truncateSync(image, mib * MIB);
    execFileSync('mkfs.vfat', [image], { stdio: 'ignore' });
    if (files.length > 0) execFileSync('mcopy', ['-i', image, ...files, '::']);
  },
  check(image) {
    execFileSync('fsck.vfat', ['-n', image], { stdio: 'ignore' });
  },
  get(image, path, to) {
    execFileSync('mcopy', ['-n', '-i', image, `::${path}`, to]);
  },
};
const EXT4: Disk = {
  kind: 'ext4',
  missing: whyNoExt4,
  make(image, mib, files = []) {
    const from = `${image}.files`;
    mkdirSync(from);
    for (const file of files) copyFileSync(file, join(from, basename(file)));
    writeFileSync(image, madeExt4(LAYOUTS.ext4, mib * MIB, from));
  },
  check(image) {
    expect(e2fsck(new Uint8Array(readFileSync(image)))).toBe('');
  },
  get(image, path, to) {
    execFileSync('/usr/sbin/debugfs', ['-R', `dump "/${path}" "${to}"`, image], { stdio: 'ignore' });
  },
};

describe.each([FAT, EXT4])('on a $kind disk', disk => {
  const { kind, missing } = disk;
  const named = (title: string): string => (missing === undefined ? title : `${title} (${missing})`);
  const made = (name: string, mib: number, files?: readonly string[]): string => {
    const image = join(dir, `${name}.${kind}.img`);
    disk.make(image, mib, files);
    return image;
  };
  /** What the host reads of it, found in order. */
  const fileOf = (image: string, path: string): string => {
    disk.check(image);
    const to = join(dir, `${kind}-${basename(path)}`);
    disk.get(image, path, to);
    return to;
  };
  const textOf = (image: string, path: string): string => readFileSync(fileOf(image, path), 'utf8');
  const run = (args: readonly string[], stdin = '') => xlRun(host.runDir, args, stdin);

  test.skipIf(missing)(named('SQLite puts 100,000 rows into a database, which is whole'), FIRST, async context => {
    const program = await orSkip(context, sqlite);
    const image = made('sqlite', 32);
    const sql = [
      'create table t(a integer primary key, b text);',
      'with recursive n(x) as (select 1 union all select x + 1 from n where x < 100000)',
      'insert into t select x, hex(randomblob(8)) from n; create index i on t(b);',
      'pragma integrity_check; select count(*), min(length(b)) from t;',
    ];
    const done = await run(['--disk', image, program, '/mnt/rows.db', sql.join(' ')]);
    expect(done).toEqual({ stdout: 'ok\n100000|16\n', stderr: '', code: 0 });
    const found = execFileSync('sqlite3', [fileOf(image, 'rows.db'), 'pragma integrity_check; select sum(a) from t']);
    expect(found.toString()).toBe('ok\n5000050000\n');
  });

  const noServer = missing ?? (existsSync('/usr/bin/nbdkit') ? undefined : 'no nbdkit here');
  test.skipIf(noServer)(
    `that an NBD server has whose blocks have 4096 bytes SQLite has a whole database too${noServer ? ` (${noServer})` : ''}`,
    FIRST,
    async context => {
      const program = await orSkip(context, sqlite);
      const image = made('blocks', 8);
      const socket = join(dir, `${kind}.sock`);
      const policy = ['--filter=blocksize-policy', 'blocksize-minimum=4096', 'blocksize-error-policy=error'];
      const server = spawn('nbdkit', ['-f', '--exit-with-parent', '-U', socket, 'file', image, ...policy], {
        stdio: 'ignore',
      });
      try {
        await eventually('nbdkit listens', () => existsSync(socket));
        const rows = 'with recursive n(x) as (select 1 union all select x + 1 from n where x < 500)';
        const sql = [
          'create table t(a integer primary key, b text);',
          ...Array.from({ length: 5 }, () => `${rows} insert into t(b) select hex(randomblob(8)) from n;`),
          'delete from t where a % 2 = 0; create index i on t(b); pragma integrity_check; select count(*) from t;',
        ];
        const done = await run(['--disk', `nbd:unix:${socket}`, program, '/mnt/rows.db', sql.join(' ')]);
        expect(done).toEqual({ stdout: 'ok\n1250\n', stderr: '', code: 0 });
      } finally {
        const ended = once(server, 'exit');
        server.kill('SIGTERM');
        await ended;
      }
      const found = execFileSync('sqlite3', [fileOf(image, 'rows.db'), 'pragma integrity_check; select sum(a) from t']);
      expect(found.toString()).toBe('ok\n1562500\n');
    },
  );

  test.skipIf(missing)(
    named('CPython reads and writes files with its library, and exits with its code'),
    FIRST,
    async () => {
      const image = made('python', 8);
      const script = [
        'import json, os, sys, hashlib',
        "json.dump({'rows': list(range(1000))}, open('/mnt/rows.json', 'w'))",
        "rows = json.load(open('/mnt/rows.json'))['rows']",
        "os.makedirs('/mnt/a/b'); open('/mnt/a/b/c.txt', 'w').write('deep')",
        'names = sorted(set(os.listdir("/mnt")) - {"lost+found"})',
        'print(sum(rows), names, sys.stdin.read(), hashlib.sha256(b"x").hexdigest()[:8])',
        'print("to stderr", file=sys.stderr)',
        'sys.exit(5)',
      ];
      const done = await run(['-m', '512', '--disk', image, await python(), '-c', script.join('\n')], 'typed');
      expect(done).toEqual({ stdout: "499500 ['a', 'rows.json'] typed 2d711642\n", stderr: 'to stderr\n', code: 5 });
      expect(JSON.parse(textOf(image, 'rows.json')).rows).toHaveLength(1000);
      expect(textOf(image, 'a/b/c.txt')).toBe('deep');
    },
  );

  test.skipIf(missing)(
    named('QuickJS waits for timers, catches the end of its stack, reads and writes files'),
    FIRST,
    async context => {
      const program = await orSkip(context, quickjs);
      const image = made('quickjs', 8);
      const script = [
        "const f = std.open('/mnt/q.json', 'w'); f.puts(JSON.stringify({ a: [1, /x+/.exec('axx')[0]] })); f.close();",
        "print(std.loadFile('/mnt/q.json'));",
        'const deep = () => deep(); try { deep(); } catch (error) { print(error.message); }',
        "os.setTimeout(() => { print('later'); std.exit(3); }, 10);",
      ];
      const done = await run(['--disk', image, program, '--std', '--stack-size', '32k', '-e', script.join('\n')]);
      expect(done).toEqual({ stdout: '{"a":[1,"xx"]}\nstack overflow\nlater\n', stderr: '', code: 3 });
      expect(textOf(image, 'q.json')).toBe('{"a":[1,"xx"]}');
    },
  );

  test.skipIf(missing)(
    named('Lua throws and catches, switches coroutines, and runs a script that it finds there'),
    FIRST,
    async context => {
      const program = await orSkip(context, lua);
      const script = join(dir, 'script.lua');
      writeFileSync(
        script,
        `local ok, why = pcall(error, "thrown")
         local numbers = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
         local f = assert(io.open("/mnt/lua.txt", "w")); f:write(why, "\\n"); f:close()
         for line in io.lines("/mnt/lua.txt") do print(line, numbers(), numbers(), numbers()) end
         os.rename("/mnt/lua.txt", "/mnt/renamed.txt"); os.exit(9)`,
      );
      const image = made('lua', 8, [script]);
      const done = await run(['--disk', image, program, '/mnt/script.lua']);
      expect(done).toEqual({ stdout: 'thrown\t1\t2\t3\n', stderr: '', code: 9 });
      expect(textOf(image, 'renamed.txt')).toBe('thrown\n');
    },
  );
});

/** On an empty volume, and again on what it has left there. */
const PROGRAM = `
import { files, system } from 'xenolith';
export default function main() {
  const boots = files.exists('/data/boots') ? Number(files.readText('/data/boots')) : 0;
  files.mkdir('/data/deep/er', { recursive: true });
  const file = files.open('/data/pages', boots === 0 ? 'w' : 'r+');
  for (let n = 0; n < 40; n++) file.write(new Uint8Array(4096).fill(boots + n), 8192 * n);
  file.sync();
  const page = new Uint8Array(4096);
  file.read(page, 8192 * 7);
  file.close();
  files.writeFile(\`/data/deep/er/a long name, äöü, \${boots}\`, \`boot \${boots}\`);
  if (boots > 0) {
    files.rename('/data/deep/er/a long name, äöü, 0', '/data/deep/moved');
    files.appendFile('/data/deep/moved', ', moved', { sync: true });
  }
  files.writeFile('/data/boots', String(boots + 1), { sync: true });
  const names = files.list('/data/deep').map(({ name }) => name).sort();
  console.log(JSON.stringify([system.name, page[0], files.stat('/data/pages').size, names]));
}`;

test.skipIf(whyNoExt4)(
  `a program in TypeScript keeps its files on an ext4 disk, from boot to boot${whyNoExt4 ? ` (${whyNoExt4})` : ''}`,
  async () => {
    const image = join(dir, 'files.img');
    const config = join(dir, 'files.cfg');
    EXT4.make(image, 16);
    writeFileSync(join(dir, 'files.ts'), PROGRAM);
    writeFileSync(
      config,
      [
        'name = "files"',
        'memory = 32',
        `kernel = "${dist('domu-kernel.js')}"`,
        `ramdisk = "${join(dir, 'files.ts')}"`,
        'cmdline = "root=/dev/xvda"',
        `disk = [ "${image},raw,xvda,w" ]`,
      ].join('\n'),
    );
    const boot = async (says: string): Promise<void> => {
      expect(await host.xl('create', '-q', config)).toMatchObject({ stderr: '', exitCode: 0 });
      await eventually('the program has ended', async () => !/^files /m.test((await host.xl('list')).stdout));
      expect(host.consoleLog('files')).toContain(says);
      EXT4.check(image);
    };
    await boot('["files",7,323584,["er"]]');
    await boot('["files",8,323584,["er","moved"]]');
    const read = (path: string): string => {
      const to = join(dir, 'read');
      EXT4.get(image, path, to);
      return readFileSync(to, 'utf8');
    };
    expect(read('data/boots')).toBe('2');
    expect(read('data/deep/moved')).toBe('boot 0, moved');
    expect(read('data/deep/er/a long name, äöü, 1')).toBe('boot 1');
  },
);
