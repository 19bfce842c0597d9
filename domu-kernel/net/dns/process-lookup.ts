// A name that a process looks up.
import { XenError } from '#pvbus';
import type { Lookup } from '../../wasi/socket.ts';
import type { Resolver } from './resolver.ts';

/** `resolver`: of the interface, if there is one. `family`: of the addresses. */
export function processLookup(resolver: Resolver | undefined, name: string, family: 4 | 6 = 4): Lookup {
  if (!resolver) throw new XenError('ENOENT', `${name}: this domain has no network interface, so no name server`);
  const lookup = resolver.lookup(name, family);
  return {
    queue: lookup.queue,
    addresses: () =>
      lookup.addresses()?.map(address => {
        const bytes = new Uint8Array(16);
        address.write(new DataView(bytes.buffer), 0);
        return address.isV4 ? bytes.slice(12) : bytes;
      }),
  };
}
