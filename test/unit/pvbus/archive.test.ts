// Archives as GNU's tar and cpio write them, and ours as they read them.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ArchiveEntry, archiveEntries, cpioArchive, isArchive } from '../../../pvbus/archive/index.ts';

const LONG = `${'directory-'.repeat(8)}/${'name-'.repeat(40)}`;
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-archive-'));
  const at = (path: string): string => join(dir, 'tree', path);
  mkdirSync(at('bin'), { recursive: true });
  mkdirSync(at(LONG.slice(0, LONG.indexOf('/'))));
  writeFileSync(at('bin/program'), 'contents\n');
  chmodSync(at('bin/program'), 0o755);
  writeFileSync(at('empty'), '');
  writeFileSync(at(LONG), 'x'.repeat(5000));
  symlinkSync('../bin/program', at('bin/again'));
  linkSync(at('bin/program'), at('bin/zz-same'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const text = (entry: ArchiveEntry | undefined): string => Buffer.from(entry?.data ?? []).toString();

/** By path; a link has the data of what it links to. */
function unpacked(bytes: Uint8Array): Map<string, ArchiveEntry> {
  const found = new Map<string, ArchiveEntry>();
  for (const entry of archiveEntries(bytes)) {
    found.set(entry.path, entry.type === 'link' ? { ...found.get(entry.target)!, path: entry.path } : entry);
  }
  return found;
}

const FORMATS = {
  'tar, ustar': 'tar --format=ustar -C tree -cf - bin empty',
  'tar, GNU': 'tar --format=gnu -C tree -cf - .',
  'tar, pax': 'tar --format=pax -C tree -cf - .',
  'cpio, newc': 'cd tree && find . | sort | cpio --quiet -o -H newc',
};

describe.each(Object.entries(FORMATS))('%s', (name, command) => {
  const made = (): Uint8Array => execFileSync('sh', ['-c', command], { cwd: dir, maxBuffer: 1 << 24 });

  test('holds files, directories, symlinks and links as they were', () => {
    const bytes = made();
    expect(isArchive(bytes)).toBe(true);
    const found = unpacked(bytes);
    expect(text(found.get('bin/program'))).toBe('contents\n');
    expect(found.get('bin/program')).toMatchObject({ type: 'file', mode: 0o755 });
    expect(text(found.get('bin/zz-same'))).toBe('contents\n');
    expect(found.get('bin')).toMatchObject({ type: 'directory' });
    expect(found.get('bin/again')).toMatchObject({ type: 'symlink', target: '../bin/program' });
    expect(found.get('empty')).toMatchObject({ type: 'file' });
    if (name !== 'tar, ustar') expect(text(found.get(LONG))).toBe('x'.repeat(5000));
  });

  test('cut off anywhere it is an error with a place, or the entries before', () => {
    const bytes = made();
    for (let length = 512; length < bytes.length; length += 97) {
      try {
        for (const _ of archiveEntries(bytes.subarray(0, length)));
      } catch (error) {
        expect(error).toMatchObject({ code: 'EINVAL', message: expect.stringMatching(/archive: .*\(byte \d+\)/) });
      }
    }
  });

  test('changed at random it is an error or entries that stay inside', () => {
    const bytes = made();
    const change = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(change, changes => {
        const copy = bytes.slice();
        for (const [at, value] of changes) copy[at] = value;
        try {
          for (const { path } of archiveEntries(copy)) expect(path.split('/')).not.toContain('..');
        } catch (error) {
          expect(error).toMatchObject({ code: 'EINVAL' });
        }
      }),
      { numRuns: 200 },
    );
  });
});

test('an archive of ours is what cpio unpacks', () => {
  const bytes = cpioArchive(archiveEntries(execFileSync('sh', ['-c', FORMATS['tar, pax']], { cwd: dir })));
  const out = join(dir, 'out');
  mkdirSync(out);
  const { status, stderr } = spawnSync('cpio', ['--quiet', '-idm'], { cwd: out, input: bytes, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(readFileSync(join(out, LONG), 'utf8')).toBe('x'.repeat(5000));
  expect(readFileSync(join(out, 'bin/zz-same'), 'utf8')).toBe('contents\n');
  expect(statSync(join(out, 'bin/program')).mode & 0o777).toBe(0o755);
  expect(readlinkSync(join(out, 'bin/again'))).toBe('../bin/program');
});

test('an entry whose path leads out of the root is refused', () => {
  mkdirSync(join(dir, 'evil'));
  writeFileSync(join(dir, 'evil', 'x'), '');
  for (const command of [
    "tar --format=gnu -P --transform 's,^x,../x,' -C evil -cf - x",
    "tar --format=gnu -P --transform 's,^x,a/../../x,' -C evil -cf - x",
  ]) {
    const bytes = execFileSync('sh', ['-c', command], { cwd: dir });
    expect(() => [...archiveEntries(bytes)]).toThrow(/an entry is called/);
  }
});

test('a program and a gzip file are no archives', () => {
  expect(isArchive(Buffer.from('import x from "y";'.repeat(100)))).toBe(false);
  expect(isArchive(execFileSync('sh', ['-c', 'tar -C tree -czf - .'], { cwd: dir }))).toBe(false);
  expect(isArchive(new Uint8Array(2048))).toBe(false);
});
