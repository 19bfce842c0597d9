// Programs in domains of their own on ext4 disks, which the host's e2fsprogs finds in order.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installExt4 } from '../../tools/ext4/build.ts';
import { e2fsck, LAYOUTS, madeExt4, whyNoExt4 } from '../support/ext4.ts';
import { dist, HostRig } from '../support/host-rig.ts';
import { eventually } from '../support/processes.ts';
import { ext4Wasm } from '../support/programs/ext4.ts';
import { sqlite } from '../support/programs/sqlite.ts';
import { orSkip } from '../support/programs/unavailable.ts';
import { xlRun } from '../support/programs/xl-run.ts';

let dir: string;
let host: HostRig | undefined;
beforeAll(async () => {
  if (whyNoExt4) return;
  dir = mkdtempSync(join(tmpdir(), 'xenolith-ext4-'));
  // order: a host says when it starts what its domains' shells may read.
  installExt4(await ext4Wasm());
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  if (dir) rmSync(dir, { recursive: true, force: true });
});

const why = whyNoExt4 ? ` (${whyNoExt4})` : '';

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

test.skipIf(whyNoExt4)(`a program in TypeScript keeps its files on an ext4 disk, from boot to boot${why}`, async () => {
  if (!host) throw new Error('no host');
  const image = join(dir, 'files.img');
  const config = join(dir, 'files.cfg');
  writeFileSync(image, madeExt4(LAYOUTS.ext4, 16 << 20));
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
  const rig = host;
  const boot = async (says: string): Promise<void> => {
    expect(await rig.xl('create', '-q', config)).toMatchObject({ stderr: '', exitCode: 0 });
    await eventually('the program has ended', async () => !/^files /m.test((await rig.xl('list')).stdout));
    expect(rig.consoleLog('files')).toContain(says);
    expect(e2fsck(new Uint8Array(readFileSync(image)))).toBe('');
  };
  await boot('["files",7,323584,["er"]]');
  await boot('["files",8,323584,["er","moved"]]');
  const read = (path: string): string =>
    execFileSync('/usr/sbin/debugfs', ['-R', `cat ${path}`, image], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  expect(read('/data/boots')).toBe('2');
  expect(read('/data/deep/moved')).toBe('boot 0, moved');
  expect(read('"/data/deep/er/a long name, äöü, 1"')).toBe('boot 1');
});

test.skipIf(whyNoExt4)(
  `SQLite keeps a database on an ext4 disk, which e2fsck and the host's sqlite3 find sound${why}`,
  async context => {
    if (!host) throw new Error('no host');
    const program = await orSkip(context, sqlite);
    const image = join(dir, 'disk.img');
    writeFileSync(image, madeExt4(LAYOUTS.ext4, 16 << 20));
    const sql = [
      'create table t(a integer primary key, b text);',
      'with recursive n(x) as (select 1 union all select x + 1 from n where x < 5000)',
      'insert into t select x, hex(randomblob(8)) from n; create index i on t(b);',
      'pragma integrity_check; select count(*), min(length(b)) from t;',
    ];
    const done = await xlRun(host.runDir, ['--disk', image, program, '/mnt/rows.db', sql.join(' ')]);
    expect(done).toEqual({ stdout: 'ok\n5000|16\n', stderr: '', code: 0 });
    expect(e2fsck(new Uint8Array(readFileSync(image)))).toBe('');
    const database = join(dir, 'rows.db');
    execFileSync('/usr/sbin/debugfs', ['-R', `dump /rows.db ${database}`, image], { stdio: 'ignore' });
    const found = execFileSync('sqlite3', [database, 'pragma integrity_check; select sum(a) from t']);
    expect(found.toString()).toBe('ok\n12502500\n');
  },
);
