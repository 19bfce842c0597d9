// Who is told of a write that failed after its call had returned: as Linux has it (errseq_t), whatever the file is open in.
import { describe, expect, it } from 'vitest';
import type { Ext4Volume } from '../../../../domu-kernel/fs/ext4/volume.ts';
import type { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { VolumeFiles } from '../../../../domu-kernel/guest-api/volume-files.ts';
import { Wait } from '../../../../domu-kernel/process/wait.ts';
import { FDFLAGS_DSYNC, OFLAGS_DIRECTORY, RIGHTS_FD_SYNC } from '../../../../domu-kernel/wasi/abi.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { emptyExt4, mountedExt4, whyNoExt4 } from '../../../support/ext4.ts';
import { emptyFat, mounted } from '../../../support/fatfs.ts';
import type { MemoryDisk } from '../../../support/memory-disk.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

type Volume = FatVolume | Ext4Volume;
const kinds: { name: string; make(): [MemoryDisk, Volume] }[] = [
  {
    name: 'FAT',
    make() {
      const disk = emptyFat(16);
      return [disk, mounted(disk)];
    },
  },
];
if (whyNoExt4 === undefined) {
  kinds.push({
    name: 'ext4',
    make() {
      const disk = emptyExt4('ext4');
      return [disk, mountedExt4(disk)];
    },
  });
}

function outcomeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof XenError) return error.code;
    throw error;
  }
  return 'SUCCESS';
}

/** A volume with a file 'f', in use by nobody. */
class Rig {
  readonly disk: MemoryDisk;
  readonly volume: Volume;
  readonly wasi = new WasiRig();
  readonly files: VolumeFiles;

  constructor([disk, volume]: [MemoryDisk, Volume]) {
    this.disk = disk;
    this.volume = volume;
    this.files = new VolumeFiles(volume);
    this.wasi.mkdir('mnt');
    this.wasi.mounts.mount('/mnt', volume);
    this.files.writeFile('f', new Uint8Array(10), true);
    this.files.sync();
  }
  fd(fdflags = 0): number {
    return this.wasi.reset().file('mnt/f', undefined, { fdflags });
  }
  write(fd: number, text = 'lost?'): void {
    expect(this.wasi.reset().write(fd, text)).toBe(text.length);
  }
  sync(fd: number, call: 'fd_sync' | 'fd_datasync' = 'fd_sync'): string | Wait {
    return this.wasi.reset().call(call, fd);
  }
  failWriteBack(): void {
    this.disk.fault = op => {
      if (op === 'flush') throw new XenError('EIO', 'xvda: the disk failed');
    };
    this.volume.writeBack();
    this.disk.fault = undefined;
  }
}

