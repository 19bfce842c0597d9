// What of the host a guest may use, as the toolstack wrote it into the backend's node: ports of its loopback, unix sockets,
// addresses beyond, its name server.
import { type AllowedAddresses, isAllowed, parseAllowed, parseDecimal, XenError } from '#pvbus';
import type { HostTarget } from './host-sockets.ts';

const INADDR_LOOPBACK = 0x7f000001;

export interface PortPolicy {
  /** Port the guest binds -> port of 127.0.0.1 that it gets; 0: one the host picks. */
  readonly listen: ReadonlyMap<number, number>;
  /** Ports of 127.0.0.1 the guest may connect to, each with where that leads: a port, or the path of a unix socket. */
  readonly connect: ReadonlyMap<number, number | string>;
  /** Addresses beyond. */
  readonly allow: readonly AllowedAddresses[];
  /** The port of 127.0.0.1 that is the host's name server. */
  readonly resolver: number | undefined;
}
/** The same as plain data, for a message to the worker's thread. */
export interface PortKeys {
  readonly listen: string;
  readonly connect: string;
  readonly allow: string;
  readonly resolver: string;
}

const MAX_PORTS = 256;

/** `listen` is "8080:80 9000" (host:guest, or the same for both), `connect` is "5432 6379 1=/path" with %XX in it, `allow` "10.0.0.0/8:443". Throws EINVAL. */
export function parsePortPolicy(keys: PortKeys): PortPolicy {
  const listen = new Map<number, number>();
  for (const word of words('listen', keys.listen)) {
    const [host, guest = host, ...more] = word.split(':');
    const hostPort = parseDecimal(host, 65535);
    const guestPort = parseDecimal(guest, 65535);
    if (hostPort === undefined || guestPort === undefined || guestPort === 0 || more.length > 0)
      throw bad('listen', word);
    if (listen.has(guestPort)) throw bad('listen', word);
    listen.set(guestPort, hostPort);
  }
  const connect = new Map<number, number | string>();
  for (const word of words('connect', keys.connect)) {
    const at = word.indexOf('=');
    const port = parseDecimal(at < 0 ? word : word.slice(0, at), 65535);
    const path = at < 0 ? undefined : decoded(word.slice(at + 1));
    if (port === undefined || port === 0 || path?.startsWith('/') === false) throw bad('connect', word);
    connect.set(port, path ?? port);
  }
  const resolver = keys.resolver === '' ? undefined : parseDecimal(keys.resolver, 65535);
  if (resolver === 0 || (resolver === undefined && keys.resolver !== '')) throw bad('resolver', keys.resolver);
  return { listen, connect, allow: words('allow', keys.allow).map(parseAllowed), resolver };
}

/** Where a connection to `address` and `port` of a guest leads; undefined where it may not go. */
export function targetOf(policy: PortPolicy, address: number, port: number): HostTarget | undefined {
  if (address === INADDR_LOOPBACK) {
    const to = policy.connect.get(port);
    if (typeof to === 'string') return { path: to };
    if (to !== undefined) return { host: '127.0.0.1', port: to };
    if (port === policy.resolver) return 'name-server';
  }
  return isAllowed(policy.allow, address, port) ? { host: dotted(address), port } : undefined;
}
export const dotted = (address: number): string => [24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.');

function words(key: string, value: string): string[] {
  const list = value.split(/[\s,]+/).filter(word => word !== '');
  if (list.length > MAX_PORTS) throw new XenError('E2BIG', `${key}: ${list.length} ports, at most ${MAX_PORTS}`);
  return list;
}
/** Empty where it is no text. */
function decoded(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return '';
  }
}
const bad = (key: string, word: string): XenError =>
  new XenError(
    'EINVAL',
    `${key}: ${JSON.stringify(word.slice(0, 40))} is no port${key === 'listen' ? ' or host:guest pair' : ''}`,
  );
