import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

const PROGRAM = new URL('../../../bin/old-builds.mjs', import.meta.url).href;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-old-builds-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function make(names: readonly string[]): void {
  for (const name of names) {
    mkdirSync(join(dir, name));
    writeFileSync(join(dir, name, 'file'), '');
  }
}
function call(name: string, ...args: unknown[]): void {
  const script = `(await import(${JSON.stringify(PROGRAM)})).${name}(${args.map(one => JSON.stringify(one)).join()})`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect([done.status, done.stderr]).toEqual([0, '']);
}

it('what an interrupted build has left goes with the next one, and what somebody is still at stays', () => {
  const gone = spawnSync('true').pid;
  const there = [
    ...['dist', `dist.${process.pid}`, `dist.${process.pid}.old`, `dist.${process.pid}.kept`],
    ...['dist.1', 'dist.0', `dist.0${gone}`, 'dist.x', 'dist.1234567890123456'],
  ];
  make([...there, `dist.${gone}`, `dist.${gone}.old`, `dist.${gone}.kept`]);
  call('removeDrafts', dir);
  expect(readdirSync(dir).sort()).toEqual(there.sort());
});

it('a copy of an older build goes when nothing runs from it', async () => {
  const [old, used, named] = ['0123456789abcdef', '1123456789abcdef', '2123456789abcdef'].map(hash => `dist.${hash}`);
  const there = ['dist', `dist.${process.pid}`, 'dist.x', used!, named!];
  make([...there, old!]);
  const host = spawn('sh', ['-c', 'echo; read line', join(dir, used!, 'hypervisor.js')]);
  try {
    await once(host.stdout, 'data');
    call('removeUnused', dir, [named]);
    expect(readdirSync(dir).sort()).toEqual([...there].sort());
  } finally {
    host.kill();
    await once(host, 'exit');
  }
  call('removeUnused', dir, []);
  expect(readdirSync(dir)).not.toContain(used);
});
