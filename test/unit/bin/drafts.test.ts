import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const PROGRAM = new URL('../../../bin/drafts.mjs', import.meta.url).href;

it('what an interrupted build has left goes with the next one, and what somebody is still at stays', () => {
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-drafts-'));
  try {
    const gone = spawnSync('true').pid;
    const there = [
      'dist',
      `dist.${process.pid}`,
      `dist.${process.pid}.old`,
      'dist.1',
      'dist.0',
      `dist.0${gone}`,
      'dist.x',
    ];
    for (const name of [...there, `dist.${gone}`, `dist.${gone}.old`]) {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, 'file'), '');
    }
    const script = `(await import(${JSON.stringify(PROGRAM)})).removeDrafts(${JSON.stringify(dir)})`;
    const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect([done.status, done.stderr]).toEqual([0, '']);
    expect(readdirSync(dir).sort()).toEqual(there.sort());
  } finally {
    rmSync(dir, { recursive: true });
  }
});
