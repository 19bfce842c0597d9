// ext4 among the file systems that tests hold for.
import { expect, onTestFinished } from 'vitest';
import type { Ext4Volume } from '../../domu-kernel/fs/ext4/volume.ts';
import { e2fsck, emptyExt4, type Layout, mountedExt4, whyNoExt4 } from './ext4.ts';
import type { Kind } from './file-systems.ts';

const kind = (layout: Layout): Kind => ({
  name: layout,
  make() {
    const disk = emptyExt4(layout);
    const made = mountedExt4(disk);
    made.root.rmdir('lost+found');
    made.close();
    let latest: Ext4Volume | undefined;
    const mount = (): Ext4Volume => {
      latest = mountedExt4(disk);
      return latest;
    };
    // Who makes many does not keep them all.
    let image: Uint8Array | undefined = disk.bytes;
    const check = (): void => {
      latest?.close();
      if (image) expect(e2fsck(image), layout).toBe('');
      image = latest = undefined;
    };
    onTestFinished(() => check());
    return { fs: mount(), remount: mount, check };
  },
  symlinks: true,
  links: true,
  foldsCase: false,
  bounded: true,
  mtimeUnitNs: 1n,
});
/** As `kinds`; none where it cannot be built. */
export const ext4Kinds: readonly Kind[] = whyNoExt4 === undefined ? (['ext4', 'ext2'] as const).map(kind) : [];
