// One connected frontend: its command ring and its sockets.
import {
  BackRing,
  type Domid,
  type EvtchnPort,
  type GrantMapping,
  type Log,
  PVCALLS_ACCEPT,
  PVCALLS_BIND,
  PVCALLS_CONNECT,
  PVCALLS_LISTEN,
  PVCALLS_POLL,
  PVCALLS_RELEASE,
  PVCALLS_SOCKET,
  port,
  socketErrno,
  type Trigger,
  type Vcpu,
  XenError,
  XenPvcallsResponse,
  xen_pvcalls_response,
  xen_pvcalls_sring_entry,
} from '#pvbus';
import { type DeviceEvents, plainEvents } from '../../faults/faulty-notifier.ts';
import { MappedDataRing } from '../mapped-data-ring.ts';
import { ActiveSocket } from './active-socket.ts';
import { FaultyStream } from './faulty-stream.ts';
import { connectTo, HostListener, type HostStream } from './host-sockets.ts';
import { PassiveSocket } from './passive-socket.ts';
import { dotted, type PortPolicy, targetOf } from './port-policy.ts';
import { AF_INET, IPPROTO_TCP, type PvcallsCommand, RequestCopy, SOCK_STREAM } from './request.ts';
import type { CommandOp, SocketFaults } from './socket-faults.ts';
import type { PvcallsStats } from './stats.ts';

/** Sockets one frontend may have. */
export const MAX_SOCKETS = 1024;
/** Commands that faults may befall. */
const COMMAND_OPS: Readonly<Record<number, CommandOp>> = {
  [PVCALLS_CONNECT]: 'connect',
  [PVCALLS_LISTEN]: 'listen',
  [PVCALLS_ACCEPT]: 'accept',
};
const INADDR_ANY = 0;
const INADDR_LOOPBACK = 0x7f000001;

/** The errno name that answers a command, undefined for success; LATER: whoever is asked now answers it. */
type Outcome = string | undefined | typeof LATER;
const LATER = Symbol('later');

/** What a frontend's id stands for. */
type SocketState =
  | { kind: 'fresh' }
  | { kind: 'bound'; hostPort: number; guestPort: number }
  | { kind: 'opening'; released: boolean } // a listen waits for the host
  | { kind: 'connecting'; active: ActiveSocket; abort(): void }
  | { kind: 'active'; active: ActiveSocket }
  | { kind: 'passive'; passive: PassiveSocket };

export interface FrontendOptions {
  readonly vcpu: Vcpu;
  readonly log: Log;
  readonly stats: PvcallsStats;
  readonly policy: PortPolicy;
  readonly frontend: Domid;
  /** For messages: `pvcalls 0 of dom1`. */
  readonly label: string;
  readonly ref: number;
  readonly evtchn: number;
  /** The frontend broke the protocol of the command ring: nothing more is read from it. */
  onFatal(error: XenError): void;
  /** A guest port is open at a port of the host. */
  onListening(guestPort: number, hostPort: number): void;
}

export class FrontendConnection {
  private readonly o: FrontendOptions;
  private readonly mapping: GrantMapping;
  private readonly ring: BackRing;
  private readonly port: EvtchnPort;
  private readonly request = new RequestCopy();
  private readonly response: InstanceType<typeof XenPvcallsResponse>;
  private readonly sockets = new Map<string, SocketState>();
  private readonly refusals = new Set<string>();
  private open = true;
  /** There may be commands. */
  private work = true;
  private staged = false;
  private stepping = false;
  private faults: SocketFaults | undefined;
  private events: DeviceEvents;
  /** Commands at whose answers the process is to end. */
  private readonly last = new Map<PvcallsCommand, Trigger>();

