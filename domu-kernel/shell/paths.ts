// Paths as they are written, without a look at what is there.

/** `path` from `cwd`, without '.', '..' and empty names. */
export function absolutePath(cwd: string, path: string): string {
  const names: string[] = [];
  for (const name of (path.startsWith('/') ? path : `${cwd}/${path}`).split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return `/${names.join('/')}`;
}
/** The same with what symlinks may have to say left to the walk. */
export const fromCwd = (cwd: string, path: string): string =>
  path.startsWith('/') || path === '' ? path : cwd === '/' ? `/${path}` : `${cwd}/${path}`;
export const baseName = (path: string): string => path.replace(/\/+$/, '').split('/').pop() || '/';
export const joined = (directory: string, name: string): string => `${directory.replace(/\/+$/, '')}/${name}`;
