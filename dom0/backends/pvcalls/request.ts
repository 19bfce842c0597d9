// One command of a frontend: its slot copied once, and what may be wrong with it said as an errno.
import {
  type BackRing,
  PVCALLS_ACCEPT,
  PVCALLS_BIND,
  PVCALLS_CONNECT,
  PVCALLS_LISTEN,
  PVCALLS_POLL,
  PVCALLS_RELEASE,
  PVCALLS_SOCKET,
  XenPvcallsAccept,
  XenPvcallsBind,
  XenPvcallsConnect,
  XenPvcallsListen,
  XenPvcallsRequest,
  XenPvcallsSocket,
  xen_pvcalls_request,
  xen_pvcalls_sring_entry,
} from '#pvbus';

export const AF_INET = 2;
export const SOCK_STREAM = 1;
export const IPPROTO_TCP = 6;
const SOCKADDR_IN_SIZE = 16;

/** Names of PVCALLS_*, for messages and counters. */
export const COMMANDS = ['socket', 'connect', 'release', 'bind', 'listen', 'accept', 'poll'] as const;

/** A command taken off the ring, to be answered exactly once. */
export interface PvcallsCommand {
  readonly req_id: number;
  readonly cmd: number;
  /** The frontend's name of the socket, as text: 64 bits do not fit a number. */
  readonly id: string;
  readonly id_lo: number;
  readonly id_hi: number;
}
export interface SocketAddress {
  readonly address: number;
  readonly port: number;
}

/** Moves the slot at req_cons to private memory; cursors read the copy. */
export class RequestCopy {
  readonly command = new XenPvcallsRequest(new DataView(new ArrayBuffer(0)));
  readonly socket: InstanceType<typeof XenPvcallsSocket>;
  readonly connect: InstanceType<typeof XenPvcallsConnect>;
  readonly bind: InstanceType<typeof XenPvcallsBind>;
  readonly listen: InstanceType<typeof XenPvcallsListen>;
  readonly accept: InstanceType<typeof XenPvcallsAccept>;
  private readonly words = new Int32Array(xen_pvcalls_sring_entry.size / 4);
  private readonly view = new DataView(this.words.buffer);
  private readonly member = xen_pvcalls_request.at.u;

  constructor() {
    const { view, member } = this;
    this.command = new XenPvcallsRequest(view);
    this.socket = new XenPvcallsSocket(view, member);
    this.connect = new XenPvcallsConnect(view, member);
    this.bind = new XenPvcallsBind(view, member);
    this.listen = new XenPvcallsListen(view, member);
    this.accept = new XenPvcallsAccept(view, member);
  }
  take(ring: BackRing): PvcallsCommand {
    ring.copyRequest(this.words);
    ring.req_cons = (ring.req_cons + 1) >>> 0;
    const id_lo = this.view.getUint32(this.member, true);
    const id_hi = this.view.getUint32(this.member + 4, true);
    const { req_id, cmd } = this.command;
    return { req_id, cmd, id: nameOf(id_lo, id_hi), id_lo, id_hi };
  }
  /** Take the one of now again later, by what is returned. */
  keep(): () => void {
    const kept = this.words.slice();
    return () => this.words.set(kept);
  }
  /** Of accept: the name of the socket to be. */
  get newId(): string {
    return nameOf(this.accept.id_new_lo, this.accept.id_new_hi);
  }
  /** Of bind and connect: an AF_INET address in Linux's layout, whatever this host is; a negative errno else. */
  address(at: 'bind' | 'connect'): SocketAddress | 'EAFNOSUPPORT' | 'EINVAL' {
    const cursor = at === 'bind' ? this.bind : this.connect;
    if (cursor.len < SOCKADDR_IN_SIZE || cursor.len > 28) return 'EINVAL';
    const addr = this.member + 8;
    if (this.view.getUint16(addr, true) !== AF_INET) return 'EAFNOSUPPORT';
    return { port: this.view.getUint16(addr + 2), address: this.view.getUint32(addr + 4) };
  }
}

const nameOf = (lo: number, hi: number): string => `${hi.toString(16)}:${lo.toString(16)}`;

export { PVCALLS_ACCEPT, PVCALLS_BIND, PVCALLS_CONNECT, PVCALLS_LISTEN, PVCALLS_POLL, PVCALLS_RELEASE, PVCALLS_SOCKET };
