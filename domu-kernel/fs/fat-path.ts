// A path as a program writes it, as FatFs wants it.
import { XenError } from '#pvbus';
import { MAX_PATH_BYTES } from './fat-core.ts';

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

/**
 * '/a/b' from '/a/./x/../b'. '..' ends at the root, as everywhere. FatFs would take ':' for a drive and '\'
 * for a '/', so neither may be in a name.
 */
export function fatPath(path: string): string {
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  const result = `/${names.join('/')}`;
  if (FORBIDDEN.test(result)) throw new XenError('EINVAL', `'${path}': FAT allows no such name`);
  if (Buffer.byteLength(result) > MAX_PATH_BYTES)
    throw new XenError('ENAMETOOLONG', `a path of ${path.length} characters`);
  return result;
}