  /** Throws a XenError when the ring or the port is not the frontend's to give. */
  constructor(options: FrontendOptions) {
    const { vcpu, frontend } = options;
    this.o = options;
    this.mapping = vcpu.grants.map(frontend, [options.ref])[0]!;
    try {
      const { page } = this.mapping;
      this.ring = new BackRing(page, xen_pvcalls_sring_entry.size, BackRing.attachIndex(page));
      this.response = new XenPvcallsResponse(page.view);
      this.port = vcpu.events.bindInterdomain(frontend, port(options.evtchn));
    } catch (error) {
      vcpu.grants.unmap([this.mapping]);
      throw error;
    }
    this.events = plainEvents(vcpu.events);
    this.hear();
  }
  private hear(): void {
    const { vcpu, evtchn } = this.o;
    vcpu.events.on(
      this.port,
      this.events.hears(() => this.look(), this.port, evtchn),
    );
    this.work = true;
  }
  private look(): void {
    this.work = true;
    this.step();
  }

  /** Take every command there is; streams move by themselves when either side has something. */
  step(): 'progress' | 'idle' {
    if (!this.open || !this.work) return 'idle';
    let n = this.ring.unconsumedRequests();
    if (n === 0) n = this.ring.finalCheckForRequests();
    if (n === 0) {
      this.work = false;
      return 'idle';
    }
    if (n < 0) {
      this.fatal('impossible indices in its command ring');
      return 'progress';
    }
    this.stepping = true;
    for (; n > 0 && this.open; n--) this.execute(this.request.take(this.ring));
    this.stepping = false;
    this.push();
    // Not idle before a step that found nothing has asked to hear of the next command.
    return 'progress';
  }

  /** Nothing of the frontend is mapped or bound afterwards. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    for (const socket of this.sockets.values()) this.dispose(socket);
    this.sockets.clear();
    this.o.vcpu.events.close(this.port);
    this.o.vcpu.grants.unmap([this.mapping]);
  }

  /** These befall it from now on; undefined: none. */
  befall(faults: SocketFaults | undefined): void {
    if (this.faults === faults) return;
    this.faults = faults;
    this.events = faults?.events ?? plainEvents(this.o.vcpu.events);
    this.hear();
    for (const socket of this.sockets.values())
      if (socket.kind === 'active' || socket.kind === 'connecting') this.arrange(socket.active);
  }
  private arrange(active: ActiveSocket): void {
    const { plain } = active;
    const again = (): void => void active.pump();
    active.stream = this.faults === undefined ? plain : new FaultyStream(plain, this.faults, again);
    active.ring.use(this.events);
  }

  private fatal(why: string): void {
    const error = new XenError('EINVAL', `${this.o.label}: ${why}`);
    this.close();
    this.o.onFatal(error);
  }

  private execute(command: PvcallsCommand): void {
    this.o.stats.commands++;
    const op = COMMAND_OPS[command.cmd];
    const { faults } = this;
    const hit = op === undefined ? undefined : faults?.befalls(op);
    if (hit === undefined) this.carryOut(command);
    else if (hit.trigger.fault.error !== undefined) this.respond(command, hit.trigger.fault.error);
    else if (hit.ends) {
      this.last.set(command, hit.trigger);
      this.carryOut(command);
    } else {
      const again = this.request.keep();
      faults!.hold(hit.trigger, () => {
        if (!this.open) return;
        again();
        this.carryOut(command);
      });
    }
  }
  private carryOut(command: PvcallsCommand): void {
    const outcome = this.perform(command);
    if (outcome !== LATER) this.respond(command, outcome);
  }
  private perform(command: PvcallsCommand): Outcome {
    switch (command.cmd) {
      case PVCALLS_SOCKET:
        return this.socket(command.id);
      case PVCALLS_CONNECT:
        return this.connect(command);
      case PVCALLS_RELEASE:
        return this.release(command.id);
      case PVCALLS_BIND:
        return this.bind(command.id);
      case PVCALLS_LISTEN:
        return this.listen(command);
      case PVCALLS_ACCEPT:
        return this.accept(command);
      case PVCALLS_POLL:
        return this.poll(command);
      default:
        return 'EOPNOTSUPP';
    }
  }

