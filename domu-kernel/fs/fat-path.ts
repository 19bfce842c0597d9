// What a file on FAT can be called.
import { XenError } from '#pvbus';

// biome-ignore lint/suspicious/noControlCharactersInRegex: FAT forbids exactly these in names.
const FORBIDDEN = /[\u0000-\u001f"*:<>?|\\\u007f]/;
/** FAT counts UTF-16's units, FatFs' listings have room for so many bytes. */
const MAX_NAME_BYTES = 255;

/** Whether a file could have it. FatFs drops dots and spaces at the end. */
export const isFatName = (name: string): boolean =>
  Buffer.byteLength(name) <= MAX_NAME_BYTES && !name.includes('/') && !FORBIDDEN.test(name) && /[^. ]/.test(name);

export function checkFatName(what: string, name: string): void {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new XenError('ENAMETOOLONG', `${what}: names end at ${MAX_NAME_BYTES} bytes`);
  }
  if (!isFatName(name)) throw new XenError('EINVAL', `${what}: FAT allows no such name`);
}
