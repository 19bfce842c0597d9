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
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ArchiveEntry, archiveEntries, cpioArchive, isArchive } from '../../../pvbus/archive/index.ts';
import { cpioOf, fixSums, tarOf } from '../../support/archives.ts';
import fc from '../../support/properties.ts';

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

describe('is refused with what is wrong and where', () => {
  const x = { name: 'x', data: Buffer.from('1') };
  /** A tar whose first header has `change` done to it, and a sum that fits. */
  const tarWith = (change: (header: Uint8Array) => void): Uint8Array => {
    const bytes = tarOf([x]);
    change(bytes);
    fixSums(bytes);
    return bytes;
  };
  const put =
    (at: number, ...bytes: (number | string)[]) =>
    (archive: Uint8Array): void =>
      archive.set(Buffer.concat(bytes.map(each => Buffer.from(typeof each === 'string' ? each : [each]))), at);
  const cpioWith = (change: (archive: Uint8Array) => void): Uint8Array => {
    const bytes = cpioOf([x]);
    change(bytes);
    return bytes;
  };
  const pax = (record: string) => tarOf([{ name: 'pax', type: 'x', data: Buffer.from(record) }, x]);

  test.each([
    ['tar: an absolute name', tarOf([{ name: '/x' }]), '"/x" is an absolute name (byte 0)'],
    ['tar: a link to one', tarOf([{ name: 'x', type: '1', link: '/x' }]), '"/x" is an absolute name (byte 0)'],
    ['tar: no name', tarOf([{ name: '.' }]), "'.' is no name for a file (byte 0)"],
    ['tar: no end mark', tarOf([x]).subarray(0, 1024), 'it ends before 512 bytes more (byte 1024)'],
    ['tar: no UTF-8', tarWith(put(0, 0xff)), 'a name that is not UTF-8 (byte 0)'],
    ['tar: a size of letters', tarWith(put(124, 'size')), 'a number that is none (byte 0)'],
    ['tar: a time of letters', tarWith(put(136, 'time')), 'a number that is none (byte 0)'],
    ['tar: a size below 0', tarWith(put(124, 0xff)), 'a number that is none (byte 0)'],
    ['tar: a size of 2^64', tarWith(put(124, 0x80, 0, 0, 1)), 'a number that is none (byte 0)'],
    [
      'tar: a long name too long',
      tarOf([{ name: 'l', type: 'L', data: Buffer.alloc(4098, 'x') }]),
      'of 4098 bytes (byte 0)',
    ],
    ['tar: a pax header too long', pax('x'.repeat(65537)), 'a header of 65537 bytes (byte 0)'],
    ['tar: a pax header that is none', pax('99 path=y\n'), 'a pax header that is none (byte 0)'],
    ['tar: a pax size that is none', pax('14 size=0x10\n\n'), 'a number that is none (byte 0)'],
    ['tar: a pax path with a NUL', pax('12 path=a\0b\n'), 'a path with a NUL (byte 0)'],
    ['tar: a pax path too long', pax(`4109 path=${'é'.repeat(2049)}\n`), 'a path of 4098 bytes (byte 0)'],
    ['tar: a sparse file', pax('22 GNU.sparse.major=1\n'), 'a sparse file, which is not supported (byte 0)'],
    ['cpio: an absolute name', cpioOf([{ name: '/x' }]), '"/x" is an absolute name (byte 0)'],
    ['cpio: a way out', cpioOf([x, { name: 'a/../..' }]), 'which leads out of the archive (byte 116)'],
    ['cpio: no name', cpioOf([{ name: './' }]), "'./' is no name for a file (byte 0)"],
    ['cpio: no end mark', cpioOf([x]).subarray(0, 116), 'it ends before 110 bytes more (byte 116)'],
    ['cpio: something after it', Buffer.concat([cpioOf([x]), Buffer.alloc(200, 'x')]), 'no header (byte 240)'],
    ['cpio: no UTF-8', cpioWith(put(110, 0xff)), 'a name that is not UTF-8 (byte 0)'],
    ['cpio: a NUL in a name', cpioOf([{ name: 'a\0b' }]), 'a path that ends elsewhere (byte 0)'],
    ['cpio: a name without an end', cpioWith(put(111, 'y')), 'a path that ends elsewhere (byte 0)'],
    ['cpio: a path too long', cpioOf([{ name: 'x'.repeat(4097) }]), 'a path of 4097 bytes (byte 0)'],
    ['cpio: no path at all', cpioWith(put(94, '00000000')), 'a path that ends elsewhere (byte 0)'],
    ['cpio: a header of letters', cpioWith(put(30, 'wxyz')), 'no header (byte 0)'],
    ['cpio: another sum', cpioWith(put(0, '070702')), 'x is damaged (byte 0)'],
    ['cpio: more bytes than it has', cpioWith(put(54, 'ffffffff')), 'it ends before 4294967295 bytes more (byte 112)'],
  ])('%s', (_, bytes, why) => {
    expect(() => [...archiveEntries(bytes)]).toThrow(why);
  });
});

test('a link, a directory and a device have no contents in a tar, whatever their size says', () => {
  const entries = ['2', '5', '3'].map(type => ({ name: `e${type}`, type, link: 'x', size: 512 }));
  const found = [...archiveEntries(tarOf([...entries, { name: 'x', data: Buffer.from('1') }]))];
  expect(found.map(({ path, type }) => `${path} ${type}`)).toEqual(['e2 symlink', 'e5 directory', 'x file']);
});

test('an inode of one cpio archive is none of the archive after it', () => {
  const one = (text: string): Uint8Array => {
    const bytes = cpioOf([{ name: text, data: Buffer.from(text) }]);
    bytes[6 + 8 * 5 - 1] = 0x32; // two names
    return bytes;
  };
  const found = [...archiveEntries(Buffer.concat([one('a'), Buffer.alloc(8), one('b')]))];
  expect(found.map(entry => `${entry.type} ${entry.path} = ${text(entry)}`)).toEqual(['file a = a', 'file b = b']);
});

test('what a file holds is a view of the archive', () => {
  for (const bytes of [
    tarOf([{ name: 'x', data: Buffer.from('1') }]),
    cpioOf([{ name: 'x', data: Buffer.from('1') }]),
  ]) {
    const [entry] = archiveEntries(bytes);
    expect(entry!.data.buffer).toBe(bytes.buffer);
  }
});

test('a program and a gzip file are no archives', () => {
  expect(isArchive(Buffer.from('import x from "y";'.repeat(100)))).toBe(false);
  expect(isArchive(execFileSync('sh', ['-c', 'tar -C tree -czf - .'], { cwd: dir }))).toBe(false);
  expect(isArchive(new Uint8Array(2048))).toBe(false);
});
