// Programs in a domain of several vCPUs: they compute at the same time, have their calls made by the kernel on vCPU 0, and
// say what they would have said anywhere, also while vCPUs come and go.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { prepareProgram } from '#pvbus';
import { tarOf } from '../support/archives.ts';
import { HostRig } from '../support/host-rig.ts';
import { eventually } from '../support/processes.ts';
import { buildFirst } from '../support/programs/build-first.ts';
import { sqlite } from '../support/programs/sqlite.ts';
import { orSkip } from '../support/programs/unavailable.ts';
import { xlRun } from '../support/programs/xl-run.ts';
import { compileWasi, whyNoWasi } from '../support/wasi-cc.ts';

const missing = whyNoWasi();
let dir: string;
let root: string;
let host: HostRig;

/** What `turns lines 1 N` computes. */
function spin(from: number, turns: number): number {
  let x = from;
  for (let i = 0; i < turns; i++) x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
  return x;
}

if (missing === undefined) buildFirst(sqlite);
beforeAll(async () => {
  if (missing !== undefined) return;
  dir = mkdtempSync(join(tmpdir(), 'xenolith-several-vcpus-'));
  root = join(dir, 'root.tar');
  const source = fileURLToPath(new URL('../support/programs/c/turns.c', import.meta.url));
  const program = prepareProgram(readFileSync(await compileWasi(source, { flags: ['-O1'] })));
  const directory = { type: '5' };
  writeFileSync(
    root,
    tarOf([
      { name: 'tmp/', ...directory },
      { name: 'bin/', ...directory },
      { name: 'bin/turns.wasm', data: program },
    ]),
  );
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  if (dir) rmSync(dir, { recursive: true, force: true });
});

test.skipIf(missing !== undefined)('several compute at once, on all vCPUs, over a pipe, files and memory', async () => {
  const script = [
    'turns lines 4 20000000 > /tmp/lines & turns lines 4 20000000 | turns filter 0 20000000 > /tmp/filtered &',
    'turns files 20 4000000 x > /tmp/files & turns grow 30 100 > /tmp/grown &',
    // Until one has been seen on vCPU 1: one that does not end before.
    'turns lines 1000000000 20000000 > /dev/null & spinner=$!',
    'seen=; while [ -z "$seen" ]; do ps > /tmp/ps; while read pid ppid pgid s psr rest; do',
    'case $psr in 1) seen=1;; esac; done < /tmp/ps; done; echo vCPU 1; kill $spinner; wait',
    'cat /tmp/lines /tmp/filtered /tmp/files /tmp/grown',
  ].join('\n');
  const done = await xlRun(host.runDir, ['--vcpus=2', root, 'sh', '-c', script]);
  let [x, y] = [1, 1];
  const lines = Array.from({ length: 4 }, (_, i) => {
    x = spin(x, 20_000_000);
    y = spin((x ^ y) >>> 0, 20_000_000);
    return { line: `${i} ${x}`, filtered: `${y}` };
  });
  let [z, sum] = [1, 0];
  for (let i = 0; i < 30 * 25_000; i++) {
    z = spin(z, 100);
    sum = (sum + z) >>> 0;
  }
  const files = spin(1, 80_000_000);
  const expected = [...lines.map(({ line }) => line), ...lines.map(({ filtered }) => filtered), files, sum];
  expect(done).toEqual({ stdout: `vCPU 1\n${expected.join('\n')}\n`, stderr: '', code: 0 });
});

test.skipIf(missing !== undefined)('a vCPU that is taken away and given back takes nothing with it', async () => {
  const name = 'several-vcpus';
  const script = 'echo begins; for i in 1 2 3 4 5 6; do turns lines 1 60000000 & done; wait; echo ended';
  const running = xlRun(host.runDir, [`--name=${name}`, '--vcpus=2', root, 'sh', '-c', script]);
  await eventually('the domain is there', async () => (await host.domains()).some(domain => domain.name === name));
  let ended = false;
  void running.then(() => {
    ended = true;
  });
  for (let n = 0; n < 4; n++) {
    const done = await host.xl('vcpu-set', name, `${1 + (n % 2)}`);
    // The programs may have ended meanwhile, and their domain.
    if (done.exitCode !== 0) break;
  }
  const { stdout, code } = await running;
  const line = `0 ${spin(1, 60_000_000)}\n`;
  expect([ended, stdout, code]).toEqual([true, `begins\n${line.repeat(6)}ended\n`, 0]);
});

test.skipIf(missing !== undefined)(
  'SQLite computes on another vCPU and writes by the kernel on vCPU 0: its database is whole',
  { timeout: 240_000 },
  async context => {
    const program = await orSkip(context, sqlite);
    const image = join(dir, 'sqlite.img');
    writeFileSync(image, '');
    truncateSync(image, 16 << 20);
    execFileSync('mkfs.vfat', [image], { stdio: 'ignore' });
    const name = 'sqlite-on-two';
    const count = (n: number): string =>
      `with recursive c(x) as (select 1 union all select x + 1 from c where x < ${n}) `;
    const sql = [
      'create table t(a integer primary key, b)',
      `${count(20_000)} insert into t select x, x * x from c`,
      // Nothing but computing, which is what moves it.
      `${count(1_000_000)} select sum(x % 7) from c`,
      'update t set b = b + 1 where a % 2',
      'create index i on t(b)',
      'pragma integrity_check',
      'select count(*), sum(b) from t',
    ].join('; ');
    const options = [`--name=${name}`, '--vcpus=2', '--disk', image];
    let ended = false;
    const running = xlRun(host.runDir, [...options, program, '/mnt/t.db', sql]).finally(() => {
      ended = true;
    });
    // Seconds that its vCPU 1 has run.
    let elsewhere = 0;
    while (!ended && elsewhere < 0.1) {
      const { stdout } = await host.xl('vcpu-list', name);
      const time = new RegExp(`^${name} +[0-9]+ +1 .* ([0-9.]+) `, 'm').exec(stdout)?.[1];
      elsewhere = Math.max(elsewhere, Number(time ?? 0));
    }
    let sum = 0;
    for (let x = 1; x <= 20_000; x++) sum += x * x + (x % 2);
    let sevens = 0;
    for (let x = 1; x <= 1_000_000; x++) sevens += x % 7;
    expect(await running).toEqual({ stdout: `${sevens}\nok\n20000|${sum}\n`, stderr: '', code: 0 });
    expect(elsewhere).toBeGreaterThanOrEqual(0.1);
  },
);