describe.each(kinds)('a failed write-back on $name', ({ make }) => {
  it('is told once to each descriptor that was open then, and to none that comes after that', () => {
    const rig = new Rig(make());
    const [writer, reader] = [rig.fd(), rig.fd()];
    rig.write(writer);
    rig.failWriteBack();
    expect(rig.sync(writer)).toBe('EIO');
    const late = rig.fd();
    expect(rig.sync(reader, 'fd_datasync')).toBe('EIO');
    for (const fd of [writer, reader, late]) expect(rig.sync(fd)).toBe('SUCCESS');
    rig.write(late);
    rig.failWriteBack();
    for (const fd of [writer, reader, late]) expect(rig.sync(fd)).toBe('EIO');
    for (const fd of [writer, reader, late]) expect(rig.sync(fd)).toBe('SUCCESS');
  });

  it('is told to who opens the file later when nobody else has been told, also after it was closed', () => {
    const rig = new Rig(make());
    const writer = rig.fd();
    rig.write(writer);
    rig.failWriteBack();
    const late = rig.fd();
    expect(rig.sync(late)).toBe('EIO');
    expect(rig.sync(writer)).toBe('EIO');
    rig.write(writer);
    for (const fd of [writer, late]) rig.wasi.ok('fd_close', fd);
    rig.failWriteBack();
    const [first, second] = [rig.fd(), rig.fd()];
    expect(rig.sync(first)).toBe('EIO');
    expect(rig.sync(second)).toBe('EIO');
    expect(rig.sync(rig.fd())).toBe('SUCCESS');
    expect(rig.sync(first)).toBe('SUCCESS');
  });

  it('is nothing to a file of the same name, or in the same place, that is made later', () => {
    const rig = new Rig(make());
    const writer = rig.fd();
    rig.write(writer);
    rig.wasi.ok('fd_close', writer);
    rig.failWriteBack();
    rig.files.remove('f');
    expect(rig.sync(rig.fd())).toBe('SUCCESS');
  });

  it('is told to the one whose sync it was, and to the others by theirs', () => {
    const rig = new Rig(make());
    const [first, second] = [rig.fd(), rig.fd()];
    rig.write(first);
    rig.disk.fault = () => {
      throw new XenError('EIO', 'xvda: the disk failed');
    };
    expect(rig.sync(first)).toBe('EIO');
    rig.disk.fault = undefined;
    expect(rig.sync(first)).toBe('SUCCESS');
    expect(rig.sync(second)).toBe('EIO');
    expect(rig.sync(second)).toBe('SUCCESS');
  });

  it('is told by a write that is to be on the medium', () => {
    const rig = new Rig(make());
    const [plain, durable] = [rig.fd(), rig.fd(FDFLAGS_DSYNC)];
    rig.write(plain);
    rig.failWriteBack();
    expect(rig.wasi.reset().write(durable, 'x')).toBe('EIO');
    rig.write(durable);
    expect(rig.sync(plain)).toBe('EIO');
  });

  it('is told to programs in TypeScript and in WASI, to each', () => {
    const rig = new Rig(make());
    const fd = rig.fd();
    const opened = [rig.files.open('f', 'r'), rig.files.open('f', 'r')];
    rig.write(fd);
    rig.failWriteBack();
    expect(rig.sync(fd)).toBe('EIO');
    for (const file of opened) expect(outcomeOf(() => file.sync())).toBe('EIO');
    for (const file of opened) expect(outcomeOf(() => file.sync())).toBe('SUCCESS');
    for (const file of opened) file.close();
    const writer = rig.files.open('f', 'r+');
    writer.write(new Uint8Array(3));
    rig.failWriteBack();
    expect(rig.sync(fd)).toBe('EIO');
    expect(outcomeOf(() => writer.sync())).toBe('EIO');
    expect(outcomeOf(() => rig.files.writeFile('g', new Uint8Array(3), true))).toBe('SUCCESS');
    writer.close();
  });

  it('is told to each directory that is open, and to who syncs the volume', () => {
    const rig = new Rig(make());
    const directory = (): number => {
      const fd = rig.wasi.reset().open('mnt', { oflags: OFLAGS_DIRECTORY, rights: RIGHTS_FD_SYNC });
      if (typeof fd === 'string') throw new Error(fd);
      return fd;
    };
    const directories = [directory(), directory()];
    const fd = rig.fd();
    rig.write(fd);
    rig.failWriteBack();
    for (const each of directories) expect(rig.sync(each)).toBe('EIO');
    for (const each of [...directories, directory()]) expect(rig.sync(each)).toBe('SUCCESS');
    expect(outcomeOf(() => rig.files.sync())).toBe('EIO');
    expect(outcomeOf(() => rig.files.sync())).toBe('SUCCESS');
    expect(rig.sync(fd)).toBe('EIO');
  });

  it('is still to be told when a sync had to wait for another call', () => {
    const rig = new Rig(make());
    const fd = rig.fd();
    const file = rig.files.open('f', 'r');
    rig.write(fd);
    rig.failWriteBack();
    rig.volume.enter('another call', () => {
      expect(rig.sync(fd)).toBeInstanceOf(Wait);
      expect(outcomeOf(() => file.sync())).toBe('EAGAIN');
    });
    expect(rig.sync(fd)).toBe('EIO');
    expect(outcomeOf(() => file.sync())).toBe('EIO');
    file.close();
  });
});
