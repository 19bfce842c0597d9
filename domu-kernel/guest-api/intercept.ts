// `net.intercept`: what neighbours send to others through this domain, as a program has it.
import type { InterceptedConnection, Interceptor } from 'xenolith';
import { XenError } from '#pvbus';
import { HOST_UNREACHABLE, NET_UNREACHABLE, PROHIBITED } from '../net/icmp.ts';
import type { Network } from '../net/network.ts';
import type { InterceptedSyn, TcpInterceptor } from '../net/tcp/interceptor.ts';
import { changed, NetConnection } from './tcp.ts';

/** A neighbour that was destroyed says nothing, and whoever it was connected to would wait for ever. */
const KEEP_ALIVE = { idleMs: 60_000, intervalMs: 10_000, probes: 6 };
const ICMP_CODES = { EHOSTUNREACH: HOST_UNREACHABLE, ENETUNREACH: NET_UNREACHABLE, EACCES: PROHIBITED };

export class NetInterceptor implements Interceptor {
  private readonly net: Network;
  private readonly interceptor: TcpInterceptor;

  constructor(net: Network) {
    this.net = net;
    this.interceptor = net.intercept();
  }
  async next(): Promise<InterceptedConnection> {
    for (;;) {
      if (this.interceptor.closed) throw new XenError('ECANCELED', 'net.intercept: closed');
      const syn = this.interceptor.take();
      if (syn !== undefined) return intercepted(this.net, syn);
      await changed(this.interceptor.changed);
    }
  }
  close(): void {
    this.interceptor.close();
  }
  async *[Symbol.asyncIterator](): AsyncIterator<InterceptedConnection> {
    while (!this.interceptor.closed) {
      try {
        yield await this.next();
      } catch (error) {
        if (this.interceptor.closed) return;
        throw error;
      }
    }
  }
}

function intercepted(net: Network, syn: InterceptedSyn): InterceptedConnection {
  const to = { address: String(syn.local), port: syn.localPort };
  return {
    from: { address: String(syn.remote), port: syn.remotePort },
    to,
    async accept() {
      syn.accept();
      while (syn.state === 'answered') await changed(syn.changed);
      const { connection } = syn;
      if (connection !== undefined) {
        connection.setKeepAlive(KEEP_ALIVE);
        return new NetConnection(connection);
      }
      throw new XenError('ECONNABORTED', `tcp: ${to.address} port ${to.port}: whoever wanted it has given up`);
    },
    refuse(code = 'ECONNREFUSED') {
      if (code === 'ECONNREFUSED') syn.refuse();
      else if (syn.state === 'held') {
        net.v4.complain(syn, syn.irs, ICMP_CODES[code]);
        syn.drop();
      }
    },
  };
}
