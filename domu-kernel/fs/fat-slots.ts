// The slots of a directory as they are on the disk: names, long and short, and what is left of names that were written or
// removed in part. FatFs shows the whole ones only.

export const SLOT = 32;
export const DELETED = 0xe5;
const END = 0;
const ATTRIBUTES = 11;
const READ_ONLY_TO_ARCHIVE = 0x3f;
const LONG = 0x0f;
const LABEL = 0x08;
const DIRECTORY = 0x10;
const LAST_PART = 0x40;
/** Of a long name's slot. */
const CHECKSUM = 13;
const LETTERS: readonly number[] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/** Hundredths of a second of a file's creation, which FatFs leaves alone: fat-entries.ts counts replacements in it. */
export const REPLACEMENTS = 13;
export const REPLACEMENTS_MOD = 200;

/** What a name leads to, and where it is: slots by their number in the directory. */
export interface SlotEntry {
  readonly slot: number;
  /** Of its long name; none: it has a short one only. */
  readonly longSlots: readonly number[];
  readonly name: string;
  readonly isDirectory: boolean;
  readonly cluster: number;
  readonly size: number;
  readonly replacements: number;
}
export interface Slots {
  readonly entries: readonly SlotEntry[];
  /** Parts of long names that belong to nothing. */
  readonly orphans: readonly number[];
  /** From here on there is nothing; the number of slots where no slot says so. */
  readonly end: number;
}

/** '.' and '..' and the volume's label are left out. `wide`: FAT32, whose clusters have more than 16 bits. */
export function readSlots(directory: Uint8Array, wide: boolean): Slots {
  const view = new DataView(directory.buffer, directory.byteOffset, directory.length);
  const entries: SlotEntry[] = [];
  const orphans: number[] = [];
  let parts: number[] = [];
  let missing = 0;
  const abandon = (): void => {
    orphans.push(...parts);
    parts = [];
  };
  const count = Math.floor(directory.length / SLOT);
  let slot = 0;
  for (; slot < count; slot++) {
    const at = slot * SLOT;
    const first = view.getUint8(at);
    if (first === END) break;
    const attributes = view.getUint8(at + ATTRIBUTES) & READ_ONLY_TO_ARCHIVE;
    if (first === DELETED) abandon();
    else if (attributes === LONG) {
      if (first & LAST_PART) {
        abandon();
        missing = first & ~LAST_PART;
      }
      const previous = parts.at(-1);
      const goesOn =
        previous === undefined || view.getUint8(previous * SLOT + CHECKSUM) === view.getUint8(at + CHECKSUM);
      const isNext = missing > 0 && (first & ~LAST_PART) === missing && goesOn;
      parts.push(slot);
      if (isNext) missing--;
      else {
        abandon();
        missing = 0;
      }
    } else {
      const short = directory.subarray(at, at + 11);
      const isWhole = parts.length > 0 && missing === 0;
      if (!isWhole || view.getUint8(at - SLOT + CHECKSUM) !== checksum(short)) abandon();
      if ((attributes & LABEL) === 0 && first !== 0x2e) entries.push(entryAt(view, slot, parts, short, wide));
      parts = [];
    }
  }
  abandon();
  return { entries, orphans, end: slot };
}

function entryAt(
  view: DataView,
  slot: number,
  longSlots: readonly number[],
  short: Uint8Array,
  wide: boolean,
): SlotEntry {
  const at = slot * SLOT;
  return {
    slot,
    longSlots,
    name: longSlots.length > 0 ? longName(view, longSlots) : shortName(short),
    isDirectory: (view.getUint8(at + ATTRIBUTES) & DIRECTORY) !== 0,
    cluster: clusterAt(view, at, wide),
    size: view.getUint32(at + 28, true),
    replacements: view.getUint8(at + REPLACEMENTS),
  };
}
export const clusterAt = (view: DataView, at: number, wide: boolean): number =>
  view.getUint16(at + 26, true) + (wide ? view.getUint16(at + 20, true) * 65536 : 0);

/** The parts are on the disk from the last to the first. */
function longName(view: DataView, slots: readonly number[]): string {
  let name = '';
  for (const slot of slots.toReversed()) {
    for (const letter of LETTERS) name += String.fromCharCode(view.getUint16(slot * SLOT + letter, true));
  }
  const end = name.indexOf('\0');
  return end < 0 ? name : name.slice(0, end);
}
function shortName(short: Uint8Array): string {
  const text = (from: number, to: number): string => String.fromCharCode(...short.subarray(from, to)).trimEnd();
  const extension = text(8, 11);
  return extension === '' ? text(0, 8) : `${text(0, 8)}.${extension}`;
}
function checksum(short: Uint8Array): number {
  let sum = 0;
  for (const byte of short) sum = (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff;
  return sum;
}