  private socket(id: string): string | undefined {
    const { socket } = this.request;
    if (socket.domain !== AF_INET) return 'EAFNOSUPPORT';
    if (socket.type !== SOCK_STREAM) return 'EPROTOTYPE';
    if (socket.protocol !== 0 && socket.protocol !== IPPROTO_TCP) return 'EPROTONOSUPPORT';
    return this.name(id, { kind: 'fresh' });
  }
  private name(id: string, state: SocketState): string | undefined {
    if (this.sockets.has(id)) return 'EEXIST';
    if (this.sockets.size >= MAX_SOCKETS) return 'EMFILE';
    this.sockets.set(id, state);
    return undefined;
  }

  private connect(command: PvcallsCommand): Outcome {
    const { id } = command;
    const { connect } = this.request;
    const socket = this.sockets.get(id);
    if (!socket) return 'ENOTSOCK';
    if (socket.kind !== 'fresh') return socket.kind === 'connecting' ? 'EALREADY' : 'EISCONN';
    const to = this.request.address('connect');
    if (typeof to === 'string') return to;
    const target = targetOf(this.o.policy, to.address, to.port);
    if (target === undefined) {
      this.refuse(`connect to ${dotted(to.address)}:${to.port}`);
      return 'EACCES';
    }
    const stream = connectTo(target);
    const active = this.makeActive(stream, connect.ref, connect.evtchn);
    if (typeof active === 'string') {
      stream.destroy();
      return active;
    }
    const settle = (error?: string): void => {
      if (this.sockets.get(id) !== connecting) return;
      if (error === undefined) {
        this.sockets.set(id, { kind: 'active', active });
        stream.changed = () => void active.pump();
        this.o.stats.connected++;
        active.pump();
      } else {
        // order: unmapped before the frontend hears of it.
        active.abort();
        this.sockets.set(id, { kind: 'fresh' });
      }
      this.respond(command, error);
    };
    const connecting: SocketState = { kind: 'connecting', active, abort: () => settle('ECONNABORTED') };
    this.sockets.set(id, connecting);
    stream.changed = () => {
      if (stream.error !== undefined) settle(stream.error);
      else if (stream.connected) settle();
    };
    return LATER;
  }

  private makeActive(stream: HostStream, ref: number, evtchn: number): ActiveSocket | string {
    const { vcpu, frontend, stats, log, label } = this.o;
    try {
      let active: ActiveSocket | undefined;
      const ring = new MappedDataRing(vcpu, frontend, ref, evtchn, () => void active?.pump());
      active = new ActiveSocket(stream, ring, stats, why => log.warn(`${label}: ${why}; that socket is closed`));
      if (this.faults !== undefined) this.arrange(active);
      return active;
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      log.warn(`${label}: a data ring cannot be used: ${error.message}`);
      return error.code === 'EINVAL' ? 'EINVAL' : 'EFAULT';
    }
  }

  private release(id: string): string | undefined {
    const socket = this.sockets.get(id);
    if (!socket) return 'ENOTSOCK';
    if (socket.kind === 'connecting') socket.abort();
    this.sockets.delete(id);
    if (socket.kind === 'active') socket.active.release();
    else if (socket.kind === 'passive') socket.passive.close();
    else if (socket.kind === 'opening') socket.released = true;
    return undefined;
  }

  private bind(id: string): string | undefined {
    const socket = this.sockets.get(id);
    if (!socket) return 'ENOTSOCK';
    if (socket.kind !== 'fresh') return 'EINVAL';
    const at = this.request.address('bind');
    if (typeof at === 'string') return at;
    if (at.address !== INADDR_ANY && at.address !== INADDR_LOOPBACK) return 'EADDRNOTAVAIL';
    const hostPort = this.o.policy.listen.get(at.port);
    if (hostPort === undefined) {
      this.refuse(`listen on port ${at.port}`);
      return 'EACCES';
    }
    this.sockets.set(id, { kind: 'bound', hostPort, guestPort: at.port });
    return undefined;
  }

