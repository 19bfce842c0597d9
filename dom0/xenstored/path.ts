// Node paths as clients may write them, and their one absolute form.
import { parseDecimal, XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX, XenError } from '#pvbus';

export const INTRODUCE_DOMAIN = '@introduceDomain';
export const RELEASE_DOMAIN = '@releaseDomain';

const MAX_DOMID = 0xffff;

/** The base of a domain's relative paths. */
export function homeOf(domid: number): string {
  return `/local/domain/${domid}`;
}

function invalid(path: string, why: string): XenError {
  const shown = path.length > 100 ? `${path.slice(0, 100)}...` : path;
  return new XenError('EINVAL', `path ${JSON.stringify(shown)}: ${why}`);
}

/**
 * The absolute path a client of domain `domid` means by `path`. Throws EINVAL when it is not one.
 * `relativeMax` is what the client may use below its own or another domain's home (its quota).
 */
export function absolutePath(path: string, domid: number, relativeMax = XENSTORE_REL_PATH_MAX): string {
  if (path === '/') return path;
  if (path.startsWith('@')) throw invalid(path, 'reserved for special watches');
  const relative = !path.startsWith('/');
  if (relative && path.length > XENSTORE_REL_PATH_MAX) throw invalid(path, 'too long');
  const absolute = relative ? `${homeOf(domid)}/${path}` : path;
  if (absolute.length > XENSTORE_ABS_PATH_MAX) throw invalid(path, 'too long');
  // untrusted: all of the grammar in one look; a NUL or a byte over 127 is no legal character either
  if (!/^(\/[A-Za-z0-9\-_@]+)+$/.test(absolute)) throw invalid(path, 'not a xenstore path');
  const [, home, rest] = /^\/local\/domain\/([^/]*)(.*)$/.exec(absolute) ?? [];
  if (home !== undefined && parseDecimal(home, MAX_DOMID) === undefined) throw invalid(path, 'no domain id');
  if ((rest ?? absolute).length > relativeMax + 1) throw invalid(path, 'longer than the quota');
  return absolute;
}

/** `@introduceDomain`, `@releaseDomain`, or one of them with `/domid`. */
export function isSpecial(path: string): boolean {
  if (path === INTRODUCE_DOMAIN || path === RELEASE_DOMAIN) return true;
  const [, name, id] = /^(@[^/]*)\/(.*)$/.exec(path) ?? [];
  return (name === INTRODUCE_DOMAIN || name === RELEASE_DOMAIN) && parseDecimal(id, MAX_DOMID) !== undefined;
}

/** The names on the way from the root: none for the root itself. Also for special paths. */
export function segmentsOf(path: string): string[] {
  if (path === '/') return [];
  return (path.startsWith('/') ? path.slice(1) : path).split('/');
}

/** A domain id as decimal text. Throws EINVAL. */
export function domidOf(value: string | undefined): number {
  const n = parseDecimal(value, MAX_DOMID);
  if (n === undefined) throw new XenError('EINVAL', `${JSON.stringify(value)} is no domain id`);
  return n;
}
