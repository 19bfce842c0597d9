// One entry of `pvcalls = [...]`. Xen's xl knows `backend=` here; the rest is ours: a guest reaches the host's loopback
// ports and the addresses beyond that its config names, and no others.

import { type PvcallsConfig, parseAllowed } from '#pvbus';
import { ConfigError } from './settings.ts';

/** Nothing may be reached by it. */
export const emptyPvcalls = (devid: number): PvcallsConfig => ({
  ...{ devid, backend: null, listen: [], connect: [] },
  ...{ sockets: null, allow: [], resolver: null },
});

/**
 * `backend=DOM`, `listen=HOSTPORT[:GUESTPORT]`, `connect=PORT`, `allow=ADDRESS[/PREFIX][:PORT[-PORT]]`, `resolver=PORT`; listen,
 * connect and allow as often as needed.
 */
export function parsePvcallsSpec(spec: string, devid: number): PvcallsConfig {
  const pvcalls = emptyPvcalls(devid);
  for (const raw of spec.split(',')) {
    const token = raw.trim();
    if (token === '') continue;
    const [, key, value] = /^([a-z]+)=(.*)$/.exec(token) ?? [];
    const listen = /^([0-9]+)(?::([0-9]+))?$/.exec(value ?? '');
    if (key === 'backend') pvcalls.backend = value!;
    else if (key === 'listen' && listen !== null) {
      const host = port(listen[1]!, token, 0); // 0: any free port of the host's
      pvcalls.listen.push({ host, guest: port(listen[2] ?? listen[1]!, token, 1) });
    } else if (key === 'connect' && listen !== null && listen[2] === undefined) {
      pvcalls.connect.push(port(value!, token, 1));
    } else if (key === 'allow') pvcalls.allow.push(allowed(value!, token));
    else if (key === 'resolver' && listen !== null && listen[2] === undefined) {
      pvcalls.resolver = port(value!, token, 1);
    } else throw new ConfigError(`Unknown string \`${token}' in pvcalls spec`);
  }
  return pvcalls;
}

function allowed(text: string, token: string): string {
  try {
    parseAllowed(text);
    return text;
  } catch (error) {
    throw new ConfigError(`Invalid \`${token}' in pvcalls spec: ${(error as Error).message}`);
  }
}
function port(text: string, token: string, min: number): number {
  const n = Number(text);
  if (n < min || n > 65_535) throw new ConfigError(`Invalid port in \`${token}' of pvcalls spec`);
  return n;
}
