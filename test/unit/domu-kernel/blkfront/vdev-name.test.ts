import { describe, expect, it } from 'vitest';
import { vdevName } from '../../../../domu-kernel/drivers/blkfront/vdev-name.ts';

// Xen: misc/vbd-interface(7).
describe('the name of a virtual disk', () => {
  it.each([
    [51712, 'xvda'],
    [51713, 'xvda1'],
    [51728, 'xvdb'],
    [51952, 'xvdp'],
    [2 ** 28 + 256 * 16, 'xvdq'],
    [2 ** 28 + 256 * 26, 'xvdaa'],
    [2 ** 28 + 256 * 26 + 3, 'xvdaa3'],
    [2048, 'sda'],
    [2065, 'sdb1'],
    [768, 'hda'],
    [832, 'hdb'],
    [5632, 'hdc'],
    [5697, 'hdd1'],
    [4, 'vbd4'],
    [2 ** 31, 'vbd2147483648'],
  ])('of %i is %s', (vdev, name) => {
    expect(vdevName(vdev)).toBe(name);
  });
});
