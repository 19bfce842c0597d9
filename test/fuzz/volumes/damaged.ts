// Disks that anybody may have written: volumes, damaged anywhere, mounted and used. Calls end, with a XenError at
// worst, after a bounded number of reads; nothing beyond the disk is touched, and no more is read of a file than a disk holds.

import type { FileSystem, Vnode } from '../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../domu-kernel/fs/mount-table.ts';
import { XenError } from '../../../pvbus/errors.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import fc from '../../support/properties.ts';

/** Reads that no case comes near to; a disk has at most 70,000 sectors. */
const MANY_READS = 1_000_000;

/** What is there before it is damaged. */
function fill(fs: FileSystem): void {
  const release = (node: Vnode): void => node.release();
  const root = fs.root;
  const d = root.create('d', 'directory');
  const deeper = d.create('deeper', 'directory');
  for (let i = 0; i < 6; i++) {
    const file = d.create(`a long file name ${i}.txt`, 'file');
    file.write(0, new Uint8Array(i * 3000).fill(i));
    release(file);
  }
  const x = deeper.create('x', 'file');
  x.write(0, new Uint8Array(100));
  for (const node of [x, deeper, d]) release(node);
  fs.sync();
}
const PATHS = ['/', '/d', '/d/deeper', '/d/deeper/x', ...[0, 1, 2, 3, 4, 5].map(i => `/d/a long file name ${i}.txt`)];

const act = fc.record({
  what: fc.constantFrom(
    ...['entries', 'read', 'read', 'write', 'write', 'create', 'mkdir', 'unlink', 'rmdir', 'rename', 'link', 'symlink'],
    ...['truncate', 'attributes', 'space', 'sync', 'readlink', 'times'],
  ),
  path: fc.nat(PATHS.length - 1),
  other: fc.nat(PATHS.length - 1),
  offset: fc.constantFrom(0, 100, 3000, 60_000, 0xfffff000, 2 ** 40),
  size: fc.constantFrom(0, 10, 5000, 30_000),
});
const damage = fc.record({
  /** Where in the part of the volume that describes it, or anywhere. */
  area: fc.integer({ min: 0, max: 5 }),
  at: fc.nat(0xfffffff),
  value: fc.oneof(
    fc.nat(255).map(byte => [byte]),
    fc.constantFrom([0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [2, 0, 0, 0], [0xff, 0xff, 0xff, 0x7f], [1, 0]),
    fc.uint8Array({ minLength: 1, maxLength: 16 }).map(bytes => [...bytes]),
  ),
});

function perform(
  fs: FileSystem,
  mounts: MountTable,
  acts: readonly (typeof act extends fc.Arbitrary<infer A> ? A : never)[],
): void {
  const attempt = (run: () => void): void => {
    try {
      run();
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
    }
  };
  const withNode = (path: string, use: (node: Vnode) => void): void => {
    const node = mounts.find(path);
    try {
      use(node);
    } finally {
      node.release();
    }
  };
  for (const { what, path, other, offset, size } of acts)
    attempt(() =>
      withNode(PATHS[path]!, node => {
        const name = `new ${other}`;
        if (what === 'entries') {
          for (const entry of node.entries())
            if (entry.name === '' || /[/\0]/.test(entry.name))
              throw new Error(`a file called ${JSON.stringify(entry.name)}`);
        } else if (what === 'read') {
          const got = node.read(offset, new Uint8Array(size));
          if (!(got >= 0 && got <= size)) throw new Error(`${got} bytes of ${size}`);
        } else if (what === 'write') node.write(offset, new Uint8Array(size).fill(7));
        else if (what === 'create') node.create(name, 'file').release();
        else if (what === 'mkdir') node.create(name, 'directory').release();
        else if (what === 'unlink' || what === 'rmdir') {
          for (const { name } of node.entries().slice(0, 3)) attempt(() => node[what as 'unlink'](name));
        } else if (what === 'rename') withNode(PATHS[other]!, to => node.rename('deeper', to, name));
        else if (what === 'link') withNode(PATHS[other]!, to => node.link(name, to));
        else if (what === 'symlink') node.symlink(name, 'd').release();
        else if (what === 'truncate') node.truncate(offset);
        else if (what === 'readlink') node.readlink();
        else if (what === 'times') node.setTimes({ mtimeNs: 5n });
        else if (what === 'sync') node.sync(false);
        else if (what === 'space') {
          const { free, total } = fs.space();
          if (!(free >= 0 && total >= 0)) throw new Error(`${free} of ${total} bytes are free`);
        } else {
          const { size, nlink } = node.attributes();
          if (!(Number.isSafeInteger(size) && size >= 0 && nlink >= 0)) throw new Error(`a file of ${size} bytes`);
        }
      }),
    );
  attempt(() => fs.sync());
}

/** An image, what of it describes the volume, and how it is mounted. */
export interface Kind {
  readonly image: () => MemoryDisk;
  readonly described: number;
  readonly mount: (disk: MemoryDisk) => FileSystem & { close(): void };
}
const images = new Map<string, Uint8Array>();
function imageOf(name: string, { image, mount }: Kind): MemoryDisk {
  let bytes = images.get(name);
  if (bytes === undefined) {
    const disk = image();
    const fs = mount(disk);
    fill(fs);
    fs.close();
    bytes = disk.bytes;
    images.set(name, bytes);
  }
  return new MemoryDisk(bytes.slice());
}
/** Of all kinds alike. */
export function volumes(kinds: Readonly<Record<string, Kind>>) {
  return fc.property(
    fc.constantFrom(...Object.keys(kinds)),
    fc.array(damage, { minLength: 1, maxLength: 12 }),
    fc.array(act, { minLength: 1, maxLength: 12 }),
    (name, changes, acts) => {
      const kind = kinds[name]!;
      const disk = imageOf(name, kind);
      for (const { area, at, value } of changes) {
        const within = area === 0 ? disk.bytes.length : area < 3 ? 1024 + 512 : kind.described;
        for (const [n, byte] of value.entries()) disk.bytes[(at % within) + n] = byte;
      }
      disk.fault = () => {
        if (disk.reads > MANY_READS) throw new Error('it reads for ever');
      };
      let fs: ReturnType<Kind['mount']>;
      try {
        fs = kind.mount(disk);
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
        return;
      }
      perform(fs, new MountTable(fs), acts);
      if (fs.inUse) throw new Error('files are in use that nobody has');
      try {
        fs.close();
      } catch (error) {
        if (!(error instanceof XenError)) throw error;
      }
    },
  );
}
