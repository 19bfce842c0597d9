// Node paths as clients may write them, and their one absolute form.
import { parseDecimal, XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX, type XenError } from '#pvbus';
import { Refusal } from './refusal.ts';

export const INTRODUCE_DOMAIN = '@introduceDomain';
export const RELEASE_DOMAIN = '@releaseDomain';

const MAX_DOMID = 0xffff;

/** The base of a domain's relative paths. */
export function homeOf(domid: number): string {
  return `/local/domain/${domid}`;
}

function invalid(path: string, why: string): XenError {
  const shown = path.length > 100 ? `${path.slice(0, 100)}...` : path;
  return new Refusal('EINVAL', `path ${JSON.stringify(shown)}: ${why}`);
}

/** What there is to know of an absolute path by looking at it. */
interface Parsed {
  readonly segments: readonly string[];
  /** Characters that a quota counts: below a domain's home, or all. */
  readonly counted: number;
}

/** Paths come again and again. Enough of them for the devices of some hundred domains, and no more memory. */
const KNOWN_PATHS = 4096;
const KNOWN_LENGTH = 256;
const known = new Map<string, Parsed>();

/** Throws EINVAL. */
function parse(absolute: string): Parsed {
  let parsed = known.get(absolute);
  if (parsed) return parsed;
  if (absolute.length > XENSTORE_ABS_PATH_MAX) throw invalid(absolute, 'too long');
  // untrusted: all of the grammar in one look; a NUL or a byte over 127 is no legal character either
  if (!/^(\/[A-Za-z0-9\-_@]+)+$/.test(absolute)) throw invalid(absolute, 'not a xenstore path');
  const [, home, rest] = /^\/local\/domain\/([^/]*)(.*)$/.exec(absolute) ?? [];
  if (home !== undefined && parseDecimal(home, MAX_DOMID) === undefined) throw invalid(absolute, 'no domain id');
  parsed = { segments: absolute.slice(1).split('/'), counted: (rest ?? absolute).length };
  if (absolute.length > KNOWN_LENGTH) return parsed;
  if (known.size === KNOWN_PATHS) known.clear();
  known.set(absolute, parsed);
  return parsed;
}

/**
 * The absolute path a client of domain `domid` means by `path`. Throws EINVAL when it is not one.
 * `relativeMax` is what the client may use below its own or another domain's home (its quota).
 */
export function absolutePath(path: string, domid: number, relativeMax = XENSTORE_REL_PATH_MAX): string {
  if (path === '/') return path;
  const first = path.charCodeAt(0);
  if (first === AT) throw invalid(path, 'reserved for special watches');
  const relative = first !== SLASH;
  if (relative && path.length > XENSTORE_REL_PATH_MAX) throw invalid(path, 'too long');
  const absolute = relative ? `${homeOf(domid)}/${path}` : path;
  if (parse(absolute).counted > relativeMax + 1) throw invalid(path, 'longer than the quota');
  return absolute;
}
const SLASH = '/'.charCodeAt(0);
const AT = '@'.charCodeAt(0);

/** `@introduceDomain`, `@releaseDomain`, or one of them with `/domid`. */
export function isSpecial(path: string): boolean {
  if (path === INTRODUCE_DOMAIN || path === RELEASE_DOMAIN) return true;
  const [, name, id] = /^(@[^/]*)\/(.*)$/.exec(path) ?? [];
  return (name === INTRODUCE_DOMAIN || name === RELEASE_DOMAIN) && parseDecimal(id, MAX_DOMID) !== undefined;
}

/** The names on the way from the root: none for the root itself. Also for special paths. */
export function segmentsOf(path: string): readonly string[] {
  if (path === '/') return [];
  return known.get(path)?.segments ?? (path.startsWith('/') ? path.slice(1) : path).split('/');
}

/** A domain id as decimal text. Throws EINVAL. */
export function domidOf(value: string | undefined): number {
  const n = parseDecimal(value, MAX_DOMID);
  if (n === undefined) throw new Refusal('EINVAL', `${JSON.stringify(value)} is no domain id`);
  return n;
}