  private listen(command: PvcallsCommand): Outcome {
    const { id } = command;
    const socket = this.sockets.get(id);
    if (!socket) return 'ENOTSOCK';
    if (socket.kind !== 'bound') return 'EINVAL';
    const opening: SocketState = { kind: 'opening', released: false };
    this.sockets.set(id, opening);
    HostListener.open(socket.hostPort, this.request.listen.backlog).then(
      listener => {
        if (!this.open || opening.released) {
          listener.close();
          this.respond(command, 'ECONNABORTED');
          return;
        }
        this.sockets.set(id, { kind: 'passive', passive: new PassiveSocket(listener) });
        this.o.onListening(socket.guestPort, listener.port);
        this.respond(command);
      },
      error => {
        const code = (error as NodeJS.ErrnoException).code ?? 'EIO';
        if (this.open) this.o.log.warn(`${this.o.label}: listen on 127.0.0.1:${socket.hostPort}: ${code}`);
        if (!opening.released && this.open) this.sockets.set(id, socket);
        this.respond(command, code);
      },
    );
    return LATER;
  }

  private accept(command: PvcallsCommand): Outcome {
    const { accept, newId } = this.request;
    const { ref, evtchn } = accept;
    const socket = this.sockets.get(command.id);
    if (!socket) return 'ENOTSOCK';
    if (socket.kind !== 'passive') return 'EINVAL';
    if (this.sockets.has(newId)) return 'EEXIST';
    socket.passive.accept(
      stream => {
        const active = this.makeActive(stream, ref, evtchn);
        if (typeof active === 'string') return active;
        const error = this.name(newId, { kind: 'active', active });
        if (error !== undefined) {
          active.abort();
          return error;
        }
        this.o.stats.accepted++;
        stream.changed = () => void active.pump();
        active.pump();
        return undefined;
      },
      error => this.respond(command, error),
    );
    return LATER;
  }
  private poll(command: PvcallsCommand): Outcome {
    const socket = this.sockets.get(command.id);
    if (!socket) return 'ENOTSOCK';
    if (socket.kind !== 'passive') return 'EINVAL';
    socket.passive.poll(error => this.respond(command, error));
    return LATER;
  }

  private dispose(socket: SocketState): void {
    if (socket.kind === 'active' || socket.kind === 'connecting') socket.active.abort();
    else if (socket.kind === 'passive') socket.passive.close();
    else if (socket.kind === 'opening') socket.released = true;
  }

  /** A guest that asks for what it may not have is logged once for each thing it asks for, and not for ever. */
  private refuse(what: string): void {
    if (this.refusals.has(what) || this.refusals.size >= 32) return;
    this.refusals.add(what);
    this.o.log.warn(`${this.o.label}: ${what}: not allowed by its configuration`);
  }

  /** `error`: an errno name. */
  private respond(command: PvcallsCommand, error?: string): void {
    if (!this.open) return;
    if (this.last.size > 0 && this.isLast(command, error)) return;
    if (error !== undefined) this.o.stats.errors++;
    const { response, ring } = this;
    response.base = ring.responseOffset();
    response.req_id = command.req_id;
    response.cmd = command.cmd;
    response.ret = error === undefined ? 0 : -socketErrno(error);
    response.pad = 0;
    const id = response.base + xen_pvcalls_response.at.u;
    response.view.setUint32(id, command.id_lo, true);
    response.view.setUint32(id + 4, command.id_hi, true);
    ring.rsp_prod_pvt = (ring.rsp_prod_pvt + 1) >>> 0;
    this.staged = true;
    // In a step, one publication and at most one notification for all answers.
    if (!this.stepping) this.push();
  }
  /** It is done, and is answered when the fault that the process is to end for has gone without that. */
  private isLast(command: PvcallsCommand, error: string | undefined): boolean {
    const trigger = this.last.get(command);
    this.last.delete(command);
    if (trigger === undefined || !this.faults?.strike(trigger)) return false;
    this.faults.hold(trigger, () => this.respond(command, error));
    return true;
  }
  private push(): void {
    if (!this.staged || !this.open) return;
    this.staged = false;
    if (this.ring.pushResponses()) this.events.notify(this.port);
  }
}
