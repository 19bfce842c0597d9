// A program in a domain of its own on an ext4 disk, which the host's e2fsprogs finds in order.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installExt4 } from '../../tools/ext4/build.ts';
import { e2fsck, LAYOUTS, madeExt4, whyNoExt4 } from '../support/ext4.ts';
import { HostRig } from '../support/host-rig.ts';
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

test.skipIf(whyNoExt4)(
  `SQLite keeps a database on an ext4 disk, which e2fsck and the host's sqlite3 find sound${whyNoExt4 ? ` (${whyNoExt4})` : ''}`,
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
