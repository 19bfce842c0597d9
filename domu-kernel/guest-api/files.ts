// `files` and `disks`: volumes and disks of the kernel under the names of the module.
import type { Disk, OpenMode, Volume, WriteOptions } from 'xenolith';
import { XenError } from '#pvbus';
import type { Volume as KernelVolume } from '../fs/volume.ts';
import type { Kernel } from '../kernel.ts';
import { VolumeFiles } from './volume-files.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const bytesOf = (data: Uint8Array | string): Uint8Array => (typeof data === 'string' ? encoder.encode(data) : data);

/** `volume` is asked for at every call: it may be mounted later than the program asks for the object. */
function volumeOf(volume: () => VolumeFiles): Volume {
  return {
    readFile: path => volume().readFile(path),
    readText: path => decoder.decode(volume().readFile(path)),
    writeFile: (path, data, options?: WriteOptions) => volume().writeFile(path, bytesOf(data), options?.sync),
    appendFile: (path, data, options?: WriteOptions) => volume().appendFile(path, bytesOf(data), options?.sync),
    truncate: (path, size) => volume().truncate(path, size),
    open: (path, mode: OpenMode = 'r') => volume().open(path, mode),
    exists: path => volume().exists(path),
    stat: path => volume().stat(path),
    list: path => volume().list(path),
    mkdir: (path, options) => volume().mkdir(path, options?.recursive),
    remove: path => volume().remove(path),
    rename: (from, to) => volume().rename(from, to),
    space: () => volume().space(),
    label: () => volume().label(),
    sync: () => volume().sync(),
  };
}

export function filesApi(kernel: Kernel, disks: { get(name: string): Disk }): typeof import('xenolith').files {
  const find = (disk: string | Disk): Disk => (typeof disk === 'string' ? disks.get(disk) : disk);
  const mounted = new Map<KernelVolume, VolumeFiles>();
  const filesOn = (volume: KernelVolume): VolumeFiles => {
    const files = mounted.get(volume) ?? new VolumeFiles(volume);
    mounted.set(volume, files);
    return files;
  };
  return {
    ...volumeOf(() => {
      if (kernel.root) return filesOn(kernel.root);
      throw new XenError('ENODEV', 'this domain has no root file system: give it one with root=/dev/xvda');
    }),
    mount(disk, options) {
      const files = filesOn(kernel.mount(find(disk), options?.readOnly));
      return volumeOf(() => files);
    },
    format: (disk, options) => kernel.format(find(disk), options?.label ?? ''),
  };
}

export function disksApi(kernel: Kernel): typeof import('xenolith').disks {
  const list = (): Disk[] => kernel.devices.disks();
  return {
    list,
    get(name) {
      const disk = list().find(d => d.name === name.replace(/^\/dev\//, ''));
      if (disk) return disk;
      const names = list().map(d => d.name);
      throw new XenError(
        'ENODEV',
        `no disk '${name}'; this domain has ${names.length > 0 ? names.join(', ') : 'none'}`,
      );
    },
    [Symbol.iterator]: () => list()[Symbol.iterator](),
  };
}
