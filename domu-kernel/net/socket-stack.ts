// The sockets of programs that are processes: on the interface that ip= configures.
import { XenError } from '#pvbus';
import type { Lookup, SocketStack, StreamSocket } from '../wasi/socket.ts';
import type { NetInterface } from './interface.ts';
import { TcpSocket } from './tcp/stream-socket.ts';

/** `net`: undefined while there is none. */
export function socketStack(net: () => NetInterface | undefined): SocketStack {
  const up = (): NetInterface => {
    const found = net();
    if (found) return found;
    throw new XenError('EAFNOSUPPORT', 'this domain has no network interface: give it a vif and ip=');
  };
  return {
    stream(family): StreamSocket {
      if (family !== 4) throw new XenError('EAFNOSUPPORT', 'this stack speaks IPv4');
      return new TcpSocket(up().tcp, family);
    },
    resolve(name): Lookup {
      const lookup = up().dns.lookup(name);
      return {
        queue: lookup.queue,
        addresses: () =>
          lookup.addresses()?.map(address => {
            const bytes = new Uint8Array(4);
            new DataView(bytes.buffer).setUint32(0, address.d);
            return bytes;
          }),
      };
    },
  };
}
