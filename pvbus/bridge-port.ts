// A port of a bridge whose other end is a descriptor of the host, as text: what tools parse, and dom0's netback.
import { XenError } from './errors.ts';

export interface BridgePortSpec {
  readonly kind: 'tap' | 'listen' | 'connect';
  /** Of a TAP interface its name, else the path of a unix socket. */
  readonly where: string;
}

/** Linux: 16 bytes with the NUL, and what `ip link` accepts. */
const INTERFACE = /^[^\s/:]{1,15}$/;
/** sockaddr_un's. */
const MAX_PATH_BYTES = 107;

/** `tap:NAME`, `listen:PATH` or `connect:PATH`. Throws EINVAL. */
export function parseBridgePort(text: string): BridgePortSpec {
  const [, kind, where = ''] = /^(tap|listen|connect):(.+)$/s.exec(text) ?? [];
  if (kind === undefined)
    throw new XenError('EINVAL', `bridge port '${text}': expected tap:NAME, listen:PATH or connect:PATH`);
  if (kind === 'tap') {
    if (!INTERFACE.test(where) || where === '.' || where === '..')
      throw new XenError('EINVAL', `bridge port '${text}': '${where}' is no name of an interface`);
    return { kind, where };
  }
  if (where.includes('\0')) throw new XenError('EINVAL', `bridge port ${JSON.stringify(text)}: a path has no NUL`);
  return { kind: kind as 'listen' | 'connect', where };
}

/** The same with the path that `resolve` makes of its path. Throws EINVAL when it is too long for a socket. */
export function resolveBridgePort(text: string, resolve: (path: string) => string): string {
  const { kind, where } = parseBridgePort(text);
  if (kind === 'tap') return text;
  const path = resolve(where);
  if (new TextEncoder().encode(path).length > MAX_PATH_BYTES)
    throw new XenError('EINVAL', `bridge port '${kind}:${path}': a socket's path has at most ${MAX_PATH_BYTES} bytes`);
  return `${kind}:${path}`;
}
