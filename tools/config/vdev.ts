// Names of virtual disks and their numbers. Xen: misc/xen-vbd-interface(7).

const SCHEMES: Readonly<Record<string, (disk: number, partition: number) => number | null>> = {
  xvd: (disk, partition) => {
    if (disk < 16 && partition < 16) return (202 << 8) | (disk << 4) | partition;
    return disk < 1 << 20 && partition < 256 ? (1 << 28) | (disk << 8) | partition : null;
  },
  hd: (disk, partition) => {
    if (disk > 3 || partition > 63) return null;
    return ((disk < 2 ? 3 : 22) << 8) | ((disk & 1) << 6) | partition;
  },
  sd: (disk, partition) => (disk < 16 && partition < 16 ? (8 << 8) | (disk << 4) | partition : null),
};

/** a is 0, z is 25, aa is 26. */
const letters = (text: string): number => [...text].reduce((n, c) => n * 26 + c.charCodeAt(0) - 96, 0) - 1;

/** The number that stands for `vdev` in xenstore: 51712 for xvda; null for a name that means no disk. */
export function vdevNumber(vdev: string): number | null {
  const named = /^(xvd|hd|sd)([a-z]{1,4})([0-9]{0,3})$/.exec(vdev);
  if (named !== null) {
    const [, scheme, disk, partition] = named;
    if (/^0./.test(partition!)) return null;
    return SCHEMES[scheme!]!(letters(disk!), Number(partition));
  }
  const numbered = /^d([0-9]{1,7})(?:p([0-9]{1,3}))?$/.exec(vdev);
  if (numbered !== null) return SCHEMES.xvd!(Number(numbered[1]), Number(numbered[2] ?? 0));
  if (!/^(0x[0-9a-fA-F]{1,8}|[1-9][0-9]{0,9}|0)$/.test(vdev)) return null;
  const number = Number(vdev);
  return number <= 0x7fff_ffff ? number : null;
}
