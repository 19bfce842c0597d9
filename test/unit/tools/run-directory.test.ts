import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { makeRunDirectory } from '../../../tools/run-directory.ts';

it('is an absolute path wherever the temporary directory is', () => {
  const made = makeRunDirectory('.');
  rmSync(made, { recursive: true });
  expect(dirname(made)).toBe(process.cwd());
});

it('takes those away whose process has ended, and nothing else', () => {
  const parent = mkdtempSync(join(tmpdir(), 'xenolith-directories-'));
  try {
    const namespace = readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
    const { pid: ended } = spawnSync('true');
    const stays = [
      `xenolith-run-${namespace}-${process.pid}-abcdef`,
      // In another namespace the number may be that of a process that runs.
      `xenolith-run-${Number(namespace) + 1}-${ended}-abcdef`,
      `xenolith-run-${namespace}-${ended}-notes`,
      `xenolith-run-${namespace}-0x1-abcdef`,
      'mine',
    ];
    const left = `xenolith-run-${namespace}-${ended}-abcdef`;
    for (const name of [...stays, left]) mkdirSync(join(parent, name));
    writeFileSync(join(parent, left, 'host.log'), 'text');
    const made = makeRunDirectory(parent);
    expect(readdirSync(parent).sort()).toEqual([...stays, basename(made)].sort());
  } finally {
    rmSync(parent, { recursive: true });
  }
});
