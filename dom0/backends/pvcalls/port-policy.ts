// Which ports of the host's loopback, and which of its unix sockets, a guest may use, as the toolstack wrote it into the backend's node.
import { parseDecimal, XenError } from '#pvbus';

export interface PortPolicy {
  /** Port the guest binds -> port of 127.0.0.1 that it gets; 0: one the host picks. */
  readonly listen: ReadonlyMap<number, number>;
  /** Ports of 127.0.0.1 the guest may connect to, each with where that leads: a port, or the path of a unix socket. */
  readonly connect: ReadonlyMap<number, number | string>;
}
/** The same as plain data, for a message to the worker's thread. */
export interface PortKeys {
  readonly listen: string;
  readonly connect: string;
}

const MAX_PORTS = 256;

/** `listen` is "8080:80 9000" (host:guest, or the same for both), `connect` is "5432 6379 1=/path". Throws EINVAL. */
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
    const path = at < 0 ? undefined : word.slice(at + 1);
    if (port === undefined || port === 0 || path?.startsWith('/') === false) throw bad('connect', word);
    connect.set(port, path ?? port);
  }
  return { listen, connect };
}

function words(key: string, value: string): string[] {
  const list = value.split(/[\s,]+/).filter(word => word !== '');
  if (list.length > MAX_PORTS) throw new XenError('E2BIG', `${key}: ${list.length} ports, at most ${MAX_PORTS}`);
  return list;
}
const bad = (key: string, word: string): XenError =>
  new XenError(
    'EINVAL',
    `${key}: ${JSON.stringify(word.slice(0, 40))} is no port${key === 'listen' ? ' or host:guest pair' : ''}`,
  );
