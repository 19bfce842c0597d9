// Disks whose MBR and GPT anybody may have written: what is taken for a partition lies on the disk and is read nowhere
// else, the tables are read in a few reads, and of everything that is wrong somebody hears by a XenError.
import { mountFirst } from '../../../domu-kernel/fs/find-volume.ts';
import { type Extent, Partition, partitionsOf } from '../../../domu-kernel/fs/partitions.ts';
import { XenError } from '../../../pvbus/errors.ts';
import { formattedDisk } from '../../support/fatfs.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import fc from '../../support/properties.ts';

const SECTORS = 80;
const GPT_ENTRIES = 4;
/** Of a GPT. */
const MAX_EXTENTS = 128;
/** Both tables, and for each partition what its first sectors say of volumes. */
const MAX_READS = 4 + 16 * MAX_EXTENTS;
const bootSector = formattedDisk(1 << 20).bytes.slice(0, 512);

const word = fc.oneof(fc.nat(SECTORS + 4), fc.constantFrom(0x7fffffff, 0x80000000, 0xffffffff));
const u64 = fc.oneof(
  { weight: 6, arbitrary: fc.nat(SECTORS + 4).map(BigInt) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  { weight: 1, arbitrary: fc.constantFrom(2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n) },
);
const table = fc.record({
  sectorSize: fc.constantFrom(512, 4096),
  sectors: fc.oneof(
    { weight: 5, arbitrary: fc.constant(SECTORS) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 8 }) },
  ),
  mbr: fc.array(fc.record({ type: fc.constantFrom(0, 0x0c, 0x83, 0xee, 0xee), start: word, length: word }), {
    maxLength: 4,
  }),
  gpt: fc.record({
    at: u64,
    count: fc.oneof(fc.nat(GPT_ENTRIES + 1), fc.constantFrom(128, 129, 0xffffffff)),
    each: fc.constantFrom(128, 128, 128, 0, 127, 129, 256, 4096, 4097, 0xffffffff),
    entries: fc.array(fc.tuple(fc.constantFrom(0, 1, 2, 3, 127, 128), u64, u64), { maxLength: GPT_ENTRIES }),
  }),
  changes: fc.array(fc.tuple(fc.nat(0xffff), fc.nat(255)), { maxLength: 4 }),
});

function encode({
  sectorSize,
  sectors,
  mbr,
  gpt,
  changes,
}: typeof table extends fc.Arbitrary<infer T> ? T : never): MemoryDisk {
  const bytes = new Uint8Array(sectors * sectorSize);
  const view = new DataView(bytes.buffer);
  const volumeAt = (sector: number): void => {
    if (sector > 2 && sector < sectors) bytes.set(bootSector, sector * sectorSize);
  };
  for (const [i, { type, start, length }] of mbr.entries()) {
    volumeAt(start);
    view.setUint8(450 + 16 * i, type);
    view.setUint32(454 + 16 * i, start, true);
    view.setUint32(458 + 16 * i, length, true);
  }
  view.setUint16(510, 0xaa55, true);
  if (sectors > 1) {
    bytes.set(Buffer.from('EFI PART'), sectorSize);
    view.setBigUint64(sectorSize + 72, gpt.at, true);
    view.setUint32(sectorSize + 80, gpt.count, true);
    view.setUint32(sectorSize + 84, gpt.each, true);
    const table = Number(gpt.at) * sectorSize;
    for (const [i, start, last] of gpt.entries) {
      volumeAt(Number(start));
      const at = table + i * gpt.each;
      if (at + 128 > bytes.length) break;
      view.setUint8(at, 1);
      view.setBigUint64(at + 32, start, true);
      view.setBigUint64(at + 40, last, true);
    }
  }
  for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
  return new MemoryDisk(bytes, sectorSize);
}

/** The partition's own sectors are read, and no other. */
function use(disk: MemoryDisk, extent: Extent): void {
  let touched: number | undefined;
  disk.fault = (_, sector) => {
    touched = sector;
  };
  const sector = new Uint8Array(disk.sectorSize);
  try {
    const partition = new Partition(disk, extent);
    for (const at of [0, partition.sectors - 1]) {
      partition.read(at, sector);
      if (touched !== extent.start + at) throw new Error(`sector ${at} of it is ${touched} of the disk`);
    }
    touched = undefined;
    partition.read(partition.sectors, sector);
    throw new Error(`it is read behind its end, at ${touched}`);
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'EINVAL') throw error;
    if (touched !== undefined && touched >= extent.start + extent.sectors)
      throw new Error(`${touched} is behind its end`);
  } finally {
    disk.fault = undefined;
  }
}

export const partitionTables = fc.property(table, drawn => {
  const disk = encode(drawn);
  const extents = partitionsOf(disk);
  if (disk.reads > 3) throw new Error(`${disk.reads} reads of tables`);
  for (const extent of extents) {
    if (!(extent.start >= 1 && extent.start < disk.sectors && extent.sectors >= 1 && extent.number <= MAX_EXTENTS))
      throw new Error(`partition ${extent.number} of ${extent.sectors} sectors from ${extent.start} on`);
    use(disk, extent);
  }
  disk.reads = 0;
  try {
    const { device } = mountFirst(
      disk,
      found => found,
      () => {},
    );
    if (!(device.sectors >= 1 && device.sectors <= disk.sectors))
      throw new Error(`a volume on ${device.sectors} sectors`);
    device.read(device.sectors - 1, new Uint8Array(device.sectorSize));
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
  }
  if (disk.reads > MAX_READS) throw new Error(`${disk.reads} reads to find a volume`);
});
