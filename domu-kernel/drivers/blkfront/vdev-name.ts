// The name of a virtual disk. Xen: misc/vbd-interface(7).

/** 0 a, 25 z, 26 aa, ... */
function letters(disk: number): string {
  const last = String.fromCharCode(97 + (disk % 26));
  return disk < 26 ? last : letters(Math.floor(disk / 26) - 1) + last;
}
const named = (kind: string, disk: number, partition: number): string =>
  kind + letters(disk) + (partition > 0 ? partition : '');

/** 'xvda' for 51712, 'xvdb1' for 51729, 'hdc' for 5632. Numbers outside the scheme are named by themselves. */
export function vdevName(vdev: number): string {
  if (vdev >= 2 ** 28) return vdev < 2 ** 29 ? named('xvd', (vdev & 0xfffffff) >>> 8, vdev & 0xff) : `vbd${vdev}`;
  const minor = vdev & 0xff;
  switch (vdev >>> 8) {
    case 202:
      return named('xvd', minor >>> 4, minor & 15);
    case 8:
      return named('sd', minor >>> 4, minor & 15);
    case 3:
      return named('hd', minor >>> 6, minor & 63);
    case 22:
      return named('hd', 2 + (minor >>> 6), minor & 63);
    default:
      return `vbd${vdev}`;
  }
}
