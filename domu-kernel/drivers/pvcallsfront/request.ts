// The command ring: requests that wait for their answers. Each is answered once, or fails with the device.
import {
  type FrontRing,
  socketErrnoName,
  XenError,
  XenPvcallsAccept,
  XenPvcallsBind,
  XenPvcallsConnect,
  XenPvcallsListen,
  XenPvcallsRelease,
  XenPvcallsRequest,
  XenPvcallsResponse,
  XenPvcallsSocket,
  xen_pvcalls_request,
  xen_pvcalls_response,
  xen_pvcalls_sring_entry,
} from '#pvbus';

export const AF_INET = 2;
export const SOCK_STREAM = 1;
export const SOCKADDR_IN_SIZE = 16;
/** Commands that may wait for a slot; a program that asks for more is told so. */
const MAX_QUEUED = 1024;

/** Writes a command's own fields; the cursors look at the slot. */
export type Fill = (slot: RequestSlot) => void;

/** Cursors over one slot of the ring page. */
export class RequestSlot {
  readonly request: InstanceType<typeof XenPvcallsRequest>;
  readonly socket: InstanceType<typeof XenPvcallsSocket>;
  readonly connect: InstanceType<typeof XenPvcallsConnect>;
  readonly release: InstanceType<typeof XenPvcallsRelease>;
  readonly bind: InstanceType<typeof XenPvcallsBind>;
  readonly listen: InstanceType<typeof XenPvcallsListen>;
  readonly accept: InstanceType<typeof XenPvcallsAccept>;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private u = 0;

  constructor(view: DataView) {
    this.view = view;
    this.bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    this.request = new XenPvcallsRequest(view);
    this.socket = new XenPvcallsSocket(view);
    this.connect = new XenPvcallsConnect(view);
    this.release = new XenPvcallsRelease(view);
    this.bind = new XenPvcallsBind(view);
    this.listen = new XenPvcallsListen(view);
    this.accept = new XenPvcallsAccept(view);
  }
  /** Begin a request in the slot at `offset`. Nothing of what was there is left for the backend to read. */
  begin(offset: number, req_id: number, cmd: number, id: number): void {
    this.bytes.fill(0, offset, offset + xen_pvcalls_request.size);
    this.u = offset + xen_pvcalls_request.at.u;
    this.request.base = offset;
    for (const cursor of [this.socket, this.connect, this.release, this.bind, this.listen, this.accept]) {
      cursor.base = this.u;
    }
    this.request.req_id = req_id;
    this.request.cmd = cmd;
    this.socket.id_lo = id >>> 0; // every member of the union begins with the id
    this.socket.id_hi = Math.floor(id / 2 ** 32);
  }
  /** Of bind and connect: an AF_INET address, as Linux lays it out. */
  putAddress(address: number, port: number): void {
    const at = this.u + 8;
    this.view.setUint16(at, AF_INET, true);
    this.view.setUint16(at + 2, port);
    this.view.setUint32(at + 4, address);
  }
}

interface Command {
  readonly cmd: number;
  readonly id: number;
  readonly what: string;
  readonly fill: Fill;
  resolve(): void;
  reject(error: XenError): void;
}

export class CommandRing {
  private readonly ring: FrontRing;
  private readonly notify: () => void;
  private readonly slot: RequestSlot;
  private readonly answer = new Int32Array(xen_pvcalls_sring_entry.size / 4);
  private readonly response = new XenPvcallsResponse(new DataView(this.answer.buffer));
  private readonly queue: Command[] = [];
  private readonly pending = new Map<number, Command>();
  private nextId = 1;
  private ended: XenError | undefined;

  constructor(ring: FrontRing, view: DataView, notify: () => void) {
    this.ring = ring;
    this.notify = notify;
    this.slot = new RequestSlot(view);
  }
  get outstanding(): number {
    return this.pending.size + this.queue.length;
  }

  /** Resolves when the backend answered 0; rejects with the errno it gave. `what` is for the message. */
  issue(cmd: number, id: number, what: string, fill: Fill): Promise<void> {
    if (this.ended) return Promise.reject(new XenError(this.ended.code, `${what}: ${this.ended.message}`, this.ended));
    if (this.queue.length >= MAX_QUEUED)
      return Promise.reject(new XenError('EBUSY', `${what}: too many commands wait`));
    return new Promise((resolve, reject) => {
      this.queue.push({ cmd, id, what, fill, resolve, reject });
      this.submit();
    });
  }

  private submit(): void {
    let pushed = false;
    while (!this.ring.full()) {
      const command = this.queue.shift();
      if (!command) break;
      while (this.pending.has(this.nextId)) this.nextId = (this.nextId + 1) >>> 0;
      this.slot.begin(this.ring.requestOffset(), this.nextId, command.cmd, command.id);
      command.fill(this.slot);
      this.pending.set(this.nextId, command);
      this.nextId = (this.nextId + 1) >>> 0;
      this.ring.req_prod_pvt = (this.ring.req_prod_pvt + 1) >>> 0;
      pushed = true;
    }
    if (pushed && this.ring.pushRequests()) this.notify();
  }

  /** Take the answers there are. Throws EIO when the backend broke the protocol. */
  step(): 'progress' | 'idle' {
    if (this.ended) return 'idle';
    let n = this.ring.unconsumedResponses();
    if (n === 0) n = this.ring.finalCheckForResponses();
    if (n < 0) throw new XenError('EIO', 'the backend left impossible indices in the command ring');
    if (n === 0) return 'idle';
    for (; n > 0; n--) this.take();
    this.submit();
    return 'progress';
  }
  private take(): void {
    this.ring.copyResponse(this.answer);
    this.ring.rsp_cons = (this.ring.rsp_cons + 1) >>> 0;
    const { req_id, cmd, ret } = this.response;
    const command = this.pending.get(req_id);
    const u = xen_pvcalls_response.at.u / 4;
    const id = (this.answer[u]! >>> 0) + (this.answer[u + 1]! >>> 0) * 2 ** 32;
    // untrusted: an answer belongs to a request that waits for one, or the backend is broken.
    if (!command || command.cmd !== cmd || command.id !== id || ret > 0) {
      throw new XenError('EIO', `the backend answered request ${req_id} (command ${cmd}), which is not one of ours`);
    }
    this.pending.delete(req_id);
    if (ret === 0) command.resolve();
    else command.reject(new XenError(socketErrnoName(ret), `${command.what}: ${socketErrnoName(ret)}`));
  }

  /** Nothing will be answered any more. */
  end(reason: XenError): void {
    if (this.ended) return;
    this.ended = reason;
    const left = [...this.pending.values(), ...this.queue.splice(0)];
    this.pending.clear();
    for (const command of left) command.reject(new XenError(reason.code, `${command.what}: ${reason.message}`, reason));
  }
}
