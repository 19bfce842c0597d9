// Archives as the tools of the host make them, and such as nobody should.
import { execFileSync } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { unpackArchive } from '../../../../domu-kernel/fs/archive.ts';
import type { Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { Tmpfs } from '../../../../domu-kernel/fs/tmpfs.ts';
import { isArchive } from '../../../../pvbus/archive/index.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { cpioOf, fixSums, tarOf } from '../../../support/archives.ts';
import { pageCounter, tmpfs, wallNs } from '../../../support/file-systems.ts';
import { seededRandom } from '../../../support/random.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);

/** Every file as 'path', 'path -> target', 'path/' or 'path = text'. */
function listing(directory: Vnode, prefix = ''): string[] {
  return directory.entries().flatMap(({ name, type }) => {
    const vnode = directory.lookup(name);
    if (!vnode) throw new Error(name);
    try {
      const path = `${prefix}${name}`;
      if (type === 'directory') return [`${path}/`, ...listing(vnode, `${path}/`)];
      if (type === 'symlink') return [`${path} -> ${vnode.readlink()}`];
      const into = new Uint8Array(vnode.attributes().size);
      vnode.read(0, into);
      return [`${path} = ${into.length > 40 ? `${into.length} of ${into[0]}` : new TextDecoder().decode(into)}`];
    } finally {
      vnode.release();
    }
  });
}
function unpacked(archive: Uint8Array): string[] {
  const fs = tmpfs(4 << 20);
  unpackArchive(archive, fs.root);
  expect(fs.inUse).toBe(false);
  return listing(fs.root).sort();
}
function refusal(archive: Uint8Array): string {
  const fs = tmpfs(4 << 20);
  try {
    unpackArchive(archive, fs.root);
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
    expect(fs.inUse).toBe(false);
    return error.message;
  }
  return `accepted: ${listing(fs.root)}`;
}

const LONG = `${'a-directory-with-a-long-name/'.repeat(5)}${'and-a-file'.repeat(9)}`;
const tools = ['/usr/bin/tar', '/usr/bin/cpio'].filter(tool => !existsSync(tool));

describe.skipIf(tools.length > 0)(
  `archives of the host's tools${tools.length > 0 ? ` (not here: ${tools})` : ''}`,
  () => {
    let dir = '';
    beforeAll(() => {
      dir = mkdtempSync(join(tmpdir(), 'xenolith-archive-'));
      const put = (name: string, text: string | Uint8Array): void => {
        mkdirSync(join(dir, name, '..'), { recursive: true });
        writeFileSync(join(dir, name), text);
      };
      put('tree/etc/init.json', '{}');
      put('tree/bin/prog', new Uint8Array(100_000).fill(7));
      put('tree/Größe', 'ü');
      put(`tree/${LONG}`, 'far down');
      put('tree/empty', '');
      symlinkSync('../etc/init.json', join(dir, 'tree/bin/conf'));
      linkSync(join(dir, 'tree/bin/prog'), join(dir, 'tree/bin/same'));
      utimesSync(join(dir, 'tree/etc'), 1_600_000_000, 1_600_000_000);
    });
    afterAll(() => rmSync(dir, { recursive: true, force: true }));
    const make = (command: string): Uint8Array =>
      new Uint8Array(
        execFileSync('/bin/sh', ['-c', command], {
          cwd: join(dir, 'tree'),
          maxBuffer: 1 << 24,
          stdio: ['ignore', 'pipe', 'ignore'],
        }),
      );
    const wanted = (): string[] => {
      const deep = LONG.split('/').slice(0, -1);
      return [
        ...deep.map((_, i) => `${deep.slice(0, i + 1).join('/')}/`),
        `${LONG} = far down`,
        'Größe = ü',
        'bin/',
        'bin/conf -> ../etc/init.json',
        'bin/prog = 100000 of 7',
        'bin/same = 100000 of 7',
        'empty = ',
        'etc/',
        'etc/init.json = {}',
      ].sort();
    };

    it.each([
      ['GNU tar', 'tar cf - --format=gnu .'],
      ['pax', 'tar cf - --format=pax .'],
      ['ustar', 'tar cf - --format=ustar .'],
      ['cpio', 'find . | cpio -o -H newc'],
      ['cpio with sums', 'find . | cpio -o -H crc'],
      ['a cpio of two', 'find . -name bin -prune -o -print | cpio -o -H newc; find ./bin | cpio -o -H newc'],
    ])('are unpacked: %s', (_, command) => {
      const archive = make(command);
      expect(isArchive(archive)).toBe(true);
      const fs = tmpfs(4 << 20);
      unpackArchive(archive, fs.root);
      expect(listing(fs.root).sort()).toEqual(wanted());
      const bin = fs.root.lookup('bin');
      const prog = bin?.lookup('prog');
      expect(prog).toBe(bin?.lookup('same'));
      expect(fs.root.lookup('etc')?.attributes().mtimeNs).toBe(1_600_000_000_000_000_000n);
    });
  },
);

describe('an archive', () => {
  it('is told from a program', () => {
    expect(isArchive(tarOf([{ name: 'x', data: bytes('1') }]))).toBe(true);
    expect(isArchive(cpioOf([{ name: 'x', data: bytes('1') }]))).toBe(true);
    expect(isArchive(bytes("import { files } from 'xenolith';\n".repeat(40)))).toBe(false);
    expect(isArchive(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))).toBe(false);
    expect(isArchive(new Uint8Array(1024))).toBe(false);
  });

  it('may name a file twice, and leave directories out', () => {
    const entries = [
      { name: './a/b/f', data: bytes('1') },
      { name: 'a/', type: '5' },
      { name: 'a/b/f', data: bytes('second') },
      { name: 'l', type: '2', link: 'anywhere/at/all' },
      { name: 'l', data: bytes('no link') },
      { name: 'dev/console', type: '3' },
    ];
    expect(unpacked(tarOf(entries))).toEqual(['a/', 'a/b/', 'a/b/f = second', 'l = no link']);
  });

  it.each([
    ['an absolute name', { name: '/etc/x', data: bytes('1') }, /"\/etc\/x" is an absolute name/],
    ['a way out', { name: 'a/../../x', data: bytes('1') }, /leads out of the archive/],
    ['no name', { name: './.', data: bytes('1') }, /'.\/.' is no name for a file/],
    ['a link to nothing', { name: 'x', type: '1', link: 'y' }, /link to y, which is not before it/],
    ['a link to itself', { name: 'x', type: '1', link: 'x' }, /link to x, which is not before it/],
    ['a link out of it', { name: 'x', type: '1', link: '../y' }, /leads out of the archive/],
    ['a sparse file', { name: 'x', type: 'S' }, /type 'S', which is not supported/],
    ['more bytes than there are', { name: 'x', size: 1 << 30 }, /it ends before 1073741824 bytes more \(byte 512\)/],
  ])('with %s is refused with a line', (_, entry, line) => {
    expect(refusal(tarOf([entry]))).toMatch(line);
  });

  it('is refused when a name leads through a file or a symlink of its own', () => {
    const through = (first: object): string =>
      refusal(
        tarOf([
          { name: 'd', ...first },
          { name: 'd/x', data: bytes('1') },
        ]),
      );
    expect(through({ type: '2', link: '..' })).toMatch(/d\/x leads through d, which is a symlink/);
    expect(through({ data: bytes('f') })).toMatch(/d\/x leads through d, which is a file/);
    expect(refusal(tarOf([{ name: 'd/x' }, { name: 'd', data: bytes('1') }]))).toMatch(/d is a file and a directory/);
  });

  it('is refused when it is cut off or damaged', () => {
    for (const archive of [tarOf([{ name: 'x', data: bytes('123') }]), cpioOf([{ name: 'x', data: bytes('123') }])]) {
      for (let n = 1; n < archive.length - 1024; n += 7)
        expect(refusal(archive.subarray(0, n))).toMatch(/not a usable/);
    }
    const archive = tarOf([
      { name: 'x', data: bytes('1') },
      { name: 'y', data: bytes('2') },
    ]);
    archive[1024] = 0x7a;
    expect(refusal(archive)).toMatch(/the header is damaged \(byte 1024\)/);
  });

  it('that does not fit says so', () => {
    const fs = new Tmpfs({ pages: pageCounter(8), limit: 1 << 20, wallNs });
    const act = (): unknown => unpackArchive(tarOf([{ name: 'big', data: new Uint8Array(100_000) }]), fs.root);
    expect(act).toThrow(/unpacking big: there is no room for it/);
    expect(fs.inUse).toBe(false);
  });

  it('of any bytes ends, throws a XenError at worst, and leaves nothing in use', () => {
    const { random } = seededRandom();
    const entries = [
      { name: 'dir/', type: '5' },
      { name: 'dir/file', data: bytes('x'.repeat(700)) },
      { name: 'dir/link', type: '2', link: 'file' },
      { name: 'hard', type: '1', link: 'dir/file' },
      { name: 'pax', type: 'x', data: bytes('12 path=abc\n') },
      { name: 'y', data: bytes('y') },
    ];
    const tar = tarOf(entries);
    const cpio = cpioOf([
      { name: 'a', data: bytes('1') },
      { name: 'b/c', data: bytes('22') },
    ]);
    for (let round = 0; round < 1500; round++) {
      const archive = (round % 2 ? tar : cpio).slice();
      const changes = 1 + Math.floor(random() * 6);
      for (let i = 0; i < changes; i++) archive[Math.floor(random() * archive.length)] = Math.floor(random() * 256);
      // Behind a checksum that is right again, so that the rest is looked at.
      if (round % 4 === 1) fixSums(archive);
      const fs = tmpfs(1 << 20);
      try {
        unpackArchive(archive, fs.root);
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
      }
      expect(fs.inUse).toBe(false);
    }
  });
});
