// A disk that an NBD server has, as the target of a disk names it: in QEMU's spelling or as a URI.
import { XenError } from './errors.ts';

export interface NbdTarget {
  /** Where the server listens: a unix socket, or a host and its port. */
  readonly server: { readonly path: string } | { readonly host: string; readonly port: number };
  readonly exportName: string;
  /** How long a guest's requests wait for a server that is gone, before they fail; Infinity: until it is back. */
  readonly patienceMs: number;
}

/** Xen: none; IANA's. */
const NBD_PORT = 10809;
/** The protocol's own limit. */
const MAX_NAME_BYTES = 4096;
/** Of sockaddr_un. */
const MAX_SOCKET_PATH = 107;

/** For messages. */
export function describeNbd({ server, exportName }: NbdTarget): string {
  const where = 'path' in server ? server.path : `${server.host}:${server.port}`;
  return `the NBD server at ${where}${exportName === '' ? '' : `, export ${JSON.stringify(exportName)}`}`;
}

/** Whether `target` is one of these rather than a path. */
export const isNbdTarget = (target: string): boolean => /^nbd(\+unix)?:/.test(target);

/**
 * `nbd:unix:PATH[:exportname=NAME]`, `nbd:HOST:PORT[:exportname=NAME]`, `nbd://HOST[:PORT][/NAME]`,
 * `nbd+unix:///NAME?socket=PATH`. URIs may have `reconnect=SECONDS`. Throws EINVAL.
 */
export function parseNbdTarget(target: string): NbdTarget {
  const parsed = /^nbd(\+unix)?:\/\//.test(target) ? parseUri(target) : parseColons(target);
  if (parsed === undefined) throw new XenError('EINVAL', `${target} is no NBD target; ${EXPECTED}`);
  const { server, exportName } = parsed;
  if ('path' in server) {
    if (!server.path.startsWith('/')) throw new XenError('EINVAL', `${target}: the socket's path is not absolute`);
    if (Buffer.byteLength(server.path) > MAX_SOCKET_PATH)
      throw new XenError('EINVAL', `${target}: a socket's path has at most ${MAX_SOCKET_PATH} bytes`);
  } else if (!(server.port >= 1 && server.port <= 65535)) {
    throw new XenError('EINVAL', `${target}: ${server.port} is no port`);
  }
  if (Buffer.byteLength(exportName) > MAX_NAME_BYTES)
    throw new XenError('EINVAL', `${target}: an export's name has at most ${MAX_NAME_BYTES} bytes`);
  return parsed;
}
const EXPECTED = 'expected nbd:unix:PATH, nbd:HOST:PORT, nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH';

function parseColons(target: string): NbdTarget | undefined {
  const match =
    /^nbd:(?:unix:(?<path>.+?)|(?<host>[^:/]+|\[[^\]]+\]):(?<port>[0-9]{1,5}))(?::exportname=(?<name>.*))?$/s.exec(
      target,
    );
  const { path, host, port, name = '' } = match?.groups ?? {};
  const rest = { exportName: name, patienceMs: Number.POSITIVE_INFINITY };
  if (path !== undefined) return { server: { path }, ...rest };
  if (host !== undefined) return { server: { host: withoutBrackets(host), port: Number(port) }, ...rest };
  return undefined;
}

function parseUri(target: string): NbdTarget | undefined {
  let url: URL;
  try {
    url = new URL(target);
  } catch {
    return undefined;
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') return undefined;
  const { searchParams: query } = url;
  for (const key of query.keys()) if (key !== 'socket' && key !== 'reconnect') return undefined;
  const reconnect = query.get('reconnect');
  if (reconnect !== null && !/^[0-9]{1,6}$/.test(reconnect)) return undefined;
  const patienceMs = reconnect === null ? Number.POSITIVE_INFINITY : Number(reconnect) * 1000;
  let exportName: string;
  try {
    exportName = decodeURIComponent(url.pathname.replace(/^\//, ''));
  } catch {
    return undefined;
  }
  const path = query.get('socket');
  if (url.protocol === 'nbd+unix:') {
    if (url.host !== '' || path === null) return undefined;
    return { server: { path }, exportName, patienceMs };
  }
  if (url.hostname === '' || path !== null) return undefined;
  const port = url.port === '' ? NBD_PORT : Number(url.port);
  return { server: { host: withoutBrackets(url.hostname), port }, exportName, patienceMs };
}
const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, '$1');
