// A path as a program writes it, as FatFs wants it.
import { XenError } from '#pvbus';
import { MAX_PATH_BYTES } from './fat-core.ts';

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
  // biome-ignore lint/suspicious/noControlCharactersInRegex: FAT forbids exactly these in names.
  if (/[\u0000-\u001f"*:<>?|\\\u007f]/.test(result)) throw new XenError('EINVAL', `'${path}': FAT allows no such name`);
  if (Buffer.byteLength(result) > MAX_PATH_BYTES)
    throw new XenError('ENAMETOOLONG', `a path of ${path.length} characters`);
  return result;
}
