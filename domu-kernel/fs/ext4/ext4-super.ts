// What a superblock says before anybody works with it: whether there is an ext4 volume at all, and whether it is one that
// is mounted, and how. untrusted: all of it.
import { XenError } from '#pvbus';
import type { SectorDevice } from '../sector-device.ts';

const AT = 1024;
const SIZE = 1024;
const MAGIC = 0xef53;
const field = {
  blocks: 0x04,
  logBlockSize: 0x18,
  magic: 0x38,
  state: 0x3a,
  inodeSize: 0x58,
  compat: 0x5c,
  incompat: 0x60,
  roCompat: 0x64,
  label: 0x78,
  journalInode: 0xe0,
  blocksHigh: 0x150,
} as const;
const VALID = 1;
const ERRORS = 2;
const HAS_JOURNAL = 4;
const RECOVER = 4;
const IS_64BIT = 0x80;
const MAX_INODE_BYTES = 4096;
const LABEL_BYTES = 16;

type Names = Readonly<Record<number, string>>;
/** All that a volume may have and be mounted. */
const KNOWN_INCOMPAT = 0x2 | RECOVER | 0x10 | 0x40 | IS_64BIT | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000;
const INCOMPAT: Names = {
  1: 'compression',
  8: 'journal_dev',
  256: 'mmp',
  4096: 'dirdata',
  65536: 'encrypt',
  131072: 'casefold',
};
/** What may be there and be written to. */
const WRITABLE_RO_COMPAT = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400;
const RO_COMPAT: Names = {
  256: 'quota',
  512: 'bigalloc',
  4096: 'read-only',
  8192: 'project',
  16384: 'shared_blocks',
  32768: 'verity',
  65536: 'orphan_present',
};
/** Of KNOWN_INCOMPAT what libext2fs would not keep in order. */
const READ_ONLY_INCOMPAT: Names = { 1024: 'ea_inode' };

export interface SuperBlock {
  readonly blockSize: number;
  readonly hasJournal: boolean;
  readonly needsRecovery: boolean;
  readonly label: string;
  /** Why it must not be written to. */
  readonly damage: string | undefined;
}

/** True for what says that it is ext2, ext3 or ext4. */
export function isExt4(device: SectorDevice): boolean {
  return superBytes(device)?.getUint16(field.magic, true) === MAGIC;
}

/** Throws EINVAL for what is not mounted. */
export function readSuper(device: SectorDevice): SuperBlock {
  const bytes = superBytes(device);
  const fail = (why: string): never => {
    throw new XenError('EINVAL', `ext4 on ${device.name}: ${why}`);
  };
  if (!bytes || bytes.getUint16(field.magic, true) !== MAGIC) return fail('there is none');
  const log = bytes.getUint32(field.logBlockSize, true);
  if (log > 6) fail(`blocks of 2^${log} KiB`);
  const blockSize = 1024 << log;
  if (blockSize % device.sectorSize !== 0) fail(`blocks of ${blockSize} bytes on sectors of ${device.sectorSize}`);
  const incompat = bytes.getUint32(field.incompat, true);
  const unknown = incompat & ~KNOWN_INCOMPAT;
  if (unknown !== 0) fail(`it has what is not known here: ${namesOf(unknown, INCOMPAT)}`);
  const high = (incompat & IS_64BIT) !== 0 ? bytes.getUint32(field.blocksHigh, true) : 0;
  if (high !== 0) fail('it has 2^32 blocks or more');
  const blocks = bytes.getUint32(field.blocks, true);
  const there = Math.floor((device.sectors * device.sectorSize) / blockSize);
  if (blocks > there) fail(`it has ${blocks} blocks of ${blockSize} bytes, the disk ${there}`);
  if (bytes.getUint16(field.inodeSize, true) > MAX_INODE_BYTES) fail('its inodes are too large');
  const hasJournal = (bytes.getUint32(field.compat, true) & HAS_JOURNAL) !== 0;
  if (hasJournal && bytes.getUint32(field.journalInode, true) === 0) fail('its journal is on another disk');
  const needsRecovery = (incompat & RECOVER) !== 0;
  return { blockSize, hasJournal, needsRecovery, label: labelOf(bytes), damage: damageOf(bytes, incompat) };
}

function labelOf(bytes: DataView): string {
  const label = Buffer.from(bytes.buffer, bytes.byteOffset + field.label, LABEL_BYTES);
  const end = label.indexOf(0);
  return label.toString('utf8', 0, end < 0 ? LABEL_BYTES : end);
}
function damageOf(bytes: DataView, incompat: number): string | undefined {
  const state = bytes.getUint16(field.state, true);
  if ((state & ERRORS) !== 0) return 'it has errors, which e2fsck would repair';
  if ((state & VALID) === 0) return 'it was not unmounted when it was last used: it needs e2fsck';
  const roCompat = bytes.getUint32(field.roCompat, true) & ~WRITABLE_RO_COMPAT;
  if (roCompat !== 0) return `it has ${namesOf(roCompat, RO_COMPAT)}, which would not be kept right`;
  for (const [bit, name] of Object.entries(READ_ONLY_INCOMPAT)) {
    if ((incompat & Number(bit)) !== 0) return `it has ${name}, which would not be kept right`;
  }
  return undefined;
}
function namesOf(bits: number, names: Names): string {
  const found: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const value = (1 << bit) >>> 0;
    if (((bits >>> bit) & 1) === 1) found.push(names[value] ?? `feature 0x${value.toString(16)}`);
  }
  return found.join(', ');
}
function superBytes(device: SectorDevice): DataView | undefined {
  const sectors = Math.ceil((AT + SIZE) / device.sectorSize);
  if (device.sectors < sectors) return undefined;
  const bytes = new Uint8Array(sectors * device.sectorSize);
  device.read(0, bytes);
  return new DataView(bytes.buffer, AT, SIZE);
}
