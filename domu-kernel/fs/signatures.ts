// What a disk without a volume for us holds, for who has to be told.
import type { SectorDevice } from './sector-device.ts';

interface Signature {
  /** Bytes from the beginning; of the last sector where it is negative. */
  readonly at: number;
  readonly text: string;
  readonly what: string;
  /** It stays where a partition table is made later: one that is there counts. */
  readonly outlives?: true;
}
const asFormat = (what: string, format: string): string =>
  `${what}, whose disk has to say so (xl run --disk FILE,${format})`;
const toConvert = (what: string): string => `${what}, which 'qemu-img convert -O qcow2' makes one that can be a disk`;
const toUnpack = (what: string): string => `what ${what} has compressed`;

const SIGNATURES: readonly Signature[] = [
  { at: 0, text: 'QFI\xfb', what: asFormat('a qcow2 image', 'qcow2') },
  { at: 0, text: 'QED\0', what: asFormat('a qed image', 'qed') },
  { at: 0, text: 'conectix', what: asFormat('a vhd image', 'vhd') },
  { at: -512, text: 'conectix', what: asFormat('a vhd image', 'vhd') },
  { at: 0, text: 'vhdxfile', what: toConvert('a vhdx image') },
  { at: 0, text: 'KDMV', what: toConvert('a vmdk image') },
  { at: 0, text: '# Disk DescriptorFile', what: toConvert('a vmdk image') },
  { at: 0x40, text: '\x7f\x10\xda\xbe', what: toConvert('a vdi image') },
  { at: 0, text: '\x1f\x8b', what: toUnpack('gzip') },
  { at: 0, text: '\xfd7zXZ\0', what: toUnpack('xz') },
  { at: 0, text: '\x28\xb5\x2f\xfd', what: toUnpack('zstd') },
  { at: 0, text: 'LUKS\xba\xbe', what: 'LUKS' },
  { at: 512, text: 'LABELONE', what: 'a physical volume of LVM', outlives: true },
  { at: 4086, text: 'SWAPSPACE2', what: 'swap space', outlives: true },
  { at: 0, text: 'hsqs', what: 'squashfs' },
  { at: 0, text: 'XFSB', what: 'xfs' },
  { at: 3, text: 'NTFS    ', what: 'NTFS' },
  { at: 3, text: 'EXFAT   ', what: 'exFAT' },
  { at: 32769, text: 'CD001', what: 'ISO 9660' },
  { at: 65600, text: '_BHRfS_M', what: 'btrfs', outlives: true },
];

/** undefined: nothing that is known here. */
export function whatIsOn(device: SectorDevice): Signature | undefined {
  const { sectors, sectorSize } = device;
  const end = sectors * sectorSize;
  return SIGNATURES.find(({ at, text }) => {
    const from = at < 0 ? end + at : at;
    if (from < 0 || from + text.length > end) return false;
    const first = Math.floor(from / sectorSize);
    const bytes = new Uint8Array((Math.ceil((from + text.length) / sectorSize) - first) * sectorSize);
    device.read(first, bytes);
    const start = from - first * sectorSize;
    return Buffer.from(bytes.subarray(start, start + text.length)).toString('latin1') === text;
  });
}
