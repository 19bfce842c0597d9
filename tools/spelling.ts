// How a shell calls our xl: by `npx`, by a path or by its name, whichever leads to it.
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { shellQuoted } from './shell-quoted.ts';

/** `xl` is the real path of bin/xl, `path` what the environment has as PATH. */
export function spellingOf(xl: string, cwd: string, path = ''): string {
  if (npxFinds(cwd) === xl) return 'npx xl';
  const below = relative(cwd, xl);
  if (!below.startsWith('../')) return word(below.includes('/') ? below : `./${below}`);
  return foundOn(path, cwd) === xl ? 'xl' : word(xl);
}

/** As npm looks for it: up to the first folder that is a package or has some. */
function npxFinds(folder: string): string | undefined {
  const isLast = ['package.json', 'node_modules'].some(name => existsSync(join(folder, name)));
  if (isLast || folder === dirname(folder)) return realPath(join(folder, 'node_modules/.bin/xl'));
  return npxFinds(dirname(folder));
}

function foundOn(path: string, cwd: string): string | undefined {
  // npm puts these there for what it starts; the user's shell has none of them.
  const folders = path.split(delimiter).filter(folder => !folder.endsWith('node_modules/.bin'));
  return folders.map(folder => realPath(resolve(cwd, folder, 'xl'))).find(file => file !== undefined);
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** `xl` for the host that `env` means, also in a shell whose environment means another one: `--host` may have said so. */
export function onHost(xl: string, { XENOLITH_RUN_DIR: dir, XENOLITH_HOST: host }: NodeJS.ProcessEnv): string {
  if (dir) return `XENOLITH_RUN_DIR=${word(dir)} ${xl}`;
  return host ? `${xl} --host ${host}` : xl;
}

const word = (path: string): string => (/^[\w./-]+$/.test(path) ? path : shellQuoted(path));

/** Where a shell reads a command's name; what is quoted comes first, and has none. */
const XL = /'[^']*'|"[^"]*"|(?<=(?:^|[;&|(])\s*)xl(?=\s|$)/g;

/** A line for a shell, with its commands `xl` as `spelling`. */
export const spelled = (line: string, spelling: string): string =>
  line.replace(XL, found => (found === 'xl' ? spelling : found));
