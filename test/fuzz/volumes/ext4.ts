// Damaged ext4, ext3 and ext2 volumes, where the driver can be built.
import { emptyExt4, LAYOUTS, type Layout, mountedExt4, whyNoExt4 } from '../../support/ext4.ts';
import type { Family } from '../parts.ts';
import { type Kind, volumes } from './damaged.ts';

const ext4 = (layout: Layout): Kind => ({
  image: () => emptyExt4(layout),
  described: 1 << 20,
  mount: disk => mountedExt4(disk),
});
export const ext4Volumes = volumes(Object.fromEntries(Object.keys(LAYOUTS).map(name => [name, ext4(name as Layout)])));

export { whyNoExt4 };
export const EXT4: Family = { 'ext4 volumes': { property: ext4Volumes, share: 100 } };
