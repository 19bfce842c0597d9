import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { domid, P9, P9_VERSION, P9Writer, pvcalls_data_intf, XenError, xen_9pfs_data_intf } from '#pvbus';
import { MappedDataRing } from '../../../../dom0/backends/mapped-data-ring.ts';
import { P9Client } from '../../../../domu-kernel/drivers/p9front/client.ts';
import type { Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../../../domu-kernel/fs/mount-table.ts';
import { P9FileSystem } from '../../../../domu-kernel/fs/p9-file-system.ts';
import { CoreRig } from '../../../support/core-rig.ts';
import { tmpfs } from '../../../support/file-systems.ts';
import { SharedFolderRig } from '../../../support/shared-folder-rig.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
function textOf(file: Vnode): string {
  const into = new Uint8Array(1 << 20);
  return new TextDecoder().decode(into.subarray(0, file.read(0, into)));
}

describe('a shared folder in a guest', () => {
  let rig: SharedFolderRig;
  beforeEach(() => {
    rig = new SharedFolderRig();
  });
  afterEach(() => {
    expect(rig.broken).toEqual([]);
    rig.end();
  });

  it('is the folder of the host, both ways', () => {
    writeFileSync(join(rig.folder, 'from-host'), 'hello guest');
    const fs = rig.mount();
    const file = fs.root.lookup('from-host')!;
    expect(textOf(file)).toBe('hello guest');
    writeFileSync(join(rig.folder, 'from-host'), 'changed');
    expect(textOf(file)).toBe('changed');
    file.release();
    const made = fs.root.create('from-guest', 'file');
    const large = new Uint8Array(300_000).map((_, i) => i % 251);
    expect(made.write(0, large)).toBe(large.length);
    made.sync(false);
    expect(readFileSync(join(rig.folder, 'from-guest'))).toEqual(Buffer.from(large));
    made.release();
    expect(fs.inUse).toBe(false);
  });

  it('a symlink is resolved in the guest, where it leads nowhere outside', () => {
    const fs = rig.mount();
    symlinkSync('/etc/passwd', join(rig.folder, 'absolute'));
    symlinkSync('../../../../etc/passwd', join(rig.folder, 'up'));
    const table = new MountTable(tmpfs());
    const folder = table.find('/');
    folder.create('shared', 'directory').release();
    folder.release();
    table.mount('/shared', fs);
    for (const path of ['/shared/absolute', '/shared/up'])
      expect(() => table.find(path)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });

  it('that is shared read-only is so at the backend, whatever the guest asks for', () => {
    writeFileSync(join(rig.folder, 'f'), 'kept');
    symlinkSync('f', join(rig.folder, 's'));
    rig.disconnect();
    rig.readOnly = true;
    rig.connect();
    const fs = rig.mount();
    const refused = expect.objectContaining({ code: 'EROFS' });
    const file = fs.root.lookup('f')!;
    expect(textOf(file)).toBe('kept');
    for (const act of [
      () => fs.root.create('new', 'file'),
      () => fs.root.create('new', 'directory'),
      () => fs.root.symlink('new', 'f'),
      () => fs.root.link('new', file),
      () => fs.root.unlink('f'),
      () => fs.root.rename('f', fs.root, 'new'),
      () => file.write(0, bytes('x')),
      () => file.truncate(0),
      () => file.setTimes({ mtimeNs: 1n }),
    ])
      expect(act).toThrow(refused);
    file.release();
    expect(readdirSync(rig.folder).sort()).toEqual(['f', 's']);
    expect(readFileSync(join(rig.folder, 'f'), 'utf8')).toBe('kept');
  });

  it('gives another name to a file and to a symlink itself, and to nothing else', () => {
    const fs = rig.mount();
    writeFileSync(join(rig.folder, 'f'), 'shared');
    symlinkSync('/etc/passwd', join(rig.folder, 's'));
    mkdirSync(join(rig.folder, 'd'));
    const [file, symlink, directory] = ['f', 's', 'd'].map(name => fs.root.lookup(name)!);
    directory!.link('f2', file!);
    expect(file!.attributes().nlink).toBe(2);
    writeFileSync(join(rig.folder, 'd/f2'), 'by the other name');
    expect(textOf(file!)).toBe('by the other name');
    directory!.link('s2', symlink!);
    expect(readlinkSync(join(rig.folder, 'd/s2'))).toBe('/etc/passwd');
    expect(() => fs.root.link('d2', directory!)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(() => fs.root.link('f', file!)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    symlink!.setTimes({ mtimeNs: 5_000_000_007n });
    expect(symlink!.attributes().mtimeNs).toBe(5_000_000_007n);
    for (const node of [file, symlink, directory]) node!.release();
    expect(fs.inUse).toBe(false);
  });

  it('when the backend is replaced, files in use are found again by their names', () => {
    const fs = rig.mount();
    mkdirSync(join(rig.folder, 'd'));
    const directory = fs.root.lookup('d')!;
    const file = directory.create('f', 'file');
    file.write(0, bytes('before'));
    const lost = directory.create('lost', 'file');
    rig.disconnect();
    rmSync(join(rig.folder, 'd/lost'));
    rig.connect();
    expect(textOf(file)).toBe('before');
    file.write(6, bytes(' and after'));
    expect(readFileSync(join(rig.folder, 'd/f'), 'utf8')).toBe('before and after');
    expect(() => lost.attributes()).toThrow(expect.objectContaining({ code: 'ESTALE' }));
    for (const vnode of [file, lost, directory]) vnode.release();
    expect(fs.inUse).toBe(false);
  });

  it('a call that is under way when the backend ends fails, and none after it', () => {
    const fs = rig.mount();
    const file = fs.root.create('f', 'file');
    const { worker } = rig;
    const step = worker.step.bind(worker);
    worker.step = () => {
      worker.step = step;
      rig.disconnect();
      return 'progress';
    };
    expect(() => file.write(0, bytes('x'))).toThrow(expect.objectContaining({ code: 'EIO' }));
    rig.connect();
    expect(file.write(0, bytes('y'))).toBe(1);
    file.release();
  });

  it('lets go of every fid that it has no more use for', () => {
    const fs = rig.mount();
    const open = (): number => readdirSync('/proc/self/fd').length;
    fs.root.attributes();
    const before = open();
    for (let i = 0; i < 200; i++) {
      const file = fs.root.create(`f${i % 7}`, 'directory');
      file.create('x', 'file').release();
      expect(fs.root.lookup('nothing')).toBeUndefined();
      expect(() => file.create('x', 'file')).toThrow(expect.objectContaining({ code: 'EEXIST' }));
      file.rename('x', fs.root, 'y');
      fs.root.unlink('y');
      file.release();
      fs.root.rmdir(`f${i % 7}`);
    }
    expect(fs.inUse).toBe(false);
    expect(open()).toBe(before);
  });
});

it('has rings laid out as those of pvcalls, whose code it shares', () => {
  for (const name of ['in_cons', 'in_prod', 'out_cons', 'out_prod', 'ring_order'] as const)
    expect(xen_9pfs_data_intf.at[name]).toBe(pvcalls_data_intf.at[name]);
  expect(xen_9pfs_data_intf.size).toBe(pvcalls_data_intf.size);
});

describe('a backend that breaks the protocol costs the guest the folder, never the guest', () => {
  /** Answers every message with what `answer` says. */
  function hostile(answer: (request: { type: number; tag: number }) => Uint8Array | undefined) {
    const core = new CoreRig();
    const guest = core.guest({ pages: 1024 });
    const [front, back] = [guest.kernel(), core.dom0.kernel(4)];
    const broken: XenError[] = [];
    const into = new Uint8Array(65536);
    const waitUntil = (condition: () => boolean): void => {
      for (let turns = 0; !condition(); ) {
        if (turns++ > 50) throw new Error('the client waits for ever');
        back.events.poll();
        const n = ring.reader.read(into);
        const said = n > 0 ? answer({ type: into[4]!, tag: into[5]! + 256 * into[6]! }) : undefined;
        if (said) ring.writer.write(said);
        ring.notify();
        front.events.poll();
      }
    };
    const client = new P9Client('9pfs 0', { waitUntil }, error => broken.push(error));
    const { ref, port } = client.makeRing(front, domid(0), 4);
    const ring = new MappedDataRing(back, domid(guest.domid), ref, port, () => {});
    client.connected();
    return { fs: new P9FileSystem(client, 'shared'), broken, ring };
  }
  const honest = ({ type, tag }: { type: number; tag: number }): Uint8Array => {
    const out = new P9Writer(8192).begin(type + 1, tag);
    if (type === P9.Tversion) out.u32(8192).string(P9_VERSION);
    if (type === P9.Tattach) out.u8(0x80).u32(0).u64(1n);
    return out.end().slice();
  };
  const after = (evil: (request: { type: number; tag: number }) => Uint8Array) =>
    hostile(request => (request.type >= P9.Tversion && request.type <= P9.Tattach ? honest(request) : evil(request)));
  const message = (type: number, tag: number, write: (out: P9Writer) => unknown = () => {}): Uint8Array => {
    const out = new P9Writer(65536).begin(type, tag);
    write(out);
    return out.end().slice();
  };

  it.each([
    ['another version', hostile(({ tag }) => message(P9.Tversion + 1, tag, out => out.u32(8192).string('9P2000')))],
    [
      'a larger message size',
      hostile(({ tag }) => message(P9.Tversion + 1, tag, out => out.u32(1 << 30).string(P9_VERSION))),
    ],
    ['another tag', after(({ type, tag }) => message(type + 1, tag + 1))],
    ['another answer', after(({ tag }) => message(P9.Tclunk + 1, tag))],
    ['a message longer than the ring', after(() => new Uint8Array([255, 255, 255, 0, 1, 1, 0]))],
    ['a message shorter than a header', after(() => new Uint8Array([3, 0, 0, 0, 1, 1, 0]))],
    ['an answer that is cut off', after(({ type, tag }) => message(type + 1, tag))],
  ])('%s', (_what, { fs, broken }) => {
    expect(() => fs.root.attributes()).toThrow(XenError);
    expect(broken.length).toBeLessThanOrEqual(1);
  });

  it('impossible indices', () => {
    const { fs, broken, ring } = after(({ tag }) => message(P9.Tgetattr + 1, tag));
    const { words, at } = ring.writer as unknown as { words: Int32Array; at: { prod: number } };
    words[at.prod] = 0x4000_0000;
    expect(() => fs.root.attributes()).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(broken).toHaveLength(1);
  });

  it('more bytes than were asked for', () => {
    const { fs } = after(({ type, tag }) =>
      type === P9.Twalk
        ? message(P9.Twalk + 1, tag, out => out.u16(1).u8(0).u32(0).u64(7n))
        : type === P9.Tread
          ? message(P9.Tread + 1, tag, out => out.u32(2000).data(new Uint8Array(2000)))
          : message(type + 1, tag, out => out.u8(0).u32(0).u64(7n).u32(0)),
    );
    const file = fs.root.lookup('f')!;
    expect(() => file.read(0, new Uint8Array(10))).toThrow(expect.objectContaining({ code: 'EIO' }));
  });

  /** Every name leads to the same directory, and everything is well. */
  const entry = (name: string) => (out: P9Writer) =>
    out
      .u32(24 + name.length)
      .u8(0)
      .u32(0)
      .u64(9n)
      .u64(1n)
      .u8(8)
      .string(name);
  const listing = (write: (out: P9Writer) => unknown) =>
    after(({ type, tag }) =>
      message(
        type + 1,
        tag,
        type === P9.Treaddir
          ? write
          : out =>
              out
                .u16(type === P9.Twalk ? 1 : 0)
                .u8(0x80)
                .u32(0)
                .u64(7n),
      ),
    ).fs;
  it.each([
    ['something, and it is nothing', listing(out => out.u32(40)), 'EIO'],
    ['a name that is none', listing(entry('')), 'EINVAL'],
    ['a name that leads elsewhere', listing(entry('../etc/passwd')), 'EINVAL'],
  ])('a listing of %s', (_what, fs, code) => {
    expect(() => fs.root.entries()).toThrow(expect.objectContaining({ code }));
  });
  it('a listing that has no end', () => {
    const long = 'x'.repeat(255);
    const fs = listing(out => {
      entry(long)(out);
      for (let i = 0; i < 28; i++) out.u8(0).u32(0).u64(9n).u64(1n).u8(8).string(long);
    });
    expect(() => fs.root.entries()).toThrow('the directory has no end');
  });
  it('a directory that was moved into itself', () => {
    const fs = listing(() => {});
    const directory = fs.root.lookup('d')!;
    expect(() => fs.root.rename('e', directory, 'f')).toThrow('has moved it into itself');
    directory.release();
    expect(fs.inUse).toBe(false);
  });
  it('a file larger than there are', () => {
    const { fs } = after(({ type, tag }) =>
      message(type + 1, tag, out => {
        out.u64(0x7ffn).u8(0x80).u32(0).u64(7n).u32(0).u32(0).u32(0);
        for (let i = 0; i < 15; i++) out.u64(2n ** 60n);
      }),
    );
    expect(() => fs.root.attributes()).toThrow(expect.objectContaining({ code: 'EIO' }));
  });
});
