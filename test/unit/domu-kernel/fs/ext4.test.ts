// ext4 volumes against e2fsprogs: what one writes the other reads, and e2fsck finds nothing to complain of.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ext4Volume } from '../../../../domu-kernel/fs/ext4/volume.ts';
import type { Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../../domu-kernel/fs/mount-table.ts';
import * as paths from '../../../../domu-kernel/fs/path-operations.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import {
  debugfs,
  e2fsck,
  emptyExt4,
  LAYOUTS,
  type Layout,
  madeExt4,
  mountedExt4,
  whyNoExt4,
  withFile,
} from '../../../support/ext4.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';
import { seededRandom } from '../../../support/random.ts';

const layouts = Object.keys(LAYOUTS) as Layout[];

function put(volume: Ext4Volume, path: string, bytes: Uint8Array, at = 0): void {
  const located = new MountTable(volume).locate(path);
  try {
    const file = located.vnode?.hold() ?? located.directory.create(located.name, 'file');
    expect(file.write(at, bytes)).toBe(bytes.length);
    file.release();
  } finally {
    located.release();
  }
}
function using<T>(volume: Ext4Volume, path: string, act: (file: Vnode) => T): T {
  const file = new MountTable(volume).find(path);
  try {
    return act(file);
  } finally {
    file.release();
  }
}
const whole = (file: Vnode): Uint8Array => {
  const bytes = new Uint8Array(file.attributes().size);
  expect(file.read(0, bytes)).toBe(bytes.length);
  return bytes;
};
function bytesOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0, x = seed * 2654435761 + 1; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}
/** As debugfs reads them. */
function dumped(image: Uint8Array, ...names: readonly string[]): Uint8Array[] {
  return withFile(undefined, to => {
    debugfs(image, ...names.map((name, i) => `dump ${name} "${to}${i}"`));
    return names.map((_, i) => new Uint8Array(readFileSync(`${to}${i}`)));
  });
}
function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'done';
}

