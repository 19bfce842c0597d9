// What FatFs says of a directory entry.
import type { FatCore } from './fat-core.ts';

export interface FatInfo {
  readonly name: string;
  /** Bytes; 0 for a directory. */
  readonly size: number;
  readonly isDirectory: boolean;
  readonly isReadOnly: boolean;
  readonly modified: Date;
}

const AM_RDO = 1;
const AM_DIR = 16;
const MAX_NAME = 256;
const MAX_SHORT_NAME = 13;

/** What f_stat or f_readdir has left in `core.info`. */
export function readInfo(core: FatCore): FatInfo {
  const { info, view } = core;
  const date = view.getUint16(info + 4, true);
  const time = view.getUint16(info + 6, true);
  const attributes = view.getUint8(info + core.x.offset_FILINFO_fattrib());
  const isDirectory = (attributes & AM_DIR) !== 0;
  return {
    name: core.getString(info + core.x.offset_FILINFO_fname(), MAX_NAME),
    size: isDirectory ? 0 : view.getUint32(info, true),
    isDirectory,
    isReadOnly: (attributes & AM_RDO) !== 0,
    modified: new Date(
      Date.UTC(1980 + (date >> 9), ((date >> 5) & 15) - 1, date & 31, time >> 11, (time >> 5) & 63, (time & 31) * 2),
    ),
  };
}

/** The other name that a file with a long one has; '' when it has one only. Of what f_readdir has left. */
export const readShortName = (core: FatCore): string =>
  core.getString(core.info + core.x.offset_FILINFO_altname(), MAX_SHORT_NAME);