describe.skipIf(whyNoExt4)(`ext4${whyNoExt4 ? ` (${whyNoExt4})` : ''}`, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'xenolith-ext4-'));
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'small'), 'a few bytes');
    writeFileSync(join(folder, 'sub', 'large'), bytesOf(300_000, 1));
    symlinkSync('sub/large', join(folder, 'link'));
    symlinkSync('x'.repeat(200), join(folder, 'long link'));
    for (let i = 0; i < 40; i++) writeFileSync(join(folder, 'sub', `file with number ${i}`), `${i}`);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(layouts)('%s: files of the host are read, and debugfs reads ours', layout => {
    const disk = new MemoryDisk(madeExt4(LAYOUTS[layout], 8 << 20, folder));
    const volume = mountedExt4(disk);
    expect(new TextDecoder().decode(using(volume, '/small', whole))).toBe('a few bytes');
    expect(Buffer.compare(using(volume, '/link', whole), bytesOf(300_000, 1))).toBe(0);
    const mounts = new MountTable(volume);
    expect(paths.readlink(mounts, { path: '/long link' })).toBe('x'.repeat(200));
    expect(using(volume, '/sub', d => d.entries().length)).toBe(41);

    put(volume, '/ours', bytesOf(500_000, 2));
    put(volume, '/small', bytesOf(9000, 3), 5);
    put(volume, '/sparse', bytesOf(100, 4), 3_000_000);
    using(volume, '/sub', d => d.create('inner', 'directory').release());
    put(volume, '/sub/inner/f', bytesOf(10, 5));
    volume.root.symlink('short', 'sub/inner/f').release();
    volume.root.symlink('longer', `${'y'.repeat(900)}`).release();
    using(volume, '/sub/inner/f', f => volume.root.link('again', f));
    using(volume, '/sub', d => d.unlink('file with number 7'));
    using(volume, '/sub', d => d.rename('file with number 8', volume.root, 'eight'));
    using(volume, '/sub/large', f => f.truncate(123_456));
    volume.close();

    expect(e2fsck(disk.bytes)).toBe('');
    const files = dumped(disk.bytes, '/ours', '/sparse', '/sub/large', '/small', '/again');
    const [ours, sparse, large, small, again] = files as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    expect(Buffer.compare(ours, bytesOf(500_000, 2))).toBe(0);
    expect(sparse.length).toBe(3_000_100);
    expect(Buffer.compare(large, bytesOf(300_000, 1).subarray(0, 123_456))).toBe(0);
    expect(Buffer.compare(small.subarray(5), bytesOf(9000, 3))).toBe(0);
    expect(Buffer.compare(again, bytesOf(10, 5))).toBe(0);
    const said = debugfs(disk.bytes, 'stat /short', 'stat /again', 'stat /sparse', 'ls /sub').split('debugfs: ');
    expect(said[1]).toContain('sub/inner/f');
    expect(said[2]).toMatch(/Links: 2/);
    expect(said[3]).toMatch(/Blockcount: (2|8|16|24)\b/);
    expect(said[4]).toContain('number 6');
    expect(said[4]).not.toContain('number 7');
  });

  it('directories of ten thousand names are read, changed and grown, indexed ones too', () => {
    const names = 10_000;
    const image = (() => {
      const disk = new MemoryDisk(madeExt4(['-t', 'ext4', '-b', '1024', '-N', '24000'], 40 << 20));
      const volume = mountedExt4(disk);
      const directory = volume.root.create('many', 'directory');
      for (let i = 0; i < names; i++) directory.create(`name number ${i}`, 'file').release();
      directory.release();
      volume.close();
      return disk.bytes;
    })();
    expect(e2fsck(image)).toBe('');
    // e2fsck -D makes an index.
    expect(e2fsck(image, '-fyD')).toMatch(/^(|status 1\n)/);
    expect(debugfs(image, 'stat /many')).toMatch(/Flags: 0x[0-9a-f]*81000\b/);
    const disk = new MemoryDisk(image);
    const volume = mountedExt4(disk);
    using(volume, '/many', directory => {
      expect(new Set(directory.entries().map(({ name }) => name)).size).toBe(names);
      for (let i = 0; i < names; i += 50) directory.unlink(`name number ${i}`);
      for (let i = 0; i < 600; i++) directory.create(`another name, ${i}`, 'file').release();
      directory.rename('name number 1', directory, 'renamed');
    });
    volume.close();
    expect(e2fsck(disk.bytes)).toBe('');
    const again = mountedExt4(disk);
    expect(using(again, '/many', d => d.entries().length)).toBe(names - names / 50 + 600);
    expect(using(again, '/many/renamed', f => f.attributes().size)).toBe(0);
  });

  it.each(['ext4 of 1 KiB blocks', 'ext3'] as const)(
    '%s: a file of many pieces is whole, and gives all back',
    layout => {
      const disk = emptyExt4(layout);
      const volume = mountedExt4(disk);
      const { random } = seededRandom();
      const before = volume.space().free;
      const file = volume.root.create('pieces', 'file');
      const other = volume.root.create('other', 'file');
      const model = new Uint8Array(1_500_000);
      let size = 0;
      for (let i = 0; i < 200; i++) {
        const at = Math.floor(random() * 1_400_000);
        const part = bytesOf(1 + Math.floor(random() * 9000), i);
        file.write(at, part);
        model.set(part, at);
        size = Math.max(size, at + part.length);
        if (i % 3 === 0) other.write(other.attributes().size, part);
        if (i % 50 === 49) {
          const cut = Math.floor(random() * size);
          file.truncate(cut);
          model.fill(0, cut);
          size = cut;
        }
      }
      expect(Buffer.compare(whole(file), model.subarray(0, size))).toBe(0);
      file.release();
      other.release();
      volume.settle();
      const [pieces] = dumped(disk.bytes.slice(), '/pieces');
      expect(Buffer.compare(pieces ?? new Uint8Array(0), model.subarray(0, size))).toBe(0);
      volume.root.unlink('pieces');
      volume.root.unlink('other');
      expect(volume.space().free).toBe(before);
      volume.close();
      expect(e2fsck(disk.bytes)).toBe('');
    },
  );

  it('a file that is unlinked while it is open is gone after a kill, by our next mount or by e2fsck', () => {
    for (const by of ['mount', 'e2fsck'] as const) {
      const disk = emptyExt4('ext4');
      const volume = mountedExt4(disk);
      const free = volume.space().free;
      const file = volume.root.create('open', 'file');
      file.write(0, bytesOf(200_000, 1));
      volume.root.unlink('open');
      volume.sync();
      // Killed: what is on the medium is what there is.
      const after = new MemoryDisk(disk.medium.slice());
      if (by === 'e2fsck') expect(e2fsck(after.bytes, '-p')).toMatch(/^(|status 1\n)/);
      const lines: string[] = [];
      const next = mountedExt4(after, { log: line => lines.push(line) });
      if (by === 'mount') expect(lines.join()).toContain('its journal is recovered');
      expect(next.space().free).toBe(free);
      next.close();
      expect(e2fsck(after.bytes)).toBe('');
    }
  });

  describe('what is not mounted, or only read', () => {
    it('a journal that Linux has to recover', () => {
      const killed = emptyExt4('ext4');
      const volume = mountedExt4(killed);
      put(volume, '/f', bytesOf(10, 1));
      volume.sync();
      const after = killed.medium.slice();
      const view = new DataView(after.buffer);
      let at = 0;
      while (view.getUint32(at) !== 0xc03b3998 || view.getUint32(at + 4) !== 4) at += 4096;
      view.setUint32(at + 40, 0x12); // 64 bits, checksums: as Linux has it
      expect(() => mountedExt4(new MemoryDisk(after))).toThrow(
        /needs its journal recovered, as e2fsck -p or Linux does/,
      );
      const readOnly = new MemoryDisk(killed.medium.slice());
      readOnly.readOnly = true;
      expect(() => mountedExt4(readOnly)).toThrow(/needs its journal recovered, and is read-only/);
    });
    it.each(['mmp', 'encrypt', 'casefold'])('the feature %s', feature => {
      const disk = new MemoryDisk(madeExt4(['-t', 'ext4', '-O', feature], 8 << 20));
      expect(() => mountedExt4(disk)).toThrow(new RegExp(`what is not known here: ${feature}`));
    });
    it.each(['quota', 'bigalloc', 'verity'])('the feature %s is not written to', feature => {
      const disk = new MemoryDisk(madeExt4(['-t', 'ext4', '-O', feature], 8 << 20));
      const lines: string[] = [];
      const volume = mountedExt4(disk, { log: line => lines.push(line) });
      expect(lines.join()).toContain(`read-only, since it has ${feature}`);
      expect(codeOf(() => volume.root.create('f', 'file'))).toBe('EROFS');
      volume.close();
      expect(disk.writes).toBe(0);
    });
    it('errors that were found, and ext2 that was not unmounted', () => {
      const damaged = emptyExt4('ext4');
      debugfs(damaged.bytes, 'ssv state 3');
      expect(mountedExt4(damaged).readOnly).toBe(true);
      const used = emptyExt4('ext2');
      const volume = mountedExt4(used);
      put(volume, '/f', bytesOf(10, 1));
      volume.sync();
      const lines: string[] = [];
      const next = mountedExt4(new MemoryDisk(used.medium.slice()), { log: line => lines.push(line) });
      expect(next.readOnly).toBe(true);
      expect(lines.join()).toContain('it needs e2fsck');
      expect(using(next, '/f', whole)).toEqual(bytesOf(10, 1));
      volume.close();
      expect(mountedExt4(used).readOnly).toBe(false);
      expect(e2fsck(used.bytes)).toBe('');
    });
    it('a volume that is larger than its disk', () => {
      const disk = emptyExt4('ext4');
      expect(() => mountedExt4(new MemoryDisk(disk.bytes.slice(0, 4 << 20)))).toThrow(/the disk 1024/);
    });
  });

  it('a disk that fails costs the call, and a volume that cannot be kept right is read-only', () => {
    const disk = emptyExt4('ext4');
    const volume = mountedExt4(disk, { cacheBytes: 1 });
    put(volume, '/kept', bytesOf(50_000, 1));
    volume.sync();
    disk.fault = op => {
      if (op === 'flush') throw new XenError('EIO', 'xvda: the disk failed');
    };
    put(volume, '/new', bytesOf(50_000, 2));
    expect(codeOf(() => using(volume, '/new', f => f.sync(false)))).toBe('EIO');
    disk.fault = undefined;
    volume.sync();
    expect(using(volume, '/new', whole)).toEqual(bytesOf(50_000, 2));
    volume.close();
    expect(e2fsck(disk.medium.slice())).toBe('');
    const second = mountedExt4(disk, { cacheBytes: 1 });
    disk.fault = op => {
      if (op === 'read') throw new XenError('EIO', 'xvda: the disk failed');
    };
    expect(codeOf(() => second.root.create('f', 'file'))).toBe('EIO');
    disk.fault = undefined;
  });
});
